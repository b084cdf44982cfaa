//! IPv4 options, IPv6 extension headers and headers over several buffers are walked, not guessed (cases 5, 20).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_port,
        packet::{Body, Icmp, Packet},
        programs::{Input, action},
        reshape::{with_extensions, with_harmless_headers, with_options},
        world::Shape,
    },
};

fn packets(shape: Shape) -> [(Packet, u16, u16); 2] {
    [(shape.segment(0), 8080, 80), (shape.datagram(0), 5353, 53)]
}

#[test]
fn packets_with_options_or_extension_headers_reach_the_container_with_them() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for (packet, port, _) in packets(shape) {
            let out = gateway.from_client(&with_harmless_headers(&packet.bytes()))?;
            assert_eq!((out.action, out.reason), (action::REDIRECT, "forwarded"), "{shape:?}");
            let inner = with_harmless_headers(&shape.delivered(0, &packet, (1, port)).bytes());
            let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
            assert_eq!(out.frame, overlay.around(&inner).bytes(), "{shape:?}");
            let plain = gateway.from_client(&packet.bytes())?;
            assert_eq!(
                outer_port(&plain.frame, shape.underlay_ipv4),
                outer_port(&out.frame, shape.underlay_ipv4),
                "{shape:?}: the same flow"
            );
        }
    }
    proves(&[20], Shape::ALL);
    Ok(())
}

#[test]
fn padding_behind_them_is_cut_and_truncation_is_refused() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let (packet, frame) = (shape.segment(0), with_harmless_headers(&shape.segment(0).bytes()));
        let padded = [frame.as_slice(), &[0xa5; 9]].concat();
        let (cut, whole) = (gateway.from_client(&padded)?, gateway.from_client(&frame)?);
        assert_eq!(cut, whole, "{shape:?} {packet:?}");
        let headers = 14 + if shape.vip_ipv4 { 20 } else { 40 };
        for length in headers..frame.len() {
            let out = gateway.from_client(&frame[..length])?;
            assert_eq!((out.action, out.reason), (action::DROP, "truncated"), "{shape:?}: {length} bytes");
        }
    }
    proves(&[4, 20], Shape::ALL);
    Ok(())
}

#[test]
fn replies_with_options_or_extension_headers_reach_the_client_with_them() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for (packet, port, public) in packets(shape) {
            let answer = shape.delivered(0, &packet, (1, port)).turned();
            let inner = with_harmless_headers(&answer.bytes());
            let out = gateway.from_host(&shape.host_overlay(0).around(&inner).bytes())?;
            assert_eq!((out.action, out.reason), (action::REDIRECT, "replied"), "{shape:?}");
            assert_eq!(out.frame, with_harmless_headers(&shape.returned(0, &answer, public).bytes()), "{shape:?}");
        }
    }
    proves(&[20], Shape::ALL);
    Ok(())
}

#[test]
fn pings_with_options_are_answered_with_them() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let [request, reply] = if shape.vip_ipv4 { [8, 0] } else { [128, 129] };
        let icmp = |kind| Icmp { kind: [kind, 0], rest: [1, 2, 3, 4], payload: vec![7; 31] };
        let ping = shape.packet(0, Body::Icmp(icmp(request)));
        let mut pong = Packet { body: Body::Icmp(icmp(reply)), ..ping.clone() }.turned();
        pong.ttl = 64;
        let out = gateway.from_client(&with_harmless_headers(&ping.bytes()))?;
        assert_eq!((out.action, out.reason), (action::TX, "echo_answered"), "{shape:?}");
        assert_eq!(out.frame, with_harmless_headers(&pong.bytes()), "{shape:?}");
    }
    proves(&[2, 20], Shape::ALL);
    Ok(())
}

