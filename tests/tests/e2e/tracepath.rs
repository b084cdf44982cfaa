//! `tracepath` to a VIP names the MTU of the path, wherever it is narrow (cases 13, 17, 18).

use anyhow::{Result, ensure};
use balancer_tests::{
    conformance::{over, proves},
    web,
};
use xtask::lab::{Lab, Refusal, ServiceSpec, Topology};

/// Every UDP port of the VIP is the container's, which says port unreachable.
fn check(topology: Topology, pmtu: [u16; 2]) -> Result<()> {
    let lab = Lab::build(topology)?;
    let service = ServiceSpec::new("red", "everything", &web::vips("red")).range("any").backend("web-1");
    let _balancer = lab.start_balancer(&lab.config().with(service).to_toml())?;
    for (vip, pmtu) in web::vips("red").into_iter().zip(pmtu) {
        let said = lab.ns("client").text(["tracepath", "-n", "-m", "8", vip])?;
        ensure!(said.contains("reached"), "{vip}: the container did not answer\n{said}");
        ensure!(said.contains(&format!("Resume: pmtu {pmtu} ")), "{vip}: not {pmtu}\n{said}");
    }
    Ok(())
}

#[test]
fn tracepath_names_a_narrow_link_of_the_client_s_side() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        check(topology.through_edge(1350, Refusal::Told), [1350; 2])?;
        proves(&[13, 18], over(underlay));
    }
    Ok(())
}

#[test]
fn tracepath_names_what_fits_into_the_underlay() -> Result<()> {
    for (topology, encapsulation) in [(Topology::demo(), 50), (Topology::demo().over_ipv6(), 70)] {
        let underlay = topology.underlay;
        check(Topology { underlay_mtu: 1500, ..topology }, [1500 - encapsulation; 2])?;
        proves(&[13, 17, 18], over(underlay));
    }
    Ok(())
}
