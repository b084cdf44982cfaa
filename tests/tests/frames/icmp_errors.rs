//! ICMP errors reach whom they are about, translated inside and out, with as little as 8 bytes of transport quoted (case 18).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        overlay::outer_port,
        packet::{Body, Icmp, Packet, Udp},
        programs::action,
        world::{Shape, backend, service_port},
    },
};
use balancer_user::model::Protocol;

/// Type and code of errors about packets: fragmentation needed or too big, unreachable, time exceeded, parameter problem.
fn errors(shape: Shape) -> [[u8; 2]; 4] {
    if shape.vip_ipv4 { [[3, 4], [3, 1], [11, 0], [12, 0]] } else { [[2, 0], [1, 3], [3, 0], [4, 1]] }
}

/// How much of the quoted packet's IP bytes: 8 bytes of transport, all of a TCP header but its end, and everything.
fn lengths(shape: Shape, packet: &Packet) -> [usize; 3] {
    let header = if shape.vip_ipv4 { 20 } else { 40 };
    [header + 8, header + 18, packet.ip().len()]
}

fn quoting(kind: [u8; 2], quoted: &Packet, length: usize) -> Body {
    let bytes = quoted.ip();
    Body::Icmp(Icmp { kind, rest: [0, 0, 5, 120], payload: bytes[..length.min(bytes.len())].to_vec() })
}

/// A container's answer, what its client gets for it, and the service port's port.
fn answers(shape: Shape) -> [(Packet, Packet); 2] {
    [(shape.segment(0), 8080, 80), (shape.datagram(0), 5353, 53)].map(|(packet, port, public)| {
        let answer = shape.delivered(0, &packet, (1, port)).turned();
        let returned = shape.returned(0, &answer, public);
        (answer, returned)
    })
}

#[test]
fn error_from_a_router_reaches_the_container_that_sent_the_quoted_packet() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for (answer, returned) in answers(shape) {
            for kind in errors(shape) {
                for length in lengths(shape, &answer) {
                    let error =
                        Packet { source: shape.stranger(), ..shape.packet(0, quoting(kind, &returned, length)) };
                    let out = gateway.from_client(&error.bytes())?;
                    assert_eq!((out.action, out.reason), (action::REDIRECT, "error_forwarded"), "{shape:?} {kind:?}");
                    // What the container sent, but for the TTL that the gateway and the way took.
                    let sent = Packet { ttl: returned.ttl, ..answer.clone() };
                    let expected = Packet {
                        macs: [sent.macs[1], sent.macs[0]],
                        destination: answer.source,
                        ttl: error.ttl - 1,
                        body: quoting(kind, &sent, length),
                        ..error.clone()
                    };
                    let overlay = shape.overlay(0, error.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
                    assert_eq!(out.frame, overlay.around(&expected.bytes()).bytes(), "{shape:?} {kind:?} {length}");
                    assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?} {kind:?} {length}");
                }
            }
        }
    }
    proves(&[18], Shape::ALL);
    Ok(())
}

#[test]
fn error_takes_the_way_of_its_flow_and_remembers_nothing() -> Result<()> {
    use balancer_user::model::tables::Tables as _;
    let gateway = Gateway::with(|desired| {
        for at in desired.service_ports.iter_mut().filter(|at| at.protocol == Protocol::Tcp && at.port == 80) {
            let (shape, project) = (shape_of(at.vip), at.project);
            at.backends.push(backend(shape, project, (2, 8080)));
        }
    })?;
    for shape in Shape::ALL {
        for port in 20_000..20_050 {
            let mut packet = shape.segment(0);
            packet.tcp().ports[0] = port;
            let forward = gateway.from_client(&packet.bytes())?;
            let returned = Packet { source: shape.vip(0), destination: shape.client(), ..packet.turned() };
            let kind = errors(shape)[0];
            let error = Packet { source: shape.stranger(), ..shape.packet(0, quoting(kind, &returned, 60)) };
            let out = gateway.from_client(&error.bytes())?;
            assert_eq!(out.reason, "error_forwarded", "{shape:?}");
            let outer = 14 + if shape.underlay_ipv4 { 20 } else { 40 } + 8 + 8;
            assert_eq!(out.frame[outer..outer + 12], forward.frame[outer..outer + 12], "{shape:?}: the same container");
            assert_eq!(outer_port(&out.frame, shape.underlay_ipv4), outer_port(&forward.frame, shape.underlay_ipv4));
        }
    }
    assert_eq!(gateway.datapath.flows()?, vec![]);
    proves(&[18], Shape::ALL);
    Ok(())
}

