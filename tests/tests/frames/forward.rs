//! A client's packet reaches the container rewritten, inside VXLAN, and nothing else about it changes (case 12).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        overlay::outer_port,
        packet::Packet,
        programs::{Input, action},
        world::Shape,
    },
};

/// The frame that a host must get for a client's packet, given the one it got.
fn expected(shape: Shape, project: usize, (packet, port): (&Packet, u16), got: &[u8]) -> Vec<u8> {
    let inner = shape.delivered(project, packet, (1, port));
    shape.overlay(project, packet.traffic_class, outer_port(got, shape.underlay_ipv4)).around(&inner.bytes()).bytes()
}

#[test]
fn client_s_packets_reach_the_container_byte_for_byte() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for project in [0, 1] {
            for (packet, port) in [(shape.segment(project), 8080), (shape.datagram(project), 5353)] {
                let out = gateway.from_client(&packet.bytes())?;
                assert_eq!((out.action, out.reason), (action::REDIRECT, "forwarded"), "{shape:?}");
                assert_eq!(out.frame, expected(shape, project, (&packet, port), &out.frame), "{shape:?} {packet:?}");
                assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?}");
            }
        }
    }
    proves(&[12, 15], Shape::ALL);
    Ok(())
}

#[test]
fn frame_that_leaves_where_it_came_in_is_transmitted() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let out = gateway.from_host(&shape.segment(0).bytes())?;
        assert_eq!((out.action, out.reason), (action::TX, "forwarded"), "{shape:?}");
    }
    proves(&[15], Shape::ALL);
    Ok(())
}

#[test]
fn settled_slot_remembers_nothing_of_any_flow() -> Result<()> {
    use balancer_user::model::tables::Tables as _;
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for flags in [0x02, 0x10, 0x18, 0x11, 0x04] {
            for port in 0..50 {
                let mut packet = shape.segment(0);
                packet.tcp().flags = flags;
                packet.tcp().ports[0] = 30_000 + port;
                assert_eq!(gateway.from_client(&packet.bytes())?.reason, "forwarded");
            }
        }
    }
    assert_eq!(gateway.datapath.flows()?, vec![]);
    proves(&[10], Shape::ALL);
    Ok(())
}

#[test]
fn unresolved_host_s_frames_go_to_the_slow_path() -> Result<()> {
    let mut gateway = Gateway::start()?;
    for next_hop in gateway.view.hosts.values_mut() {
        next_hop.destination_mac = None;
    }
    gateway.apply()?;
    for shape in Shape::ALL {
        let out = gateway.from_client(&shape.segment(0).bytes())?;
        assert_eq!((out.action, out.reason), (action::DROP, "slow_path"), "{shape:?}");
    }
    proves(&[21], Shape::ALL);
    Ok(())
}

#[test]
fn way_by_an_interface_that_is_not_attached_is_dropped_by_name() -> Result<()> {
    let mut gateway = Gateway::start()?;
    for next_hop in gateway.view.hosts.values_mut() {
        next_hop.ifindex = 1;
    }
    gateway.apply()?;
    let frame = Shape::ALL[0].segment(0).bytes();
    let out = gateway.run(Input { frame: &frame, ingress: gateway.ports.public, linear: frame.len() })?;
    assert_eq!((out.action, out.reason), (action::DROP, "port_unknown"));
    proves(&[21], [Shape::ALL[0]]);
    Ok(())
}