#[test]
fn mss_behind_options_is_clamped_wherever_it_stands() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for options in
            [vec![2, 4, 0x23, 0, 1, 1, 1, 0], vec![1, 2, 4, 0x23, 0, 3, 3, 7], vec![4, 2, 2, 4, 0x23, 0, 0, 0]]
        {
            let mut packet = shape.segment(0);
            (packet.tcp().flags, packet.tcp().payload) = (0x02, vec![]);
            packet.tcp().options = options.clone();
            let out = gateway.from_client(&with_harmless_headers(&packet.bytes()))?;
            let mss = shape.inner_mtu() - if shape.vip_ipv4 { 40 } else { 60 };
            let at = options.windows(2).position(|pair| pair == [2, 4]).expect("the option") + 2;
            packet.tcp().options[at..at + 2].copy_from_slice(&mss.to_be_bytes());
            let inner = with_harmless_headers(&shape.delivered(0, &packet, (1, 8080)).bytes());
            let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
            assert_eq!(out.frame, overlay.around(&inner).bytes(), "{shape:?} {options:?}");
        }
    }
    proves(&[17, 20], Shape::ALL);
    Ok(())
}

#[test]
fn routes_that_the_sender_chose_are_refused() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let frame = shape.segment(0).bytes();
        let routed: Vec<Vec<u8>> = if shape.vip_ipv4 {
            [131, 137].map(|kind| with_options(&frame, &[1, kind, 7, 4, 10, 0, 0, 1])).to_vec()
        } else {
            vec![with_extensions(&frame, &[(43, &[&[2, 0, 1], [0; 20].as_slice()].concat())])]
        };
        for frame in routed {
            let out = gateway.from_client(&frame)?;
            assert_eq!((out.action, out.reason), (action::DROP, "source_routed"), "{shape:?}");
        }
    }
    proves(&[20], Shape::ALL);
    Ok(())
}

#[test]
fn header_lengths_that_lie_are_malformed_and_endless_chains_too_long() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4) {
        let mut frame = shape.segment(0).bytes();
        for version_ihl in [0x40, 0x44, 0x4f, 0x55] {
            frame[14] = version_ihl;
            if version_ihl == 0x4f {
                frame[17] = 59;
            }
            let out = gateway.from_client(&frame)?;
            assert_eq!((out.action, out.reason), (action::DROP, "malformed"), "{shape:?} {version_ihl:#x}");
        }
    }
    for shape in Shape::ALL.into_iter().filter(|shape| !shape.vip_ipv4) {
        let pad: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
        let eight = with_extensions(&shape.segment(0).bytes(), &[(60, pad); 8]);
        assert_eq!(gateway.from_client(&eight)?.reason, "forwarded", "{shape:?}");
        let nine = with_extensions(&shape.segment(0).bytes(), &[(60, pad); 9]);
        let out = gateway.from_client(&nine)?;
        assert_eq!((out.action, out.reason), (action::DROP, "headers_too_long"), "{shape:?}");
        let lying = with_extensions(&shape.segment(0).bytes(), &[(60, &[200, 1, 4, 0, 0, 0, 0])]);
        assert_eq!(gateway.from_client(&lying)?.reason, "malformed", "{shape:?}");
    }
    proves(&[20], Shape::ALL);
    Ok(())
}

#[test]
fn headers_in_several_buffers_are_read_across_them() -> Result<()> {
    let gateway = Gateway::with(|desired| {
        for host in &mut desired.hosts {
            host.mtu = Some(9216);
        }
    })?;
    let mut gateway = gateway;
    for next_hop in gateway.view.hosts.values_mut() {
        next_hop.mtu = 9216;
    }
    gateway.apply()?;
    for shape in Shape::ALL {
        let mut packet = shape.segment(0);
        packet.tcp().payload = (0..3000).map(|byte| (byte * 31 + byte / 256) as u8).collect();
        for frame in [packet.bytes(), with_harmless_headers(&packet.bytes())] {
            let options = frame.len() - packet.bytes().len();
            for linear in [14, 20, 33, 40, 53, 60, 73, 80, 90] {
                let out = gateway.run(Input { frame: &frame, ingress: gateway.ports.public, linear })?;
                assert_eq!(out.reason, "forwarded", "{shape:?}, {linear} bytes in the first buffer");
                let inner = shape.delivered(0, &packet, (1, 8080)).bytes();
                let inner = if options == 0 { inner } else { with_harmless_headers(&inner) };
                let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
                assert!(out.frame == overlay.around(&inner).bytes(), "{shape:?}, {linear} bytes in the first buffer");
            }
        }
    }
    proves(&[5, 20], Shape::ALL);
    Ok(())
}
