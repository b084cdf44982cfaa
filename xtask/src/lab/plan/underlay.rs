//! Turns a topology into the scripts of the underlay: its bridge, its router, the hosts with their VXLAN devices.

use std::net::IpAddr;

use super::{batch, finish_frames, refuse};
use crate::lab::topology::{Host, Narrow, Project, Topology, Underlay, mac_text};

/// The underlay: one bridge with a port for the gateway, the router and every host that is not behind it.
pub(super) fn fabric(topology: &Topology) -> String {
    let hosts = topology.hosts.iter().filter(|host| !host.behind_core).map(|host| host.name.as_str());
    let ports: Vec<_> = ["gw0"].into_iter().chain(topology.core.map(|_| "core")).chain(hosts).collect();
    batch("ip", &bridge((topology.underlay_mtu, "none"), &ports))
        + &ports.iter().map(|port| finish_frames(port)).collect::<String>()
}

/// The router of the underlay: the bridge's network on one side, the hosts behind it on the other.
pub(super) fn core(topology: &Topology, narrow: Narrow) -> String {
    let hosts = topology.hosts.iter().filter(|host| host.behind_core).map(|host| host.name.as_str());
    let ports: Vec<_> = hosts.collect();
    // Without a link-local address the router would not ask for its neighbours.
    let mut lines = bridge((narrow.mtu, "eui64"), &ports);
    lines.extend([
        format!("addr add {CORE_NEAR_IPV4}/24 dev near0"),
        format!("addr add {CORE_NEAR_IPV6}/64 dev near0 nodad"),
        format!("addr add {CORE_FAR_IPV4}/24 dev br0"),
        format!("addr add {CORE_FAR_IPV6}/64 dev br0 nodad"),
        "link set near0 up".into(),
    ]);
    let finished: String = ports.iter().chain(&["near0"]).map(|port| finish_frames(port)).collect();
    batch("ip", &lines) + &finished + refuse(narrow.refusal)
}

/// The way to the hosts behind the router, for everybody who is not.
pub(super) fn routes(topology: &Topology) -> Vec<String> {
    if topology.core.is_none() {
        return Vec::new();
    }
    vec![
        format!("route add 10.99.1.0/24 via {CORE_NEAR_IPV4} dev und0"),
        format!("route add fd99:0:0:1::/64 via {CORE_NEAR_IPV6} dev und0"),
    ]
}

pub(super) fn host(topology: &Topology, position: usize, host: &Host) -> String {
    let mut lines = vec![
        format!("addr add {}/24 dev und0", host.ipv4),
        format!("addr add {}/64 dev und0 nodad", host.ipv6),
        "link set und0 up".into(),
    ];
    lines.extend(if host.behind_core {
        vec![
            format!("route add default via {CORE_FAR_IPV4} dev und0"),
            format!("route add default via {CORE_FAR_IPV6} dev und0"),
        ]
    } else {
        routes(topology)
    });
    let mut entries = Vec::new();
    for project in &topology.projects {
        lines.extend(project_devices(topology, host, project));
        for container in project.containers.iter().filter(|container| container.host == position) {
            let port = project.role(container);
            lines.push(format!("link set {port} addrgenmode none"));
            lines.push(format!("link set {port} master br-{} up", project.name));
        }
        entries.extend(forwarding_entries(topology, position, project));
    }
    batch("ip", &lines) + &batch("bridge", &entries) + &finish_frames("und0")
}

fn bridge((mtu, link_local): (u16, &str), ports: &[&str]) -> Vec<String> {
    let mut lines = vec![
        format!("link add br0 mtu {mtu} type bridge mcast_snooping 0"),
        format!("link set br0 addrgenmode {link_local}"),
        "link set br0 up".into(),
    ];
    for port in ports {
        lines.push(format!("link set {port} addrgenmode none"));
        lines.push(format!("link set {port} master br0 up"));
    }
    lines
}

fn project_devices(topology: &Topology, host: &Host, project: &Project) -> Vec<String> {
    let (name, mtu) = (&project.name, topology.inner_mtu);
    // As the gateway does, so that the host learns what fits; fragments of VXLAN packets nobody would put together.
    let do_not_fragment = if topology.core.is_some() && topology.underlay == Underlay::Ipv4 { " df set" } else { "" };
    vec![
        format!("link add br-{name} mtu {mtu} type bridge mcast_snooping 0"),
        format!("link set br-{name} addrgenmode none"),
        format!("link set br-{name} up"),
        format!(
            "link add vx-{name} mtu {mtu} type vxlan id {} dstport 4789 local {} nolearning{do_not_fragment}",
            project.vni,
            topology.vtep(host)
        ),
        format!("link set vx-{name} addrgenmode none"),
        format!("link set vx-{name} master br-{name} up"),
    ]
}

/// Where each MAC of the project is, seen from one host. The all-zero entries carry ARP and ND to the other hosts;
/// the gateway gets none, for it answers no broadcast. `replace`, because a container that came up first may have been learnt.
fn forwarding_entries(topology: &Topology, position: usize, project: &Project) -> Vec<String> {
    let device = format!("vx-{}", project.name);
    let known = |mac: [u8; 6], vtep: IpAddr| {
        let mac = mac_text(mac);
        [
            format!("fdb replace {mac} dev {device} dst {vtep} self static"),
            format!("fdb replace {mac} dev {device} master static"),
        ]
    };
    let mut lines = Vec::from(known(project.gateway_mac(), topology.gateway_vtep()));
    for container in project.containers.iter().filter(|container| container.host != position) {
        lines.extend(known(container.mac, topology.vtep(&topology.hosts[container.host])));
    }
    for (_, other) in topology.hosts.iter().enumerate().filter(|(other, _)| *other != position) {
        lines.push(format!("fdb append 00:00:00:00:00:00 dev {device} dst {} self permanent", topology.vtep(other)));
    }
    lines
}

/// The router's addresses in the bridge's network.
const CORE_NEAR_IPV4: &str = "10.99.0.254";
/// See [`CORE_NEAR_IPV4`].
const CORE_NEAR_IPV6: &str = "fd99::fe";
/// The router's addresses in the network behind it.
const CORE_FAR_IPV4: &str = "10.99.1.1";
/// See [`CORE_FAR_IPV4`].
const CORE_FAR_IPV6: &str = "fd99:0:0:1::1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_knows_the_gateway_and_the_containers_elsewhere_but_not_its_own() {
        let topology = Topology::demo();
        let entries = forwarding_entries(&topology, 0, &topology.projects[0]).join("\n");
        assert!(entries.contains("02:bb:00:00:00:64 dev vx-red dst 10.99.0.1 self"));
        assert!(entries.contains("02:01:00:00:00:12 dev vx-red dst 10.99.0.12 self"));
        assert!(!entries.contains("02:01:00:00:00:11"));
    }
}
