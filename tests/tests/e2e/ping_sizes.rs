//! A VIP answers echo requests of every size, whole and in fragments, and what may not be fragmented is told (cases 2, 19).

use anyhow::{Context as _, Result, ensure};
use balancer_tests::{
    conformance::{over, proves},
    echoes, web,
};
use xtask::lab::{Lab, Ns, Refusal, Topology};

/// Around what one frame holds, what two hold, and far beyond.
const SIZES: [u16; 14] = [0, 1, 57, 1400, 1452, 1453, 1472, 1473, 1480, 2000, 2952, 4000, 4321, 8000];

fn ping(client: &Ns, vip: &str, words: &[&str]) -> Result<()> {
    let all = [&["ping", "-c", "2", "-i", "0.01", "-W", "2"], words, &[vip]].concat();
    client.run(&all).with_context(|| format!("{all:?}")).map(drop)
}

#[test]
fn echo_requests_of_every_size_are_answered_whole_and_in_fragments() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology)?;
        let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1"]).to_toml())?;
        for (_, vip) in web::everywhere() {
            for size in SIZES {
                for discovery in ["dont", "want"] {
                    ping(&lab.ns("client"), vip, &["-M", discovery, "-s", &size.to_string()])?;
                }
            }
        }
        proves(&[2, 19], over(underlay));
    }
    Ok(())
}

#[test]
fn echo_requests_that_a_router_cut_into_fragments_are_answered() -> Result<()> {
    let lab = Lab::build(Topology::demo().through_edge(1300, Refusal::Told))?;
    let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1"]).to_toml())?;
    for size in ["1280", "1400", "1472", "4000"] {
        ping(&lab.ns("client"), web::vips("red")[0], &["-M", "dont", "-s", size])?;
    }
    Ok(())
}

#[test]
fn echo_request_that_may_not_be_fragmented_is_refused_by_the_narrow_link() -> Result<()> {
    let lab = Lab::build(Topology::demo().through_edge(1300, Refusal::Told))?;
    let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1"]).to_toml())?;
    for (vip, fits, too_big) in [(web::vips("red")[0], "1272", "1273"), (web::vips("red")[1], "1252", "1253")] {
        ping(&lab.ns("client"), vip, &["-M", "do", "-s", fits])?;
        let refused = ping(&lab.ns("client"), vip, &["-M", "do", "-s", too_big]).expect_err("it does not fit");
        let said = format!("{refused:#}");
        ensure!(said.contains("mtu = 1300") || said.contains("mtu=1300"), "{vip}: {said}");
    }
    Ok(())
}
