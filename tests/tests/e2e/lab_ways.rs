//! The lab's other ways, without the daemon: narrow links, routers that tell and routers that do not, jumbo frames.

use anyhow::Result;
use xtask::lab::{Lab, Refusal, Topology};

/// Pings once with `size` bytes behind the ICMP header that may not be fragmented; what ping printed, and whether it was answered.
fn ping(lab: &Lab, from: &str, to: &str, size: u16) -> Result<(bool, String)> {
    let size = size.to_string();
    let output = lab.ns(from).command("ping").args(["-c", "1", "-W", "1", "-M", "do", "-s", &size, to]).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Gateway and first host, as the client and the gateway see them.
fn ends(lab: &Lab) -> [(&'static str, String); 4] {
    let host = &lab.topology().hosts[0];
    [
        ("client", Topology::GATEWAY_PUBLIC.0.to_string()),
        ("client", Topology::GATEWAY_PUBLIC.1.to_string()),
        ("gw", host.ipv4.to_string()),
        ("gw", host.ipv6.to_string()),
    ]
}

#[test]
fn a_router_at_a_narrow_link_names_the_mtu_or_is_a_black_hole() -> Result<()> {
    for refusal in [Refusal::Told, Refusal::Silent] {
        let lab = Lab::build(Topology::demo().through_edge(1400, refusal).through_core(1400, refusal))?;
        for (from, to) in ends(&lab) {
            let headers = if to.contains(':') { 48 } else { 28 };
            assert!(ping(&lab, from, &to, 1400 - headers)?.0, "{from} to {to}: 1400 bytes fit");
            let (answered, said) = ping(&lab, from, &to, 1401 - headers)?;
            let told = said.contains("mtu = 1400") || said.contains("mtu=1400") || said.contains("Packet too big");
            assert_eq!((answered, told), (false, refusal == Refusal::Told), "{from} to {to}: {said}");
        }
    }
    Ok(())
}

#[test]
fn containers_reach_each_other_through_the_underlay_s_router() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let lab = Lab::build(topology.through_core(1400, Refusal::Told))?;
        for address in ["10.1.0.12", "fd01::12"] {
            assert!(ping(&lab, "red-web-1", address, 1000)?.0, "{address}");
        }
    }
    Ok(())
}

#[test]
fn jumbo_frames_pass_on_every_leg() -> Result<()> {
    let lab = Lab::build(Topology {
        client_mtu: 9000,
        public_mtu: 9000,
        underlay_mtu: 9100,
        inner_mtu: 9000,
        offloads: true,
        uplinks: true,
        ..Topology::demo()
    })?;
    for (from, to) in
        ends(&lab).into_iter().chain([("red-web-1", "10.1.0.12".into()), ("red-web-1", "fd01::12".into())])
    {
        let headers = if to.contains(':') { 48 } else { 28 };
        assert!(ping(&lab, from, &to, 9000 - headers)?.0, "{from} to {to}");
    }
    Ok(())
}
