//! A service port without a usable backend tells its clients at once: RST, or ICMP port unreachable (case 7).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::{Gateway, Outcome},
        packet::{Body, Icmp, Packet, Tcp},
        programs::action,
        world::Shape,
    },
};

/// A client's segment to the port without backends, with this sequence number, acknowledgment, flags and payload.
fn segment(shape: Shape, numbers: (u32, u32), flags: u8, payload: &[u8]) -> Packet {
    let mut packet = shape.segment(0);
    let tcp = packet.tcp();
    *tcp = Tcp { flags, sequence: numbers.0, acknowledgment: numbers.1, payload: payload.to_vec(), ..tcp.clone() };
    tcp.ports[1] = 81;
    packet
}

/// The reset that RFC 9293 section 3.5.2 wants: with an ACK its number, without one an ACK of all that was sent.
fn reset(packet: &Packet, numbers: (u32, u32), flags: u8) -> Packet {
    let mut reset = answered(packet);
    let tcp = reset.tcp();
    let ports = tcp.ports;
    *tcp = Tcp {
        ports,
        sequence: numbers.0,
        acknowledgment: numbers.1,
        flags,
        window: 0,
        options: vec![],
        payload: vec![],
    };
    reset
}

fn answered(packet: &Packet) -> Packet {
    let mut answer = packet.turned();
    answer.ttl = 64;
    answer.traffic_class = 0;
    answer.identification = 0;
    answer.fragment = if packet.source.is_ipv4() { 0x4000 } else { 0 };
    answer
}

fn check(out: &Outcome, reason: &str, expected: &Packet) {
    assert_eq!((out.action, out.reason), (action::TX, reason), "{expected:?}");
    assert_eq!(out.frame, expected.bytes(), "{expected:?}");
}

#[test]
fn tcp_is_reset_with_the_right_numbers() -> Result<()> {
    let gateway = Gateway::start()?;
    let top = u32::MAX;
    for shape in Shape::ALL {
        // (sequence, acknowledgment), flags, payload -> (sequence, acknowledgment), flags
        let table = [
            ((100, 0), 0x02, &b""[..], (0, 101), 0x14),
            ((top, 0), 0x02, b"", (0, 0), 0x14),
            ((100, 0), 0x02, b"early", (0, 106), 0x14),
            ((100, 900), 0x10, b"", (900, 0), 0x04),
            ((100, 900), 0x18, b"data", (900, 0), 0x04),
            ((100, 900), 0x11, b"", (900, 0), 0x04),
            ((100, 0), 0x01, b"xy", (0, 103), 0x14),
        ];
        for (sent, flags, payload, numbers, answer) in table {
            let packet = segment(shape, sent, flags, payload);
            check(&gateway.from_client(&packet.bytes())?, "reset_sent", &reset(&packet, numbers, answer));
        }
    }
    proves(&[7], Shape::ALL);
    Ok(())
}

#[test]
fn syn_with_options_and_tags_is_reset_without_options_with_its_tags() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut packet = segment(shape, (7, 0), 0x02, b"");
        packet.tags = vec![[0x8100, 0x6005]];
        packet.tcp().options = vec![2, 4, 5, 180, 1, 1, 1, 0];
        check(&gateway.from_client(&packet.bytes())?, "reset_sent", &reset(&packet, (0, 8), 0x14));
    }
    proves(&[3, 7], Shape::ALL);
    Ok(())
}

#[test]
fn reset_is_never_answered_with_a_reset() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let out = gateway.from_client(&segment(shape, (1, 2), 0x14, b"").bytes())?;
        assert_eq!((out.action, out.reason), (action::DROP, "no_backend"), "{shape:?}");
    }
    proves(&[7], Shape::ALL);
    Ok(())
}

#[test]
fn datagram_is_answered_with_port_unreachable_that_quotes_it() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let (kind, max) = if shape.vip_ipv4 { ([3, 3], 576 - 28) } else { ([1, 4], 1280 - 48) };
        for length in [0, 1, 19, 500, 530, 1200, 1300] {
            let mut packet = shape.datagram(0);
            packet.udp().ports[1] = 54;
            packet.udp().payload = (0..length).map(|byte| byte as u8).collect();
            let mut quote = packet.ip();
            quote.truncate(max);
            let mut expected = answered(&packet);
            expected.body = Body::Icmp(Icmp { kind, rest: [0; 4], payload: quote });
            check(&gateway.from_client(&packet.bytes())?, "unreachable_sent", &expected);
        }
    }
    proves(&[7], Shape::ALL);
    Ok(())
}

#[test]
fn last_backend_s_removal_ends_its_flows_at_once() -> Result<()> {
    let mut gateway = Gateway::start()?;
    for service_port in &mut gateway.desired.service_ports {
        service_port.backends.clear();
    }
    gateway.apply()?;
    for shape in Shape::ALL {
        let mut packet = shape.segment(0);
        let out = gateway.from_client(&packet.bytes())?;
        let acknowledgment = packet.tcp().acknowledgment;
        check(&out, "reset_sent", &reset(&packet, (acknowledgment, 0), 0x04));
        assert_eq!(gateway.from_client(&shape.datagram(0).bytes())?.reason, "unreachable_sent");
    }
    proves(&[7], Shape::ALL);
    Ok(())
}
