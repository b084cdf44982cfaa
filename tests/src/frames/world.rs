//! Turns a few constants into the desired state and the network's view that most frame tests share.
//!
//! Two projects use the same container addresses. Every service port exists for each [`Shape`]: an IPv4 or IPv6 VIP whose
//! one backend is reached over an IPv4 or IPv6 underlay.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use balancer_common::id::Vni;
use balancer_user::model::{
    Backend, BackendState, ClientRoutes, Desired, Gateway, HashFields, HashSecret, Host, Mode, NetworkView, NextHop,
    Project, Protocol, ServicePort, Timeouts, XdpMode,
};

use super::{
    overlay::Overlay,
    packet::{Body, Packet, Tcp, Udp},
};

/// Family of the VIP and of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether VIP, client and container speak IPv4.
    pub vip_ipv4: bool,
    /// Whether gateway and host do.
    pub underlay_ipv4: bool,
}

impl Shape {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self { vip_ipv4: true, underlay_ipv4: true },
        Self { vip_ipv4: true, underlay_ipv4: false },
        Self { vip_ipv4: false, underlay_ipv4: true },
        Self { vip_ipv4: false, underlay_ipv4: false },
    ];

    /// The VIP of a project; projects count from 0.
    #[must_use]
    pub fn vip(self, project: usize) -> IpAddr {
        let last = 10 + project as u8 * 10 + u8::from(!self.underlay_ipv4);
        if self.vip_ipv4 {
            IpAddr::from([203, 0, 113, last])
        } else {
            IpAddr::from([0x2001, 0xdb8, 0xf, 0, 0, 0, 0, u16::from(last)])
        }
    }

    /// The container behind it, number `number` of its host: the same address in both projects.
    #[must_use]
    pub fn container(self, number: u8) -> IpAddr {
        let last = 10 * (1 + u8::from(!self.underlay_ipv4)) + number;
        if self.vip_ipv4 {
            IpAddr::from([10, 1, 0, last])
        } else {
            IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, u16::from(last)])
        }
    }

    /// A client.
    #[must_use]
    pub fn client(self) -> IpAddr {
        if self.vip_ipv4 { IpAddr::from([198, 51, 100, 7]) } else { IpAddr::from([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7]) }
    }

    /// An address that is neither VIP nor gateway.
    #[must_use]
    pub fn stranger(self) -> IpAddr {
        if self.vip_ipv4 { IpAddr::from([192, 0, 2, 99]) } else { IpAddr::from([0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0x99]) }
    }

    /// The gateway's own address in the projects' networks.
    #[must_use]
    pub fn project_gateway(self) -> IpAddr {
        if self.vip_ipv4 { IpAddr::from([10, 1, 0, 1]) } else { IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, 1]) }
    }

    /// VTEP of the gateway.
    #[must_use]
    pub fn gateway_vtep(self) -> IpAddr {
        if self.underlay_ipv4 { GATEWAY_VTEP_IPV4.into() } else { GATEWAY_VTEP_IPV6.into() }
    }

    /// VTEP of the host.
    #[must_use]
    pub fn host_vtep(self) -> IpAddr {
        if self.underlay_ipv4 { IpAddr::from([10, 99, 0, 11]) } else { IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, 11]) }
    }

    /// Position of the host among the world's.
    #[must_use]
    pub fn host(self) -> usize {
        usize::from(!self.underlay_ipv4)
    }

    /// Largest inner IP packet: the underlay's MTU less the encapsulation.
    #[must_use]
    pub fn inner_mtu(self) -> u16 {
        UNDERLAY_MTU - if self.underlay_ipv4 { 50 } else { 70 }
    }

    /// A client's segment with payload to port 80 of a project's VIP.
    #[must_use]
    pub fn segment(self, project: usize) -> Packet {
        let tcp = Tcp {
            ports: [40_000, 80],
            sequence: 0x0102_0304,
            acknowledgment: 0x0506_0708,
            flags: 0x18,
            window: 0x7210,
            options: vec![],
            payload: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        };
        self.packet(project, Body::Tcp(tcp))
    }

    /// A client's datagram to port 53 of a project's VIP.
    #[must_use]
    pub fn datagram(self, project: usize) -> Packet {
        let udp = Udp { ports: [40_000, 53], payload: b"a query of odd size".to_vec(), checksum: true };
        self.packet(project, Body::Udp(udp))
    }

    /// A client's packet to a project's VIP.
    #[must_use]
    pub fn packet(self, project: usize, body: Body) -> Packet {
        Packet {
            macs: [PUBLIC_MAC, CLIENT_ROUTER_MAC],
            tags: vec![],
            source: self.client(),
            destination: self.vip(project),
            ttl: 57,
            traffic_class: 0x28,
            fragment: if self.vip_ipv4 { 0x4000 } else { 0 },
            identification: 0x1234,
            body,
        }
    }

    /// What container `number` must get at `port` for a client's packet: destination, TTL and MACs are others.
    #[must_use]
    pub fn delivered(self, project: usize, packet: &Packet, (number, port): (u8, u16)) -> Packet {
        let mut delivered = packet.clone();
        delivered.macs = [container_mac(project, self.container(number)), gateway_mac(project)];
        delivered.tags.clear();
        delivered.destination = self.container(number);
        delivered.ports()[1] = port;
        delivered.ttl -= 1;
        delivered
    }

    /// What is around it on the way to the host.
    #[must_use]
    pub fn overlay(self, project: usize, traffic_class: u8, port: u16) -> Overlay {
        Overlay {
            macs: [HOST_MAC, UNDERLAY_MAC],
            source: self.gateway_vtep(),
            destination: self.host_vtep(),
            traffic_class,
            port,
            vni: VNIS[project],
            flags: 8,
        }
    }

    /// A container's answer to a client, in VXLAN from its host; `answer` is what the container sends.
    #[must_use]
    pub fn from_host(self, project: usize, answer: &Packet) -> Packet {
        self.host_overlay(project).around(&answer.bytes())
    }

    /// What its host puts around a container's frame.
    #[must_use]
    pub fn host_overlay(self, project: usize) -> Overlay {
        Overlay {
            macs: [UNDERLAY_MAC, HOST_MAC],
            source: self.host_vtep(),
            destination: self.gateway_vtep(),
            traffic_class: 0,
            port: 51_234,
            vni: VNIS[project],
            flags: 8,
        }
    }

    /// What the client must get for a container's answer: the VIP and `port` as its source.
    #[must_use]
    pub fn returned(self, project: usize, answer: &Packet, port: u16) -> Packet {
        let mut returned = answer.clone();
        returned.macs = [CLIENT_ROUTER_MAC, PUBLIC_MAC];
        returned.source = self.vip(project);
        returned.ports()[0] = port;
        returned.ttl -= 1;
        returned
    }
}

