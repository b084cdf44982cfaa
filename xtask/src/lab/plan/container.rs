//! Turns a container into the script of its namespace.

use super::{batch, finish_frames};
use crate::lab::topology::{Container, Project, Topology, mac_text};

/// Its address, the gateway as its default route, and a second way for what it sends from its uplink's own table.
pub(super) fn script(topology: &Topology, project: &Project, container: &Container) -> String {
    let (gateway_ipv4, gateway_ipv6) = Topology::PROJECT_GATEWAY;
    let mac = mac_text(project.gateway_mac());
    let mut lines = vec![
        format!("addr add {}/24 dev eth0", container.ipv4),
        format!("addr add {}/64 dev eth0 nodad", container.ipv6),
        "link set eth0 up".into(),
        format!("route add default via {gateway_ipv4}"),
        format!("route add default via {gateway_ipv6} dev eth0"),
        format!("neigh add {gateway_ipv4} lladdr {mac} dev eth0 nud permanent"),
        format!("neigh add {gateway_ipv6} lladdr {mac} dev eth0 nud permanent"),
    ];
    if topology.uplinks {
        let ((ipv4, ipv6), table) = (Topology::UPLINK, Topology::UPLINK_TABLE);
        lines.extend([
            "link set up0 up".into(),
            format!("route add default via {ipv4} dev up0 onlink table {table}"),
            format!("route add default via {ipv6} dev up0 table {table}"),
        ]);
    }
    let finished = if topology.offloads { String::new() } else { finish_frames("eth0") };
    batch("ip", &lines) + &finished + &if topology.uplinks { finish_frames("up0") } else { String::new() }
}
