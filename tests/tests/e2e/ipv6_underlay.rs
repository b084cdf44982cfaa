//! Everything works over an IPv6 underlay too, with a valid outer checksum.

use anyhow::Result;
use balancer_tests::{
    capture::Capture,
    client::{Connection, datagram, fetch},
    conformance::{over, proves},
    load::{self, Report},
    web,
};
use xtask::lab::{Lab, NameServer, ServiceSpec, Topology, Underlay};

#[test]
fn tcp_and_udp_go_through_an_ipv6_underlay_with_valid_checksums() -> Result<()> {
    let lab = Lab::build(Topology::demo().over_ipv6())?;
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

    let capture = Capture::start(&lab)?;
    for (project, vip) in web::everywhere() {
        assert!(fetch(&client, vip)?.starts_with(project), "{vip}");
        assert!(datagram(&client, vip, 7, "hello")?.starts_with(project), "{vip}");
        let report = load::hey(&client, &web::url(vip, ""), 200)?;
        assert_eq!(report, Report { succeeded: 200, failed: 0 }, "{vip}");
    }
    Connection::open_everywhere(&lab, 2)?.iter_mut().try_for_each(Connection::still_there)?;

    let frames = capture.finish()?;
    frames.check_well_formed()?;
    let outwards = frames.fields("ipv6.src == fd99::1 && vxlan", &["udp.checksum"])?;
    assert!(!outwards.is_empty());
    for frame in outwards {
        // RFC 768 forbids 0 over IPv6; of an inner datagram's checksum only the first, the outer one, is meant.
        assert!(!frame[0].starts_with("0x0000"), "an outer checksum is 0");
    }
    proves(&[12, 14, 15, 23], over(Underlay::Ipv6));
    Ok(())
}
