//! Turns one family's rules and routes into the short form: one default next hop, the prefixes that do not use it, or "ask the kernel".

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::facts::{FamilyRoutes, Route, RouteKind, Rule, Way};

/// The short form of one family's routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// The default route's way, when it is one and always the same.
    pub(super) default: Option<Way>,
    /// Prefixes that do not go that way; none contains another.
    pub(super) exceptions: Vec<IpNet>,
    /// Default and exceptions do not tell the whole truth.
    pub(super) ask_kernel: bool,
}

/// Decides the short form. `up` says whether an interface is administratively up.
pub(super) fn select(routes: &FamilyRoutes, up: impl Fn(u32) -> bool) -> Selection {
    let chosen = default_route(&routes.main, up);
    let default = match chosen {
        DefaultRoute::One(way) => Some(way),
        DefaultRoute::Missing | DefaultRoute::Unclear => None,
    };
    let exceptions = exceptions(&routes.main, default);
    let everything = exceptions.iter().any(|prefix| prefix.prefix_len() == 0);
    let ask_kernel = chosen == DefaultRoute::Unclear
        || everything
        || routes.main_overflow
        || routes.after_main
        || !rules_are_plain(&routes.rules);
    Selection { default, exceptions, ask_kernel }
}

/// The tables' numbers (linux/rtnetlink.h).
pub(super) const TABLE_DEFAULT: u32 = 253;
/// Table main.
pub(super) const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// The rules that every namespace starts with (net/ipv4/fib_rules.c, net/ipv6/fib6_rules.c), as (priority, table).
const INITIAL_RULES: [(u32, u32); 3] = [(0, TABLE_LOCAL), (32_766, TABLE_MAIN), (32_767, TABLE_DEFAULT)];

fn rules_are_plain(rules: &[Rule]) -> bool {
    let initial = rules.iter().all(|rule| rule.plain && INITIAL_RULES.contains(&(rule.priority, rule.table)));
    initial && rules.iter().any(|rule| rule.table == TABLE_MAIN)
}

/// What the routes with prefix length 0 come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DefaultRoute {
    /// One router.
    One(Way),
    /// None, or one that refuses.
    Missing,
    /// Several, or depending on the packet or its destination.
    Unclear,
}

fn default_route(main: &[Route], up: impl Fn(u32) -> bool) -> DefaultRoute {
    let candidates: Vec<&Route> = main.iter().filter(|route| route.prefix.prefix_len() == 0).collect();
    if candidates.iter().any(|route| route.special || hops_are_hidden(route)) {
        return DefaultRoute::Unclear;
    }
    let works =
        |route: &Route| route.kind == RouteKind::Other || route.hops.iter().any(|hop| !hop.dead && up(hop.ifindex));
    let usable = || candidates.iter().filter(|route| works(route));
    let Some(metric) = usable().map(|route| route.metric).min() else {
        return DefaultRoute::Missing;
    };
    let best: Vec<_> = usable().filter(|route| route.metric == metric).collect();
    let [route] = best[..] else {
        return DefaultRoute::Unclear;
    };
    if route.kind == RouteKind::Other {
        return DefaultRoute::Missing;
    }
    let hops: Vec<_> = route.hops.iter().filter(|hop| !hop.dead && up(hop.ifindex)).collect();
    let [hop] = hops[..] else {
        return DefaultRoute::Unclear;
    };
    // Without a router every client is its own neighbour, with its own MAC.
    let Some(neighbour) = hop.gateway else {
        return DefaultRoute::Unclear;
    };
    DefaultRoute::One(Way { ifindex: hop.ifindex, neighbour, mtu: route.mtu })
}

/// The next hops stand in a next-hop object that the dump does not spell out (`net.ipv4.nexthop_compat_mode` = 0).
fn hops_are_hidden(route: &Route) -> bool {
    route.kind == RouteKind::Unicast && route.hops.is_empty()
}

fn exceptions(main: &[Route], default: Option<Way>) -> Vec<IpNet> {
    let differing = main.iter().filter(|route| {
        route.prefix.prefix_len() > 0
            && !never_a_client(&route.prefix)
            && !default.is_some_and(|way| goes_the_way(route, way))
    });
    IpNet::aggregate(&differing.map(|route| route.prefix).collect())
}

/// The route does exactly what the default route does.
fn goes_the_way(route: &Route, way: Way) -> bool {
    let [hop] = route.hops[..] else {
        return false;
    };
    route.kind == RouteKind::Unicast
        && !route.special
        && !hop.dead
        && hop.ifindex == way.ifindex
        && hop.gateway == Some(way.neighbour)
        && route.mtu == way.mtu
}

/// No frame towards these comes through the datapath: IPv6 link-local and multicast addresses never are clients' of a VIP.
fn never_a_client(prefix: &IpNet) -> bool {
    let never = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    ];
    never.iter().any(|range| range.contains(prefix))
}

#[cfg(test)]
mod tests;
