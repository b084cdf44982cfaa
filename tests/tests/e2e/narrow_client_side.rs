//! A narrow link on the client's side: containers learn of it by the router's ICMP error, or find out when there is none (case 18).

use anyhow::{Result, ensure};
use balancer_common::verdict::Reason;
use balancer_tests::{
    conformance::{over, proves},
    echoes::{self, Echoes, TCP_PORT},
    status,
    transfer::{Way, transfer},
    web,
};
use xtask::lab::{Balancer, Lab, Refusal, Topology};

const NARROW: u16 = 1300;

/// Transfers through the VIPs of a project past the narrow link.
fn transfers(lab: &Lab, ways: &[Way], bytes: usize) -> Result<Balancer> {
    let balancer = lab.start_balancer(&echoes::config(lab, &["web-1"]).to_toml())?;
    for vip in web::vips("red") {
        for way in ways {
            transfer(&lab.ns("client"), (vip, TCP_PORT), *way, bytes)?;
        }
    }
    Ok(balancer)
}

#[test]
fn container_learns_the_path_s_mtu_from_a_router_on_the_client_s_side() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology.through_edge(NARROW, Refusal::Told))?;
        let _echoes = Echoes::start(&lab, &["web-1"])?;
        let balancer = transfers(&lab, &Way::ALL, 2_000_000)?;
        // One for each family at least.
        let errors = status::frames(&balancer.status()?, Reason::ErrorForwarded);
        ensure!(errors >= 2, "{errors} ICMP errors reached the container");
        proves(&[18], over(underlay));
    }
    Ok(())
}

#[test]
fn container_that_probes_the_mtu_gets_past_a_black_hole() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology.through_edge(NARROW, Refusal::Silent))?;
        let _echoes = Echoes::start(&lab, &["web-1"])?;
        // The kernel gives up on large segments after one timeout in place of three, only to be done sooner.
        lab.ns("red-web-1").run(["sysctl", "-q", "net.ipv4.tcp_mtu_probing=1", "net.ipv4.tcp_retries1=1"])?;
        let balancer = transfers(&lab, &[Way::Download], 300_000)?;
        ensure!(status::frames(&balancer.status()?, Reason::ErrorForwarded) == 0, "this black hole talks");
        proves(&[17], over(underlay));
    }
    Ok(())
}
