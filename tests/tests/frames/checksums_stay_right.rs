//! Every checksum stays right for any payload, and a UDP datagram without one stays without (case 14).

use std::cell::RefCell;

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        packet::{Body, Packet, Tcp, Udp},
        programs::action,
        world::Shape,
    },
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

fn any_packet() -> impl Strategy<Value = (usize, Packet)> {
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    (0..Shape::ALL.len(), any::<(u32, u32, u16, u16, u8)>(), payload, any::<bool>(), 2_u8..=255).prop_map(
        |(position, (sequence, acknowledgment, window, port, traffic_class), payload, is_tcp, ttl)| {
            let shape = Shape::ALL[position];
            let ports = [port, if is_tcp { 80 } else { 53 }];
            let body = if is_tcp {
                Body::Tcp(Tcp { ports, sequence, acknowledgment, flags: 0x18, window, options: vec![], payload })
            } else {
                Body::Udp(Udp { ports, payload, checksum: true })
            };
            (position, Packet { ttl, traffic_class, identification: window, ..shape.packet(0, body) })
        },
    )
}

#[test]
fn checksums_are_right_both_ways_for_any_packet() -> Result<()> {
    let gateway = RefCell::new(Gateway::start()?);
    let mut runner = TestRunner::new(Config::with_cases(3000));
    runner.run(&any_packet(), |(position, mut packet)| {
        let (gateway, shape) = (gateway.borrow(), Shape::ALL[position]);
        let out = gateway.from_client(&packet.bytes()).expect("run");
        prop_assert_eq!(out.reason, "forwarded");
        prop_assert_eq!(wrong(&out.frame), Vec::<String>::new());
        let public = packet.ports()[1];
        let port = if public == 80 { 8080 } else { 5353 };
        let answer = shape.delivered(0, &packet, (1, port)).turned();
        prop_assume!(answer.ttl > 1);
        let back = gateway.from_host(&shape.from_host(0, &answer).bytes()).expect("run");
        prop_assert_eq!(back.reason, "replied");
        prop_assert_eq!(wrong(&back.frame), Vec::<String>::new());
        prop_assert_eq!(back.frame, shape.returned(0, &answer, public).bytes());
        Ok(())
    })?;
    proves(&[14], Shape::ALL);
    Ok(())
}

#[test]
fn every_value_of_a_word_keeps_the_checksums_right() -> Result<()> {
    let gateway = Gateway::start()?;
    let shape = Shape::ALL[0];
    for word in 0..=u16::MAX {
        for mut packet in [shape.segment(0), shape.datagram(0)] {
            match &mut packet.body {
                Body::Tcp(tcp) => tcp.payload = word.to_be_bytes().to_vec(),
                Body::Udp(udp) => udp.payload = word.to_be_bytes().to_vec(),
                Body::Icmp(_) | Body::Other(..) => {}
            }
            let out = gateway.from_client(&packet.bytes())?;
            assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{word:#x}");
            // The inner UDP checksum: 0 would mean that there is none.
            assert_ne!(out.frame[90..92], [0, 0], "{word:#x}");
        }
    }
    proves(&[14], [Shape::ALL[0]]);
    Ok(())
}

#[test]
fn datagram_without_checksum_stays_without_over_ipv4() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4) {
        let mut packet = shape.datagram(0);
        packet.udp().checksum = false;
        let out = gateway.from_client(&packet.bytes())?;
        let inner = shape.delivered(0, &packet, (1, 5353)).bytes();
        assert_eq!(out.frame[out.frame.len() - inner.len()..], inner, "{shape:?}");
        let answer = shape.delivered(0, &packet, (1, 5353)).turned();
        let back = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
        assert_eq!(back.frame, shape.returned(0, &answer, 53).bytes(), "{shape:?}");
    }
    proves(&[14], Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4));
    Ok(())
}

#[test]
fn datagram_without_checksum_is_refused_over_ipv6() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL.into_iter().filter(|shape| !shape.vip_ipv4) {
        let mut packet = shape.datagram(0);
        packet.udp().checksum = false;
        let out = gateway.from_client(&packet.bytes())?;
        assert_eq!((out.action, out.reason), (action::DROP, "udp_checksum_missing"), "{shape:?}");
    }
    proves(&[14], Shape::ALL.into_iter().filter(|shape| !shape.vip_ipv4));
    Ok(())
}
