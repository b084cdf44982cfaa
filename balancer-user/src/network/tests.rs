//! Follows a real kernel in fresh network namespaces. These tests (`root_*`) need root.

pub(super) mod lab;

use std::net::IpAddr;

use lab::{CHANGE_MS, Following, Lab, PEER_MAC, follow, in_lab};

use super::{NetworkError, link_info};

const PEER: &str = "10.9.0.2";
const PEER_IPV6: &str = "fd09::2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn root_host_on_the_link_resolves_and_stays_in_the_kernels_care() {
    in_lab(async |lab| {
        let mut following = follow(&[PEER, PEER_IPV6]).await;

        for address in [PEER, PEER_IPV6] {
            let next_hop = following.host_with_mac(address, PEER_MAC).await;
            let link = link_info("gw0").await.unwrap();
            assert_eq!((next_hop.ifindex, Some(next_hop.source_mac), next_hop.mtu), (link.ifindex, link.mac, 1500));
        }
        lab.eventually(|lab| lab.gateway("ip neigh show dev gw0").matches("managed").count() == 2).await;
    });
}

#[test]
fn root_host_behind_a_router_gets_the_routers_mac_and_the_routes_mtu() {
    in_lab(async |lab| {
        lab.gateway("ip route add 10.77.0.0/16 via 10.9.0.2 mtu 1400");
        lab.gateway("ip -6 route add fd77::/64 via fd09::2 mtu 1300");
        // RFC 5549: an IPv4 prefix behind an IPv6 router.
        lab.gateway("ip route add 10.78.0.0/16 via inet6 fd09::2");
        let mut following = follow(&["10.77.0.1", "fd77::1", "10.78.0.1", "10.200.0.1"]).await;

        assert_eq!(following.host_with_mac("10.77.0.1", PEER_MAC).await.mtu, 1400);
        assert_eq!(following.host_with_mac("fd77::1", PEER_MAC).await.mtu, 1300);
        assert_eq!(following.host_with_mac("10.78.0.1", PEER_MAC).await.mtu, 1500);
        assert!(!following.view().hosts.contains_key(&ip("10.200.0.1")), "a host without a route is absent");
    });
}

#[test]
fn root_new_mac_of_a_host_is_followed() {
    in_lab(async |lab| {
        let mut following = follow(&[PEER]).await;
        following.host_with_mac(PEER, PEER_MAC).await;

        lab.peer("ip link set peer0 address 02:00:00:00:00:99");

        let new = Some([2, 0, 0, 0, 0, 0x99]);
        following.until_within(CHANGE_MS, "the new MAC", |view| view.hosts[&ip(PEER)].destination_mac == new).await;
    });
}

#[test]
fn root_new_mac_of_the_gateways_interface_is_followed() {
    in_lab(async |lab| {
        let mut following = follow(&[PEER]).await;
        following.host_with_mac(PEER, PEER_MAC).await;

        lab.gateway("ip link set gw0 address 02:00:00:00:00:77");

        following
            .until_within(CHANGE_MS, "the new source", |view| view.hosts[&ip(PEER)].source_mac == [2, 0, 0, 0, 0, 0x77])
            .await;
        following.host_with_mac(PEER, PEER_MAC).await;
    });
}

#[test]
fn root_route_change_is_followed() {
    in_lab(async |lab| {
        lab.gateway("ip route add 10.77.0.0/16 via 10.9.0.2");
        let mut following = follow(&["10.77.0.1"]).await;
        following.host_with_mac("10.77.0.1", PEER_MAC).await;

        lab.peer("ip address add 10.8.0.2/24 dev other0");
        lab.gateway("ip route replace 10.77.0.0/16 via 10.8.0.2");
        let other = link_info("gw1").await.unwrap();
        following
            .until_within(CHANGE_MS, "the other interface", |view| {
                view.hosts[&ip("10.77.0.1")].ifindex == other.ifindex
            })
            .await;
        following.until("its MAC", |view| view.hosts[&ip("10.77.0.1")].destination_mac.is_some()).await;

        lab.gateway("ip route del 10.77.0.0/16");
        following.until_within(CHANGE_MS, "no route", |view| view.hosts.is_empty()).await;
    });
}

