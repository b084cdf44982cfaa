//! A reference that outlived its backend never leads into another project (case 8).

use anyhow::Result;
use balancer_common::{abi::Slot, id::BackendRef};
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_port,
        packet::Packet,
        programs::action,
        world::{Shape, VNIS, backend},
    },
};
use balancer_user::model::{Protocol, tables::Tables as _};

/// Entry and table class of TCP 80 at a VIP.
fn service(gateway: &Gateway, shape: Shape, project: usize) -> (u32, usize) {
    let vip = match shape.vip(project) {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    let datapath = &gateway.datapath;
    let id = (0..datapath.services_len())
        .find(|id| {
            let service = datapath.service(*id);
            service.vip == vip && service.protocol == 6 && service.port == [0, 80]
        })
        .expect("the world has it");
    (id, datapath.service(id).table_class as usize)
}

/// Whatever the slot says: a packet that is forwarded at all reaches this project's own container.
fn check_delivery(gateway: &Gateway, shape: Shape, packet: &Packet) -> Result<()> {
    let out = gateway.from_client(&packet.bytes())?;
    if out.reason != "forwarded" {
        assert!(matches!(out.action, action::TX | action::DROP), "{shape:?} {}", out.reason);
        return Ok(());
    }
    let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
    let expected = overlay.around(&shape.delivered(0, packet, (1, 8080)).bytes()).bytes();
    assert_eq!(out.frame, expected, "{shape:?} {packet:?}");
    Ok(())
}

/// Puts the same slot everywhere in a service port's table.
fn fill(gateway: &mut Gateway, (id, class): (u32, usize), slot: Slot) -> Result<()> {
    let slots = gateway.datapath.table(class, id)?.expect("the service port has a table").len();
    Ok(gateway.datapath.put_table(class, id, &vec![slot; slots])?)
}

fn owner(gateway: &Gateway, (id, class): (u32, usize)) -> Result<u32> {
    Ok(gateway.datapath.table(class, id)?.expect("the service port has a table")[0].owner & BackendRef::MASK)
}

#[test]
fn slot_that_names_another_project_s_backend_delivers_nothing_there() -> Result<()> {
    let mut gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let (red, blue) = (service(&gateway, shape, 0), service(&gateway, shape, 1));
        let foreign = owner(&gateway, blue)?;
        for phase in [0, 1 << 30] {
            fill(&mut gateway, red, Slot { owner: foreign | phase, previous: foreign })?;
            for flags in [0x02, 0x10] {
                let mut packet = shape.segment(0);
                packet.tcp().flags = flags;
                check_delivery(&gateway, shape, &packet)?;
            }
        }
    }
    proves(&[8, 23], Shape::ALL);
    Ok(())
}

#[test]
fn slot_of_another_generation_delivers_nothing_to_a_stranger() -> Result<()> {
    let mut gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let red = service(&gateway, shape, 0);
        let current = BackendRef::from_word(owner(&gateway, red)?).expect("a backend");
        let other = BackendRef::new(current.id(), current.generation() + 1).expect("in range").word();
        fill(&mut gateway, red, Slot { owner: other, previous: other })?;
        check_delivery(&gateway, shape, &shape.segment(0))?;
    }
    proves(&[8], Shape::ALL);
    Ok(())
}

#[test]
fn removed_and_added_backends_never_take_over_each_other_s_flows() -> Result<()> {
    let mut gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for round in 0..4 {
            for service_port in &mut gateway.desired.service_ports {
                let ours = service_port.vip == shape.vip(0) || service_port.vip == shape.vip(1);
                if ours && service_port.protocol == Protocol::Tcp && service_port.port == 80 {
                    let keep = (round + service_port.project) % 2 == 0;
                    let backend = backend(shape, service_port.project, (1 + round as u8, 8080));
                    service_port.backends = if keep { vec![backend] } else { vec![] };
                }
            }
            gateway.apply()?;
            for project in [0, 1] {
                let packet = shape.segment(project);
                let out = gateway.from_client(&packet.bytes())?;
                if (round + project) % 2 != 0 {
                    assert_eq!(out.reason, "reset_sent", "{shape:?} round {round}");
                    continue;
                }
                assert_eq!(out.reason, "forwarded", "{shape:?} round {round}");
                let inner = shape.delivered(project, &packet, (1 + round as u8, 8080)).bytes();
                assert!(out.frame.ends_with(&inner), "{shape:?} round {round}");
                let vni = out.frame.len() - inner.len() - 4;
                let expected = VNIS[project].to_be_bytes();
                assert_eq!(out.frame[vni..vni + 3], expected[1..], "{shape:?} round {round}");
            }
        }
    }
    proves(&[8], Shape::ALL);
    Ok(())
}
