//! TCP moves every byte both ways whatever the MTU of any leg is (cases 5, 12, 17).

use anyhow::{Context as _, Result};
use balancer_tests::{
    conformance::{over, proves},
    echoes::{self, Echoes, TCP_PORT, forget_paths},
    transfer::{Way, transfer},
    web,
};
use xtask::lab::{Lab, Topology};

const BYTES: usize = 2_000_000;
/// MTUs of the client's side. IPv6 asks for 1280 at least.
const CLIENT_MTUS: [u16; 4] = [1280, 1450, 1500, 9000];
/// MTUs of the underlay; the first leaves an IPv6 VIP's clients their 1280 bytes over either underlay.
const UNDERLAY_MTUS: [u16; 4] = [1350, 1450, 1500, 9000];

/// Containers have jumbo frames, as inside a data centre, and every leg can be made smaller.
fn jumbo() -> Topology {
    Topology { client_mtu: 9000, public_mtu: 9000, underlay_mtu: 9100, inner_mtu: 9000, ..Topology::demo() }
}

fn check(lab: &Lab, what: &str) -> Result<()> {
    forget_paths(lab)?;
    for vip in web::vips("red") {
        for way in Way::ALL {
            transfer(&lab.ns("client"), (vip, TCP_PORT), way, BYTES).with_context(|| what.to_owned())?;
        }
    }
    Ok(())
}

#[test]
fn every_byte_arrives_with_any_mtu_on_the_client_s_side() -> Result<()> {
    for topology in [jumbo(), jumbo().over_ipv6()] {
        let underlay = topology.underlay;
        for public_mtu in CLIENT_MTUS {
            let lab = Lab::build(Topology { public_mtu, ..topology.clone() })?;
            let _echoes = Echoes::start(&lab, &["web-1"])?;
            let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1"]).to_toml())?;
            for client_mtu in CLIENT_MTUS {
                lab.set_mtu([("client", "eth0"), ("wan", "client0")], client_mtu)?;
                check(&lab, &format!("client {client_mtu}, public {public_mtu}, {underlay:?}"))?;
            }
        }
        proves(&[5, 12, 17], over(underlay));
    }
    Ok(())
}

#[test]
fn every_byte_arrives_with_any_mtu_of_the_underlay() -> Result<()> {
    for topology in [jumbo(), jumbo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(Topology { client_mtu: 1500, public_mtu: 1500, ..topology })?;
        let _echoes = Echoes::start(&lab, &["web-1"])?;
        let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1"]).to_toml())?;
        for mtu in UNDERLAY_MTUS {
            lab.set_mtu([("gw", "und0"), ("fabric", "gw0")], mtu)?;
            lab.set_mtu([("host1", "und0"), ("fabric", "host1")], mtu)?;
            check(&lab, &format!("underlay {mtu}, {underlay:?}"))?;
        }
        proves(&[12, 17], over(underlay));
    }
    Ok(())
}
