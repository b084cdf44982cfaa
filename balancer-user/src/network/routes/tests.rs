//! Tables: rules and routes in, short form out.

use proptest::prelude::*;

use super::*;
use crate::network::facts::Hop;

/// `prefix [kind] via hop,hop metric N` in the types of the module; a hop is `ifindex[/gateway][!]`, `!` for dead.
fn route(prefix: &str, hops: &[&str], metric: u32) -> Route {
    let hops = hops.iter().map(|text| hop(text)).collect();
    Route { prefix: prefix.parse().unwrap(), metric, kind: RouteKind::Unicast, special: false, hops, mtu: None }
}

fn hop(text: &str) -> Hop {
    let alive = text.trim_end_matches('!');
    let (ifindex, gateway) = alive.split_once('/').unwrap_or((alive, ""));
    let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
    Hop { ifindex: ifindex.parse().unwrap(), gateway, dead: alive != text }
}

fn family(main: Vec<Route>) -> FamilyRoutes {
    let rules = INITIAL_RULES.map(|(priority, table)| Rule { priority, table, plain: true }).to_vec();
    FamilyRoutes { rules, main, main_overflow: false, after_main: false }
}

/// Interface 9 is down.
fn selected(routes: &FamilyRoutes) -> Selection {
    select(routes, |ifindex| ifindex != 9)
}

fn check(main: Vec<Route>, default: Option<&str>, exceptions: &[&str], ask_kernel: bool) {
    let default = default.map(|text| {
        let hop = hop(text);
        Way { ifindex: hop.ifindex, neighbour: hop.gateway.unwrap(), mtu: None }
    });
    let exceptions: Vec<IpNet> = exceptions.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(selected(&family(main.clone())), Selection { default, exceptions, ask_kernel }, "{main:?}");
}

#[test]
fn default_route_is_the_usable_one_of_lowest_metric() {
    let all = "0.0.0.0/0";
    check(vec![], None, &[], false);
    check(vec![route(all, &["2/192.0.2.1"], 0)], Some("2/192.0.2.1"), &[], false);
    check(vec![route(all, &["3/192.0.2.9"], 20), route(all, &["2/192.0.2.1"], 10)], Some("2/192.0.2.1"), &[], false);
    check(vec![route(all, &["9/192.0.2.1"], 10), route(all, &["3/192.0.2.9"], 20)], Some("3/192.0.2.9"), &[], false);
    check(vec![route(all, &["2/192.0.2.1!"], 10), route(all, &["3/192.0.2.9"], 20)], Some("3/192.0.2.9"), &[], false);
    check(vec![route(all, &["9/192.0.2.1"], 10)], None, &[], false);
    check(vec![route(all, &["2/fe80::1"], 0)], Some("2/fe80::1"), &[], false);
    check(vec![route("::/0", &["2/fe80::1"], 1024)], Some("2/fe80::1"), &[], false);
}

#[test]
fn default_route_that_depends_on_the_packet_is_asked_for() {
    let all = "0.0.0.0/0";
    let unclear = |main| check(main, None, &[], true);
    unclear(vec![route(all, &["2/192.0.2.1", "3/192.0.2.9"], 0)]);
    unclear(vec![route("::/0", &["2/fe80::1"], 1024), route("::/0", &["2/fe80::2"], 1024)]);
    unclear(vec![route(all, &[], 0)]);
    unclear(vec![route(all, &["2"], 0)]);
    unclear(vec![Route { special: true, ..route(all, &["2/192.0.2.1"], 0) }]);
    unclear(vec![route(all, &["2/192.0.2.1"], 10), Route { special: true, ..route(all, &["2/192.0.2.1"], 20) }]);
    check(vec![route(all, &["2/192.0.2.1", "3/192.0.2.9!"], 0)], Some("2/192.0.2.1"), &[], false);
}

#[test]
fn default_route_that_refuses_is_no_default_route() {
    let refusing = Route { kind: RouteKind::Other, ..route("0.0.0.0/0", &[], 5) };
    check(vec![refusing.clone(), route("0.0.0.0/0", &["2/192.0.2.1"], 10)], None, &[], false);
    check(
        vec![Route { metric: 50, ..refusing }, route("0.0.0.0/0", &["2/192.0.2.1"], 10)],
        Some("2/192.0.2.1"),
        &[],
        false,
    );
}

