//! The values of the maps that describe service ports, backends, hosts and the way to them.
//!
//! Every struct is `repr(C)`, holds no padding that is not named, and stores addresses and ports as network-order
//! bytes; IPv4 addresses stand as IPv4-mapped IPv6 addresses (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).

/// Bytes of an address in a map: IPv6, or IPv4-mapped.
pub type Address = [u8; 16];

/// Puts an IPv4 address into the 16 bytes of a map.
#[must_use]
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> Address {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// `family` of an IPv4 entry.
pub const FAMILY_IPV4: u8 = 4;
/// `family` of an IPv6 entry.
pub const FAMILY_IPV6: u8 = 6;

/// What the gateway itself is; one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Gateway {
    /// [`ABI_VERSION`](crate::abi::ABI_VERSION) of whoever wrote the maps.
    pub abi_version: u32,
    /// `GATEWAY_*` bits.
    pub flags: u32,
    /// Generation of the config in force.
    pub generation: u64,
    /// The gateway's VTEP address over IPv6; all zero when it has none.
    pub vtep_ipv6: Address,
    /// The gateway's VTEP address over IPv4; all zero when it has none.
    pub vtep_ipv4: [u8; 4],
    /// UDP destination port of VXLAN, network order.
    pub vxlan_port: [u8; 2],
    /// Named padding.
    pub reserved: [u8; 2],
    /// Nanoseconds after which a TCP flow without a packet is forgotten by the conntrack.
    pub tcp_idle_ns: u64,
    /// The same for a UDP flow.
    pub udp_idle_ns: u64,
    /// The same for a TCP flow that saw FIN or RST.
    pub closing_idle_ns: u64,
}

/// `REPLY_RANGES` holds something.
pub const GATEWAY_REPLY_RANGES: u32 = 1 << 0;

/// One service port, (VIP, protocol, port) or (VIP, protocol, range of ports), or a VIP's address alone (`protocol` 0) for ICMP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Service {
    /// The VIP.
    pub vip: Address,
    /// Key of the flow hash, derived from the gateways' secret and (VIP, protocol, port).
    pub hash_key: [u64; 2],
    /// VNI of the owning project.
    pub vni: u32,
    /// The port, network order; the first one of a range.
    pub port: [u8; 2],
    /// IP protocol number, 6 or 17; 0 for an address-only entry.
    pub protocol: u8,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// Which class of table holds the slots: a position in [`TABLE_SIZES`](crate::abi::TABLE_SIZES).
    pub table_class: u16,
    /// The last port of a range, network order; equal to `port` when it is one port.
    pub port_last: [u8; 2],
    /// `SERVICE_*` bits.
    pub flags: u32,
    /// Outermost VLAN tag of the last tagged frame for this service port, as TPID << 16 | TCI; 0 when untagged. Written by the datapath.
    pub vlan_outer: u32,
    /// The inner tag likewise.
    pub vlan_inner: u32,
    /// A [`BackendRef`](crate::id::BackendRef) word of some usable backend, for when bounded tries in the table found none; 0 when there is none.
    pub refuge: u32,
    /// Position of the project's budget in `POLICIES`; 0 for a VIP's address alone.
    pub project: u32,
}

/// The slots of this service port are in transition: an unknown flow that does not begin here is looked for at the previous owner.
pub const SERVICE_TRANSITION_TCP: u32 = 1 << 0;
/// The same for UDP, whose flows are forgotten sooner.
pub const SERVICE_TRANSITION_UDP: u32 = 1 << 1;
/// The client's port does not go into the flow hash: all flows of a client go to one backend.
pub const SERVICE_CLIENT_AFFINITY: u32 = 1 << 2;
/// Every packet takes the careful program: a range of ports, or a choice of hashed fields that the fast one does not know.
pub const SERVICE_CAREFUL: u32 = 1 << 3;
/// `POLICIES` names a list of sources that decides who may use it.
pub const SERVICE_SOURCES: u32 = 1 << 4;
/// On a VIP's address alone: some of its service ports are ranges, so look into `RANGES`.
pub const SERVICE_RANGES: u32 = 1 << 5;
/// The port at the VIP goes into the flow hash too; with [`SERVICE_CAREFUL`].
pub const SERVICE_HASH_VIP_PORT: u32 = 1 << 6;
/// The client's address does not go into the flow hash; with [`SERVICE_CAREFUL`].
pub const SERVICE_HASH_NO_ADDRESS: u32 = 1 << 7;
/// `dsr` mode: the VIP stays in the packet and the backend answers by itself. The backends' entries say so by holding the
/// VIP as their address; the datapath needs this bit for nothing.
pub const SERVICE_DSR: u32 = 1 << 8;

