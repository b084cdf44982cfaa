//! A VIP answers pings of every size at the gateway; pings to other addresses are the kernel's.

use anyhow::Result;
use balancer_tests::{
    conformance::{over, proves},
    web,
};
use xtask::lab::{Lab, Topology, Underlay};

#[test]
fn every_vip_and_the_gateway_answer_pings_of_all_sizes() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _balancer = lab.start_balancer(&web::config(&lab, &["web-1"]).to_toml())?;
    let own = ["192.0.2.1", "2001:db8:0:1::1"];
    for address in web::everywhere().map(|(_, vip)| vip).chain(own) {
        for size in ["0", "1", "57", "1400"] {
            lab.ns("client").run(["ping", "-c", "3", "-i", "0.01", "-W", "1", "-s", size, address])?;
        }
    }
    proves(&[1, 2], over(Underlay::Ipv4));
    Ok(())
}
