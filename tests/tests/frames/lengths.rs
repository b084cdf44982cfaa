//! Lengths come from the IP header: padding is cut off, a frame that holds less is dropped (case 4).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_port,
        packet::{Body, Udp},
        programs::action,
        world::Shape,
    },
};

#[test]
fn padding_is_cut_off_before_encapsulation() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for length in 0..=10 {
            let body = Udp { ports: [40_000, 53], payload: vec![7; length], checksum: true };
            let packet = shape.packet(0, Body::Udp(body));
            for padding in [0, 1, 2, 18, 40] {
                let mut frame = packet.bytes();
                frame.extend(vec![0xa5; padding]);
                let out = gateway.from_client(&frame)?;
                assert_eq!((out.action, out.reason), (action::REDIRECT, "forwarded"), "{shape:?} {length} {padding}");
                let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
                let delivered = shape.delivered(0, &packet, (1, 5353));
                assert_eq!(out.frame, overlay.around(&delivered.bytes()).bytes(), "{shape:?} {length} {padding}");
            }
        }
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn padding_of_a_reply_is_cut_off_too() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let answer = shape.delivered(0, &shape.segment(0), (1, 8080)).turned();
        let mut frame = shape.from_host(0, &answer).bytes();
        frame.extend([0xa5; 9]);
        let out = gateway.from_host(&frame)?;
        assert_eq!((out.action, out.reason), (action::REDIRECT, "replied"), "{shape:?}");
        assert_eq!(out.frame, shape.returned(0, &answer, 80).bytes(), "{shape:?}");
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn packet_for_a_vip_cut_off_anywhere_is_dropped() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for packet in [shape.segment(0), shape.datagram(0)] {
            let frame = packet.bytes();
            let network = if shape.vip_ipv4 { 34 } else { 54 };
            for length in network..frame.len() {
                let out = gateway.from_client(&frame[..length])?;
                assert_eq!((out.action, out.reason), (action::DROP, "truncated"), "{shape:?} {length} bytes");
            }
        }
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn reply_cut_off_anywhere_is_never_sent_on() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let answer = shape.delivered(0, &shape.segment(0), (1, 8080)).turned();
        let frame = shape.from_host(0, &answer).bytes();
        for length in 14..frame.len() {
            let out = gateway.from_host(&frame[..length])?;
            assert!(matches!(out.action, action::PASS | action::DROP), "{shape:?} {length} bytes: {}", out.reason);
            if out.action == action::PASS {
                assert_eq!(out.frame, &frame[..length], "{shape:?} {length} bytes");
            }
        }
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn headers_that_contradict_themselves_are_dropped_by_name() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let transport = if shape.vip_ipv4 { 34 } else { 54 };
        for offset in [0x00, 0x40, 0xf0] {
            let mut frame = shape.segment(0).bytes();
            frame[transport + 12] = offset;
            let out = gateway.from_client(&frame)?;
            assert_eq!((out.action, out.reason), (action::DROP, "malformed"), "{shape:?} data offset {offset:#x}");
        }
        for length in [0_u16, 7, 5000] {
            let mut frame = shape.datagram(0).bytes();
            frame[transport + 4..transport + 6].copy_from_slice(&length.to_be_bytes());
            let out = gateway.from_client(&frame)?;
            assert_eq!((out.action, out.reason), (action::DROP, "malformed"), "{shape:?} UDP length {length}");
        }
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn ip_length_smaller_than_its_headers_is_dropped() -> Result<()> {
    let gateway = Gateway::start()?;
    for length in 0..40_u16 {
        let mut frame = Shape::ALL[0].segment(0).bytes();
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        let out = gateway.from_client(&frame)?;
        assert_eq!(out.action, action::DROP, "length {length}: {}", out.reason);
    }
    for length in 0..20_u16 {
        let mut frame = Shape::ALL[2].segment(0).bytes();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let out = gateway.from_client(&frame)?;
        assert_eq!(out.action, action::DROP, "payload length {length}: {}", out.reason);
    }
    proves(&[4], [Shape::ALL[0], Shape::ALL[2]]);
    Ok(())
}
