//! A draining backend keeps its flows and gets no new ones; a dead one's TCP flows are reset and all else goes elsewhere (case 9).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_bytes,
        packet::Packet,
        programs::action,
        world::{Shape, backend},
    },
};
use balancer_user::model::BackendState;

const FLOWS: u16 = 200;

/// Two backends at TCP 80 and UDP 53 of the shape's VIP.
fn two_backends(shape: Shape) -> Result<Gateway> {
    Gateway::with(|desired| {
        for at in desired.service_ports.iter_mut().filter(|at| at.project == 0 && at.vip == shape.vip(0)) {
            if let Some(first) = at.backends.first() {
                at.backends.push(backend(shape, 0, (2, first.port)));
            }
        }
    })
}

fn set_state(gateway: &mut Gateway, shape: Shape, number: u8, state: BackendState) -> Result<()> {
    for service_port in &mut gateway.desired.service_ports {
        for backend in service_port.backends.iter_mut().filter(|backend| backend.address == shape.container(number)) {
            backend.state = state;
        }
    }
    gateway.apply()?;
    Ok(())
}

fn flow(shape: Shape, number: u16, flags: u8) -> Packet {
    let mut packet = shape.segment(0);
    packet.tcp().ports[0] = 10_000 + number;
    packet.tcp().flags = flags;
    packet
}

fn datagram(shape: Shape, number: u16) -> Packet {
    let mut packet = shape.datagram(0);
    packet.udp().ports[0] = 10_000 + number;
    packet
}

/// The number of the container that a packet reaches.
fn reached(gateway: &Gateway, shape: Shape, packet: &Packet) -> Result<u8> {
    let out = gateway.from_client(&packet.bytes())?;
    assert_eq!(out.reason, "forwarded", "{packet:?}");
    let address_end = outer_bytes(shape.underlay_ipv4) + 14 + if shape.vip_ipv4 { 20 } else { 40 };
    Ok(out.frame[address_end - 1] % 10)
}

#[test]
fn draining_backend_keeps_existing_flows_and_gets_no_new_ones() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = two_backends(shape)?;
        let homes: Vec<u8> =
            (0..FLOWS).map(|number| reached(&gateway, shape, &flow(shape, number, 0x10))).collect::<Result<_>>()?;
        set_state(&mut gateway, shape, 1, BackendState::Draining)?;
        for number in 0..FLOWS {
            let home = homes[usize::from(number)];
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x18))?, home, "{shape:?} {number}");
            assert_eq!(reached(&gateway, shape, &flow(shape, FLOWS + number, 0x02))?, 2, "{shape:?} new {number}");
        }
    }
    proves(&[9], Shape::ALL);
    Ok(())
}

#[test]
fn dead_backend_s_connections_are_reset_and_new_ones_go_elsewhere() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = two_backends(shape)?;
        let homes: Vec<u8> =
            (0..FLOWS).map(|number| reached(&gateway, shape, &flow(shape, number, 0x10))).collect::<Result<_>>()?;
        set_state(&mut gateway, shape, 1, BackendState::Dead)?;
        for number in 0..FLOWS {
            let packet = flow(shape, number, 0x18);
            if homes[usize::from(number)] == 1 {
                let out = gateway.from_client(&packet.bytes())?;
                assert_eq!((out.action, out.reason), (action::TX, "reset_sent"), "{shape:?} {number}");
            } else {
                assert_eq!(reached(&gateway, shape, &packet)?, 2, "{shape:?} {number}");
            }
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x02))?, 2, "{shape:?} new {number}");
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x10))?, 2, "{shape:?} new {number} goes on");
        }
    }
    proves(&[9], Shape::ALL);
    Ok(())
}

#[test]
fn dead_backend_s_datagrams_go_elsewhere() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = two_backends(shape)?;
        set_state(&mut gateway, shape, 1, BackendState::Dead)?;
        for number in 0..FLOWS {
            assert_eq!(reached(&gateway, shape, &datagram(shape, number))?, 2, "{shape:?} {number}");
        }
    }
    proves(&[9], Shape::ALL);
    Ok(())
}

#[test]
fn flows_that_moved_from_a_dead_backend_stay_when_it_is_back() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = two_backends(shape)?;
        set_state(&mut gateway, shape, 1, BackendState::Dead)?;
        for number in 0..FLOWS {
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x02))?, 2);
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x10))?, 2);
        }
        set_state(&mut gateway, shape, 1, BackendState::Active)?;
        gateway.maintain()?;
        for number in 0..FLOWS {
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x18))?, 2, "{shape:?} {number}");
        }
        let new: Vec<u8> = (0..FLOWS)
            .map(|number| reached(&gateway, shape, &flow(shape, FLOWS + number, 0x02)))
            .collect::<Result<_>>()?;
        assert!(new.contains(&1), "{shape:?}: the backend that is back gets new flows");
    }
    proves(&[9, 10], Shape::ALL);
    Ok(())
}

#[test]
fn no_usable_backend_left_resets_new_connections() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = two_backends(shape)?;
        set_state(&mut gateway, shape, 1, BackendState::Dead)?;
        set_state(&mut gateway, shape, 2, BackendState::Dead)?;
        let out = gateway.from_client(&flow(shape, 1, 0x02).bytes())?;
        assert_eq!((out.action, out.reason), (action::TX, "reset_sent"), "{shape:?}");
        let out = gateway.from_client(&datagram(shape, 1).bytes())?;
        assert_eq!((out.action, out.reason), (action::TX, "unreachable_sent"), "{shape:?}");
    }
    proves(&[7, 9], Shape::ALL);
    Ok(())
}
