//! Turns a topology into the commands that build it: one `ip -batch` of links, and two shell scripts for each namespace.

use std::fmt::Write as _;

use super::topology::{Container, Host, Project, Topology, mac_text};

/// Everything that has to run, in this order: `prepare` in every namespace, `links` once, `configure` and then `settle` in every namespace.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Script for every namespace before it has an interface, so that new interfaces inherit these settings.
    pub(super) prepare: Vec<(String, String)>,
    /// Input of `ip -batch` that creates every veth pair inside its two namespaces.
    pub(super) links: String,
    /// Script for every namespace that names, addresses and routes.
    pub(super) configure: Vec<(String, String)>,
    /// Script for every namespace that waits until its links carry frames.
    pub(super) settle: Vec<(String, String)>,
}

/// The plan for `topology`; `id` prefixes the names of the namespaces.
#[must_use]
pub(super) fn plan(id: &str, topology: &Topology) -> Plan {
    let mut plan = Plan::default();
    for role in topology.roles() {
        plan.prepare.push((role.clone(), sysctls(role == "wan")));
        plan.settle.push((role, SETTLE.into()));
    }
    plan.links = links(id, topology);
    plan.configure.push(("client".into(), client()));
    plan.configure.push(("wan".into(), wan()));
    plan.configure.push(("gw".into(), gateway()));
    plan.configure.push(("fabric".into(), fabric(topology)));
    for (position, host) in topology.hosts.iter().enumerate() {
        plan.configure.push((host.name.clone(), host_script(topology, position, host)));
    }
    for project in &topology.projects {
        for container in &project.containers {
            plan.configure.push((project.role(container), container_script(project, container)));
        }
    }
    plan
}

/// Duplicate address detection would keep IPv6 addresses unusable for a second; the gateway balances without kernel forwarding.
fn sysctls(forwarding: bool) -> String {
    let forwarding = u8::from(forwarding);
    format!(
        "cd /proc/sys/net\n\
         for scope in all default; do\n\
         echo 0 >ipv4/conf/$scope/rp_filter\n\
         echo 0 >ipv6/conf/$scope/accept_dad\n\
         echo 0 >ipv6/conf/$scope/accept_ra\n\
         echo 0 >ipv6/conf/$scope/router_solicitations\n\
         done\n\
         for switch in bridge/bridge-nf-call-*tables; do [ ! -e $switch ] || echo 0 >$switch; done\n\
         echo {forwarding} >ipv4/ip_forward\n\
         echo {forwarding} >ipv6/conf/all/forwarding\n\
         ip link set lo up\n"
    )
}

fn links(id: &str, topology: &Topology) -> String {
    let mut text = String::new();
    let mut veth = |(ns_a, device_a, extra): (&str, &str, &str), (ns_b, device_b): (&str, &str), mtu: u16| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "link add {device_a} netns {id}-{ns_a} mtu {mtu} {extra} type veth peer name {device_b} mtu {mtu} netns {id}-{ns_b}"
        );
    };
    veth(("client", "eth0", ""), ("wan", "client0"), 1500);
    veth(("gw", "pub0", ""), ("wan", "gw0"), 1500);
    veth(("gw", "und0", ""), ("fabric", "gw0"), topology.underlay_mtu);
    for host in &topology.hosts {
        veth((&host.name, "und0", ""), ("fabric", &host.name), topology.underlay_mtu);
    }
    for project in &topology.projects {
        for container in &project.containers {
            let role = project.role(container);
            let host = &topology.hosts[container.host].name;
            veth((&role, "eth0", &format!("address {}", mac_text(container.mac))), (host, &role), topology.inner_mtu);
        }
    }
    text
}

fn client() -> String {
    let (ipv4, ipv6) = Topology::CLIENT;
    let lines = [
        format!("addr add {ipv4}/24 dev eth0"),
        format!("addr add {ipv6}/64 dev eth0 nodad"),
        "link set eth0 up".into(),
        "route add default via 198.51.100.1".into(),
        "route add default via 2001:db8:c::1 dev eth0".into(),
    ];
    batch("ip", &lines) + &finish_frames("eth0")
}

/// A plain router between the client and the gateway.
fn wan() -> String {
    let (gateway_ipv4, gateway_ipv6) = Topology::GATEWAY_PUBLIC;
    let lines = [
        "addr add 198.51.100.1/24 dev client0".into(),
        "addr add 2001:db8:c::1/64 dev client0 nodad".into(),
        "addr add 192.0.2.254/24 dev gw0".into(),
        "addr add 2001:db8:0:1::fe/64 dev gw0 nodad".into(),
        "link set client0 up".into(),
        "link set gw0 up".into(),
        format!("route add 203.0.113.0/24 via {gateway_ipv4}"),
        format!("route add 2001:db8:f::/64 via {gateway_ipv6} dev gw0"),
    ];
    batch("ip", &lines) + &finish_frames("gw0")
}

