//! Direct server return: the VIP stays in the packet, and the container answers by itself (cases 12 to 15, 17 to 20).

use anyhow::Result;
use balancer_tests::{
    conformance::{Cell, proves},
    frames::{
        checksums::wrong,
        gateway::{Gateway, Outcome},
        overlay::outer_port,
        packet::{Body, Icmp, Packet},
        programs::action,
        reshape::{fragments, with_harmless_headers},
        world::{Shape, container_mac, gateway_mac},
    },
};
use balancer_user::model::Mode;

fn gateway() -> Result<Gateway> {
    Gateway::with(|desired| {
        for at in &mut desired.service_ports {
            at.mode = Mode::Dsr;
            at.backends.iter_mut().for_each(|backend| backend.port = at.port);
        }
    })
}

fn cells() -> impl Iterator<Item = Cell> {
    Shape::ALL.into_iter().map(|shape| Cell::from(shape).direct())
}

/// What the container gets: the client's packet, one hop on, in the project's network.
fn delivered(shape: Shape, packet: &Packet) -> Packet {
    let macs = [container_mac(0, shape.container(1)), gateway_mac(0)];
    Packet { macs, tags: vec![], ttl: packet.ttl - 1, ..packet.clone() }
}

fn check(shape: Shape, packet: &Packet, out: &Outcome, inner: &[u8], reason: &str) {
    assert_eq!((out.action, out.reason), (action::REDIRECT, reason), "{shape:?}");
    let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
    assert!(out.frame == overlay.around(inner).bytes(), "{shape:?}: {packet:?} came out wrong");
}

#[test]
fn packets_reach_the_container_with_the_vip_as_their_destination() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        for packet in [shape.segment(0), shape.datagram(0)] {
            let inner = delivered(shape, &packet).bytes();
            check(shape, &packet, &gateway.from_client(&packet.bytes())?, &inner, "forwarded");
            let hard = with_harmless_headers(&packet.bytes());
            check(shape, &packet, &gateway.from_client(&hard)?, &with_harmless_headers(&inner), "forwarded");
            let whole = Packet { fragment: 0, ..packet.clone() };
            let pieces = fragments(&delivered(shape, &whole).bytes(), 24, 5);
            for (frame, inner) in fragments(&whole.bytes(), 24, 5).iter().zip(&pieces) {
                check(shape, &whole, &gateway.from_client(frame)?, inner, "forwarded");
            }
        }
    }
    proves(&[12, 15, 19, 20], cells());
    Ok(())
}

#[test]
fn errors_about_answers_reach_the_container_as_they_came() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        let kind = if shape.vip_ipv4 { [3, 4] } else { [2, 0] };
        let answer = Packet { ttl: 50, ..shape.segment(0).turned() };
        let icmp = Icmp { kind, rest: [0, 0, 5, 0], payload: answer.ip() };
        let error = Packet { source: shape.stranger(), ..shape.packet(0, Body::Icmp(icmp)) };
        let inner = delivered(shape, &error).bytes();
        check(shape, &error, &gateway.from_client(&error.bytes())?, &inner, "error_forwarded");
    }
    proves(&[18], cells());
    Ok(())
}

#[test]
fn what_containers_send_is_none_of_the_gateway_s_business() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        let by_itself = delivered(shape, &shape.segment(0)).turned();
        let as_container = Packet { source: shape.container(1), ..by_itself.clone() };
        for answer in [by_itself, as_container] {
            let frame = shape.from_host(0, &answer).bytes();
            let out = gateway.from_host(&frame)?;
            assert_eq!((out.action, out.reason), (action::PASS, "overlay_not_reply"), "{shape:?}");
            assert_eq!(out.frame, frame, "{shape:?}: changed");
        }
    }
    proves(&[12], cells());
    Ok(())
}

