//! A service port without backends says so at once, and never uses an old one.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::Result;
use balancer_tests::{
    client::{connect, datagram, fetch},
    conformance::{over, proves},
    status, web,
};
use xtask::lab::{Lab, NameServer, ServiceSpec, Topology, Underlay};

/// Far below any retransmission that would hide a dropped frame.
const REFUSAL_LIMIT: Duration = Duration::from_millis(500);

#[test]
fn without_backends_tcp_and_udp_are_refused_at_once() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let client = lab.ns("client");
    let mut config = web::PROJECTS.iter().fold(web::config(&lab, &["web-1"]), |config, project| {
        config
            .with(ServiceSpec::new(project, "echo", &web::vips(project)).udp(7, NameServer::ECHO_PORT).backend("web-1"))
    });
    let balancer = lab.start_balancer(&config.to_toml())?;
    for (project, vip) in web::everywhere() {
        assert!(fetch(&client, vip)?.starts_with(project));
        assert!(datagram(&client, vip, 7, "hello")?.starts_with(project));
    }

    config.services.iter_mut().for_each(|service| service.backends.clear());
    balancer.rewrite_config(&config.to_toml())?;
    balancer.reload()?;
    balancer.wait_status("no VIP has a backend", |status| {
        web::everywhere().all(|(_, vip)| !status::has_backend(status, vip, "web-1"))
    })?;

    for (_, vip) in web::everywhere() {
        let asked = Instant::now();
        let refused = connect(&client, vip, 80).expect_err("nobody serves it");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "TCP to {vip}: {refused}");
        let unreachable = datagram(&client, vip, 7, "hello").expect_err("nobody serves it");
        assert_eq!(unreachable.kind(), ErrorKind::ConnectionRefused, "UDP to {vip}: {unreachable}");
        assert!(asked.elapsed() < REFUSAL_LIMIT, "{vip} took {:?}", asked.elapsed());
    }
    proves(&[7], over(Underlay::Ipv4));
    Ok(())
}
