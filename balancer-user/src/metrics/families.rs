//! The table of every metric: its name, what it means, its labels, and how its series are read out of a [`Status`].

use balancer_common::{case::Case, verdict::Reason};
use prometheus::proto::MetricType;

use super::exposition::{Family, Samples};
use crate::model::{
    BackendState,
    status::{Backend, ServicePort, Status, Traffic},
};

/// Every metric, in the order of the text. Names and labels stand here and nowhere else.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "balancer_build_info",
        help: "Version of the daemon; always 1.",
        kind: MetricType::GAUGE,
        labels: &["gateway", "version"],
        collect: |status, samples| samples.add(&[&status.gateway, &status.version], 1.0),
    },
    Family {
        name: "process_start_time_seconds",
        help: "When the daemon started, in seconds since 1970.",
        kind: MetricType::GAUGE,
        labels: &[],
        collect: |status, samples| samples.add(&[], status.started_at_unix as f64),
    },
    Family {
        name: "balancer_config_generation",
        help: "Generation of the config in force; the same on every gateway that applied it.",
        kind: MetricType::GAUGE,
        labels: &[],
        collect: |status, samples| samples.add(&[], status.generation as f64),
    },
    Family {
        name: "balancer_config_info",
        help: "SHA-256 of the config in force; always 1.",
        kind: MetricType::GAUGE,
        labels: &["digest"],
        collect: |status, samples| samples.add(&[&status.digest], 1.0),
    },
    Family {
        name: "balancer_config_last_reload_successful",
        help: "1 when the config as it was last read is in force, 0 when it was refused and an older one is.",
        kind: MetricType::GAUGE,
        labels: &[],
        collect: |status, samples| samples.add(&[], truth(status.config_error.is_none())),
    },
    Family {
        name: "balancer_service_port_packets_total",
        help: "Frames of a service port, by direction: forward is client to backend, reply is backend to client.",
        kind: MetricType::COUNTER,
        labels: &["project", "service", "vip", "protocol", "port", "direction"],
        collect: |status, samples| each_port(status, samples, Traffic::packets),
    },
    Family {
        name: "balancer_service_port_bytes_total",
        help: "IP bytes of a service port's frames, without the encapsulation, by direction.",
        kind: MetricType::COUNTER,
        labels: &["project", "service", "vip", "protocol", "port", "direction"],
        collect: |status, samples| each_port(status, samples, Traffic::bytes),
    },
    Family {
        name: "balancer_backend_packets_total",
        help: "Frames of a backend, by direction: forward is client to backend, reply is backend to client.",
        kind: MetricType::COUNTER,
        labels: &["project", "service", "vip", "protocol", "port", "container", "host", "direction"],
        collect: |status, samples| each_backend_way(status, samples, Traffic::packets),
    },
    Family {
        name: "balancer_backend_bytes_total",
        help: "IP bytes of a backend's frames, without the encapsulation, by direction.",
        kind: MetricType::COUNTER,
        labels: &["project", "service", "vip", "protocol", "port", "container", "host", "direction"],
        collect: |status, samples| each_backend_way(status, samples, Traffic::bytes),
    },
    Family {
        name: "balancer_backend_state",
        help: "1 for the state that a backend is in, 0 for the others: active takes new flows, draining keeps the ones it has, dead takes nothing.",
        kind: MetricType::GAUGE,
        labels: &["project", "service", "vip", "protocol", "port", "container", "host", "state"],
        collect: backend_states,
    },
    Family {
        name: "balancer_backend_share_ratio",
        help: "Fraction of a service port's slots that a backend owns, 0 to 1: its share of new flows.",
        kind: MetricType::GAUGE,
        labels: &["project", "service", "vip", "protocol", "port", "container", "host"],
        collect: |status, samples| {
            each_backend(status, |labels, backend| samples.add(labels, backend.share));
        },
    },
    Family {
        name: "balancer_frames_total",
        help: "Frames that the program saw, by what became of them and why; docs/metrics.md says what each reason means and what to do about it.",
        kind: MetricType::COUNTER,
        labels: &["reason", "outcome"],
        collect: |status, samples| {
            for reason in Reason::ALL {
                samples.add(&[reason.name(), reason.outcome().name()], status.frames(*reason) as f64);
            }
        },
    },
    Family {
        name: "balancer_cases_total",
        help: "Frames that were a hard case, whatever became of them; one frame may count under several cases, most count under none.",
        kind: MetricType::COUNTER,
        labels: &["case"],
        collect: |status, samples| {
            for case in Case::ALL {
                samples.add(&[case.name()], status.frames_of(*case) as f64);
            }
        },
    },
    Family {
        name: "balancer_slow_path_packets_total",
        help: "Packets that the program handed to the daemon, by what became of them: sent, fragmented (and fragments_sent), held until the first fragment is known and then released, expired or overflowed, too_long to be held, refused by the kernel, malformed, outer_errors about packets to a host.",
        kind: MetricType::COUNTER,
        labels: &["result"],
        collect: |status, samples| {
            for (result, packets) in status.slow_path.named() {
                samples.add(&[result], packets as f64);
            }
        },
    },
    Family {
        name: "balancer_host_resolved",
        help: "1 when route and MAC towards a container host are known, 0 while the kernel is asked for them.",
        kind: MetricType::GAUGE,
        labels: &["host", "vtep"],
        collect: |status, samples| {
            for host in &status.hosts {
                samples.add(&[&host.name, &host.vtep.to_string()], truth(host.resolved));
            }
        },
    },
    Family {
        name: "balancer_interface_mode",
        help: "How the program is attached to an interface: native in the driver, generic on socket buffers; always 1.",
        kind: MetricType::GAUGE,
        labels: &["interface", "mode"],
        collect: |status, samples| {
            for interface in &status.interfaces {
                samples.add(&[&interface.name, interface.mode.name()], 1.0);
            }
        },
    },
    Family {
        name: "balancer_map_entries",
        help: "Entries of a map that are in use.",
        kind: MetricType::GAUGE,
        labels: &["map"],
        collect: |status, samples| {
            for (map, entries) in status.maps.named() {
                samples.add(&[map], f64::from(entries.used));
            }
        },
    },
    Family {
        name: "balancer_map_entries_max",
        help: "Most entries that a map holds.",
        kind: MetricType::GAUGE,
        labels: &["map"],
        collect: |status, samples| {
            for (map, entries) in status.maps.named() {
                samples.add(&[map], f64::from(entries.max));
            }
        },
    },
];

