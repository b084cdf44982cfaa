//! QUIC moves megabytes through a UDP VIP in datagrams as large as the path carries.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use balancer_tests::{python, web};
use xtask::lab::{Lab, ServiceSpec, Topology};

const SERVER: &str = include_str!("quic_server.py");
const CLIENT: &str = include_str!("quic_client.py");
const CONTAINER_PORT: &str = "4433";
const BYTES: &str = "3000000";
/// 1500 less the headers of IPv6 and UDP.
const DATAGRAM: &str = "1452";
const LIMIT: Duration = Duration::from_secs(50);

#[test]
fn quic_downloads_megabytes_in_large_datagrams_through_every_vip() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let lab = Lab::build(topology)?;
        let container = lab.ns("red-web-1");
        let server = python::spawn_with_packages(&container, "quic", SERVER, &[CONTAINER_PORT, DATAGRAM])?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !server.log().contains("serving") {
            ensure!(Instant::now() < deadline, "the QUIC server does not start\n{}", server.log());
            sleep(Duration::from_millis(20));
        }
        let service =
            ServiceSpec::new("red", "quic", &web::vips("red")).udp(443, CONTAINER_PORT.parse()?).backend("web-1");
        let _balancer = lab.start_balancer(&lab.config().with(service).to_toml())?;
        for vip in web::vips("red") {
            python::run_with_packages(&lab.ns("client"), CLIENT, &[vip, "443", BYTES, DATAGRAM], LIMIT)
                .with_context(|| format!("through {vip}\n{}", server.log()))?;
        }
    }
    Ok(())
}
