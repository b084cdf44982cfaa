//! A service port's list of sources decides before any state is looked at or made: the longest prefix that holds the client.

use std::{net::IpAddr, sync::Arc};

use anyhow::Result;
use balancer_tests::frames::{
    gateway::Gateway,
    packet::Packet,
    programs::action,
    reshape::{fragments, with_harmless_headers},
    world::Shape,
};
use balancer_user::model::{Sources, tables::Tables as _};

fn sources(allow: &[&str], deny: &[&str]) -> Arc<Sources> {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect();
    Arc::new(Sources { allow: networks(allow), deny: networks(deny) })
}

fn gateway(sources: &Arc<Sources>) -> Result<Gateway> {
    Gateway::with(|desired| {
        for at in desired.service_ports.iter_mut().filter(|at| at.project == 0) {
            at.sources = Arc::clone(sources);
        }
    })
}

fn check(gateway: &Gateway, source: &str, lets_in: bool) -> Result<()> {
    let source: IpAddr = source.parse()?;
    for shape in Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4 == source.is_ipv4()) {
        for packet in [shape.segment(0), shape.datagram(0)] {
            let packet = Packet { source, ..packet };
            let whole = Packet { fragment: 0, ..packet.clone() };
            let first = fragments(&whole.bytes(), 24, 5).remove(0);
            for frame in [packet.bytes(), with_harmless_headers(&packet.bytes()), first] {
                let out = gateway.from_client(&frame)?;
                let expected = if lets_in { (action::REDIRECT, "forwarded") } else { (action::DROP, "source_denied") };
                assert_eq!((out.action, out.reason), expected, "{shape:?} {source}");
            }
        }
        let elsewhere = Packet { source, ..shape.segment(1) };
        assert_eq!(gateway.from_client(&elsewhere.bytes())?.reason, "forwarded", "{source}: another project's VIP");
    }
    Ok(())
}

#[test]
fn denied_clients_are_dropped_and_all_others_come_in() -> Result<()> {
    let gateway = gateway(&sources(&[], &["198.51.100.0/25", "2001:db8:c::/64"]))?;
    for (source, lets_in) in [
        ("198.51.100.7", false),
        ("198.51.100.127", false),
        ("198.51.100.128", true),
        ("2001:db8:c::7", false),
        ("2001:db8:c:1::7", true),
    ] {
        check(&gateway, source, lets_in)?;
    }
    Ok(())
}

#[test]
fn with_an_allow_list_only_its_clients_come_in_and_the_longest_prefix_decides() -> Result<()> {
    let gateway = gateway(&sources(
        &["198.51.0.0/16", "198.51.100.64/32", "2001:db8::/32"],
        &["198.51.100.0/24", "2001:db8:c::/48"],
    ))?;
    for (source, lets_in) in [
        ("198.51.7.7", true),
        ("198.51.100.7", false),
        ("198.51.100.64", true),
        ("192.0.2.99", false),
        ("2001:db8:e::1", true),
        ("2001:db8:c::7", false),
        ("2001:470::1", false),
    ] {
        check(&gateway, source, lets_in)?;
    }
    assert_eq!(gateway.datapath.flows()?, vec![], "nothing was remembered of anybody");
    Ok(())
}

#[test]
fn a_changed_list_holds_for_the_next_frame_and_thousands_of_prefixes_do() -> Result<()> {
    let shape = Shape::ALL[0];
    let mut gateway = gateway(&sources(&[], &["198.51.100.7/32"]))?;
    let reason = |gateway: &Gateway| Ok::<_, anyhow::Error>(gateway.from_client(&shape.segment(0).bytes())?.reason);
    assert_eq!(reason(&gateway)?, "source_denied");
    let set = |gateway: &mut Gateway, sources: &Arc<Sources>| -> Result<()> {
        gateway.desired.service_ports.iter_mut().for_each(|at| at.sources = Arc::clone(sources));
        gateway.apply().map(drop)
    };
    let many: Vec<String> = (0..8_000_u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    set(&mut gateway, &sources(&[], &many))?;
    assert_eq!(reason(&gateway)?, "forwarded");
    let member = Packet { source: "10.17.3.9".parse()?, ..shape.segment(0) };
    assert_eq!(gateway.from_client(&member.bytes())?.reason, "source_denied");
    set(&mut gateway, &Arc::default())?;
    assert_eq!(gateway.from_client(&member.bytes())?.reason, "forwarded");
    Ok(())
}