#[test]
fn routes_that_differ_from_the_default_are_exceptions() {
    let with = |other: Route, exceptions: &[&str]| {
        check(vec![route("0.0.0.0/0", &["2/192.0.2.1"], 0), other], Some("2/192.0.2.1"), exceptions, false);
    };
    with(route("192.0.2.0/24", &["2"], 0), &["192.0.2.0/24"]);
    with(route("198.51.100.7/32", &["2/192.0.2.2"], 0), &["198.51.100.7/32"]);
    with(route("10.0.0.0/8", &["3/192.0.2.1"], 0), &["10.0.0.0/8"]);
    with(route("10.0.0.0/8", &["2/192.0.2.1"], 0), &[]);
    with(route("10.0.0.0/8", &["2/192.0.2.1!"], 0), &["10.0.0.0/8"]);
    with(route("10.0.0.0/8", &["2/192.0.2.1", "3/192.0.2.9"], 0), &["10.0.0.0/8"]);
    with(route("10.0.0.0/8", &[], 0), &["10.0.0.0/8"]);
    with(Route { mtu: Some(1400), ..route("10.0.0.0/8", &["2/192.0.2.1"], 0) }, &["10.0.0.0/8"]);
    with(Route { special: true, ..route("10.0.0.0/8", &["2/192.0.2.1"], 0) }, &["10.0.0.0/8"]);
    with(Route { kind: RouteKind::Other, ..route("10.0.0.0/8", &["2/192.0.2.1"], 0) }, &["10.0.0.0/8"]);
    with(route("224.0.0.0/4", &["2"], 0), &[]);
    with(route("239.1.0.0/16", &["2"], 0), &[]);
}

#[test]
fn link_local_and_multicast_prefixes_are_no_exceptions() {
    let main =
        vec![route("fe80::/64", &["2"], 256), route("ff00::/8", &["2"], 256), route("2001:db8::/64", &["2"], 256)];
    check(main, None, &["2001:db8::/64"], false);
}

#[test]
fn exceptions_inside_others_are_merged() {
    let main = |prefixes: &[&str]| prefixes.iter().map(|prefix| route(prefix, &["3"], 0)).collect();
    check(main(&["10.1.0.0/16", "10.0.0.0/8", "10.1.2.3/32"]), None, &["10.0.0.0/8"], false);
    check(main(&["10.0.0.0/9", "10.128.0.0/9"]), None, &["10.0.0.0/8"], false);
    check(main(&["10.0.0.0/9", "10.0.0.0/9"]), None, &["10.0.0.0/9"], false);
    check(main(&["0.0.0.0/1", "128.0.0.0/1"]), None, &["0.0.0.0/0"], true);
}

#[test]
fn rules_of_an_operator_are_left_to_the_kernel() {
    let with = |change: fn(&mut FamilyRoutes)| {
        let mut routes = family(vec![route("0.0.0.0/0", &["2/192.0.2.1"], 0)]);
        change(&mut routes);
        selected(&routes).ask_kernel
    };
    assert!(!with(|_| {}));
    assert!(!with(|routes| routes.rules.truncate(2)));
    assert!(with(|routes| routes.rules.clear()));
    assert!(with(|routes| routes.rules.push(Rule { priority: 100, table: TABLE_MAIN, plain: true })));
    assert!(with(|routes| routes.rules.push(Rule { priority: 1000, table: 7, plain: false })));
    assert!(with(|routes| routes.rules[1].plain = false));
    assert!(with(|routes| routes.after_main = true));
    assert!(with(|routes| routes.main_overflow = true));
}

proptest! {
    #[test]
    fn merging_changes_no_address(prefixes in prop::collection::vec((any::<u32>(), 1u8..=32), 0..40), probes in prop::collection::vec(any::<u32>(), 40)) {
        let default = route("0.0.0.0/0", &["2/192.0.2.1"], 0);
        let main: Vec<Route> = prefixes
            .iter()
            .map(|(bits, length)| {
                let prefix = Ipv4Net::new(Ipv4Addr::from(*bits), *length).unwrap().trunc();
                // Both ways, so that some are covered by the default.
                let hops = if bits % 2 == 0 { ["2/192.0.2.1"] } else { ["3/192.0.2.9"] };
                Route { prefix: prefix.into(), ..route("0.0.0.0/0", &hops, 0) }
            })
            .chain([default])
            .collect();
        let selection = selected(&family(main.clone()));
        let near = prefixes.iter().flat_map(|(bits, _)| [*bits, bits ^ 1, bits ^ 0x100]);
        for probe in probes.iter().copied().chain(near).map(Ipv4Addr::from).filter(|probe| !probe.is_multicast()) {
            let differs = main.iter().any(|route| route.prefix.contains(&IpNet::from(Ipv4Net::from(probe))) && route.hops[0].ifindex == 3);
            let excepted = selection.exceptions.iter().any(|prefix| prefix.contains(&IpNet::from(Ipv4Net::from(probe))));
            prop_assert_eq!(differs, excepted, "{}", probe);
        }
    }
}
