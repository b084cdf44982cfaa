//! Frames in several buffers are balanced like others and their payload is never touched (case 5).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::{Gateway, Outcome},
        overlay::outer_port,
        packet::Packet,
        programs::Input,
        world::Shape,
    },
};
use balancer_user::model::Host;

fn jumbo() -> Result<Gateway> {
    let mut gateway = Gateway::with(|desired| {
        desired.hosts = desired.hosts.iter().map(|host| Host { mtu: Some(9216), ..host.clone() }).collect();
    })?;
    for next_hop in gateway.view.hosts.values_mut() {
        next_hop.mtu = 9216;
    }
    for clients in [&mut gateway.view.clients_ipv4, &mut gateway.view.clients_ipv6] {
        clients.default.as_mut().expect("the world has a way to clients").mtu = 9216;
    }
    gateway.apply()?;
    Ok(gateway)
}

fn with_payload(shape: Shape, length: usize) -> Packet {
    let mut packet = shape.segment(0);
    packet.tcp().payload = (0..length).map(|byte| (byte * 31 + byte / 256) as u8).collect();
    packet
}

fn check(shape: Shape, packet: &Packet, out: &Outcome) {
    assert_eq!(out.reason, "forwarded", "{shape:?}, {} bytes", packet.bytes().len());
    let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
    let expected = overlay.around(&shape.delivered(0, packet, (1, 8080)).bytes()).bytes();
    assert!(out.frame == expected, "{shape:?}: a frame of {} bytes came out wrong", packet.bytes().len());
}

#[test]
fn large_frames_reach_the_container_and_come_back() -> Result<()> {
    let gateway = jumbo()?;
    for shape in Shape::ALL {
        for length in [3000, 3400, 3800, 4096, 6000, 9000] {
            let packet = with_payload(shape, length);
            check(shape, &packet, &gateway.from_client(&packet.bytes())?);
            let answer = shape.delivered(0, &packet, (1, 8080)).turned();
            let back = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
            assert_eq!(back.reason, "replied", "{shape:?} {length}");
            assert!(back.frame == shape.returned(0, &answer, 80).bytes(), "{shape:?}: a reply of {length} bytes");
        }
    }
    proves(&[5], Shape::ALL);
    Ok(())
}

#[test]
fn first_buffer_may_end_anywhere_behind_the_headers() -> Result<()> {
    let gateway = jumbo()?;
    for shape in Shape::ALL {
        let packet = with_payload(shape, 3000);
        let frame = packet.bytes();
        let headers = if shape.vip_ipv4 { 54 } else { 74 };
        for linear in [headers, headers + 1, headers + 7, 128, 1000] {
            let out = gateway.run(Input { frame: &frame, ingress: gateway.ports.public, linear })?;
            check(shape, &packet, &out);
        }
    }
    proves(&[5], Shape::ALL);
    Ok(())
}