/// What a service port (or a VIP, or a project) may cost: read and spent off the fast path.
///
/// Budgets are a GCRA ([`budget`](crate::budget)): `spent_until_ns` is the datapath's to write, the rest the daemon's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// Id of the list of sources in `SOURCES`, from its content; 0 for none.
    pub sources: u64,
    /// Nanoseconds between two events at the full rate; 0 for no limit. Events: new remembered flows for a service port
    /// and a project, ICMP errors of the gateway for a VIP's address alone.
    pub interval_ns: u64,
    /// How far events may run ahead, ns; at least `interval_ns`.
    pub burst_ns: u64,
    /// Until when the budget is spent, `bpf_ktime_get_coarse_ns`; written by the datapath.
    pub spent_until_ns: u64,
}

/// What the fast program tells the careful one about a frame: the VLAN tags it took off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Handover {
    /// Outer tag, TPID << 16 | TCI; 0 for none.
    pub vlan_outer: u32,
    /// Inner tag likewise.
    pub vlan_inner: u32,
}

/// Where one slot of a Maglev table sends its flows: 8 bytes, replaced as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// A [`BackendRef`](crate::id::BackendRef) word with the phase in its top two bits; 0 when the service port has no backend.
    pub owner: u32,
    /// The owner before the last change while the slot is not settled, else equal to the owner's reference.
    pub previous: u32,
}

/// The owner is the plain result of the hash and nothing else can be true of any flow: no conntrack access.
pub const PHASE_SETTLED: u32 = 0;
/// Flows may live with the previous owner: the conntrack decides, then [`SERVICE_TRANSITION_TCP`] and its twin.
pub const PHASE_TRANSITION: u32 = 1 << 30;

/// Flows and backends a backend may be sent to, by its state.
pub const STATE_FREE: u32 = 0;
/// Takes new flows.
pub const STATE_ACTIVE: u32 = 1;
/// Keeps its flows, takes no new ones.
pub const STATE_DRAINING: u32 = 2;
/// Takes nothing; its TCP flows are reset so that clients reconnect.
pub const STATE_DEAD: u32 = 3;

/// One backend of one service port: a container's address and port, and how to reach it. Two cache lines, one for each direction.
///
/// An entry never changes its identity: another container, address, port or service port is another entry. Only
/// `active` and `state` are written while the entry is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Backend {
    /// Equal to `reference` when the backend is [`STATE_ACTIVE`] and has no `BACKEND_*` bit, else 0: the fast path is one comparison with the slot.
    pub active: u32,
    /// A `STATE_*`.
    pub state: u32,
    /// Position of the service port's entry.
    pub service: u32,
    /// Position of the host's entry.
    pub host: u32,
    /// The destination address its packets get: the container's; in `dsr` mode the VIP.
    pub address: Address,
    /// Inner Ethernet addresses towards the container: its MAC, then the project's gateway MAC.
    pub macs: [u8; 12],
    /// The VNI in its place in the VXLAN header: `vni << 8`, network order.
    pub vni_field: [u8; 4],
    /// The destination port its packets get, network order: the container's; 0 where ports stay (a range of ports).
    pub port: [u8; 2],
    /// RFC 1624 delta of (VIP, port) -> (address, port), folded to 16 bits, memory order.
    pub l4_delta: u16,
    /// The same for the IPv4 header's checksum (addresses only); 0 for IPv6.
    pub l3_delta: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// `BACKEND_*` bits.
    pub flags: u32,
    /// This entry's own [`BackendRef`](crate::id::BackendRef) word.
    pub reference: u32,

    /// The VIP the replies leave from.
    pub vip: Address,
    /// The gateway's own address in the project's network: replies to it are the kernel's.
    pub gateway: Address,
    /// VNI of the project.
    pub vni: u32,
    /// The service port's port, network order; 0 where ports stay.
    pub vip_port: [u8; 2],
    /// Named padding.
    pub reserved: [u8; 10],
    /// The container's own address, which tells it from others; equal to `address` but in `dsr` mode.
    pub container: Address,
}

