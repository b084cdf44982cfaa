//! A service port may be a range of ports, or all of them: ports stay, exact ones come first, then the narrowest range (case 12).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_port,
        packet::{Body, Icmp, Packet},
        programs::action,
        reshape::{fragments, with_harmless_headers},
        world::{Shape, backend, service_port},
    },
};
use balancer_user::model::{HashFields, Protocol, ServicePort};

fn range(shape: Shape, protocol: Protocol, (first, last): (u16, u16), number: u8) -> ServicePort {
    let mut at = service_port(shape, 0, (protocol, first), vec![backend(shape, 0, (number, first))]);
    at.port_last = last;
    at.service = format!("range-{first}");
    at
}

/// Beside the exact ones: UDP 10000-10099 at container 2, all UDP at container 3, TCP 7000-7009 at container 2.
fn gateway() -> Result<Gateway> {
    Gateway::with(|desired| {
        for shape in Shape::ALL {
            desired.service_ports.push(range(shape, Protocol::Udp, (10_000, 10_099), 2));
            desired.service_ports.push(range(shape, Protocol::Udp, (0, 65_535), 3));
            desired.service_ports.push(range(shape, Protocol::Tcp, (7_000, 7_009), 2));
        }
    })
}

fn datagram(shape: Shape, port: u16) -> Packet {
    let mut packet = shape.datagram(0);
    packet.udp().ports[1] = port;
    packet
}

fn segment(shape: Shape, port: u16) -> Packet {
    let mut packet = shape.segment(0);
    packet.tcp().ports[1] = port;
    packet
}

/// The packets, and the container and port that they have to reach.
fn cases(shape: Shape) -> [(Packet, (u8, u16)); 9] {
    [
        (datagram(shape, 53), (1, 5353)),
        (datagram(shape, 9_999), (3, 9_999)),
        (datagram(shape, 10_000), (2, 10_000)),
        (datagram(shape, 10_064), (2, 10_064)),
        (datagram(shape, 10_099), (2, 10_099)),
        (datagram(shape, 10_100), (3, 10_100)),
        (datagram(shape, 1), (3, 1)),
        (datagram(shape, 65_535), (3, 65_535)),
        (segment(shape, 7_009), (2, 7_009)),
    ]
}

#[test]
fn packets_reach_the_narrowest_service_port_with_their_own_port() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        for (packet, to) in cases(shape) {
            let inner = shape.delivered(0, &packet, to).bytes();
            for (frame, inner) in [
                (packet.bytes(), inner.clone()),
                (with_harmless_headers(&packet.bytes()), with_harmless_headers(&inner)),
            ] {
                let out = gateway.from_client(&frame)?;
                assert_eq!((out.action, out.reason), (action::REDIRECT, "forwarded"), "{shape:?} {to:?}");
                let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
                assert_eq!(out.frame, overlay.around(&inner).bytes(), "{shape:?} {to:?}");
            }
        }
    }
    proves(&[12], Shape::ALL);
    Ok(())
}

#[test]
fn replies_and_errors_come_back_from_the_vip_s_own_port() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        for (packet, to) in cases(shape).into_iter().skip(1) {
            let delivered = shape.delivered(0, &packet, to);
            let answer = delivered.turned();
            let out = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
            assert_eq!((out.action, out.reason), (action::REDIRECT, "replied"), "{shape:?} {to:?}");
            assert_eq!(out.frame, shape.returned(0, &answer, to.1).bytes(), "{shape:?} {to:?}");
            let kind = if shape.vip_ipv4 { [3, 3] } else { [1, 4] };
            let quoting = |quoted: &Packet| Body::Icmp(Icmp { kind, rest: [0; 4], payload: quoted.ip() });
            let error = Packet { ttl: 64, body: quoting(&delivered), ..answer.clone() };
            let out = gateway.from_host(&shape.from_host(0, &error).bytes())?;
            assert_eq!(out.reason, "error_replied", "{shape:?} {to:?}");
            let at = 14 + if shape.vip_ipv4 { 28 } else { 48 };
            assert_eq!(out.frame[at..], Packet { ttl: delivered.ttl, ..packet.clone() }.ip(), "{shape:?} {to:?}");
            let returned = shape.returned(0, &answer, to.1);
            let error = Packet { source: shape.stranger(), ..shape.packet(0, quoting(&returned)) };
            let out = gateway.from_client(&error.bytes())?;
            assert_eq!(out.reason, "error_forwarded", "{shape:?} {to:?}");
            let sent = Packet { ttl: returned.ttl, ..answer }.ip();
            assert!(out.frame.ends_with(&sent), "{shape:?} {to:?}");
        }
    }
    proves(&[12, 18], Shape::ALL);
    Ok(())
}

