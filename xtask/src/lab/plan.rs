//! Turns a topology into the commands that build it: one `ip -batch` of links, and three shell scripts for each namespace.

mod container;
mod public;
mod underlay;

use std::fmt::Write as _;

use super::topology::{Refusal, Topology, mac_text};

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
        plan.prepare.push((role.clone(), sysctls(["wan", "edge", "core"].contains(&role.as_str()))));
        plan.settle.push((role, SETTLE.into()));
    }
    plan.links = links(id, topology);
    let mut configure = |role: &str, script| plan.configure.push((role.into(), script));
    configure("client", public::client(topology));
    configure("wan", public::wan(topology));
    configure("gw", public::gateway(topology));
    configure("fabric", underlay::fabric(topology));
    if let Some(narrow) = topology.edge {
        configure("edge", public::edge(narrow.refusal));
    }
    if let Some(narrow) = topology.core {
        configure("core", underlay::core(topology, narrow));
    }
    for (position, host) in topology.hosts.iter().enumerate() {
        configure(&host.name, underlay::host(topology, position, host));
    }
    for project in &topology.projects {
        for container in &project.containers {
            configure(&project.role(container), container::script(topology, project, container));
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
    if let Some(narrow) = topology.edge {
        veth(("client", "eth0", ""), ("edge", "client0"), topology.client_mtu);
        veth(("edge", "wan0", ""), ("wan", "client0"), narrow.mtu);
    } else {
        veth(("client", "eth0", ""), ("wan", "client0"), topology.client_mtu);
    }
    veth(("gw", "pub0", ""), ("wan", "gw0"), topology.public_mtu);
    veth(("gw", "und0", ""), ("fabric", "gw0"), topology.underlay_mtu);
    if topology.core.is_some() {
        veth(("core", "near0", ""), ("fabric", "core"), topology.underlay_mtu);
    }
    for host in &topology.hosts {
        let switch = if host.behind_core { "core" } else { "fabric" };
        veth((&host.name, "und0", ""), (switch, &host.name), topology.host_mtu(host));
    }
    for project in &topology.projects {
        for container in &project.containers {
            let role = project.role(container);
            let host = &topology.hosts[container.host].name;
            veth((&role, "eth0", &format!("address {}", mac_text(container.mac))), (host, &role), topology.inner_mtu);
            if topology.uplinks {
                veth((&role, "up0", ""), ("wan", &role), topology.public_mtu);
            }
        }
    }
    text
}

fn batch(program: &str, lines: &[String]) -> String {
    format!("{program} -batch - <<'END'\n{}\nEND\n", lines.join("\n"))
}

/// A wire carries finished checksums and frames of MTU size; a veth hands over what the sender left to its "hardware".
fn finish_frames(device: &str) -> String {
    format!("ethtool -K {device} tx off tso off gso off >/dev/null\n")
}

/// A router that says nothing about packets that do not fit loses its own ICMP errors on their way out.
fn refuse(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Told => "",
        Refusal::Silent => {
            "nft -f - <<'END'\n\
             table inet silence { chain errors { type filter hook output priority 0;\n\
             icmp type destination-unreachable icmp code frag-needed drop\n\
             icmpv6 type packet-too-big drop\n}\n}\nEND\n"
        }
    }
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
        let everything =
            Topology::with_containers(3).through_edge(1400, Refusal::Told).through_core(1400, Refusal::Silent);
        for topology in [Topology::demo(), everything] {
            let plan = plan("bl1", &topology);
            let prepared: Vec<_> = plan.prepare.iter().map(|(role, _)| role.clone()).collect();
            let configured: Vec<_> = plan.configure.iter().map(|(role, _)| role.clone()).collect();
            assert_eq!(prepared, topology.roles());
            assert_eq!(configured, topology.roles());
        }
    }
}
