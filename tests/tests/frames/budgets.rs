//! Above its budget a service port or a project runs stateless, by hash; and a VIP tells no more of what is wrong (cases 10, 17).

use std::collections::BTreeMap;

use anyhow::Result;
use balancer_common::{
    abi::{Policy, Service},
    case::Case,
};
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::Gateway,
        overlay::outer_bytes,
        packet::Packet,
        reshape::fragments,
        world::{Shape, backend},
    },
};
use balancer_user::model::{BackendState, tables::Tables as _};

/// Tokens of a budget that is short.
const FEW: u64 = 3;
/// Nanoseconds until a short budget has another one: no test takes as long, so that none depends on the clock.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Leaves [`FEW`] tokens in these budgets.
fn shorten(gateway: &mut Gateway, positions: impl IntoIterator<Item = u32>) {
    for position in positions {
        let (interval_ns, burst_ns) = (HOUR_NS, FEW * HOUR_NS);
        gateway.datapath.set_policy(position, &Policy { interval_ns, burst_ns, ..Policy::default() });
    }
}

/// Positions of the budgets of service ports (or VIPs alone, port 0) that this is true for, and of their projects.
fn positions(gateway: &Gateway, is_meant: impl Fn(&Service) -> bool) -> Vec<(u32, u32)> {
    let datapath = &gateway.datapath;
    let services = (0..datapath.services_len()).map(|id| (id, datapath.service(id)));
    services.filter(|(_, at)| at.family != 0 && is_meant(at)).map(|(id, at)| (id, at.project)).collect()
}

fn flow(shape: Shape, number: u16, flags: u8) -> Packet {
    let mut packet = shape.segment(0);
    packet.tcp().ports[0] = 10_000 + number;
    packet.tcp().flags = flags;
    packet
}

fn reached(gateway: &Gateway, shape: Shape, packet: &Packet) -> Result<u8> {
    let out = gateway.from_client(&packet.bytes())?;
    assert_eq!(out.reason, "forwarded", "{packet:?}");
    let address_end = outer_bytes(shape.underlay_ipv4) + 14 + if shape.vip_ipv4 { 20 } else { 40 };
    Ok(out.frame[address_end - 1] % 10)
}

fn cases(gateway: &Gateway) -> Result<BTreeMap<&'static str, u64>> {
    Ok(gateway.datapath.cases()?.into_iter().map(|(case, count): (Case, u64)| (case.name(), count)).collect())
}

/// TCP 80 of both projects moves from container 1 to container 2, so that every slot is in transition.
fn in_transition(shape: Shape) -> Result<Gateway> {
    let mut gateway = Gateway::start()?;
    for at in gateway.desired.service_ports.iter_mut().filter(|at| at.port == 80) {
        if at.vip == shape.vip(at.project) {
            at.backends.push(backend(shape, at.project, (2, 8080)));
            at.backends[0].state = BackendState::Draining;
        }
    }
    gateway.apply()?;
    Ok(gateway)
}

/// Whether an entry is TCP 80 of the shape's VIP of a project.
fn is_web(shape: Shape, project: usize) -> impl Fn(&Service) -> bool {
    let vip = match shape.vip(project) {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    move |at| at.vip == vip && at.protocol == 6 && at.port == [0, 80]
}

#[test]
fn flood_beyond_the_budget_is_placed_by_hash_and_remembers_no_more() -> Result<()> {
    for of_project in [false, true] {
        for shape in Shape::ALL {
            let mut gateway = in_transition(shape)?;
            let found = positions(&gateway, is_web(shape, 0));
            shorten(&mut gateway, found.iter().map(|(id, project)| if of_project { *project } else { *id }));
            for number in 0..50 {
                let began = reached(&gateway, shape, &flow(shape, number, 0x02))?;
                // Stateless from the fourth on: where its next packets, unknown too, will go.
                assert_eq!(began, if u64::from(number) < FEW { 2 } else { 1 }, "{shape:?} {number}");
                for flags in [0x10, 0x18, 0x18] {
                    assert_eq!(reached(&gateway, shape, &flow(shape, number, flags))?, began, "{shape:?} {number}");
                }
            }
            assert_eq!(gateway.datapath.flows()?.len() as u64, FEW, "{shape:?}");
            let counted = cases(&gateway)?;
            assert_eq!(counted["flow_remembered"], FEW, "{shape:?}");
            assert_eq!(counted["flow_stateless"], (50 - FEW) * 4, "{shape:?}");
        }
    }
    proves(&[10], Shape::ALL);
    Ok(())
}

#[test]
fn flood_of_one_project_leaves_another_s_budget_alone() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = in_transition(shape)?;
        let found = positions(&gateway, is_web(shape, 0));
        shorten(&mut gateway, found.iter().flat_map(|(id, project)| [*id, *project]));
        for number in 0..50 {
            reached(&gateway, shape, &flow(shape, number, 0x02))?;
        }
        for number in 0..20 {
            let other = Packet { destination: shape.vip(1), ..flow(shape, number, 0x02) };
            assert_eq!(gateway.from_client(&other.bytes())?.reason, "forwarded");
        }
        assert_eq!(gateway.datapath.flows()?.len() as u64, FEW + 20, "{shape:?}");
    }
    proves(&[10], Shape::ALL);
    Ok(())
}

#[test]
fn first_fragments_beyond_the_budget_are_not_remembered() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = in_transition(shape)?;
        let dns = positions(&gateway, |at| at.protocol == 17 && at.port == [0, 53]);
        shorten(&mut gateway, dns.iter().map(|(id, _)| *id));
        let packet = Packet { fragment: 0, ..shape.datagram(0) };
        for number in 0..10 {
            let pieces = fragments(&packet.bytes(), 16, number);
            assert_eq!(gateway.from_client(&pieces[0])?.reason, "forwarded", "{shape:?}");
            let expected = if u64::from(number) < FEW { "forwarded" } else { "fragment_held" };
            assert_eq!(gateway.from_client(&pieces[1])?.reason, expected, "{shape:?} {number}");
        }
    }
    proves(&[10, 19], Shape::ALL);
    Ok(())
}

#[test]
fn errors_of_the_gateway_are_bounded_for_each_vip() -> Result<()> {
    for shape in Shape::ALL {
        let mut gateway = Gateway::start()?;
        let vips = positions(&gateway, |at| at.protocol == 0);
        shorten(&mut gateway, vips.iter().map(|(id, _)| *id));
        for project in [0, 1] {
            for number in 0..10 {
                let expired = Packet { ttl: 1, ..shape.segment(project) };
                let expected = if number < FEW { "time_exceeded_sent" } else { "error_limited" };
                assert_eq!(gateway.from_client(&expired.bytes())?.reason, expected, "{shape:?} {project} {number}");
            }
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}
