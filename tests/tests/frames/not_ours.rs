//! What is not ours is passed byte for byte, whatever it holds (case 1).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        packet::{Body, Icmp, Packet},
        programs::action,
        reshape::with_harmless_headers,
        world::Shape,
    },
};

fn check(gateway: &Gateway, what: &str, frame: &[u8], reason: &str) -> Result<()> {
    let out = gateway.from_client(frame)?;
    assert_eq!((out.action, out.reason), (action::PASS, reason), "{what}");
    assert_eq!(out.frame, frame, "{what} was changed");
    Ok(())
}

/// The same packet to an address that is no VIP.
fn elsewhere(shape: Shape) -> Packet {
    Packet { destination: shape.stranger(), ..shape.segment(0) }
}

#[test]
fn packets_for_other_addresses_pass_untouched() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let tcp = elsewhere(shape);
        check(&gateway, "TCP", &tcp.bytes(), "not_ours")?;
        check(&gateway, "padded TCP", &tcp.padded(), "not_ours")?;
        check(&gateway, "options", &with_harmless_headers(&tcp.bytes()), "not_ours")?;
        let datagram = Packet { destination: shape.stranger(), ..shape.datagram(0) };
        check(&gateway, "UDP", &datagram.bytes(), "not_ours")?;
        let other = Packet { body: Body::Other(47, vec![1; 40]), ..tcp.clone() };
        check(&gateway, "GRE", &other.bytes(), "not_ours")?;
        let echo = Icmp { kind: [if shape.vip_ipv4 { 8 } else { 128 }, 0], rest: [1; 4], payload: vec![7; 30] };
        check(&gateway, "echo", &Packet { body: Body::Icmp(echo), ..tcp.clone() }.bytes(), "not_ours")?;
        let last_hop = Packet { ttl: 1, ..tcp };
        check(&gateway, "TTL 1", &last_hop.bytes(), "not_ours")?;
    }
    let fragment = Packet { fragment: 0x2000, ..elsewhere(Shape::ALL[0]) };
    check(&gateway, "first fragment", &fragment.bytes(), "not_ours")?;
    let fragment = Packet { fragment: 185, ..elsewhere(Shape::ALL[0]) };
    check(&gateway, "later fragment", &fragment.bytes(), "not_ours")?;
    proves(&[1], Shape::ALL);
    Ok(())
}

#[test]
fn frames_that_are_no_ip_pass_untouched() -> Result<()> {
    let gateway = Gateway::start()?;
    for ethertype in [[0x08, 0x06], [0x88, 0xcc], [0x88, 0x47], [0x00, 0x2e], [0, 0], [0xff, 0xff]] {
        let mut frame = Shape::ALL[0].segment(0).bytes();
        frame[12..14].copy_from_slice(&ethertype);
        check(&gateway, "ethertype", &frame, "not_ours")?;
    }
    Ok(())
}

#[test]
fn tagged_frames_for_other_addresses_pass_with_their_tags() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for tags in [vec![[0x8100, 0x6005]], vec![[0x88a8, 7], [0x8100, 0x0fff]]] {
            let tagged = Packet { tags, ..elsewhere(shape) };
            check(&gateway, "tagged", &tagged.bytes(), "not_ours")?;
            let mut arp = tagged.bytes();
            let ethertype = 12 + 4 * tagged.tags.len();
            arp[ethertype..ethertype + 2].copy_from_slice(&[0x08, 0x06]);
            check(&gateway, "tagged ARP", &arp, "not_ours")?;
            for length in 14..tagged.bytes().len().min(70) {
                check(&gateway, &format!("tagged, {length} bytes"), &tagged.bytes()[..length], "not_ours")?;
            }
        }
        let three = Packet { tags: vec![[0x88a8, 1], [0x8100, 2], [0x8100, 3]], ..shape.segment(0) };
        check(&gateway, "three tags", &three.bytes(), "not_ours")?;
    }
    proves(&[1], Shape::ALL);
    Ok(())
}

#[test]
fn frames_cut_off_anywhere_pass_untouched_when_not_for_a_vip() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for packet in [elsewhere(shape), Packet { destination: shape.stranger(), ..shape.datagram(0) }] {
            let frame = packet.bytes();
            for length in 14..frame.len() {
                check(&gateway, &format!("{shape:?}, {length} bytes"), &frame[..length], "not_ours")?;
            }
        }
    }
    proves(&[1], Shape::ALL);
    Ok(())
}

#[test]
fn vip_s_other_ports_and_protocols_are_the_host_s() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut closed = shape.segment(0);
        closed.tcp().ports[1] = 443;
        check(&gateway, "closed TCP port", &closed.bytes(), "vip_port_closed")?;
        let mut closed = shape.datagram(0);
        closed.udp().ports[1] = 80;
        check(&gateway, "TCP's port over UDP", &closed.bytes(), "vip_port_closed")?;
        check(&gateway, "GRE", &shape.packet(0, Body::Other(47, vec![1; 40])).bytes(), "vip_port_closed")?;
        let reply = Icmp { kind: [if shape.vip_ipv4 { 0 } else { 129 }, 0], rest: [1; 4], payload: vec![7; 30] };
        check(&gateway, "echo reply", &shape.packet(0, Body::Icmp(reply)).bytes(), "vip_icmp")?;
    }
    proves(&[1], Shape::ALL);
    Ok(())
}
