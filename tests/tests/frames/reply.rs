//! A container's reply is translated back to the VIP without any state (case 12).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        packet::Packet,
        programs::action,
        world::{Shape, backend, service_port},
    },
};
use balancer_user::model::Protocol;

#[test]
fn replies_reach_the_client_byte_for_byte_from_either_project() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for project in [0, 1] {
            for (packet, port, public) in [(shape.segment(project), 8080, 80), (shape.datagram(project), 5353, 53)] {
                let answer = shape.delivered(project, &packet, (1, port)).turned();
                let out = gateway.from_host(&shape.from_host(project, &answer).bytes())?;
                assert_eq!((out.action, out.reason), (action::REDIRECT, "replied"), "{shape:?}");
                assert_eq!(out.frame, shape.returned(project, &answer, public).bytes(), "{shape:?}");
                assert_eq!(wrong(&out.frame), Vec::<String>::new());
            }
        }
    }
    proves(&[12, 23], Shape::ALL);
    Ok(())
}

#[test]
fn container_port_that_two_service_ports_publish_is_told_apart_by_its_flows() -> Result<()> {
    let gateway = Gateway::with(|desired| {
        for shape in Shape::ALL {
            let backends = vec![backend(shape, 0, (1, 8080))];
            desired.service_ports.push(service_port(shape, 0, (Protocol::Tcp, 8000), backends));
        }
    })?;
    for shape in Shape::ALL {
        for public in [80, 8000] {
            let mut packet = shape.segment(0);
            *packet.ports() = [40_000 + public, public];
            let answer = shape.delivered(0, &packet, (1, 8080)).turned();
            let frame = shape.from_host(0, &answer).bytes();
            let unknown = gateway.from_host(&frame)?;
            assert_eq!((unknown.action, unknown.reason), (action::DROP, "reply_flow_unknown"), "{shape:?} {public}");
            assert_eq!(gateway.from_client(&packet.bytes())?.reason, "forwarded", "{shape:?} {public}");
            let out = gateway.from_host(&frame)?;
            assert_eq!((out.action, out.reason), (action::REDIRECT, "replied"), "{shape:?} {public}");
            assert_eq!(out.frame, shape.returned(0, &answer, public).bytes(), "{shape:?} {public}");
        }
    }
    proves(&[12], Shape::ALL);
    Ok(())
}

#[test]
fn congestion_marks_outside_move_inside_or_drop() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        // RFC 6040 section 4.2: (inner, outer) -> what the client sees; none is a drop.
        for (inner, outer, seen) in [
            (0, 0, Some(0)),
            (0, 1, Some(0)),
            (0, 2, Some(0)),
            (0, 3, None),
            (1, 0, Some(1)),
            (1, 3, Some(3)),
            (2, 0, Some(2)),
            (2, 1, Some(1)),
            (2, 2, Some(2)),
            (2, 3, Some(3)),
            (3, 0, Some(3)),
            (3, 3, Some(3)),
        ] {
            let mut answer = shape.delivered(0, &shape.segment(0), (1, 8080)).turned();
            answer.traffic_class = 0x28 | inner;
            let frame = Packet { traffic_class: outer, ..shape.from_host(0, &answer) }.bytes();
            let out = gateway.from_host(&frame)?;
            let Some(seen) = seen else {
                assert_eq!((out.action, out.reason), (action::DROP, "ecn_invalid"), "{shape:?}");
                continue;
            };
            assert_eq!(out.reason, "replied", "{shape:?} inner {inner} outer {outer}");
            let expected = Packet { traffic_class: 0x28 | seen, ..shape.returned(0, &answer, 80) };
            assert_eq!(out.frame, expected.bytes(), "{shape:?} inner {inner} outer {outer}");
        }
    }
    proves(&[15], Shape::ALL);
    Ok(())
}

#[test]
fn client_without_a_known_next_hop_is_left_to_the_kernel_s_routes() -> Result<()> {
    let mut gateway = Gateway::start()?;
    gateway.view.clients_ipv4.default = None;
    gateway.view.clients_ipv6.default = None;
    gateway.apply()?;
    for shape in Shape::ALL {
        let answer = shape.delivered(0, &shape.segment(0), (1, 8080)).turned();
        let out = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
        assert_eq!(out.action, action::DROP, "{shape:?}: {}", out.reason);
        assert!(matches!(out.reason, "no_route" | "slow_path"), "{shape:?}: {}", out.reason);
    }
    proves(&[21], Shape::ALL);
    Ok(())
}
