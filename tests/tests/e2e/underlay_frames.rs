//! On the underlay: well-formed VXLAN, correct checksums inside, and every frame under its own project's VNI.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use balancer_tests::{
    capture::{Capture, Frames},
    client::{datagram, fetch},
    conformance::{over, proves},
    load, web,
};
use xtask::lab::{Lab, NameServer, ServiceSpec, Topology, Underlay, topology::mac_text};

#[test]
fn vxlan_is_well_formed_and_projects_never_see_each_others_frames() -> Result<()> {
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

    let capture = Capture::start(&lab)?;
    for (_, vip) in web::everywhere() {
        load::hey(&client, &web::url(vip, ""), 100)?;
        for length in [0, 1, 2, 15, 1200] {
            datagram(&client, vip, 7, &"x".repeat(length))?;
        }
        fetch(&client, vip)?;
    }
    let frames = capture.finish()?;

    frames.check_well_formed()?;
    check_outer_header(&frames)?;
    check_vnis(&frames, lab.topology())?;
    proves(&[15, 23], over(Underlay::Ipv4));
    Ok(())
}

/// RFC 7348: the I flag alone, reserved bits 0; the source port is ours to choose, the same for the life of a flow.
fn check_outer_header(frames: &Frames) -> Result<()> {
    let outwards =
        frames.fields("ip.src == 10.99.0.1 && ip.dst != 10.99.0.1", &["vxlan.flags", "udp.srcport", "ip.flags.df"])?;
    ensure!(outwards.len() > 100, "only {} frames from the gateway", outwards.len());
    for frame in outwards {
        let [flags, ports, dont_fragment] = frame.as_slice() else { anyhow::bail!("{frame:?}") };
        ensure!(flags == "0x0800", "flags {flags}");
        let port: u16 = ports.split(',').next().context("an outer port")?.parse()?;
        ensure!(port >= 49152, "source port {port}");
        let first = dont_fragment.split(',').next().unwrap_or_default();
        ensure!(first == "1" || first == "True", "the outer header may be fragmented: {dont_fragment}");
    }
    Ok(())
}

/// Each VNI carries the MACs of its own project only, both ways, and every container is seen.
fn check_vnis(frames: &Frames, topology: &Topology) -> Result<()> {
    for project in &topology.projects {
        let own: BTreeSet<String> = project
            .containers
            .iter()
            .map(|container| container.mac)
            .chain([project.gateway_mac()])
            .map(mac_text)
            .collect();
        let rows = frames.fields(&format!("vxlan.vni == {}", project.vni), &["eth.src", "eth.dst"])?;
        let mut seen = BTreeSet::new();
        for macs in rows.iter().flatten() {
            let inner = macs.split(',').nth(1).with_context(|| format!("an inner MAC in {macs}"))?;
            seen.insert(inner.to_owned());
        }
        // ARP and ND of the containers among each other go to groups; the gateway is in no flood list, so it sees none of them.
        ensure!(seen == own, "VNI {} carries {seen:?}, not {own:?}", project.vni);
    }
    Ok(())
}
