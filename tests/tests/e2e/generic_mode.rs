//! Where the driver cannot run the program, the stack does, and everything works (case 24).

use anyhow::{Result, ensure};
use balancer_tests::{
    conformance::{over, proves},
    datagram::exchange_sizes,
    echoes::{self, Echoes, TCP_PORT, UDP_PORT},
    transfer::{Way, target, transfer},
    web,
};
use xtask::lab::{Lab, Topology};

#[test]
fn every_mode_serves_and_says_which_it_is() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        for mode in ["native", "generic"] {
            let lab = Lab::build(topology.clone())?;
            let _echoes = Echoes::start(&lab, &["web-1", "web-2"])?;
            let mut config = echoes::config(&lab, &["web-1", "web-2"]);
            config.gateway_lines.push(format!("xdp_mode = \"{mode}\""));
            let balancer = lab.start_balancer(&config.to_toml())?;
            let status = balancer.status()?;
            let interfaces = status["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
            ensure!(interfaces.len() == 2 && interfaces.iter().all(|at| at["mode"] == mode), "{mode}: {interfaces:?}");
            for (_, vip) in web::everywhere() {
                for way in Way::ALL {
                    transfer(&lab.ns("client"), (vip, TCP_PORT), way, 1_000_000)?;
                }
                exchange_sizes(&lab.ns("client"), target(vip, UDP_PORT), &[1, 1200, 4000])?;
            }
        }
        proves(&[24], over(underlay));
    }
    Ok(())
}