fn shape_of(vip: std::net::IpAddr) -> Shape {
    *Shape::ALL.iter().find(|shape| shape.vip(0) == vip || shape.vip(1) == vip).expect("a VIP of the world")
}

#[test]
fn error_from_a_container_reaches_the_client_as_from_the_vip() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for (packet, port) in [(shape.segment(0), 8080), (shape.datagram(0), 5353)] {
            let delivered = shape.delivered(0, &packet, (1, port));
            for kind in errors(shape) {
                for length in lengths(shape, &packet) {
                    let error = Packet { ttl: 64, body: quoting(kind, &delivered, length), ..delivered.turned() };
                    let out = gateway.from_host(&shape.from_host(0, &error).bytes())?;
                    assert_eq!((out.action, out.reason), (action::REDIRECT, "error_replied"), "{shape:?} {kind:?}");
                    let sent = Packet { ttl: delivered.ttl, ..packet.clone() };
                    let mut expected = error.clone();
                    expected.macs = shape.returned(0, &delivered.turned(), 80).macs;
                    (expected.source, expected.ttl) = (shape.vip(0), 63);
                    expected.body = quoting(kind, &sent, length);
                    assert_eq!(out.frame, expected.bytes(), "{shape:?} {kind:?} {length}");
                    assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?} {kind:?} {length}");
                }
            }
        }
    }
    proves(&[18], Shape::ALL);
    Ok(())
}

#[test]
fn error_about_an_ambiguous_container_port_is_told_apart_by_its_flow() -> Result<()> {
    let gateway = Gateway::with(|desired| {
        for shape in Shape::ALL {
            let backends = vec![backend(shape, 0, (1, 8080))];
            desired.service_ports.push(service_port(shape, 0, (Protocol::Tcp, 8000), backends));
        }
    })?;
    for shape in Shape::ALL {
        let mut packet = shape.segment(0);
        *packet.ports() = [41_000, 8000];
        let delivered = shape.delivered(0, &packet, (1, 8080));
        let error = Packet { ttl: 64, body: quoting(errors(shape)[1], &delivered, 100), ..delivered.turned() };
        let frame = shape.from_host(0, &error).bytes();
        assert_eq!(gateway.from_host(&frame)?.reason, "reply_flow_unknown", "{shape:?}");
        assert_eq!(gateway.from_client(&packet.bytes())?.reason, "forwarded", "{shape:?}");
        let out = gateway.from_host(&frame)?;
        assert_eq!(out.reason, "error_replied", "{shape:?}");
        let quoted = Packet { ttl: delivered.ttl, ..packet.clone() }.ip();
        let at = 14 + if shape.vip_ipv4 { 28 } else { 48 };
        assert_eq!(out.frame[at..], quoted, "{shape:?}");
    }
    proves(&[12, 18], Shape::ALL);
    Ok(())
}