/// A count in both directions, as label value and number.
type Ways = [(&'static str, u64); 2];

const STATES: [BackendState; 3] = [BackendState::Active, BackendState::Draining, BackendState::Dead];

fn each_port(status: &Status, samples: &mut Samples<'_>, count: fn(&Traffic) -> Ways) {
    for port in &status.service_ports {
        let (vip, number) = (port.vip.to_string(), port.ports_text());
        for (direction, count) in count(&port.traffic) {
            let labels = [&port.project, &port.service, &vip, port.protocol.name(), &number, direction];
            samples.add(&labels, count as f64);
        }
    }
}

fn each_backend_way(status: &Status, samples: &mut Samples<'_>, count: fn(&Traffic) -> Ways) {
    each_backend(status, |[project, service, vip, protocol, port, container, host], backend| {
        for (direction, count) in count(&backend.traffic) {
            samples.add(&[project, service, vip, protocol, port, container, host, direction], count as f64);
        }
    });
}

fn backend_states(status: &Status, samples: &mut Samples<'_>) {
    each_backend(status, |[project, service, vip, protocol, port, container, host], backend| {
        for state in STATES {
            let labels = [project, service, vip, protocol, port, container, host, state.name()];
            samples.add(&labels, truth(backend.state == state));
        }
    });
}

/// Calls `each` with the labels that name a backend: project, service, VIP, protocol, port, container, host.
fn each_backend(status: &Status, mut each: impl FnMut(&[&str; 7], &Backend)) {
    for port in &status.service_ports {
        let ServicePort { project, service, protocol, backends, .. } = port;
        let (vip, ports) = (port.vip.to_string(), port.ports_text());
        for backend in backends {
            each(&[project, service, &vip, protocol.name(), &ports, &backend.container, &backend.host], backend);
        }
    }
}

const fn truth(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}
