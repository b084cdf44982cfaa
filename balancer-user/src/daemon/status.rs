//! Turns what the parts know into one [`Status`], the same for `balancer status`, the admin socket and the metrics.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use balancer_common::{
    abi::{BACKENDS_MAX, HOSTS_MAX, SERVICES_MAX},
    id::BackendId,
    service::{Counters, SERVICE_TRANSITION_TCP, SERVICE_TRANSITION_UDP},
};

use super::{gateway::Gateway, report};
use crate::{
    datapath::Mode,
    model::{
        self,
        status::{Backend, Host, Interface, InterfaceMode, MapUse, Maps, Program, ServicePort, Sources, Status},
        tables::Tables as _,
    },
    reconcile::{BackendPlacement, ServicePlacement},
};

/// The gateway as it is now. What cannot be read is shown as nothing and logged.
pub(super) fn snapshot(gateway: &Gateway) -> Status {
    let settings = &gateway.loaded.desired.gateway;
    Status {
        gateway: settings.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: gateway.loaded.generation,
        digest: gateway.loaded.digest.clone(),
        config_path: gateway.store.path().to_owned(),
        config_error: gateway.config_error.clone(),
        started_at_unix: gateway.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        service_ports: service_ports(gateway),
        reasons: reasons(gateway),
        slow_path: gateway.slow_path.read(),
        cases: cases(gateway),
        hosts: gateway.loaded.desired.hosts.iter().map(|host| host_status(gateway, host)).collect(),
        interfaces: interfaces(gateway),
        program: program(gateway),
        maps: maps(gateway),
    }
}

fn service_ports(gateway: &Gateway) -> Vec<ServicePort> {
    let placed = &gateway.reconciler.placement().service_ports;
    let services: Vec<_> = placed.iter().map(|service| service.id).collect();
    let backends: Vec<_> =
        placed.iter().flat_map(|service| service.backends.iter().map(|backend| backend.id)).collect();
    let read = |what, result: std::io::Result<Vec<Counters>>| report(what, result.map_err(Into::into));
    let services = read("read the service ports' counters", gateway.datapath.service_counters(&services));
    let backends_read = read("read the backends' counters", gateway.datapath.backend_counters(&backends));
    let services = services.unwrap_or_default();
    let of_backend: BTreeMap<BackendId, Counters> =
        backends.into_iter().zip(backends_read.unwrap_or_default()).collect();
    let wanted = gateway.loaded.desired.service_ports.iter().zip(placed).enumerate();
    wanted
        .map(|(position, (port, placement))| {
            let counters = services.get(position).copied().unwrap_or_default();
            service_port(gateway, port, placement, counters, &of_backend)
        })
        .collect()
}

fn service_port(
    gateway: &Gateway,
    port: &model::ServicePort,
    placement: &ServicePlacement,
    counters: Counters,
    of_backend: &BTreeMap<BackendId, Counters>,
) -> ServicePort {
    let flags = gateway.datapath.service(placement.id.0).flags;
    let backends = port.backends.iter().zip(&placement.backends);
    ServicePort {
        project: gateway.loaded.desired.projects[port.project].name.clone(),
        service: port.service.clone(),
        vip: port.vip,
        protocol: port.protocol,
        port: port.port,
        port_last: port.port_last,
        mode: port.mode,
        sources: Sources { allow: port.sources.allow.len(), deny: port.sources.deny.len() },
        table_size: balancer_common::abi::TABLE_SIZES[port.table_class],
        table_digest: format!("{:016x}", placement.digest),
        settled: flags & (SERVICE_TRANSITION_TCP | SERVICE_TRANSITION_UDP) == 0,
        traffic: counters.into(),
        backends: backends
            .map(|(backend, placed)| {
                let counters = of_backend.get(&placed.id).copied().unwrap_or_default();
                backend_status(gateway, backend, *placed, placement.slots, counters)
            })
            .collect(),
    }
}

fn backend_status(
    gateway: &Gateway,
    backend: &model::Backend,
    placed: BackendPlacement,
    slots: u32,
    counters: Counters,
) -> Backend {
    Backend {
        container: backend.container.clone(),
        host: gateway.loaded.desired.hosts[backend.host].name.clone(),
        address: backend.address,
        port: backend.port,
        weight: backend.weight,
        state: backend.state,
        share: f64::from(placed.slots) / f64::from(slots.max(1)),
        traffic: counters.into(),
    }
}

fn reasons(gateway: &Gateway) -> BTreeMap<String, u64> {
    let counted = report("read the reasons' counters", gateway.datapath.reasons().map_err(Into::into));
    counted.unwrap_or_default().into_iter().map(|(reason, frames)| (reason.name().to_owned(), frames)).collect()
}

fn cases(gateway: &Gateway) -> BTreeMap<String, u64> {
    let counted = report("read the cases' counters", gateway.datapath.cases().map_err(Into::into));
    counted.unwrap_or_default().into_iter().map(|(case, frames)| (case.name().to_owned(), frames)).collect()
}

fn host_status(gateway: &Gateway, host: &model::Host) -> Host {
    let mac = gateway.view.hosts.get(&host.vtep).and_then(|next_hop| next_hop.destination_mac);
    let path_mtu = gateway.view.path_mtus.get(&host.vtep).copied();
    Host { name: host.name.clone(), vtep: host.vtep, resolved: mac.is_some(), mac, path_mtu }
}

fn interfaces(gateway: &Gateway) -> Vec<Interface> {
    let mode = |mode| match mode {
        Mode::Native => InterfaceMode::Native,
        Mode::Generic => InterfaceMode::Generic,
    };
    let shown = gateway.attached.iter();
    shown.map(|a| Interface { name: a.name.clone(), ifindex: a.ifindex, mode: mode(a.mode) }).collect()
}

fn program(gateway: &Gateway) -> Program {
    let Some(status) = report("ask for the program", gateway.datapath.status().map_err(Into::into)) else {
        return Program::default();
    };
    Program {
        id: status.id,
        careful_id: status.careful_id,
        verified_instructions: status.verified_instructions.unwrap_or_default(),
        careful_verified_instructions: status.careful_verified_instructions.unwrap_or_default(),
        jited_bytes: status.jited_bytes,
    }
}

fn maps(gateway: &Gateway) -> Maps {
    let desired = &gateway.loaded.desired;
    let backends = desired.service_ports.iter().map(|port| port.backends.len()).sum::<usize>();
    let vips: std::collections::BTreeSet<_> = desired.service_ports.iter().map(|port| port.vip).collect();
    let flows = report("count the flows", gateway.datapath.flows().map_err(Into::into)).map_or(0, |flows| flows.len());
    let in_use = |used: usize, max: u32| MapUse { used: u32::try_from(used).unwrap_or(u32::MAX), max };
    Maps {
        services: in_use(desired.service_ports.len() + vips.len(), SERVICES_MAX - 1),
        backends: in_use(backends, BACKENDS_MAX - 1),
        hosts: in_use(desired.hosts.len(), HOSTS_MAX - 1),
        flows: in_use(flows, desired.gateway.flows_max),
    }
}
