//! Fragments follow their first one to the same backend, in any order, and cost bounded memory (case 19).

use anyhow::Result;
use balancer_common::abi;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::{Gateway, Outcome},
        overlay::outer_port,
        packet::{Body, Icmp, Packet},
        programs::action,
        reshape::{fragment, fragments},
        world::Shape,
    },
};

const DATA: usize = 1208;

fn large(shape: Shape, tcp: bool) -> Packet {
    let mut packet = if tcp { shape.segment(0) } else { shape.datagram(0) };
    packet.fragment = 0;
    let payload: Vec<u8> = (0..4001).map(|byte| (byte * 31 + byte / 256) as u8).collect();
    if tcp {
        packet.tcp().payload = payload;
    } else {
        packet.udp().payload = payload;
    }
    packet
}

/// Each fragment of a client's packet, and what its container's host has to get for it.
fn pairs(shape: Shape, packet: &Packet, identification: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let port = if matches!(packet.body, Body::Tcp(_)) { 8080 } else { 5353 };
    let delivered = shape.delivered(0, packet, (1, port));
    let sent = fragments(&packet.bytes(), DATA, identification);
    sent.into_iter().zip(fragments(&delivered.bytes(), DATA, identification)).collect()
}

fn check(shape: Shape, packet: &Packet, out: &Outcome, inner: &[u8], port: &mut Option<u16>) {
    assert_eq!((out.action, out.reason), (action::REDIRECT, "forwarded"), "{shape:?}");
    let outer = outer_port(&out.frame, shape.underlay_ipv4);
    assert_eq!(*port.get_or_insert(outer), outer, "{shape:?}: one flow, one outer port");
    let expected = shape.overlay(0, packet.traffic_class, outer).around(inner).bytes();
    assert!(out.frame == expected, "{shape:?}: a fragment came out wrong");
}

#[test]
fn fragments_reach_the_container_byte_for_byte() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for tcp in [true, false] {
            let (packet, mut port) = (large(shape, tcp), None);
            for (frame, inner) in pairs(shape, &packet, 0x1234) {
                check(shape, &packet, &gateway.from_client(&frame)?, &inner, &mut port);
            }
        }
    }
    proves(&[19], Shape::ALL);
    Ok(())
}

#[test]
fn whole_packets_and_fragments_of_a_flow_share_their_outer_port() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let small = shape.datagram(0);
        let whole = gateway.from_client(&small.bytes())?;
        let mut port = Some(outer_port(&whole.frame, shape.underlay_ipv4));
        let packet = large(shape, false);
        for (frame, inner) in pairs(shape, &packet, 7) {
            check(shape, &packet, &gateway.from_client(&frame)?, &inner, &mut port);
        }
    }
    proves(&[15, 19], Shape::ALL);
    Ok(())
}

#[test]
fn fragment_before_its_first_is_held_and_then_follows_it() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let (packet, mut port) = (large(shape, false), None);
        let mut pairs = pairs(shape, &packet, 0xbeef);
        pairs.rotate_left(1);
        for (frame, _) in &pairs[..3] {
            let out = gateway.from_client(frame)?;
            assert_eq!((out.action, out.reason), (action::DROP, "fragment_held"), "{shape:?}");
            assert_eq!(&out.frame, frame, "{shape:?}: the daemon holds it as it came");
        }
        let (first, inner) = &pairs[3];
        check(shape, &packet, &gateway.from_client(first)?, inner, &mut port);
        // As the daemon runs them again; duplicates are the receiver's to drop.
        for (frame, inner) in pairs[..3].iter().chain(&pairs[..1]) {
            check(shape, &packet, &gateway.from_client(frame)?, inner, &mut port);
        }
    }
    proves(&[19], Shape::ALL);
    Ok(())
}

#[test]
fn fragments_of_different_packets_and_clients_are_told_apart() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let packet = large(shape, false);
        let known = pairs(shape, &packet, 1);
        assert_eq!(gateway.from_client(&known[0].0)?.reason, "forwarded");
        let held = |frame: &[u8], what: &str| -> Result<()> {
            assert_eq!(gateway.from_client(frame)?.reason, "fragment_held", "{shape:?}: {what}");
            Ok(())
        };
        held(&pairs(shape, &packet, 2)[1].0, "another identification")?;
        let mut other = packet.clone();
        other.source = shape.stranger();
        held(&pairs(shape, &other, 1)[1].0, "another client")?;
        held(&pairs(shape, &large(shape, true), 1)[1].0, "another protocol")?;
        let mut elsewhere = packet.clone();
        elsewhere.destination = shape.vip(1);
        held(&fragments(&elsewhere.bytes(), DATA, 1)[1], "another VIP")?;
    }
    proves(&[19], Shape::ALL);
    Ok(())
}

