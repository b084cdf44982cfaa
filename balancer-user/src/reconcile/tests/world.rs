//! Turns short descriptions into desired states: two projects, a few containers, and service ports of both families.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use balancer_common::id::Vni;

use crate::model::{
    Backend, BackendState, Desired, Gateway, HashFields, HashSecret, Host, Mode, NetworkView, NextHop, Project,
    Protocol, ServicePort, Sources, Timeouts, XdpMode,
};

/// Idle times of the tests, seconds.
pub(super) const TCP_IDLE: u64 = 60;
pub(super) const UDP_IDLE: u64 = 20;
pub(super) const CLOSING_IDLE: u64 = 8;

/// One backend in short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub weight: u32,
    pub state: BackendState,
}

/// One service port in short.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub project: usize,
    pub vip: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
    /// The last of a range, else equal to `port`.
    pub last: u16,
    pub mode: Mode,
    pub class: usize,
    pub hash: HashFields,
    pub sources: Arc<Sources>,
    pub new_flows_per_second: u32,
    /// By number of container.
    pub members: BTreeMap<u8, Member>,
}

/// A desired state in short.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub ports: Vec<Option<Port>>,
    /// Host of each container.
    pub hosts: BTreeMap<u8, usize>,
    pub view: NetworkView,
}

pub(super) const HOSTS: usize = 3;

impl World {
    /// Four service ports, of which the first and the last publish the same container ports.
    pub(super) fn new() -> Self {
        let v4 = IpAddr::from([192, 0, 2, 10]);
        let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10));
        let ports = [
            (0, v4, Protocol::Tcp, 80),
            (0, v4, Protocol::Udp, 53),
            (1, v6, Protocol::Tcp, 443),
            (0, IpAddr::from([192, 0, 2, 11]), Protocol::Tcp, 80),
        ];
        let ports =
            ports.into_iter().map(|(project, vip, protocol, number)| Some(port(project, vip, protocol, number)));
        let hop = NextHop { ifindex: 3, source_mac: [2; 6], destination_mac: Some([4; 6]), mtu: 1600 };
        let view = NetworkView { hosts: (0..HOSTS).map(|at| (vtep(at), hop)).collect(), ..NetworkView::default() };
        Self { ports: ports.collect(), hosts: BTreeMap::new(), view }
    }

    /// A fifth one that is a range of 100 ports beside the second.
    pub(super) fn with_range() -> Self {
        let mut world = Self::new();
        world.ports.push(Some(Port { last: 9099, ..port(0, IpAddr::from([192, 0, 2, 10]), Protocol::Udp, 9000) }));
        world
    }

    /// The long form.
    pub(super) fn desired(&self) -> Desired {
        Desired {
            gateway: gateway(),
            hosts: (0..HOSTS).map(|at| Host { name: format!("host{at}"), vtep: vtep(at), mtu: None }).collect(),
            projects: [100, 200].map(project).to_vec(),
            service_ports: self.ports.iter().flatten().map(|port| self.service_port(port)).collect(),
        }
    }

    fn service_port(&self, port: &Port) -> ServicePort {
        let backends = port.members.iter().map(|(number, member)| Backend {
            container: format!("c{number}"),
            host: self.hosts.get(number).copied().unwrap_or(0),
            address: address(port.vip, *number),
            mac: [2, 0, 0, 0, 0, *number],
            port: if port.port == port.last { container_port(port) } else { 0 },
            weight: member.weight,
            state: member.state,
        });
        ServicePort {
            project: port.project,
            service: "web".to_owned(),
            vip: port.vip,
            protocol: port.protocol,
            port: port.port,
            table_class: port.class,
            port_last: port.last,
            mode: port.mode,
            hash: port.hash,
            sources: Arc::clone(&port.sources),
            new_flows_per_second: port.new_flows_per_second,
            backends: backends.collect(),
        }
    }
}

/// A service port of two containers.
pub(super) fn port(project: usize, vip: IpAddr, protocol: Protocol, port: u16) -> Port {
    Port {
        project,
        vip,
        protocol,
        port,
        last: port,
        mode: Mode::Nat,
        class: 0,
        hash: HashFields::FLOW,
        sources: Arc::default(),
        new_flows_per_second: ServicePort::NEW_FLOWS_DEFAULT,
        members: BTreeMap::from([(1, active(1)), (2, active(1))]),
    }
}

fn container_port(port: &Port) -> u16 {
    match port.mode {
        Mode::Nat => 8080,
        Mode::Dsr => port.port,
    }
}

/// A list of sources.
pub(super) fn sources(allow: &[&str], deny: &[&str]) -> Arc<Sources> {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Arc::new(Sources { allow: nets(allow), deny: nets(deny) })
}

/// An active member.
pub(super) const fn active(weight: u32) -> Member {
    Member { weight, state: BackendState::Active }
}

/// The address of a container in the VIP's family; both projects use the same ones.
pub(super) fn address(vip: IpAddr, number: u8) -> IpAddr {
    match vip {
        IpAddr::V4(_) => IpAddr::from([10, 0, 0, number]),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number))),
    }
}

pub(super) fn vtep(at: usize) -> IpAddr {
    IpAddr::from([10, 99, 0, 11 + at as u8])
}

fn project(vni: u32) -> Project {
    Project {
        name: format!("p{vni}"),
        vni: Vni::new(vni).unwrap(),
        networks: Vec::new(),
        gateway_ipv4: Some(Ipv4Addr::new(10, 0, 0, 254)),
        gateway_ipv6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xff)),
        gateway_mac: [2, 0, 0, 0, 1, 0],
        new_flows_per_second: Project::NEW_FLOWS_DEFAULT,
    }
}

pub(super) fn gateway() -> Gateway {
    Gateway {
        name: "gw".to_owned(),
        interfaces: vec!["eth0".to_owned()],
        xdp_mode: XdpMode::Auto,
        vtep_ipv4: Some(Ipv4Addr::new(10, 99, 0, 1)),
        vtep_ipv6: None,
        vxlan_port: 4789,
        hash_secret: HashSecret([7; 16]),
        timeouts: Timeouts {
            tcp_idle: Duration::from_secs(TCP_IDLE),
            tcp_closing: Duration::from_secs(CLOSING_IDLE),
            udp_idle: Duration::from_secs(UDP_IDLE),
        },
        flows_max: 1000,
        icmp_errors_per_second: 1000,
        pin_dir: "/sys/fs/bpf/test".into(),
        state_dir: "/tmp".into(),
        admin_socket: "/tmp/admin.sock".into(),
        metrics_listen: None,
    }
}