#[test]
fn errors_about_nothing_of_ours_are_left_to_the_host() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let (_, returned) = answers(shape)[0].clone();
        let kind = errors(shape)[0];
        let header = if shape.vip_ipv4 { 20 } else { 40 };
        let mut closed = returned.clone();
        closed.tcp().ports[0] = 443;
        let mut foreign = returned.clone();
        foreign.source = shape.vip(1);
        let unreadable = Packet { body: Body::Other(47, vec![0; 40]), ..returned.clone() };
        for (quoted, length) in [(&returned, header + 7), (&closed, 60), (&foreign, 60), (&unreadable, 60)] {
            let error = Packet { source: shape.stranger(), ..shape.packet(0, quoting(kind, quoted, length)) };
            let out = gateway.from_client(&error.bytes())?;
            assert_eq!((out.action, out.reason), (action::PASS, "vip_icmp"), "{shape:?} {length}");
            assert_eq!(out.frame, error.bytes(), "{shape:?}: changed");
        }
        let mut expired = Packet { source: shape.stranger(), ..shape.packet(0, quoting(kind, &returned, 60)) };
        expired.ttl = 1;
        assert_eq!(gateway.from_client(&expired.bytes())?.reason, "error_limited", "{shape:?}");
    }
    proves(&[1, 18], Shape::ALL);
    Ok(())
}

#[test]
fn errors_of_containers_about_nothing_of_ours_are_left_to_the_vxlan_device() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let delivered = shape.delivered(0, &shape.segment(0), (1, 8080));
        let error = Packet { ttl: 64, body: quoting(errors(shape)[1], &delivered, 100), ..delivered.turned() };
        let mut other_port = delivered.clone();
        other_port.tcp().ports[1] = 9999;
        let to_other = Packet { destination: shape.stranger(), ..error.clone() };
        let about_other = Packet { body: quoting(errors(shape)[1], &other_port, 100), ..error.clone() };
        for packet in [to_other, about_other] {
            let frame = shape.from_host(0, &packet).bytes();
            let out = gateway.from_host(&frame)?;
            assert_eq!((out.action, out.reason), (action::PASS, "overlay_not_reply"), "{shape:?}");
            assert_eq!(out.frame, frame, "{shape:?}: changed");
        }
        let mut foreign_vtep = shape.from_host(0, &error);
        foreign_vtep.source = shape.gateway_vtep();
        assert_eq!(gateway.from_host(&foreign_vtep.bytes())?.reason, "vtep_mismatch", "{shape:?}");
        let other_project = shape.from_host(1, &error);
        assert_ne!(gateway.from_host(&other_project.bytes())?.reason, "error_replied", "{shape:?}");
    }
    proves(&[18], Shape::ALL);
    Ok(())
}

#[test]
fn error_about_the_packet_around_goes_to_the_daemon_and_to_the_host() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let forwarded = gateway.from_client(&shape.segment(0).bytes())?;
        let too_big = if shape.underlay_ipv4 { [3, 4] } else { [2, 0] };
        let error = |kind, quoted: &[u8]| Packet {
            source: shape.host_vtep(),
            destination: shape.gateway_vtep(),
            ttl: 60,
            fragment: 0,
            body: Body::Icmp(Icmp { kind, rest: [0, 0, 5, 120], payload: quoted.to_vec() }),
            ..shape.from_host(0, &shape.segment(0))
        };
        let quoted = &forwarded.frame[14..14 + if shape.underlay_ipv4 { 28 } else { 48 }];
        let frame = error(too_big, quoted).bytes();
        let out = gateway.from_host(&frame)?;
        assert_eq!((out.action, out.reason), (action::PASS, "outer_error"), "{shape:?}");
        assert_eq!(out.frame, frame, "{shape:?}: changed");
        let unreachable = if shape.underlay_ipv4 { [3, 1] } else { [1, 0] };
        assert_eq!(gateway.from_host(&error(unreachable, quoted).bytes())?.reason, "not_ours", "{shape:?}");
        let dns = Packet {
            source: shape.gateway_vtep(),
            destination: shape.host_vtep(),
            body: Body::Udp(Udp { ports: [53, 53], payload: vec![0; 30], checksum: true }),
            ..shape.from_host(0, &shape.segment(0))
        };
        assert_eq!(gateway.from_host(&error(too_big, &dns.ip()).bytes())?.reason, "not_ours", "{shape:?}");
    }
    proves(&[18], Shape::ALL);
    Ok(())
}
