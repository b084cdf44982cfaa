//! The desired state: what a validated config says, in types that cannot hold anything invalid.

pub mod status;
pub mod tables;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use balancer_common::id::Vni;
use ipnet::IpNet;

/// Everything the gateway should be doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The gateway itself.
    pub gateway: Gateway,
    /// Container hosts; names are unique.
    pub hosts: Vec<Host>,
    /// Projects; names and VNIs are unique.
    pub projects: Vec<Project>,
    /// Service ports; (VIP, protocol, port) is unique.
    pub service_ports: Vec<ServicePort>,
}

/// The gateway's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Name in logs and metrics.
    pub name: String,
    /// Interfaces that get the XDP program, at least one.
    pub interfaces: Vec<String>,
    /// How the program is attached.
    pub xdp_mode: XdpMode,
    /// VTEP address towards hosts with an IPv4 VTEP.
    pub vtep_ipv4: Option<Ipv4Addr>,
    /// VTEP address towards hosts with an IPv6 VTEP.
    pub vtep_ipv6: Option<Ipv6Addr>,
    /// UDP port of VXLAN.
    pub vxlan_port: u16,
    /// Secret of the flow hash, the same on every gateway.
    pub hash_secret: HashSecret,
    /// How long a flow without a packet stays remembered.
    pub timeouts: Timeouts,
    /// Most flows that the conntrack remembers.
    pub flows_max: u32,
    /// Directory below a bpffs for the pinned maps and links.
    pub pin_dir: PathBuf,
    /// Directory for the last good config.
    pub state_dir: PathBuf,
    /// Unix socket of the admin interface.
    pub admin_socket: PathBuf,
    /// Where Prometheus may scrape; none when unset.
    pub metrics_listen: Option<std::net::SocketAddr>,
}

impl Gateway {
    /// [`Gateway::state_dir`] where the config does not say, or cannot be read.
    pub const DEFAULT_STATE_DIR: &'static str = "/var/lib/balancer";
    /// [`Gateway::admin_socket`] where the config does not say.
    pub const DEFAULT_ADMIN_SOCKET: &'static str = "/run/balancer/admin.sock";
    /// [`Gateway::pin_dir`] where the config does not say.
    pub const DEFAULT_PIN_DIR: &'static str = "/sys/fs/bpf/balancer";
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver can, else generic.
    Auto,
    /// Native or refuse.
    Native,
    /// Generic (skb mode).
    Generic,
}

/// The 128-bit secret of the flow hash. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct HashSecret(pub [u8; 16]);

impl std::fmt::Debug for HashSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HashSecret(redacted)")
    }
}

/// Idle times after which a flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP flow that is established.
    pub tcp_idle: Duration,
    /// TCP flow that saw FIN or RST.
    pub tcp_closing: Duration,
    /// UDP flow.
    pub udp_idle: Duration,
}

/// A container host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its VTEP address.
    pub vtep: IpAddr,
    /// Path MTU to it, bytes of outer IP packet, where the route does not say the truth.
    pub mtu: Option<u16>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its network.
    pub vni: Vni,
    /// Address ranges of its network.
    pub networks: Vec<IpNet>,
    /// The gateway's own address in the network, IPv4.
    pub gateway_ipv4: Option<Ipv4Addr>,
    /// The gateway's own address in the network, IPv6.
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// The gateway's MAC in the network.
    pub gateway_mac: [u8; 6],
}

/// Transport protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The word of config, metrics and CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// (VIP, protocol, port) and who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Position in [`Desired::projects`].
    pub project: usize,
    /// Name of the service it belongs to, unique in the project.
    pub service: String,
    /// Where clients connect.
    pub vip: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port at the VIP.
    pub port: u16,
    /// Class of table, a position in `balancer_common::abi::TABLE_SIZES`.
    pub table_class: usize,
    /// What the flow hash covers.
    pub affinity: Affinity,
    /// Who serves it; (address, port) is unique, all of the VIP's family.
    pub backends: Vec<Backend>,
}

/// What the flow hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Client address and port.
    Flow,
    /// Client address: all flows of a client go to one backend.
    Client,
}

/// One backend of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The container's name, unique in the project.
    pub container: String,
    /// Position in [`Desired::hosts`].
    pub host: usize,
    /// The container's address in the project's network.
    pub address: IpAddr,
    /// The container's MAC.
    pub mac: [u8; 6],
    /// The container's port.
    pub port: u16,
    /// Share of new flows, relative to the others; 1..=[`Backend::WEIGHT_MAX`].
    pub weight: u32,
    /// What the operator wants of it.
    pub state: BackendState,
}

impl Backend {
    /// Largest weight.
    pub const WEIGHT_MAX: u32 = 1000;
}

/// What may be sent to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendState {
    /// Takes new flows.
    Active,
    /// Keeps its flows, takes no new ones. Not in the table.
    Draining,
    /// Takes nothing; its TCP flows are reset, its UDP flows go elsewhere. Stays in the table, so that only its flows move.
    Dead,
}

impl BackendState {
    /// The word of config, metrics and CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Dead => "dead",
        }
    }
}

/// The way to an address as the kernel would go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Egress interface.
    pub ifindex: u32,
    /// MAC of the egress interface.
    pub source_mac: [u8; 6],
    /// MAC of the neighbour; none while it is being resolved.
    pub destination_mac: Option<[u8; 6]>,
    /// MTU of the route, else of the interface.
    pub mtu: u32,
}

/// Routes towards the clients of one address family, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRoutes {
    /// The default route's next hop, when there is one.
    pub default: Option<NextHop>,
    /// Prefixes that do not use it; the datapath asks the kernel for them.
    pub exceptions: Vec<IpNet>,
    /// The routes cannot be told in short (policy rules, several default next hops): ask the kernel for every client.
    pub ask_kernel: bool,
}

/// What `network` knows of the kernel's routes and neighbours; replaced as a whole when anything changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// The way to each host's VTEP; a host without a route is absent.
    pub hosts: std::collections::BTreeMap<IpAddr, NextHop>,
    /// Routes to IPv4 clients.
    pub clients_ipv4: ClientRoutes,
    /// Routes to IPv6 clients.
    pub clients_ipv6: ClientRoutes,
}
