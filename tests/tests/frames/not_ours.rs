//! What is not ours is passed byte for byte, whatever it holds (case 1).

use anyhow::Result;
use balancer_tests::frames::{
    gateway::Gateway,
    packet::{Body, Icmp, Packet},
    programs::action,
    world::Shape,
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

/// An IPv4 frame with four bytes of options (NOP), or an IPv6 frame with a hop-by-hop header, in front of the transport.
fn with_options(packet: &Packet) -> Vec<u8> {
    let mut bytes = packet.bytes();
    if packet.source.is_ipv4() {
        bytes[14] = 0x46;
        let length = u16::from_be_bytes([bytes[16], bytes[17]]) + 4;
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        bytes.splice(34..34, [1, 1, 1, 0]);
    } else {
        let length = u16::from_be_bytes([bytes[18], bytes[19]]) + 8;
        bytes[18..20].copy_from_slice(&length.to_be_bytes());
        let next = std::mem::replace(&mut bytes[20], 0);
        bytes.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes
}

#[test]
fn packets_for_other_addresses_pass_untouched() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let tcp = elsewhere(shape);
        check(&gateway, "TCP", &tcp.bytes(), "not_ours")?;
        check(&gateway, "padded TCP", &tcp.padded(), "not_ours")?;
        check(&gateway, "options", &with_options(&tcp), "not_ours")?;
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
    check(&gateway, "later fragment", &fragment.bytes(), "not_ours")
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
    Ok(())
}

#[test]
fn options_and_fragments_for_a_vip_are_dropped_by_name() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let out = gateway.from_client(&with_options(&shape.segment(0)))?;
        assert_eq!((out.action, out.reason), (action::DROP, "ip_options"), "{shape:?}");
    }
    for fragment in [0x2000, 185, 0x2000 | 185] {
        let out = gateway.from_client(&Packet { fragment, ..Shape::ALL[0].segment(0) }.bytes())?;
        assert_eq!((out.action, out.reason), (action::DROP, "fragment"));
    }
    let mut fragment = with_options(&Shape::ALL[2].segment(0));
    fragment[20] = 44;
    let out = gateway.from_client(&fragment)?;
    assert_eq!((out.action, out.reason), (action::DROP, "fragment"));
    Ok(())
}