#[test]
fn other_service_ports_of_the_container_are_still_translated() -> Result<()> {
    let gateway = Gateway::with(|desired| {
        for at in desired.service_ports.iter_mut().filter(|at| at.port == 80) {
            at.mode = Mode::Dsr;
            at.backends.iter_mut().for_each(|backend| backend.port = 80);
        }
    })?;
    for shape in Shape::ALL {
        let packet = shape.segment(0);
        let inner = delivered(shape, &packet).bytes();
        check(shape, &packet, &gateway.from_client(&packet.bytes())?, &inner, "forwarded");
        let datagram = shape.datagram(0);
        let inner = shape.delivered(0, &datagram, (1, 5353)).bytes();
        check(shape, &datagram, &gateway.from_client(&datagram.bytes())?, &inner, "forwarded");
    }
    proves(&[12], cells());
    Ok(())
}

#[test]
fn every_ttl_counts_down_and_the_last_is_told() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        for packet in [shape.segment(0), shape.datagram(0)] {
            for ttl in 2..=255 {
                let packet = Packet { ttl, ..packet.clone() };
                let out = gateway.from_client(&packet.bytes())?;
                check(shape, &packet, &out, &delivered(shape, &packet).bytes(), "forwarded");
                assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?}");
            }
            let last = Packet { ttl: 1, ..packet };
            assert_eq!(gateway.from_client(&last.bytes())?.reason, "time_exceeded_sent", "{shape:?}");
        }
    }
    proves(&[12, 13, 14, 15], cells());
    Ok(())
}

#[test]
fn datagram_without_checksum_stays_without_or_is_refused() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        let mut packet = shape.datagram(0);
        packet.udp().checksum = false;
        let out = gateway.from_client(&packet.bytes())?;
        if shape.vip_ipv4 {
            check(shape, &packet, &out, &delivered(shape, &packet).bytes(), "forwarded");
            assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?}");
        } else {
            assert_eq!((out.action, out.reason), (action::DROP, "udp_checksum_missing"), "{shape:?}");
        }
    }
    proves(&[14], cells());
    Ok(())
}

#[test]
fn syn_s_mss_is_lowered_and_what_is_too_big_is_told() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        let most = shape.inner_mtu() - if shape.vip_ipv4 { 40 } else { 60 };
        let with_mss = |mss: u16| {
            let [high, low] = mss.to_be_bytes();
            let mut syn = shape.segment(0);
            let tcp = syn.tcp();
            (tcp.flags, tcp.acknowledgment, tcp.options) = (0x02, 0, vec![2, 4, high, low]);
            tcp.payload.clear();
            syn
        };
        let out = gateway.from_client(&with_mss(8960).bytes())?;
        check(shape, &with_mss(most), &out, &delivered(shape, &with_mss(most)).bytes(), "forwarded");

        let mut large = shape.segment(0);
        large.tcp().payload = vec![7; usize::from(shape.inner_mtu())];
        let out = gateway.from_client(&large.bytes())?;
        assert_eq!((out.action, out.reason), (action::TX, "too_big_sent"), "{shape:?}");
    }
    proves(&[17], cells());
    Ok(())
}

#[test]
fn errors_with_as_little_as_8_bytes_of_transport_reach_it_too() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        for packet in [shape.segment(0), shape.datagram(0)] {
            // The container answered from the VIP, by a way of its own.
            let answer = packet.turned();
            for length in [if shape.vip_ipv4 { 28 } else { 48 }, answer.ip().len()] {
                let kind = if shape.vip_ipv4 { [3, 4] } else { [2, 0] };
                let quote = answer.ip()[..length].to_vec();
                let body = Body::Icmp(Icmp { kind, rest: [0, 0, 5, 120], payload: quote });
                let error = Packet { source: shape.stranger(), ..shape.packet(0, body) };
                let out = gateway.from_client(&error.bytes())?;
                check(shape, &error, &out, &delivered(shape, &error).bytes(), "error_forwarded");
            }
        }
    }
    proves(&[18], cells());
    Ok(())
}