#[test]
fn root_flushed_neighbour_is_resolved_again() {
    in_lab(async |lab| {
        let mut following = follow(&[PEER, PEER_IPV6]).await;
        for _ in 0..3 {
            following.host_with_mac(PEER, PEER_MAC).await;
            following.host_with_mac(PEER_IPV6, PEER_MAC).await;
            lab.gateway("ip neigh flush dev gw0");
        }
        following.host_with_mac(PEER, PEER_MAC).await;
    });
}

#[test]
fn root_host_that_comes_late_is_resolved_within_the_longest_pause() {
    in_lab(async |lab| {
        let mut following = follow(&["10.9.0.3"]).await;
        following.until("a route without MAC", |view| view.hosts[&ip("10.9.0.3")].destination_mac.is_none()).await;
        tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;

        lab.peer("ip address add 10.9.0.3/24 dev peer0");

        following.until("its MAC", |view| view.hosts[&ip("10.9.0.3")].destination_mac == Some(PEER_MAC)).await;
    });
}

#[test]
fn root_permanent_neighbour_is_never_touched() {
    in_lab(async |lab| {
        lab.gateway("ip neigh add 10.9.0.2 dev gw0 lladdr 02:00:00:00:00:55 nud permanent");
        let mut following = follow(&[PEER]).await;
        following.host_with_mac(PEER, [2, 0, 0, 0, 0, 0x55]).await;

        lab.gateway("ip neigh change 10.9.0.2 dev gw0 lladdr 02:00:00:00:00:56 nud permanent");
        following.host_with_mac(PEER, [2, 0, 0, 0, 0, 0x56]).await;

        let shown = lab.gateway("ip neigh show 10.9.0.2 dev gw0");
        assert!(shown.contains("PERMANENT") && !shown.contains("managed"), "{shown}");
    });
}

#[test]
fn root_host_that_is_no_longer_wanted_is_released() {
    in_lab(async |lab| {
        let managed = |lab: &Lab| lab.gateway("ip neigh show 10.9.0.2 dev gw0").contains("managed");
        let mut following = follow(&[PEER]).await;
        following.host_with_mac(PEER, PEER_MAC).await;
        lab.eventually(managed).await;

        following.want(&[]);

        following.until("no host", |view| view.hosts.is_empty()).await;
        lab.eventually(|lab| !managed(lab)).await;
    });
}

#[test]
fn root_default_route_and_exceptions_are_followed_in_both_families() {
    in_lab(async |lab| {
        let mut following = follow(&[]).await;
        check_clients(&mut following, "connected routes", None, &["10.8.0.0/24", "10.9.0.0/24"], &["fd09::/64"]).await;

        lab.gateway("ip route add default via 10.9.0.2");
        lab.gateway("ip -6 route add default via fd09::2");
        check_clients(&mut following, "defaults", Some(PEER_MAC), &["10.8.0.0/24", "10.9.0.0/24"], &["fd09::/64"])
            .await;

        lab.gateway("ip route add 10.20.0.0/16 via 10.9.0.2"); // as the default goes: no exception
        lab.gateway("ip route add blackhole 10.8.0.0/16");
        lab.gateway("ip -6 route add unreachable 2001:db8:5::/48");
        let ipv6 = &["2001:db8:5::/48", "fd09::/64"];
        check_clients(&mut following, "exceptions", Some(PEER_MAC), &["10.8.0.0/16", "10.9.0.0/24"], ipv6).await;

        lab.gateway("ip link set gw0 down");
        check_clients(&mut following, "interface down", None, &["10.8.0.0/16"], &["2001:db8:5::/48"]).await;
    });
}

async fn check_clients(following: &mut Following, what: &str, mac: Option<[u8; 6]>, ipv4: &[&str], ipv6: &[&str]) {
    let expected = [ipv4, ipv6]
        .map(|prefixes| (mac, prefixes.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>(), false));
    let in_short = |view: &crate::model::NetworkView| {
        [&view.clients_ipv4, &view.clients_ipv6].map(|clients| {
            (
                clients.default.and_then(|next_hop| next_hop.destination_mac),
                clients.exceptions.clone(),
                clients.ask_kernel,
            )
        })
    };
    following.until(what, |view| in_short(view) == expected).await;
}

