//! Turns a topology into the scripts of the public side: the client, the routers on its way, the gateway.

use super::{batch, finish_frames, refuse};
use crate::lab::topology::{Refusal, Topology};

pub(super) fn client(topology: &Topology) -> String {
    let (ipv4, ipv6) = Topology::CLIENT;
    let lines = [
        format!("addr add {ipv4}/24 dev eth0"),
        format!("addr add {ipv6}/64 dev eth0 nodad"),
        "link set eth0 up".into(),
        "route add default via 198.51.100.1".into(),
        "route add default via 2001:db8:c::1 dev eth0".into(),
    ];
    batch("ip", &lines) + &if topology.offloads { String::new() } else { finish_frames("eth0") }
}

/// The client's own router, when the way from there to `wan` is a narrow one.
pub(super) fn edge(refusal: Refusal) -> String {
    let lines = [
        "addr add 198.51.100.1/24 dev client0".into(),
        "addr add 2001:db8:c::1/64 dev client0 nodad".into(),
        format!("addr add {EDGE_IPV4}/24 dev wan0"),
        format!("addr add {EDGE_IPV6}/64 dev wan0 nodad"),
        "link set client0 up".into(),
        "link set wan0 up".into(),
        "route add default via 198.18.0.1".into(),
        "route add default via 2001:db8:e::1 dev wan0".into(),
    ];
    batch("ip", &lines) + &finish_frames("wan0") + &finish_frames("client0") + refuse(refusal)
}

/// A plain router between the client, or the client's router, and the gateway.
pub(super) fn wan(topology: &Topology) -> String {
    let (gateway_ipv4, gateway_ipv6) = Topology::GATEWAY_PUBLIC;
    let mut lines = vec![
        "addr add 192.0.2.254/24 dev gw0".into(),
        "addr add 2001:db8:0:1::fe/64 dev gw0 nodad".into(),
        "link set client0 up".into(),
        "link set gw0 up".into(),
        format!("route add 203.0.113.0/24 via {gateway_ipv4}"),
        format!("route add 2001:db8:f::/64 via {gateway_ipv6} dev gw0"),
    ];
    lines.extend(if topology.edge.is_some() {
        vec![
            "addr add 198.18.0.1/24 dev client0".into(),
            "addr add 2001:db8:e::1/64 dev client0 nodad".into(),
            format!("route add 198.51.100.0/24 via {EDGE_IPV4}"),
            format!("route add 2001:db8:c::/64 via {EDGE_IPV6} dev client0"),
        ]
    } else {
        vec!["addr add 198.51.100.1/24 dev client0".into(), "addr add 2001:db8:c::1/64 dev client0 nodad".into()]
    });
    for project in topology.projects.iter().filter(|_| topology.uplinks) {
        for port in project.containers.iter().map(|container| project.role(container)) {
            lines.extend([
                format!("addr add {}/32 dev {port}", Topology::UPLINK.0),
                format!("addr add {}/64 dev {port} nodad", Topology::UPLINK.1),
                format!("link set {port} up"),
            ]);
        }
    }
    let refusal = topology.edge.map_or(Refusal::Told, |narrow| narrow.refusal);
    batch("ip", &lines) + &finish_frames("gw0") + refuse(refusal)
}

pub(super) fn gateway(topology: &Topology) -> String {
    let (public_ipv4, public_ipv6) = Topology::GATEWAY_PUBLIC;
    let (vtep_ipv4, vtep_ipv6) = Topology::GATEWAY_VTEP;
    let mut lines = vec![
        format!("addr add {public_ipv4}/24 dev pub0"),
        format!("addr add {public_ipv6}/64 dev pub0 nodad"),
        format!("addr add {vtep_ipv4}/24 dev und0"),
        format!("addr add {vtep_ipv6}/64 dev und0 nodad"),
        "link set pub0 up".into(),
        "link set und0 up".into(),
        "route add default via 192.0.2.254".into(),
        "route add default via 2001:db8:0:1::fe dev pub0".into(),
    ];
    lines.extend(super::underlay::routes(topology));
    batch("ip", &lines) + &finish_frames("pub0") + &finish_frames("und0")
}

/// The edge router's addresses towards `wan`.
const EDGE_IPV4: &str = "198.18.0.2";
/// See [`EDGE_IPV4`].
const EDGE_IPV6: &str = "2001:db8:e::2";
