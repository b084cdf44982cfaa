//! Tables: facts in, view and needed neighbours out.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::network::{
    LinkInfo,
    facts::{Hop, Neighbour, Route, RouteKind, Standing},
};

const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const VTEP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A host behind a router on interface 2, which is also the default route.
fn facts(mac: Option<[u8; 6]>, standing: Standing) -> Facts {
    let mut facts = Facts::default();
    facts.links.insert(2, LinkInfo { ifindex: 2, mac, mtu: 1500, kind: None, up: true });
    facts.hosts.insert(VTEP, Way { ifindex: 2, neighbour: ROUTER, mtu: None });
    facts.neighbours.insert((2, ROUTER), Neighbour { mac: Some(PEER), standing, managed: true });
    let hops = vec![Hop { ifindex: 2, gateway: Some(ROUTER), dead: false }];
    let prefix = "0.0.0.0/0".parse().unwrap();
    facts.ipv4.main =
        vec![Route { prefix, metric: 0, kind: RouteKind::Unicast, special: false, hops, mtu: Some(1400) }];
    facts
}

/// The host's next hop and what has to be resolved.
fn check(facts: &Facts, expected: Option<NextHop>, needed: &[NeighbourKey]) {
    let (view, needs) = view(facts);
    assert_eq!(view.hosts.get(&VTEP).copied(), expected);
    assert_eq!(needs.into_iter().collect::<Vec<_>>(), needed);
}

#[test]
fn a_neighbour_is_used_as_long_as_the_kernel_would() {
    for (standing, destination_mac) in
        [(Standing::Fixed, Some(PEER)), (Standing::Learned, Some(PEER)), (Standing::Unresolved, None)]
    {
        let expected = NextHop { ifindex: 2, source_mac: SOURCE, destination_mac, mtu: 1500 };
        check(&facts(Some(SOURCE), standing), Some(expected), &[(2, ROUTER)]);
    }
}

#[test]
fn the_default_route_carries_its_own_mtu() {
    let (view, _) = view(&facts(Some(SOURCE), Standing::Learned));
    let expected = NextHop { ifindex: 2, source_mac: SOURCE, destination_mac: Some(PEER), mtu: 1400 };
    assert_eq!(view.clients_ipv4.default, Some(expected));
    assert_eq!(view.clients_ipv6.default, None);
}

#[test]
fn an_interface_without_ethernet_addresses_has_nothing_to_resolve() {
    let expected = NextHop { ifindex: 2, source_mac: [0; 6], destination_mac: None, mtu: 1500 };
    check(&facts(None, Standing::Fixed), Some(expected), &[]);
}

#[test]
fn a_host_behind_an_unknown_interface_is_absent() {
    let mut facts = facts(Some(SOURCE), Standing::Learned);
    facts.links.clear();
    check(&facts, None, &[]);
}
