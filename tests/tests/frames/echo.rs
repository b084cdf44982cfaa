//! ICMP echo to a VIP is answered at the gateway with a right checksum, whatever the payload (case 2).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        packet::{Body, Icmp, Packet},
        programs::action,
        world::Shape,
    },
};

fn request(shape: Shape, payload: Vec<u8>) -> Packet {
    let kind = [if shape.vip_ipv4 { 8 } else { 128 }, 0];
    shape.packet(0, Body::Icmp(Icmp { kind, rest: [0x12, 0x34, 0, 9], payload }))
}

/// The answer: addresses and MACs turned, a TTL of its own, type 0 or 129.
fn answer(request: &Packet) -> Packet {
    let mut answer = request.turned();
    answer.ttl = 64;
    answer.traffic_class = 0;
    answer.identification = 0;
    answer.fragment = if answer.source.is_ipv4() { 0x4000 } else { 0 };
    if let Body::Icmp(icmp) = &mut answer.body {
        icmp.kind = [if request.source.is_ipv4() { 0 } else { 129 }, 0];
    }
    answer
}

fn check(gateway: &Gateway, request: &Packet) -> Result<()> {
    let out = gateway.from_client(&request.bytes())?;
    assert_eq!((out.action, out.reason), (action::TX, "echo_answered"), "{request:?}");
    // One's complement has two zeros: a checksum of 0xffff says what 0 says.
    let expected = answer(request).bytes();
    if out.frame != expected {
        assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{request:?}");
        assert_eq!(without_checksum(request, &out.frame), without_checksum(request, &expected), "{request:?}");
    }
    Ok(())
}

fn without_checksum(request: &Packet, frame: &[u8]) -> Vec<u8> {
    let at = if request.source.is_ipv4() { 36 } else { 56 };
    [&frame[..at], &frame[at + 2..]].concat()
}

#[test]
fn payloads_of_every_length_come_back() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for length in (0..100).chain([500, 1471, 1472]) {
            check(&gateway, &request(shape, (0..length).map(|byte| byte as u8).collect()))?;
        }
    }
    proves(&[2], Shape::ALL);
    Ok(())
}

#[test]
fn checksum_is_right_for_every_value_of_a_word() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in [Shape::ALL[0], Shape::ALL[2]] {
        for word in 0..=u16::MAX {
            check(&gateway, &request(shape, word.to_be_bytes().to_vec()))?;
        }
    }
    proves(&[2], [Shape::ALL[0], Shape::ALL[2]]);
    Ok(())
}

#[test]
fn answer_leaves_with_the_tags_of_the_request() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for tags in [vec![[0x8100, 0x6005]], vec![[0x88a8, 7], [0x8100, 0x0fff]]] {
            check(&gateway, &Packet { tags, ..request(shape, vec![1; 56]) })?;
        }
    }
    proves(&[2, 3], Shape::ALL);
    Ok(())
}

#[test]
fn ip_length_beyond_the_frame_is_dropped() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let frame = request(shape, vec![1; 56]).bytes();
        let out = gateway.from_client(&frame[..frame.len() - 1])?;
        assert_eq!((out.action, out.reason), (action::DROP, "truncated"), "{shape:?}");
    }
    proves(&[4], Shape::ALL);
    Ok(())
}

#[test]
fn padding_is_not_answered_back() -> Result<()> {
    let gateway = Gateway::start()?;
    let request = request(Shape::ALL[0], vec![1; 4]);
    let out = gateway.from_client(&request.padded())?;
    assert_eq!((out.action, out.reason), (action::TX, "echo_answered"));
    assert_eq!(out.frame, answer(&request).bytes());
    proves(&[4], [Shape::ALL[0]]);
    Ok(())
}
