//! A router of the underlay says that a host is behind a narrow link: the gateway follows, and clients are told (cases 17, 18).

use anyhow::{Result, ensure};
use balancer_common::verdict::Reason;
use balancer_tests::{
    conformance::{over, proves},
    datagram::exchange_sizes,
    echoes::{self, Echoes, TCP_PORT, UDP_PORT},
    status,
    transfer::{Transfer, Way, target},
    web,
};
use xtask::lab::{Lab, Refusal, Topology};

const BYTES: usize = 1_000_000;
/// Less than what clients send, encapsulated.
const NARROW: u16 = 1400;

#[test]
fn path_mtu_of_a_host_follows_the_underlay_s_router() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology.through_core(NARROW, Refusal::Told))?;
        let _echoes = Echoes::start(&lab, &["web-1"])?;
        let balancer = lab.start_balancer(&echoes::config(&lab, &["web-1"]).to_toml())?;
        for vip in web::vips("red") {
            let client = lab.ns("client");
            // The connection is made while the gateway believes in the wide path, so its segments are too large at first.
            let connection = Transfer::connect(&client, vip, TCP_PORT)?;
            connection.run(Way::Upload, BYTES)?;
            connection.run(Way::Download, BYTES)?;
            exchange_sizes(&client, target(vip, UDP_PORT), &[1, 1200, 1300, 1400, 4000])?;
        }
        let now = balancer.status()?;
        for reason in [Reason::OuterError, Reason::TooBigSent] {
            ensure!(
                status::frames(&now, reason) > 0,
                "{underlay:?}: nothing was counted as {}\n{now:#}",
                reason.name()
            );
        }
        proves(&[17, 18], over(underlay));
    }
    Ok(())
}