fn gateway() -> String {
    let (public_ipv4, public_ipv6) = Topology::GATEWAY_PUBLIC;
    let (vtep_ipv4, vtep_ipv6) = Topology::GATEWAY_VTEP;
    let lines = [
        format!("addr add {public_ipv4}/24 dev pub0"),
        format!("addr add {public_ipv6}/64 dev pub0 nodad"),
        format!("addr add {vtep_ipv4}/24 dev und0"),
        format!("addr add {vtep_ipv6}/64 dev und0 nodad"),
        "link set pub0 up".into(),
        "link set und0 up".into(),
        "route add default via 192.0.2.254".into(),
        "route add default via 2001:db8:0:1::fe dev pub0".into(),
    ];
    batch("ip", &lines) + &finish_frames("pub0") + &finish_frames("und0")
}

/// The underlay: one bridge with a port for the gateway and for every host.
fn fabric(topology: &Topology) -> String {
    let mut lines = vec![
        format!("link add br0 mtu {} type bridge mcast_snooping 0", topology.underlay_mtu),
        "link set br0 addrgenmode none".into(),
        "link set br0 up".into(),
    ];
    for port in ["gw0"].into_iter().chain(topology.hosts.iter().map(|host| host.name.as_str())) {
        lines.push(format!("link set {port} addrgenmode none"));
        lines.push(format!("link set {port} master br0 up"));
    }
    let finished: String = topology.hosts.iter().map(|host| finish_frames(&host.name)).collect();
    batch("ip", &lines) + &finish_frames("gw0") + &finished
}

fn host_script(topology: &Topology, position: usize, host: &Host) -> String {
    let mut lines = vec![
        format!("addr add {}/24 dev und0", host.ipv4),
        format!("addr add {}/64 dev und0 nodad", host.ipv6),
        "link set und0 up".into(),
    ];
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

fn project_devices(topology: &Topology, host: &Host, project: &Project) -> Vec<String> {
    let (name, mtu) = (&project.name, topology.inner_mtu);
    vec![
        format!("link add br-{name} mtu {mtu} type bridge mcast_snooping 0"),
        format!("link set br-{name} addrgenmode none"),
        format!("link set br-{name} up"),
        format!(
            "link add vx-{name} mtu {mtu} type vxlan id {} dstport 4789 local {} nolearning",
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
    let known = |mac: [u8; 6], vtep: std::net::IpAddr| {
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

fn container_script(project: &Project, container: &Container) -> String {
    let (gateway_ipv4, gateway_ipv6) = Topology::PROJECT_GATEWAY;
    let mac = mac_text(project.gateway_mac());
    let lines = [
        format!("addr add {}/24 dev eth0", container.ipv4),
        format!("addr add {}/64 dev eth0 nodad", container.ipv6),
        "link set eth0 up".into(),
        format!("route add default via {gateway_ipv4}"),
        format!("route add default via {gateway_ipv6} dev eth0"),
        format!("neigh add {gateway_ipv4} lladdr {mac} dev eth0 nud permanent"),
        format!("neigh add {gateway_ipv6} lladdr {mac} dev eth0 nud permanent"),
    ];
    batch("ip", &lines) + &finish_frames("eth0")
}

fn batch(program: &str, lines: &[String]) -> String {
    format!("{program} -batch - <<'END'\n{}\nEND\n", lines.join("\n"))
}

/// A wire carries finished checksums and frames of MTU size; a veth hands over what the sender left to its "hardware".
fn finish_frames(device: &str) -> String {
    format!("ethtool -K {device} tx off tso off gso off >/dev/null\n")
}

/// The kernel starts to transmit on a link a moment after both ends are up, and drops frames until then (`net/core/link_watch.c`).
/// The state is the sign that it has; `sh -e` ends the wait with an error after about four seconds.
const SETTLE: &str = "rounds=0\n\
    while ip -o link show | grep -Eq 'state (DOWN|LOWERLAYERDOWN)'; do\n\
    rounds=$((rounds + 1)); [ $rounds -le 400 ]; sleep 0.01\n\
    done\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_is_prepared_and_configured_once() {
        let topology = Topology::with_containers(3);
        let plan = plan("bl1", &topology);
        let prepared: Vec<_> = plan.prepare.iter().map(|(role, _)| role.clone()).collect();
        let configured: Vec<_> = plan.configure.iter().map(|(role, _)| role.clone()).collect();
        assert_eq!(prepared, topology.roles());
        assert_eq!(configured, topology.roles());
    }

    #[test]
    fn a_host_knows_the_gateway_and_the_containers_elsewhere_but_not_its_own() {
        let topology = Topology::demo();
        let entries = forwarding_entries(&topology, 0, &topology.projects[0]).join("\n");
        assert!(entries.contains("02:bb:00:00:00:64 dev vx-red dst 10.99.0.1 self"));
        assert!(entries.contains("02:01:00:00:00:12 dev vx-red dst 10.99.0.12 self"));
        assert!(!entries.contains("02:01:00:00:00:11"));
    }
}
