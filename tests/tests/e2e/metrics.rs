//! Metrics are there while their object is, and count what went through.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use balancer_tests::{client::fetch, status, web};
use xtask::lab::{Lab, Topology};

#[test]
fn series_of_a_vip_come_and_go_with_its_service() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let mut config = web::config(&lab, &["web-1", "web-2"]);
    let balancer = lab.start_balancer(&config.to_toml())?;
    fetch(&lab.ns("client"), web::vips("blue")[0])?;
    ensure!(
        web::everywhere().all(|(_, vip)| balancer.metrics().is_ok_and(|text| text.contains(vip))),
        "every VIP has series"
    );

    config.services.retain(|service| service.project == "red");
    balancer.rewrite_config(&config.to_toml())?;
    balancer.reload()?;
    balancer.wait_status("blue is gone", |status| status::service_port(status, web::vips("blue")[0]).is_null())?;

    let deadline = Instant::now() + Duration::from_secs(5);
    while web::vips("blue").iter().any(|vip| balancer.metrics().is_ok_and(|text| text.contains(vip))) {
        ensure!(Instant::now() < deadline, "series of blue are still there:\n{}", balancer.metrics()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn status_counts_both_directions_of_every_vip() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    for (_, vip) in web::everywhere() {
        fetch(&lab.ns("client"), vip)?;
    }
    balancer.wait_status("every VIP has frames both ways", |status| {
        web::everywhere().all(|(_, vip)| {
            let port = status::service_port(status, vip);
            ["forward_packets", "forward_bytes", "reply_packets", "reply_bytes"]
                .iter()
                .all(|counter| port[counter].as_u64() > Some(0))
        })
    })?;
    Ok(())
}
