//! Containers of two projects with the same addresses work at the same time, each through its own VIP.

use std::collections::BTreeSet;

use anyhow::Result;
use balancer_tests::{
    client::{datagram, fetch},
    conformance::{over, proves},
    web,
};
use xtask::lab::{Lab, NameServer, ServiceSpec, Topology, Underlay};

#[test]
fn each_vip_is_answered_by_all_backends_of_its_own_project_only() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let config = web::PROJECTS.iter().fold(web::config(&lab, &["web-1", "web-2"]), |config, project| {
        config.with(
            ServiceSpec::new(project, "echo", &web::vips(project))
                .udp(7, NameServer::ECHO_PORT)
                .backend("web-1")
                .backend("web-2"),
        )
    });
    let _balancer = lab.start_balancer(&config.to_toml())?;
    let client = lab.ns("client");

    for (project, vip) in web::everywhere() {
        let expected = BTreeSet::from([format!("{project}/web-1"), format!("{project}/web-2")]);
        let mut over_tcp = BTreeSet::new();
        let mut over_udp = BTreeSet::new();
        for _ in 0..30 {
            let answer = fetch(&client, vip)?;
            let (name, seen_client) = answer.trim().split_once(' ').expect("a name and an address");
            over_tcp.insert(name.to_owned());
            assert!(
                [Topology::CLIENT.0.to_string(), Topology::CLIENT.1.to_string()].contains(&seen_client.to_owned()),
                "{name} saw {seen_client}"
            );
            over_udp.insert(datagram(&client, vip, 7, "x")?.split(' ').next().unwrap_or_default().to_owned());
        }
        assert_eq!((&over_tcp, &over_udp), (&expected, &expected), "{vip}");
    }
    proves(&[12, 23], over(Underlay::Ipv4));
    Ok(())
}