#[test]
fn replies_in_fragments_come_back_too() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        let packet = Packet { fragment: 0, ..datagram(shape, 10_007) };
        let answer = shape.delivered(0, &packet, (2, 10_007)).turned();
        let expected = fragments(&shape.returned(0, &answer, 10_007).bytes(), 16, 8);
        for (inner, expected) in fragments(&answer.bytes(), 16, 8).iter().zip(&expected) {
            let out = gateway.from_host(&shape.host_overlay(0).around(inner).bytes())?;
            assert_eq!(out.reason, "replied", "{shape:?}");
            assert_eq!(out.frame, *expected, "{shape:?}");
        }
    }
    proves(&[12, 19], Shape::ALL);
    Ok(())
}

#[test]
fn ports_outside_every_range_are_the_host_s() -> Result<()> {
    let gateway = gateway()?;
    for shape in Shape::ALL {
        for port in [6_999, 7_010] {
            let frame = segment(shape, port).bytes();
            let out = gateway.from_client(&frame)?;
            assert_eq!((out.action, out.reason), (action::PASS, "vip_port_closed"), "{shape:?} {port}");
            assert_eq!(out.frame, frame, "{shape:?}: changed");
        }
        let other_project = Packet { destination: shape.vip(1), ..datagram(shape, 10_000) };
        assert_eq!(gateway.from_client(&other_project.bytes())?.reason, "vip_port_closed", "{shape:?}");
    }
    proves(&[1], Shape::ALL);
    Ok(())
}

#[test]
fn overlapping_ranges_of_two_vips_at_one_container_are_told_apart_by_flow() -> Result<()> {
    let gateway = Gateway::with(|desired| {
        let (here, there) = (Shape::ALL[0], Shape::ALL[1]);
        desired.service_ports.push(range(here, Protocol::Udp, (10_000, 10_099), 2));
        let mut other = range(here, Protocol::Udp, (10_050, 10_149), 2);
        (other.vip, other.service) = (there.vip(0), "other".to_owned());
        desired.service_ports.push(other);
    })?;
    let (shape, other_vip) = (Shape::ALL[0], Shape::ALL[1].vip(0));
    for (vip, port) in [(shape.vip(0), 10_060), (other_vip, 10_070)] {
        let packet = Packet { destination: vip, ..datagram(shape, port) };
        let answer = shape.delivered(0, &packet, (2, port)).turned();
        let frame = shape.from_host(0, &answer).bytes();
        assert_eq!(gateway.from_host(&frame)?.reason, "reply_flow_unknown", "{vip}");
        assert_eq!(gateway.from_client(&packet.bytes())?.reason, "forwarded", "{vip}");
        let out = gateway.from_host(&frame)?;
        assert_eq!(out.reason, "replied", "{vip}");
        assert_eq!(out.frame, Packet { source: vip, ..shape.returned(0, &answer, port) }.bytes(), "{vip}");
    }
    Ok(())
}

/// Flows of one client to many ports of a range, by the number of the container they reach.
fn reached(hash: HashFields, flow: impl Fn(u16) -> [u16; 2]) -> Result<Vec<u8>> {
    let shape = Shape::ALL[0];
    let gateway = Gateway::with(|desired| {
        let mut at = range(shape, Protocol::Udp, (10_000, 10_999), 2);
        at.backends = (2..6).map(|number| backend(shape, 0, (number, 10_000))).collect();
        at.hash = hash;
        desired.service_ports.push(at);
    })?;
    (0..200)
        .map(|number| {
            let mut packet = shape.datagram(0);
            packet.udp().ports = flow(number);
            let out = gateway.from_client(&packet.bytes())?;
            assert_eq!(out.reason, "forwarded");
            Ok(out.frame[50 + 14 + 19] % 10)
        })
        .collect()
}

#[test]
fn chosen_fields_decide_the_backend_and_no_others() -> Result<()> {
    let client_ports = |number: u16| [30_000 + number, 10_000];
    let vip_ports = |number: u16| [30_000, 10_000 + number];
    let fields = |client_address, client_port, vip_port| HashFields { client_address, client_port, vip_port };
    let spread = |containers: Vec<u8>| containers.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(spread(reached(fields(true, true, false), vip_ports)?), 1);
    assert_eq!(spread(reached(fields(true, true, true), vip_ports)?), 4);
    assert_eq!(spread(reached(fields(true, false, true), client_ports)?), 1);
    assert_eq!(spread(reached(fields(true, false, true), vip_ports)?), 4);
    assert_eq!(spread(reached(fields(false, true, false), client_ports)?), 4);
    Ok(())
}
