//! The desired state: what a validated config says, in types that cannot hold anything invalid.

pub mod status;
pub mod tables;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
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
    /// Most ICMP errors that the gateway makes for one VIP, a second.
    pub icmp_errors_per_second: u32,
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
    /// [`Gateway::icmp_errors_per_second`] where the config does not say.
    pub const ICMP_ERRORS_DEFAULT: u32 = 1_000;
    /// Largest [`Gateway::icmp_errors_per_second`].
    pub const ICMP_ERRORS_MAX: u32 = 1_000_000;
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
    /// Most flows a second that its service ports together may have remembered; above it they are placed by hash alone.
    pub new_flows_per_second: u32,
}

impl Project {
    /// [`Project::new_flows_per_second`] where the config does not say.
    pub const NEW_FLOWS_DEFAULT: u32 = 20_000;
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
    /// Port at the VIP; the first one of a range.
    pub port: u16,
    /// The last port of a range, equal to `port` when it is one port. All ports are 0 to 65535. Packets for a range keep
    /// their port, and more exact service ports come first.
    pub port_last: u16,
    /// How packets are delivered.
    pub mode: Mode,
    /// Class of table, a position in `balancer_common::abi::TABLE_SIZES`.
    pub table_class: usize,
    /// What the flow hash covers.
    pub hash: HashFields,
    /// Which clients may use it.
    pub sources: Arc<Sources>,
    /// Most flows a second that it may have remembered; above it they are placed by hash alone.
    pub new_flows_per_second: u32,
    /// Who serves it; (address, port) is unique, all of the VIP's family.
    pub backends: Vec<Backend>,
}

impl ServicePort {
    /// [`ServicePort::new_flows_per_second`] where the config does not say.
    pub const NEW_FLOWS_DEFAULT: u32 = 10_000;
    /// Largest number of new flows a second, of a service port and of a project.
    pub const NEW_FLOWS_MAX: u32 = 10_000_000;

    /// Whether it is a range of ports.
    #[must_use]
    pub const fn is_range(&self) -> bool {
        self.port != self.port_last
    }
}

/// How packets are delivered to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The destination becomes the container's address and port, and the gateway translates the replies.
    Nat,
    /// Direct server return: the VIP stays the destination, and the container answers its client by itself.
    Dsr,
}

impl Mode {
    /// The word of config and CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
        }
    }
}

/// What the flow hash covers; at least something of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashFields {
    /// The client's address.
    pub client_address: bool,
    /// The client's port.
    pub client_port: bool,
    /// The port at the VIP, which differs only within a range.
    pub vip_port: bool,
}

impl HashFields {
    /// Client address and port.
    pub const FLOW: Self = Self { client_address: true, client_port: true, vip_port: false };
    /// Client address: all flows of a client go to one backend.
    pub const CLIENT: Self = Self { client_address: true, client_port: false, vip_port: false };
}

/// Which clients may use a service port: the longest prefix that holds the client decides. Those that none holds may, unless
/// there are prefixes to allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sources {
    /// Prefixes that may; in both families, sorted, without repetition.
    pub allow: Vec<IpNet>,
    /// Prefixes that may not; likewise, and none of them stands in `allow` too.
    pub deny: Vec<IpNet>,
}

impl Sources {
    /// Most prefixes in each of the two lists.
    pub const PREFIXES_MAX: usize = 16_384;

    /// Whether everybody may.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether those may whom no prefix holds.
    #[must_use]
    pub const fn lets_others_in(&self) -> bool {
        self.allow.is_empty()
    }

    /// Whether an IPv6 prefix also holds the IPv4-mapped addresses, in whose form the maps keep IPv4 clients, while no IPv4
    /// prefix of length 0 says what holds for all of these.
    #[must_use]
    pub fn hides_ipv4(&self) -> bool {
        let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
        let mut prefixes = self.allow.iter().chain(&self.deny);
        let over = |prefix: &IpNet| matches!(prefix, IpNet::V6(v6) if v6.contains(&mapped));
        prefixes.clone().any(over) && !prefixes.any(|prefix| matches!(prefix, IpNet::V4(v4) if v4.prefix_len() == 0))
    }

    /// Entries that the list takes in the map of sources: its prefixes, one for all others, and one more where it
    /// [`hides_ipv4`](Self::hides_ipv4).
    #[must_use]
    pub fn entries_count(&self) -> usize {
        let all_ipv6 =
            self.allow.iter().chain(&self.deny).any(|prefix| matches!(prefix, IpNet::V6(v6) if v6.prefix_len() == 0));
        self.allow.len() + self.deny.len() + usize::from(!all_ipv6) + usize::from(self.hides_ipv4())
    }
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
    /// The container's port; 0 behind a range of ports, where packets keep theirs.
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
    pub hosts: BTreeMap<IpAddr, NextHop>,
    /// Path MTU to a host's VTEP, bytes of outer IP packet, where the underlay said that it is less than the route's.
    pub path_mtus: BTreeMap<IpAddr, u16>,
    /// Routes to IPv4 clients.
    pub clients_ipv4: ClientRoutes,
    /// Routes to IPv6 clients.
    pub clients_ipv6: ClientRoutes,
}
