//! Next hops follow the kernel's neighbours, for hosts and for clients, over both underlays.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use balancer_tests::{
    client::{Connection, fetch},
    conformance::{over, proves},
    web,
};
use xtask::lab::{Lab, Ns, Topology, Underlay};

/// How soon a changed MAC is followed.
const FOLLOW_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn flushed_neighbours_lose_no_request() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let _balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    let mut connections = Connection::open_everywhere(&lab, 3)?;
    for device in ["und0", "pub0"].repeat(3) {
        lab.ns("gw").run(["ip", "neighbour", "flush", "dev", device])?;
        connections.iter_mut().try_for_each(Connection::still_there)?;
        for (project, vip) in web::everywhere() {
            assert!(fetch(&lab.ns("client"), vip)?.starts_with(project), "{vip}");
        }
    }
    proves(&[21], over(Underlay::Ipv4));
    Ok(())
}

#[test]
fn a_changed_mac_of_host_or_router_is_followed_within_a_second() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let gateway_vtep = topology.gateway_vtep().to_string();
        let lab = Lab::build(topology)?;
        let _servers = lab.start_name_servers()?;
        let _balancer = lab.start_balancer(&web::config(&lab, &["web-1"]).to_toml())?;
        let mut connections = Connection::open_everywhere(&lab, 1)?;

        change_mac(&lab.ns("host1"), "und0", "02:99:00:00:00:11", &[&gateway_vtep])?;
        check_followed(&lab, &mut connections)?;
        change_mac(&lab.ns("wan"), "gw0", "02:99:00:00:00:fe", &["192.0.2.1", "2001:db8:0:1::1"])?;
        check_followed(&lab, &mut connections)?;
    }
    proves(&[21], [Underlay::Ipv4, Underlay::Ipv6].into_iter().flat_map(over));
    Ok(())
}

/// Gives a device another MAC and lets its kernel ask for the gateway's, which is how the gateway's kernel learns of it.
fn change_mac(ns: &Ns, device: &str, mac: &str, gateways: &[&str]) -> Result<()> {
    ns.run(["ip", "link", "set", device, "address", mac])?;
    gateways.iter().try_for_each(|gateway| ns.run(["ping", "-c", "1", "-W", "2", gateway]).map(drop))
}

fn check_followed(lab: &Lab, connections: &mut [Connection]) -> Result<()> {
    let changed = Instant::now();
    for (project, vip) in web::everywhere() {
        let request = || lab.ns("client").text(["curl", "--silent", "--max-time", "0.2", &web::url(vip, "")]);
        while !request().is_ok_and(|answer| answer.starts_with(project)) {
            ensure!(changed.elapsed() < FOLLOW_LIMIT, "{vip} does not answer {:?} after the change", changed.elapsed());
        }
    }
    connections.iter_mut().try_for_each(Connection::still_there)
}
