//! A changed table moves new flows only: established ones keep their container (cases 7, 10, 11).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_bytes,
        packet::Packet,
        world::{Shape, backend},
    },
};
use balancer_user::model::{Backend, Protocol, ServicePort, tables::Tables as _};

const FLOWS: u16 = 300;

fn tcp_80(shape: Shape) -> impl Fn(&ServicePort) -> bool {
    move |at| at.project == 0 && at.vip == shape.vip(0) && at.protocol == Protocol::Tcp && at.port == 80
}

fn set_backends(gateway: &mut Gateway, shape: Shape, backends: Vec<Backend>) -> Result<()> {
    let service_port = gateway.desired.service_ports.iter_mut().find(|at| tcp_80(shape)(at)).expect("the world has it");
    service_port.backends = backends;
    gateway.apply()?;
    Ok(())
}

fn flow(shape: Shape, number: u16, flags: u8) -> Packet {
    let mut packet = shape.segment(0);
    packet.tcp().ports[0] = 10_000 + number;
    packet.tcp().flags = flags;
    packet
}

/// The container that a flow reaches, by the last byte of its address.
fn reached(gateway: &Gateway, shape: Shape, packet: &Packet) -> Result<u8> {
    let out = gateway.from_client(&packet.bytes())?;
    assert_eq!(out.reason, "forwarded", "{packet:?}");
    let address_end = outer_bytes(shape.underlay_ipv4) + 14 + if shape.vip_ipv4 { 20 } else { 40 };
    Ok(out.frame[address_end - 1])
}

fn numbered(shape: Shape, numbers: &[u8]) -> Vec<Backend> {
    numbers.iter().map(|number| backend(shape, 0, (*number, 8080))).collect()
}

#[test]
fn established_flows_keep_their_container_when_backends_are_added_and_removed() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = Gateway::start()?;
        set_backends(&mut gateway, shape, numbered(shape, &[1, 2, 3]))?;
        let mut homes = Vec::new();
        for number in 0..FLOWS {
            reached(&gateway, shape, &flow(shape, number, 0x02))?;
            homes.push(reached(&gateway, shape, &flow(shape, number, 0x10))?);
        }
        set_backends(&mut gateway, shape, numbered(shape, &[1, 2, 3, 4, 5]))?;
        for number in 0..FLOWS {
            let home = homes[usize::from(number)];
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x18))?, home, "{shape:?} after the addition");
        }
        gateway.maintain()?;
        set_backends(&mut gateway, shape, numbered(shape, &[1, 2, 4, 5]))?;
        let removed = shape.container(3);
        let removed = match removed {
            std::net::IpAddr::V4(v4) => v4.octets()[3],
            std::net::IpAddr::V6(v6) => v6.octets()[15],
        };
        for number in 0..FLOWS {
            let home = homes[usize::from(number)];
            if home != removed {
                assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x18))?, home, "{shape:?} after the removal");
            }
        }
    }
    proves(&[7, 10, 11], Shape::ALL);
    Ok(())
}

#[test]
fn new_flows_use_the_new_table_at_once() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = Gateway::start()?;
        set_backends(&mut gateway, shape, numbered(shape, &[1, 2]))?;
        set_backends(&mut gateway, shape, numbered(shape, &[1, 2, 3, 4]))?;
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..FLOWS {
            let syn = reached(&gateway, shape, &flow(shape, number, 0x02))?;
            assert_eq!(reached(&gateway, shape, &flow(shape, number, 0x10))?, syn, "{shape:?} {number}");
            seen.insert(syn);
        }
        assert_eq!(seen.len(), 4, "{shape:?}");
    }
    proves(&[7], Shape::ALL);
    Ok(())
}

#[test]
fn same_config_again_writes_nothing() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let report = gateway.apply()?;
    assert!(report.is_unchanged(), "{report:?}");
    assert_eq!(gateway.datapath.flows()?, vec![]);
    Ok(())
}
