//! The outer headers are what RFC 7348 and RFC 6040 want, and the source port stays with its flow (case 15).

use std::collections::BTreeSet;

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        overlay::outer_port,
        packet::{Body, Packet, Udp},
        world::Shape,
    },
};

#[test]
fn source_port_is_dynamic_and_constant_for_a_flow() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut seen = BTreeSet::new();
        for port in 0..300 {
            let mut packet = shape.segment(0);
            packet.tcp().ports[0] = 20_000 + port;
            let first = outer_port(&gateway.from_client(&packet.bytes())?.frame, shape.underlay_ipv4);
            assert!(first >= 49_152, "{first}");
            packet.tcp().flags = 0x02;
            packet.tcp().payload = vec![];
            packet.ttl = 9;
            let again = outer_port(&gateway.from_client(&packet.bytes())?.frame, shape.underlay_ipv4);
            assert_eq!(first, again, "{shape:?} client port {}", 20_000 + port);
            seen.insert(first);
        }
        assert!(seen.len() > 280, "{} ports for 300 flows", seen.len());
    }
    proves(&[15], Shape::ALL);
    Ok(())
}

#[test]
fn traffic_class_is_copied_outside_with_its_ecn_bits() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for traffic_class in 0..=255 {
            let packet = Packet { traffic_class, ..shape.segment(0) };
            let out = gateway.from_client(&packet.bytes())?;
            let delivered = shape.delivered(0, &packet, (1, 8080));
            let overlay = shape.overlay(0, traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
            assert_eq!(out.frame, overlay.around(&delivered.bytes()).bytes(), "{shape:?} {traffic_class:#x}");
        }
    }
    proves(&[15], Shape::ALL);
    Ok(())
}

#[test]
fn outer_checksum_over_ipv6_is_valid_for_datagrams_without_checksum() -> Result<()> {
    let gateway = Gateway::start()?;
    let shape = Shape { vip_ipv4: true, underlay_ipv4: false };
    for length in (0..200).chain([1000, 1400]) {
        let payload = (0..length).map(|byte| (byte * 37 + length) as u8).collect();
        let packet = shape.packet(0, Body::Udp(Udp { ports: [40_000, 53], payload, checksum: false }));
        let out = gateway.from_client(&packet.bytes())?;
        let delivered = shape.delivered(0, &packet, (1, 5353));
        let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, false));
        assert_eq!(out.frame, overlay.around(&delivered.bytes()).bytes(), "{length} bytes");
        assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{length} bytes");
    }
    proves(&[14, 15], [Shape::ALL[1]]);
    Ok(())
}
