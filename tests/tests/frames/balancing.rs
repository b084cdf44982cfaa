//! New flows spread over the backends by weight, and with client affinity a client's flows stay together (cases 6, 9).

use std::collections::BTreeMap;

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_bytes,
        packet::Packet,
        world::{Shape, backend, service_port},
    },
};
use balancer_user::model::{Backend, HashFields, Protocol};

const PORT: u16 = 90;

fn with_backends(shape: Shape, hash: HashFields, weights: &[u32]) -> Result<Gateway> {
    Gateway::with(|desired| {
        let weighted = |(number, weight): (usize, &u32)| Backend {
            weight: *weight,
            ..backend(shape, 0, (number as u8 + 1, 8080))
        };
        let backends = weights.iter().enumerate().map(weighted).collect();
        let mut service_port = service_port(shape, 0, (Protocol::Tcp, PORT), backends);
        service_port.table_class = 2;
        service_port.hash = hash;
        desired.service_ports.push(service_port);
    })
}

/// The container that a flow reaches, by the last byte of its address.
fn reached(gateway: &Gateway, shape: Shape, packet: &Packet) -> Result<u8> {
    let out = gateway.from_client(&packet.bytes())?;
    assert_eq!(out.reason, "forwarded");
    let address_end = outer_bytes(shape.underlay_ipv4) + 14 + if shape.vip_ipv4 { 20 } else { 40 };
    Ok(out.frame[address_end - 1])
}

fn flow(shape: Shape, number: u16) -> Packet {
    let mut packet = shape.segment(0);
    *packet.ports() = [1024 + number, PORT];
    packet
}

#[test]
fn twenty_thousand_flows_follow_the_weights_within_a_few_per_cent() -> Result<()> {
    const FLOWS: u16 = 20_000;
    for shape in [Shape::ALL[0], Shape::ALL[3]] {
        let weights = [1, 2, 3, 4];
        let gateway = with_backends(shape, HashFields::FLOW, &weights)?;
        let mut counts = BTreeMap::<u8, u32>::new();
        for number in 0..FLOWS {
            *counts.entry(reached(&gateway, shape, &flow(shape, number))?).or_default() += 1;
        }
        assert_eq!(counts.len(), weights.len(), "{counts:?}");
        for (count, weight) in counts.values().zip(weights) {
            let share = f64::from(FLOWS) * f64::from(weight) / 10.0;
            let off = (f64::from(*count) - share).abs() / share;
            assert!(off < 0.06, "{shape:?} weight {weight}: {count} flows, {share} expected");
        }
    }
    proves(&[6], [Shape::ALL[0], Shape::ALL[3]]);
    Ok(())
}

#[test]
fn same_flow_always_reaches_the_same_container() -> Result<()> {
    for shape in Shape::ALL {
        let gateway = with_backends(shape, HashFields::FLOW, &[1, 1, 1, 1])?;
        for number in 0..100 {
            let mut packet = flow(shape, number);
            let first = reached(&gateway, shape, &packet)?;
            packet.tcp().flags = 0x11;
            assert_eq!(reached(&gateway, shape, &packet)?, first, "{shape:?} {number}");
        }
    }
    proves(&[6], Shape::ALL);
    Ok(())
}

#[test]
fn client_affinity_keeps_all_flows_of_a_client_together() -> Result<()> {
    for shape in Shape::ALL {
        let gateway = with_backends(shape, HashFields::CLIENT, &[1, 1, 1, 1])?;
        let first = reached(&gateway, shape, &flow(shape, 0))?;
        for number in 1..200 {
            assert_eq!(reached(&gateway, shape, &flow(shape, number))?, first, "{shape:?} {number}");
        }
    }
    proves(&[9], Shape::ALL);
    Ok(())
}
