//! A status with three service ports, for the tests of everything that shows one.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Backend, Host, Interface, InterfaceMode, MapUse, Maps, Program, ServicePort, SlowPath, Sources, Status, Traffic,
};
use crate::model::{BackendState, Mode, Protocol};

/// The status.
pub(crate) fn status() -> Status {
    Status {
        gateway: "gw1".into(),
        version: "0.1.0".into(),
        generation: 4_711,
        digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        config_path: "/etc/balancer/balancer.toml".into(),
        config_error: None,
        started_at_unix: 1_700_000_000,
        service_ports: vec![web(), echo(), media()],
        reasons: [("forwarded", 30), ("replied", 20), ("not_ours", 7), ("no_backend", 1)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        slow_path: SlowPath { sent: 3, fragmented: 2, fragments_sent: 4, held: 1, expired: 1, ..SlowPath::default() },
        cases: [("port_range", 4), ("fragment_later", 2)].map(|(name, count)| (name.to_owned(), count)).into(),
        hosts: vec![
            host("host1", Ipv4Addr::new(10, 99, 0, 11), Some([2, 0, 0, 0, 0, 0x11])),
            host("host2", Ipv4Addr::new(10, 99, 0, 12), None),
        ],
        interfaces: vec![
            Interface { name: "pub0".into(), ifindex: 2, mode: InterfaceMode::Native },
            Interface { name: "und0".into(), ifindex: 3, mode: InterfaceMode::Generic },
        ],
        program: Program {
            id: 41,
            careful_id: 42,
            verified_instructions: 12_345,
            careful_verified_instructions: 10_000,
            jited_bytes: 6_789,
        },
        maps: Maps {
            services: MapUse { used: 5, max: 32_768 },
            backends: MapUse { used: 4, max: 131_072 },
            hosts: MapUse { used: 2, max: 4_096 },
            flows: MapUse { used: 9, max: 262_144 },
        },
    }
}

fn web() -> ServicePort {
    ServicePort {
        project: "red".into(),
        service: "web".into(),
        vip: Ipv4Addr::new(203, 0, 113, 10).into(),
        protocol: Protocol::Tcp,
        port: 80,
        port_last: 80,
        mode: Mode::Nat,
        sources: Sources::default(),
        table_size: 251,
        table_digest: "5f1d".into(),
        settled: true,
        traffic: Traffic { forward_packets: 30, forward_bytes: 3_000, reply_packets: 20, reply_bytes: 40_000 },
        backends: vec![
            Backend {
                container: "web-1".into(),
                host: "host1".into(),
                address: Ipv4Addr::new(10, 1, 0, 11).into(),
                port: 8080,
                weight: 1,
                state: BackendState::Active,
                share: 0.25,
                traffic: Traffic { forward_packets: 10, forward_bytes: 1_000, reply_packets: 5, reply_bytes: 9_000 },
            },
            Backend {
                container: "web-2".into(),
                host: "host2".into(),
                address: Ipv4Addr::new(10, 1, 0, 12).into(),
                port: 8080,
                weight: 3,
                state: BackendState::Draining,
                share: 0.75,
                traffic: Traffic { forward_packets: 20, forward_bytes: 2_000, reply_packets: 15, reply_bytes: 31_000 },
            },
        ],
    }
}

fn echo() -> ServicePort {
    ServicePort {
        project: "blue".into(),
        service: "echo".into(),
        vip: Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x20).into(),
        protocol: Protocol::Udp,
        port: 7,
        port_last: 7,
        mode: Mode::Nat,
        sources: Sources { allow: 0, deny: 1 },
        table_size: 251,
        table_digest: "c0de".into(),
        settled: false,
        traffic: Traffic::default(),
        backends: vec![Backend {
            container: "web-1".into(),
            host: "host1".into(),
            address: Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x11).into(),
            port: 7007,
            weight: 1,
            state: BackendState::Dead,
            share: 1.0,
            traffic: Traffic::default(),
        }],
    }
}

/// A range beside the echo's port 7, without translation.
fn media() -> ServicePort {
    let ServicePort { backends, vip, .. } = echo();
    let backends = backends.into_iter().map(|backend| Backend { port: 0, state: BackendState::Active, ..backend });
    ServicePort {
        project: "blue".into(),
        service: "media".into(),
        vip,
        protocol: Protocol::Udp,
        port: 7,
        port_last: 4_099,
        mode: Mode::Dsr,
        sources: Sources { allow: 2, deny: 1 },
        table_size: 251,
        table_digest: "cafe".into(),
        settled: true,
        traffic: Traffic { forward_packets: 4, forward_bytes: 400, ..Traffic::default() },
        backends: backends.collect(),
    }
}

fn host(name: &str, vtep: Ipv4Addr, mac: Option<[u8; 6]>) -> Host {
    Host { name: name.into(), vtep: vtep.into(), resolved: mac.is_some(), mac, path_mtu: None }
}
