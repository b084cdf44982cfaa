//! TTL and hop limit count down, and where they end the client is told (case 13).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        overlay::outer_port,
        packet::{Body, Icmp, Packet},
        programs::action,
        world::Shape,
    },
};

/// What the gateway must tell the client about a packet whose TTL ended.
fn time_exceeded(shape: Shape, packet: &Packet) -> Packet {
    let (kind, max, ip) = if shape.vip_ipv4 { (11, 576, 20) } else { (3, 1280, 40) };
    let mut quote = packet.ip();
    quote.truncate(max - ip - 8);
    let mut told = packet.turned();
    told.ttl = 64;
    told.traffic_class = 0;
    told.identification = 0;
    told.fragment = if shape.vip_ipv4 { 0x4000 } else { 0 };
    told.body = Body::Icmp(Icmp { kind: [kind, 0], rest: [0; 4], payload: quote });
    told
}

#[test]
fn every_ttl_counts_down_by_one() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for ttl in 2..=255 {
            let packet = Packet { ttl, ..shape.segment(0) };
            let out = gateway.from_client(&packet.bytes())?;
            let delivered = shape.delivered(0, &packet, (1, 8080));
            let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
            assert_eq!(out.frame, overlay.around(&delivered.bytes()).bytes(), "{shape:?} {ttl}");
        }
    }
    proves(&[13], Shape::ALL);
    Ok(())
}

#[test]
fn last_hop_is_answered_with_time_exceeded() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for ttl in [0, 1] {
            for length in [0, 1, 18, 500, 700, 1300] {
                for tags in [vec![], vec![[0x8100, 5]]] {
                    let mut packet = Packet { ttl, tags, ..shape.segment(0) };
                    packet.tcp().payload = (0..length).map(|byte| byte as u8).collect();
                    let out = gateway.from_client(&packet.bytes())?;
                    assert_eq!((out.action, out.reason), (action::TX, "time_exceeded_sent"), "{shape:?} {length}");
                    assert_eq!(out.frame, time_exceeded(shape, &packet).bytes(), "{shape:?} {length}");
                }
            }
        }
    }
    proves(&[13], Shape::ALL);
    Ok(())
}

#[test]
fn padding_is_not_quoted() -> Result<()> {
    let gateway = Gateway::start()?;
    let mut packet = Packet { ttl: 1, ..Shape::ALL[0].segment(0) };
    packet.tcp().payload = vec![];
    let out = gateway.from_client(&packet.padded())?;
    assert_eq!(out.frame, time_exceeded(Shape::ALL[0], &packet).bytes());
    assert_eq!(wrong(&out.frame), Vec::<String>::new());
    proves(&[4], [Shape::ALL[0]]);
    Ok(())
}

#[test]
fn packet_whose_ip_length_exceeds_the_frame_is_dropped_and_not_quoted() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let frame = Packet { ttl: 1, ..shape.segment(0) }.bytes();
        let out = gateway.from_client(&frame[..frame.len() - 3])?;
        assert_eq!((out.action, out.reason), (action::DROP, "truncated"), "{shape:?}");
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn reply_whose_ttl_ends_is_dropped_by_name() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut answer = shape.delivered(0, &shape.segment(0), (1, 8080)).turned();
        answer.ttl = 1;
        let out = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
        assert_eq!((out.action, out.reason), (action::DROP, "reply_ttl"), "{shape:?}");
    }
    proves(&[13], Shape::ALL);
    Ok(())
}