/// Other service ports publish the same container port, so replies need the table of reply flows.
pub const BACKEND_AMBIGUOUS: u32 = 1 << 0;
/// Flows of this backend may live elsewhere since it was unusable: frames whose slot it owns ask the conntrack first.
pub const BACKEND_EXCEPTIONS: u32 = 1 << 1;

/// How a frame leaves the gateway: the Ethernet header to put in front and the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NextHop {
    /// Destination and source MAC.
    pub macs: [u8; 12],
    /// Egress interface.
    pub ifindex: u32,
    /// 1 when `macs` and `ifindex` hold what the kernel would use now.
    pub resolved: u32,
    /// MTU of the route or the interface, bytes of IP packet.
    pub mtu: u32,
}

/// A container host: its VTEP and the way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Host {
    /// The way to the VTEP.
    pub next_hop: NextHop,
    /// Largest inner IP packet that fits: the path MTU less the encapsulation.
    pub inner_mtu: u16,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`] of the underlay.
    pub family: u8,
    /// Named padding.
    pub reserved: u8,
    /// The gateway's VTEP address.
    pub source: Address,
    /// The host's VTEP address.
    pub vtep: Address,
    /// What of the outer checksum is the same for every packet: [`ipv4::outer_sum`](crate::wire::ipv4::outer_sum) or its twin.
    pub outer_sum: u16,
    /// Largest IP packet that a TCP connection should send, either way: `inner_mtu`, or less where the way to the clients is narrower.
    pub segment_mtu: u16,
}

/// How many prefixes a [`ClientRoutes`] can name before every client is looked up in the kernel.
pub const CLIENT_ROUTE_EXCEPTIONS: usize = 8;

/// The kernel's routes towards clients, in the short form that holds for nearly all of them: one default next hop
/// and the few prefixes that do not use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClientRoutes {
    /// The default route.
    pub default: NextHop,
    /// How many of `exceptions` hold a prefix. Above [`CLIENT_ROUTE_EXCEPTIONS`] every client is looked up in the kernel.
    pub exceptions_count: u32,
    /// Prefixes whose next hop the datapath asks the kernel for (`bpf_fib_lookup`).
    pub exceptions: [RoutePrefix; CLIENT_ROUTE_EXCEPTIONS],
}

/// A prefix as address and mask, both IPv6 or IPv4-mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RoutePrefix {
    /// The network's address.
    pub address: Address,
    /// Its mask.
    pub mask: Address,
}

/// Per-CPU counters of a service port or a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Frames from clients to backends.
    pub forward_packets: u64,
    /// Their IP bytes.
    pub forward_bytes: u64,
    /// Frames from backends to clients.
    pub reply_packets: u64,
    /// Their IP bytes.
    pub reply_bytes: u64,
}

const _: () = {
    assert!(size_of::<Gateway>() == 64);
    assert!(size_of::<Service>() == 64);
    assert!(size_of::<Policy>() == 32);
    assert!(size_of::<Handover>() == 8);
    assert!(size_of::<Slot>() == 8);
    assert!(size_of::<Backend>() == 128);
    assert!(size_of::<NextHop>() == 24);
    assert!(size_of::<Host>() == 64);
    assert!(size_of::<ClientRoutes>() == 28 + 32 * CLIENT_ROUTE_EXCEPTIONS);
    assert!(size_of::<Counters>() == 32);
};