#[test]
fn replies_in_fragments_reach_the_client_byte_for_byte() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for (tcp, port, public) in [(true, 8080, 80), (false, 5353, 53)] {
            let answer = shape.delivered(0, &large(shape, tcp), (1, port)).turned();
            let expected = fragments(&shape.returned(0, &answer, public).bytes(), DATA, 99);
            let sent = fragments(&answer.bytes(), DATA, 99);
            let in_vxlan = |inner: &[u8]| shape.host_overlay(0).around(inner).bytes();
            let early = gateway.from_host(&in_vxlan(&sent[1]))?;
            assert_eq!((early.action, early.reason), (action::DROP, "fragment_held"), "{shape:?}");
            for (inner, expected) in sent.iter().zip(&expected) {
                let out = gateway.from_host(&in_vxlan(inner))?;
                assert_eq!((out.action, out.reason), (action::REDIRECT, "replied"), "{shape:?}");
                assert!(out.frame == *expected, "{shape:?}: a fragment of a reply came out wrong");
            }
        }
    }
    proves(&[19], Shape::ALL);
    Ok(())
}

#[test]
fn fragments_that_are_not_replies_are_left_to_the_vxlan_device() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut to_gateway = shape.delivered(0, &large(shape, false), (1, 5353)).turned();
        to_gateway.destination = shape.project_gateway();
        let mut stranger = to_gateway.clone();
        stranger.source = shape.stranger();
        for (packet, reason) in [(to_gateway, "overlay_for_gateway"), (stranger, "overlay_not_reply")] {
            for inner in fragments(&packet.bytes(), DATA, 3) {
                let frame = shape.host_overlay(0).around(&inner).bytes();
                let out = gateway.from_host(&frame)?;
                assert_eq!((out.action, out.reason), (action::PASS, reason), "{shape:?}");
                assert!(out.frame == frame, "{shape:?}: changed");
            }
        }
    }
    proves(&[1, 19], Shape::ALL);
    Ok(())
}

#[test]
fn pings_in_fragments_are_answered_fragment_by_fragment() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let [request, reply] = if shape.vip_ipv4 { [8, 0] } else { [128, 129] };
        let icmp = |kind| Icmp { kind: [kind, 0], rest: [1, 2, 3, 4], payload: (0..3000).map(|n| n as u8).collect() };
        let ping = Packet { fragment: 0, ..shape.packet(0, Body::Icmp(icmp(request))) };
        let mut pong = Packet { body: Body::Icmp(icmp(reply)), ..ping.clone() }.turned();
        pong.ttl = 64;
        let expected = fragments(&pong.bytes(), DATA, 77);
        let sent = fragments(&ping.bytes(), DATA, 77);
        assert_eq!(gateway.from_client(&sent[1])?.reason, "fragment_held", "{shape:?}: nobody asked yet");
        for (frame, expected) in sent.iter().zip(&expected) {
            let out = gateway.from_client(frame)?;
            assert_eq!((out.action, out.reason), (action::TX, "echo_answered"), "{shape:?}");
            assert!(out.frame == *expected, "{shape:?}: an answer came out wrong");
        }
    }
    proves(&[2, 19], Shape::ALL);
    Ok(())
}

#[test]
fn fragments_that_hide_or_overwrite_a_header_are_malformed() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let headers = 14 + if shape.vip_ipv4 { 20 } else { 40 };
        let tcp = large(shape, true).bytes();
        let check = |data: &[u8], place: (u16, bool), what: &str| -> Result<()> {
            let out = gateway.from_client(&fragment(&tcp[..headers], data, place, 5))?;
            assert_eq!((out.action, out.reason), (action::DROP, "malformed"), "{shape:?}: {what}");
            Ok(())
        };
        check(&tcp[headers..headers + 16], (0, true), "a first fragment that ends within the TCP header")?;
        check(&tcp[headers..headers + 64], (8, true), "a later one over the flags")?;
        check(&tcp[headers..headers + 64], (65_520, false), "beyond 65535 bytes")?;
    }
    proves(&[19], Shape::ALL);
    Ok(())
}

#[test]
fn first_fragments_that_never_complete_cost_bounded_memory() -> Result<()> {
    let gateway = Gateway::start()?;
    let shape = Shape::ALL[0];
    let packet = large(shape, false);
    for identification in 0..abi::FRAGMENTS_MAX + 2_000 {
        let mut other = packet.clone();
        other.udp().ports[0] = 1024 + (identification >> 14) as u16;
        other.source = std::net::IpAddr::from([198, 51, 100, (identification >> 16) as u8]);
        let first = &fragments(&other.bytes(), DATA, identification)[0];
        assert_eq!(gateway.from_client(first)?.reason, "forwarded");
    }
    let (mut port, newest) = (None, pairs(shape, &packet, 0xffff));
    for (frame, inner) in newest {
        check(shape, &packet, &gateway.from_client(&frame)?, &inner, &mut port);
    }
    proves(&[10, 19], [Shape::ALL[0]]);
    Ok(())
}
