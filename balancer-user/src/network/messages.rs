//! Turns netlink messages into facts, and questions into netlink messages; no I/O.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkFlags, LinkInfo as LinkDetail, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
        RouteType, RouteVia,
    },
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::{
    facts::{Family, Hop, Neighbour, NeighbourKey, Route, RouteKind, Rule, Standing, Way},
    link::LinkInfo,
};

/// Reads an interface.
pub(super) fn link(message: &LinkMessage) -> LinkInfo {
    let mut info = LinkInfo {
        ifindex: message.header.index,
        mac: None,
        mtu: 0,
        kind: None,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        if let LinkAttribute::Address(bytes) = attribute {
            info.mac = bytes.as_slice().try_into().ok();
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            info.mtu = *mtu;
        } else if let LinkAttribute::LinkInfo(details) = attribute {
            info.kind = details
                .iter()
                .find_map(|detail| if let LinkDetail::Kind(kind) = detail { Some(kind.to_string()) } else { None });
        }
    }
    info
}

/// Reads a policy rule. Attributes that are not known here count as conditions.
pub(super) fn rule(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut rule = Rule {
        priority: 0,
        table: u32::from(header.table),
        plain: header.action == RuleAction::ToTable
            && (header.dst_len, header.src_len, header.tos) == (0, 0, 0)
            && !header.flags.contains(RuleFlags::Invert),
    };
    for attribute in &message.attributes {
        if let RuleAttribute::Priority(priority) = attribute {
            rule.priority = *priority;
        } else if let RuleAttribute::Table(table) = attribute {
            rule.table = *table;
        } else {
            // The kernel always tells "nothing is suppressed" and who made the rule.
            rule.plain &= matches!(
                attribute,
                RuleAttribute::SuppressPrefixLen(u32::MAX)
                    | RuleAttribute::SuppressIfGroup(u32::MAX)
                    | RuleAttribute::Protocol(_)
            );
        }
    }
    rule
}

/// Reads a route of a dump; none for what is not an IP route of its own (cache entries).
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let unspecified = family(header.address_family)?.unspecified();
    let destination = message
        .attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Destination(address) = attribute { ip(address) } else { None });
    let mut route = Route {
        prefix: IpNet::new(destination.unwrap_or(unspecified), header.destination_prefix_length).ok()?.trunc(),
        metric: 0,
        kind: if header.kind == RouteType::Unicast { RouteKind::Unicast } else { RouteKind::Other },
        special: header.tos != 0 || header.source_prefix_length != 0,
        hops: hop(&message.attributes, header.flags.contains(RouteFlags::Dead)).into_iter().collect(),
        mtu: mtu(&message.attributes),
    };
    for attribute in &message.attributes {
        if let RouteAttribute::Priority(metric) = attribute {
            route.metric = *metric;
        } else if let RouteAttribute::MultiPath(hops) = attribute {
            route.special |= hops.iter().any(|hop| is_encapsulated(&hop.attributes));
            route.hops = hops.iter().map(multipath_hop).collect();
        }
    }
    route.special |= is_encapsulated(&message.attributes);
    Some(route)
}

/// Reads the answer to "how would you go to this address"; none when no next hop on a link is the answer.
pub(super) fn way(message: &RouteMessage, destination: IpAddr) -> Option<Way> {
    if message.header.kind != RouteType::Unicast || is_encapsulated(&message.attributes) {
        return None;
    }
    let hop = hop(&message.attributes, false)?;
    Some(Way { ifindex: hop.ifindex, neighbour: hop.gateway.unwrap_or(destination), mtu: mtu(&message.attributes) })
}

/// Reads a neighbour; none for other families and for proxy entries.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut address = None;
    let mut neighbour = Neighbour { mac: None, standing: standing(message.header.state), managed: false };
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(ipv4)) = attribute {
            address = Some(IpAddr::V4(*ipv4));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(ipv6)) = attribute {
            address = Some(IpAddr::V6(*ipv6));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            neighbour.mac = bytes.as_slice().try_into().ok();
        } else if let NeighbourAttribute::ExtFlags(flags) = attribute {
            neighbour.managed = flags.contains(NeighbourExtFlags::Managed);
        }
    }
    Some(((message.header.ifindex, address?), neighbour))
}

/// The question how the kernel would go to an address.
pub(super) fn way_question(address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = Family::of(address).into();
    message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(address.into()));
    message
}

/// The question for a table's routes.
pub(super) fn table_question(family: Family, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family.into();
    message.attributes.push(RouteAttribute::Table(table));
    message
}

/// The request to resolve a neighbour now, and to keep it so when `managed`.
///
/// `NTF_USE` stands beside `NTF_EXT_MANAGED` for kernels before 5.16, which ignore the latter. Without it the request takes
/// the mark away (net/core/neighbour.c, `neigh_update_flags`).
pub(super) fn neighbour_request((ifindex, address): NeighbourKey, managed: bool) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = Family::of(address).into();
    message.header.ifindex = ifindex;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    if managed {
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    }
    message
}

impl Family {
    /// The family of an address.
    pub(super) const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    const fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Inet,
            Family::Ipv6 => Self::Inet6,
        }
    }
}

fn family(family: AddressFamily) -> Option<Family> {
    [Family::Ipv4, Family::Ipv6].into_iter().find(|ours| AddressFamily::from(*ours) == family)
}

fn hop(attributes: &[RouteAttribute], dead: bool) -> Option<Hop> {
    let ifindex = attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Oif(ifindex) = attribute { Some(*ifindex) } else { None })?;
    Some(Hop { ifindex, gateway: gateway(attributes), dead })
}

fn multipath_hop(hop: &RouteNextHop) -> Hop {
    Hop {
        ifindex: hop.interface_index,
        gateway: gateway(&hop.attributes),
        dead: hop.flags.contains(RouteNextHopFlags::Dead),
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Gateway(address) = attribute {
            ip(address)
        } else if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
            Some(IpAddr::V6(*address))
        } else if let RouteAttribute::Via(RouteVia::Inet(address)) = attribute {
            Some(IpAddr::V4(*address))
        } else {
            None
        }
    })
}

fn mtu(attributes: &[RouteAttribute]) -> Option<u32> {
    let metrics = attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Metrics(metrics) = attribute { Some(metrics) } else { None })?;
    metrics.iter().find_map(|metric| if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None })
}

fn is_encapsulated(attributes: &[RouteAttribute]) -> bool {
    attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::EncapType(_)))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(ipv4) = address {
        Some(IpAddr::V4(*ipv4))
    } else if let RouteAddress::Inet6(ipv6) = address {
        Some(IpAddr::V6(*ipv6))
    } else {
        None
    }
}

fn standing(state: NeighbourState) -> Standing {
    if matches!(state, NeighbourState::Permanent | NeighbourState::Noarp) {
        Standing::Fixed
    } else if matches!(
        state,
        NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe
    ) {
        Standing::Learned
    } else {
        Standing::Unresolved
    }
}

#[cfg(test)]
mod tests;
