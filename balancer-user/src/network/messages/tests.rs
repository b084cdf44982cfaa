//! Tables: netlink messages in, facts out; what needs more than one attribute to be right.

use netlink_packet_route::route::RouteLwEnCapType;

use super::*;

fn check_rule(attributes: Vec<RuleAttribute>, plain: bool) {
    let mut message = RuleMessage::default();
    message.header.table = 254;
    message.header.action = RuleAction::ToTable;
    message.attributes = attributes;
    message.attributes.extend([RuleAttribute::Priority(32_766), RuleAttribute::SuppressPrefixLen(u32::MAX)]);
    assert_eq!(rule(&message), Rule { priority: 32_766, table: 254, plain });
}

#[test]
fn a_rule_with_a_condition_is_not_plain() {
    check_rule(vec![], true);
    check_rule(vec![RuleAttribute::Table(254)], true);
    check_rule(vec![RuleAttribute::FwMark(1)], false);
    check_rule(vec![RuleAttribute::Iifname("eth0".to_owned())], false);
    check_rule(vec![RuleAttribute::SuppressPrefixLen(0)], false);
    check_rule(vec![RuleAttribute::L3MDev(true)], false);
}

fn answer(attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.attributes = attributes;
    message
}

#[test]
fn the_way_leads_to_the_router_or_to_the_destination_itself() {
    let [destination, router, router_ipv6]: [IpAddr; 3] =
        ["198.51.100.7", "192.0.2.1", "fe80::1"].map(|text| text.parse().unwrap());
    let IpAddr::V6(via) = router_ipv6 else { panic!("an IPv6 address") };
    let check = |more: Vec<RouteAttribute>, neighbour| {
        let way = way(&answer([vec![RouteAttribute::Oif(2)], more].concat()), destination);
        assert_eq!(way, neighbour);
    };
    let to = |neighbour, mtu| Some(Way { ifindex: 2, neighbour, mtu });
    check(vec![], to(destination, None));
    check(vec![RouteAttribute::Gateway(router.into())], to(router, None));
    check(vec![RouteAttribute::Via(RouteVia::Inet6(via))], to(router_ipv6, None));
    check(
        vec![RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(9), RouteMetric::Mtu(1400)])],
        to(destination, Some(1400)),
    );
    check(vec![RouteAttribute::EncapType(RouteLwEnCapType::Mpls)], None);
    assert_eq!(way(&answer(vec![]), destination), None);
}

#[test]
fn a_route_that_refuses_is_no_way() {
    let mut message = answer(vec![RouteAttribute::Oif(2)]);
    for kind in [RouteType::Local, RouteType::Unreachable, RouteType::BlackHole] {
        message.header.kind = kind;
        assert_eq!(way(&message, IpAddr::from([198, 51, 100, 7])), None);
    }
}

#[test]
fn every_state_of_a_neighbour_has_its_standing() {
    use NeighbourState::{Delay, Failed, Incomplete, Noarp, None, Other, Permanent, Probe, Reachable, Stale};
    let check = |states: &[NeighbourState], expected| {
        for state in states {
            assert_eq!(standing(*state), expected, "{state}");
        }
    };
    check(&[Permanent, Noarp], Standing::Fixed);
    check(&[Reachable, Stale, Delay, Probe], Standing::Learned);
    check(&[None, Incomplete, Failed, Other(0x1000)], Standing::Unresolved);
}
