//! Packets with IPv4 options or IPv6 extension headers, as the kernel's own stack sends them, are balanced like others (case 20).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use balancer_common::case::Case;
use balancer_tests::{
    conformance::{over, proves},
    echoes::{self, Echoes, TCP_PORT, UDP_PORT},
    python, status, web,
};
use xtask::lab::{Lab, Topology};

/// Every kind of option, alone, over UDP and TCP.
const PROGRAM: &str = include_str!("ip_options.py");
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn options_and_extension_headers_of_a_real_stack_reach_the_container() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology)?;
        let _echoes = Echoes::start(&lab, &["web-1", "web-2"])?;
        let balancer = lab.start_balancer(&echoes::config(&lab, &["web-1", "web-2"]).to_toml())?;
        let ports = [TCP_PORT, UDP_PORT].map(|port| port.to_string());
        for (_, vip) in web::everywhere() {
            python::run(&lab.ns("client"), PROGRAM, &[vip, &ports[0], &ports[1]], LIMIT).context(vip)?;
        }
        let now = balancer.status()?;
        for case in [Case::IpOptions, Case::ExtensionHeaders] {
            ensure!(status::cases(&now, case) > 0, "none was counted as {}\n{now:#}", case.name());
        }
        proves(&[20], over(underlay));
    }
    Ok(())
}
