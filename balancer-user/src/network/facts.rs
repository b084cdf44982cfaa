//! What was read from the kernel, in the few words that the decisions about routes and neighbours need.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::link::LinkInfo;

/// Everything that was read; the view is made from this and nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Interfaces by index.
    pub(super) links: BTreeMap<u32, LinkInfo>,
    /// Rules and routes of IPv4.
    pub(super) ipv4: FamilyRoutes,
    /// Rules and routes of IPv6.
    pub(super) ipv6: FamilyRoutes,
    /// The kernel's own choice for each VTEP; absent without a route.
    pub(super) hosts: BTreeMap<IpAddr, Way>,
    /// Neighbours of both families.
    pub(super) neighbours: Neighbours,
}

/// Neighbours by interface index and address.
pub(super) type Neighbours = BTreeMap<NeighbourKey, Neighbour>;

/// Interface index and address of a neighbour.
pub(super) type NeighbourKey = (u32, IpAddr);

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What one family's rules and routes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FamilyRoutes {
    /// Policy rules.
    pub(super) rules: Vec<Rule>,
    /// Table main, at most [`ENTRIES_MAX`](super::kernel::ENTRIES_MAX).
    pub(super) main: Vec<Route>,
    /// Table main holds more than that.
    pub(super) main_overflow: bool,
    /// Table default (253), which is asked after main, holds routes.
    pub(super) after_main: bool,
}

/// A policy rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Its priority.
    pub(super) priority: u32,
    /// The table it looks into.
    pub(super) table: u32,
    /// It holds for every packet and does nothing but look into the table.
    pub(super) plain: bool,
}

/// A route of table main.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Destinations.
    pub(super) prefix: IpNet,
    /// Among routes of one prefix the lowest is used.
    pub(super) metric: u32,
    /// What it does.
    pub(super) kind: RouteKind,
    /// It holds only for some packets (TOS, source prefix) or wraps them (encapsulation).
    pub(super) special: bool,
    /// Next hops; none when they are known to the kernel only (next-hop object without its expansion).
    pub(super) hops: Vec<Hop>,
    /// MTU of the route, bytes of IP packet.
    pub(super) mtu: Option<u32>,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteKind {
    /// Sends to a next hop.
    Unicast,
    /// Anything else: blackhole, unreachable, prohibit, throw, local and so on.
    Other,
}

/// One next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// Egress interface.
    pub(super) ifindex: u32,
    /// The router; none when destinations are neighbours themselves.
    pub(super) gateway: Option<IpAddr>,
    /// The kernel skips it.
    pub(super) dead: bool,
}

/// The way to one address: the interface and whose MAC is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Egress interface.
    pub(super) ifindex: u32,
    /// The router, or the destination itself when it is on the link. Of the other family for RFC 5549 routes.
    pub(super) neighbour: IpAddr,
    /// MTU of the route, bytes of IP packet.
    pub(super) mtu: Option<u32>,
}

impl Way {
    /// Whose MAC is needed.
    pub(super) const fn neighbour_key(&self) -> NeighbourKey {
        (self.ifindex, self.neighbour)
    }
}

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Its MAC, where the entry has one of 6 bytes.
    pub(super) mac: Option<[u8; 6]>,
    /// What the kernel thinks of it.
    pub(super) standing: Standing,
    /// The kernel keeps it resolved (`NTF_EXT_MANAGED`, Linux 5.16).
    pub(super) managed: bool,
}

/// What the kernel thinks of a neighbour (`NUD_*` of linux/neighbour.h, in three classes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The MAC never ages: PERMANENT, set by the operator, or NOARP.
    Fixed,
    /// The MAC is what the kernel would send to: REACHABLE, STALE, DELAY, PROBE.
    Learned,
    /// No MAC to send to: NONE, INCOMPLETE, FAILED.
    Unresolved,
}

impl Neighbour {
    /// The MAC to send to, if the kernel would send now.
    pub(super) const fn usable_mac(&self) -> Option<[u8; 6]> {
        match self.standing {
            Standing::Fixed | Standing::Learned => self.mac,
            Standing::Unresolved => None,
        }
    }
}