/// A rate that no test comes near.
pub const UNLIMITED: u32 = 10_000_000;
/// The projects' VNIs; one with all three bytes in use.
pub const VNIS: [u32; 2] = [0x00ab_cdef, 200];
/// The gateway's VTEPs.
pub const GATEWAY_VTEP_IPV4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// See [`GATEWAY_VTEP_IPV4`].
pub const GATEWAY_VTEP_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
/// MTU of the way to every host.
pub const UNDERLAY_MTU: u16 = 1500;
/// MAC of the public interface.
pub const PUBLIC_MAC: [u8; 6] = [2, 0, 0, 0, 0xa, 1];
/// MAC of the router towards the clients.
pub const CLIENT_ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0xc, 1];
/// MAC of the underlay interface.
pub const UNDERLAY_MAC: [u8; 6] = [2, 0, 0, 0, 0xb, 1];
/// MAC of every host.
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0xd, 1];

/// MAC of a container.
#[must_use]
pub fn container_mac(project: usize, address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    [2, 0x10 + project as u8, 0, 0, 0, last]
}

/// MAC of the gateway in a project's network.
#[must_use]
pub fn gateway_mac(project: usize) -> [u8; 6] {
    [2, 0xbb, 0, 0, 0, project as u8]
}

/// A backend: container `number` of the shape's host.
#[must_use]
pub fn backend(shape: Shape, project: usize, (number, port): (u8, u16)) -> Backend {
    let address = shape.container(number);
    Backend {
        container: format!("{address}"),
        host: shape.host(),
        address,
        mac: container_mac(project, address),
        port,
        weight: 1,
        state: BackendState::Active,
    }
}