#[test]
fn root_several_default_next_hops_ask_the_kernel() {
    in_lab(async |lab| {
        let mut following = follow(&[]).await;
        lab.gateway("ip route add default nexthop via 10.9.0.2 nexthop via 10.8.0.2");
        lab.gateway("ip -6 route add default nexthop via fd09::2 nexthop via fd09::3");
        following.until("both families ask", |view| view.clients_ipv4.ask_kernel && view.clients_ipv6.ask_kernel).await;
        assert_eq!((following.view().clients_ipv4.default, following.view().clients_ipv6.default), (None, None));
    });
}

#[test]
fn root_next_hop_objects_are_understood() {
    in_lab(async |lab| {
        lab.gateway("ip nexthop add id 1 via 10.9.0.2 dev gw0");
        lab.gateway("ip route add default nhid 1");
        let mut following = follow(&["10.77.0.1"]).await;
        following.host_with_mac("10.77.0.1", PEER_MAC).await;
        following
            .until("the default", |view| {
                view.clients_ipv4.default.is_some_and(|hop| hop.destination_mac == Some(PEER_MAC))
            })
            .await;
    });
}

#[test]
fn root_policy_rule_asks_the_kernel_and_decides_the_way_to_hosts() {
    in_lab(async |lab| {
        lab.gateway("ip route add 10.77.0.0/16 via 10.9.0.2");
        lab.gateway("ip route add 10.77.0.0/16 via 10.8.0.2 table 7");
        let mut following = follow(&["10.77.0.1"]).await;
        assert!(!following.view().clients_ipv4.ask_kernel && !following.view().clients_ipv6.ask_kernel);
        let other = link_info("gw1").await.unwrap().ifindex;

        lab.gateway("ip rule add to 10.77.0.0/16 lookup 7");
        following
            .until_within(CHANGE_MS, "rule", |view| {
                view.clients_ipv4.ask_kernel && view.hosts[&ip("10.77.0.1")].ifindex == other
            })
            .await;
        assert!(!following.view().clients_ipv6.ask_kernel);

        lab.gateway("ip rule del to 10.77.0.0/16 lookup 7");
        following
            .until("no rule", |view| !view.clients_ipv4.ask_kernel && view.hosts[&ip("10.77.0.1")].ifindex != other)
            .await;
    });
}

#[test]
fn root_flood_of_events_is_survived() {
    in_lab(async |lab| {
        let mut following = follow(&["10.77.0.1"]).await;
        // 20 000 routes in one go overrun the event socket or nearly so; the last command decides.
        let routes: String =
            (0..20_000).map(|n| format!("route add 10.{}.{}.0/24 via 10.9.0.2\n", 100 + n / 256, n % 256)).collect();
        lab.batch(&routes);
        lab.batch(&routes.replace("add", "del"));
        lab.gateway("ip route add 10.77.0.0/16 via 10.9.0.2");
        following.until_within(5_000, "the last route", |view| view.hosts.contains_key(&ip("10.77.0.1"))).await;
        following.until_within(5_000, "no leftovers", |view| view.clients_ipv4.exceptions.len() == 3).await;
    });
}

#[test]
fn root_link_is_described() {
    in_lab(async |lab| {
        lab.gateway("ip tuntap add tun9 mode tun");
        let veth = link_info("gw0").await.unwrap();
        assert_eq!((veth.kind.as_deref(), veth.mac.is_some(), veth.mtu, veth.up), (Some("veth"), true, 1500, true));
        let tun = link_info("tun9").await.unwrap();
        assert_eq!((tun.kind.as_deref(), tun.mac, tun.up), (Some("tun"), None, false));
        for name in ["none", "a-name-longer-than-any-interface", ""] {
            assert!(matches!(link_info(name).await, Err(NetworkError::NoLink { .. })), "{:?}", link_info(name).await);
        }
    });
}
