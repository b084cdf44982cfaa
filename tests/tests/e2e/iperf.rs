//! iperf3 moves TCP and UDP both ways through a VIP.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use balancer_tests::{server, web};
use serde_json::Value;
use xtask::lab::{Lab, Ns, ServiceSpec, Topology};

/// Two cores run both projects' clients, servers and network, so a full socket buffer is not the balancer's loss.
const LOST_PERCENT_MAX: f64 = 1.0;

#[test]
fn iperf3_moves_tcp_and_udp_both_ways_through_every_vip() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = web::PROJECTS
        .map(|project| server::iperf(&lab, &format!("{project}-web-2")))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let port = server::IPERF_PORT;
    let config = web::PROJECTS.iter().fold(lab.config(), |config, project| {
        config.with(
            ServiceSpec::new(project, "iperf", &web::vips(project)).tcp(port, port).udp(port, port).backend("web-2"),
        )
    });
    let _balancer = lab.start_balancer(&config.to_toml())?;
    let client = lab.ns("client");

    thread::scope(|scope| {
        let projects = web::PROJECTS.map(|project| {
            let client = &client;
            scope.spawn(move || web::vips(project).into_iter().try_for_each(|vip| every_way(client, vip).context(vip)))
        });
        projects.into_iter().try_for_each(|project| project.join().expect("an iperf3 run does not panic"))
    })
}

fn every_way(client: &Ns, vip: &str) -> Result<()> {
    for way in [&[][..], &["-R"]] {
        let report = iperf(client, vip, way)?;
        let bytes =
            report["end"]["sum_received"]["bytes"].as_u64().with_context(|| format!("a sum of bytes in {report}"))?;
        assert!(bytes > 1_000_000, "TCP {way:?} through {vip} moved {bytes} bytes");
        let report = iperf(client, vip, &[&["-u", "-b", "20M"], way].concat())?;
        let lost = report["end"]["sum"]["lost_percent"].as_f64().context("a loss")?;
        let packets = report["end"]["sum"]["packets"].as_u64().context("a sum of packets")?;
        assert!(packets > 100 && lost <= LOST_PERCENT_MAX, "UDP {way:?} through {vip} lost {lost} % of {packets}");
    }
    Ok(())
}

fn iperf(client: &Ns, vip: &str, options: &[&str]) -> Result<Value> {
    let port = server::IPERF_PORT.to_string();
    let words = [&["iperf3", "-c", vip, "-p", &port, "-t", "1", "-J"], options].concat();
    let output = client.run_for(Duration::from_secs(15), &words).with_context(|| format!("{words:?}"))?;
    let report: Value = serde_json::from_slice(&output.stdout).context("iperf3 prints JSON")?;
    ensure!(report.get("error").is_none(), "{words:?}: {}", report["error"]);
    Ok(report)
}