/// A service port at the shape's VIP.
#[must_use]
pub fn service_port(
    shape: Shape,
    project: usize,
    (protocol, port): (Protocol, u16),
    backends: Vec<Backend>,
) -> ServicePort {
    ServicePort {
        project,
        service: format!("{}-{port}", protocol.name()),
        vip: shape.vip(project),
        protocol,
        port,
        table_class: 0,
        port_last: port,
        mode: Mode::Nat,
        hash: HashFields::FLOW,
        sources: Arc::default(),
        new_flows_per_second: UNLIMITED,
        backends,
    }
}

/// The desired state: TCP 80 and UDP 53 with one backend each, TCP 81 and UDP 54 with none.
#[must_use]
pub fn desired(pin_dir: PathBuf) -> Desired {
    let mut service_ports = Vec::new();
    for project in 0..VNIS.len() {
        for shape in Shape::ALL {
            let at = |key, port| service_port(shape, project, key, vec![backend(shape, project, (1, port))]);
            service_ports.push(at((Protocol::Tcp, 80), 8080));
            service_ports.push(at((Protocol::Udp, 53), 5353));
            service_ports.push(service_port(shape, project, (Protocol::Tcp, 81), vec![]));
            service_ports.push(service_port(shape, project, (Protocol::Udp, 54), vec![]));
        }
    }
    Desired { gateway: gateway(pin_dir), hosts: hosts(), projects: projects(), service_ports }
}

fn gateway(pin_dir: PathBuf) -> Gateway {
    Gateway {
        name: "gw1".to_owned(),
        interfaces: vec!["pub0".to_owned(), "und0".to_owned()],
        xdp_mode: XdpMode::Auto,
        vtep_ipv4: Some(GATEWAY_VTEP_IPV4),
        vtep_ipv6: Some(GATEWAY_VTEP_IPV6),
        vxlan_port: super::overlay::VXLAN_PORT,
        hash_secret: HashSecret(*b"sixteen bytes ok"),
        timeouts: Timeouts {
            tcp_idle: Duration::from_secs(3600),
            tcp_closing: Duration::from_secs(30),
            udp_idle: Duration::from_secs(120),
        },
        flows_max: 65_536,
        icmp_errors_per_second: UNLIMITED,
        pin_dir,
        state_dir: PathBuf::from("/nonexistent"),
        admin_socket: PathBuf::from("/nonexistent"),
        metrics_listen: None,
    }
}

fn hosts() -> Vec<Host> {
    [true, false]
        .map(|underlay_ipv4| Shape { vip_ipv4: true, underlay_ipv4 })
        .map(|shape| Host { name: format!("host{}", shape.host()), vtep: shape.host_vtep(), mtu: None })
        .to_vec()
}

fn projects() -> Vec<Project> {
    let project = |(position, vni): (usize, &u32)| Project {
        name: format!("project{position}"),
        vni: Vni::new(*vni).expect("the constants are in range"),
        networks: vec![],
        gateway_ipv4: Some(Ipv4Addr::new(10, 1, 0, 1)),
        gateway_ipv6: Some(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1)),
        gateway_mac: gateway_mac(position),
        new_flows_per_second: UNLIMITED,
    };
    VNIS.iter().enumerate().map(project).collect()
}

/// The way to everything: hosts by the underlay interface, clients by the public one.
#[must_use]
pub fn view(public: u32, underlay: u32) -> NetworkView {
    let way = |ifindex, source_mac, destination_mac| NextHop {
        ifindex,
        source_mac,
        destination_mac: Some(destination_mac),
        mtu: u32::from(UNDERLAY_MTU),
    };
    let hop = way(underlay, UNDERLAY_MAC, HOST_MAC);
    let hosts: BTreeMap<_, _> = hosts().iter().map(|host| (host.vtep, hop)).collect();
    let clients = ClientRoutes {
        default: Some(way(public, PUBLIC_MAC, CLIENT_ROUTER_MAC)),
        exceptions: vec![],
        ask_kernel: false,
    };
    NetworkView { hosts, clients_ipv4: clients.clone(), clients_ipv6: clients, path_mtus: BTreeMap::new() }
}
