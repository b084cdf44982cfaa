//! Endpoints that leave checksums and segmentation to their network card are served as long as a wire finishes them (case 16).

use anyhow::Result;
use balancer_tests::{
    conformance::{over, proves},
    datagram::exchange_sizes,
    echoes::{self, Echoes, TCP_PORT, UDP_PORT},
    transfer::{Way, target, transfer},
    web,
};
use xtask::lab::{Lab, Topology};

#[test]
fn endpoints_with_offloads_behind_a_wire_get_every_byte() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(Topology { offloads: true, ..topology })?;
        let _echoes = Echoes::start(&lab, &["web-1", "web-2"])?;
        let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1", "web-2"]).to_toml())?;
        for (_, vip) in web::everywhere() {
            for way in Way::ALL {
                transfer(&lab.ns("client"), (vip, TCP_PORT), way, 5_000_000)?;
            }
            exchange_sizes(&lab.ns("client"), target(vip, UDP_PORT), &[0, 1, 1200, 1400])?;
        }
        proves(&[16], over(underlay));
    }
    Ok(())
}
