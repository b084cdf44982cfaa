//! Turns random operations into the properties that decisions 1 and 2 of the architecture promise.

use balancer_common::{
    conntrack::Signal,
    service::{STATE_ACTIVE, mapped},
};
use proptest::prelude::*;

use super::{
    datapath,
    fake::Fake,
    lab::{self, Lab},
    world::{self, Member, Port, TCP_IDLE, World},
};
use crate::{
    model::{BackendState, Desired},
    reconcile::Reconciler,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn established_flows_stay_through_any_operations(operations in proptest::collection::vec(any::<[u8; 4]>(), 1..80)) {
        let mut lab = Lab::of(World::with_range());
        lab.fake.watch = Some(every_list_is_whole);
        for operation in operations {
            operate(&mut lab, operation);
        }
        lab.reconcile();
        everything_settles(&mut lab);
        settled_slots_remember_no_syn(&mut lab);
        digests_do_not_depend_on_history(&lab);
    }
}

/// More with `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

fn operate(lab: &mut Lab, [what, a, b, c]: [u8; 4]) {
    match what % 21 {
        0..=4 => {
            for client_port in 0..=(b % 8) {
                lab.open(usize::from(a % PORTS), c, client_port);
            }
            return;
        }
        5..=6 => return lab.pass(u64::from(a % 16), |at, second| (at as u64 + second) % 7 == u64::from(b % 8)),
        7 if !lab.flows.is_empty() => return lab.close(usize::from(a) % lab.flows.len()),
        7 => return,
        8 => lab.reconciler = Reconciler::new(),
        9 => {
            lab.world.hosts.insert(a % 6, usize::from(b % 3));
        }
        10 => toggle_port(lab, usize::from(a % PORTS)),
        11 => {
            change(&mut lab.world, [a, b, c]);
            lab.crash(usize::from(c % 40));
        }
        20 => change_sources(&mut lab.world, [a, b]),
        12 => return lab.pass(u64::from(a), |_, _| false),
        _ => change(&mut lab.world, [a, b, c]),
    }
    lab.reconcile_watching(|at| b & 1 == 0 && at % 3 == usize::from(c % 3));
}

/// Service ports of the world.
const PORTS: u8 = 5;

/// Who may use one service port, or up to which port it reaches.
fn change_sources(world: &mut World, [a, b]: [u8; 2]) {
    let Some(port) = &mut world.ports[usize::from(a % PORTS)] else { return };
    port.sources = match b % 4 {
        0 => world::sources(&[], &[]),
        1 => world::sources(&["198.51.100.0/24", "::/0"], &[]),
        2 => world::sources(&[], &["10.0.0.0/8", "fd00::/8"]),
        _ => world::sources(&["198.51.100.0/24", "::/0"], &["10.0.0.0/8"]),
    };
}

/// Every list that a service port names lets this client in.
fn every_list_is_whole(fake: &Fake) -> Option<String> {
    let client = mapped([198, 51, 100, 7]);
    let services = (0_u32..).zip(&fake.services).filter(|(_, service)| service.protocol != 0);
    let faults = services.filter_map(|(id, _)| match datapath::lets_in(fake, id, &client) {
        Ok(true) => None,
        Ok(false) => Some(format!("service {id} keeps out a client that all lists let in")),
        Err(fault) => Some(fault),
    });
    faults.into_iter().next()
}

/// Changes one member of one service port, or several at once.
fn change(world: &mut World, [a, b, c]: [u8; 3]) {
    let Some(port) = &mut world.ports[usize::from(a % PORTS)] else { return };
    for turn in 0..=(a / 4 % 3) {
        change_member(port, (b.wrapping_add(turn)) % 6, c.rotate_left(u32::from(turn) * 3));
    }
}

fn change_member(port: &mut Port, number: u8, how: u8) {
    let member = Member { weight: u32::from(how / 8 % 5) + 1, state: BackendState::Active };
    let Some(known) = port.members.get_mut(&number) else {
        port.members.insert(number, member);
        return;
    };
    match how % 8 {
        0 => {
            port.members.remove(&number);
        }
        1 => known.weight = member.weight,
        2..=3 => known.state = BackendState::Draining,
        4..=5 => known.state = BackendState::Dead,
        _ => known.state = BackendState::Active,
    }
}

fn toggle_port(lab: &mut Lab, at: usize) {
    let all = World::with_range().ports;
    let port = &mut lab.world.ports[at];
    *port = if port.is_some() { None } else { all[at].clone() };
}

/// When the flows are gone, nothing is left of them.
fn everything_settles(lab: &mut Lab) {
    lab.flows.clear();
    lab.pass(2 * TCP_IDLE + 40, |_, _| false);
    assert!(lab.is_settled(), "{} slots in transition", lab.unsettled_slots());
    assert!(lab.fake.flows.is_empty() && lab.fake.embryos.is_empty());
    let wanted: usize = lab.world.ports.iter().flatten().map(|port| port.members.len()).sum();
    assert_eq!(lab.backends_in_use(), wanted);
}

fn settled_slots_remember_no_syn(lab: &mut Lab) {
    for (port, client_port) in
        (0..usize::from(PORTS)).flat_map(|port| (0..30).map(move |client_port| (port, client_port)))
    {
        let all_active = lab.world.ports[port]
            .as_ref()
            .is_some_and(|port| port.members.values().all(|member| member.state != BackendState::Dead));
        if all_active && lab.open(port, 77, client_port).is_some() {
            let key = lab.flows.last().expect("it was just opened").key;
            let reference = datapath::forward(&mut lab.fake, &key, Signal::Continues).expect("it was just opened");
            assert_eq!(lab.fake.backends[(reference & 0xf_ffff) as usize].state, STATE_ACTIVE);
            assert!(lab.fake.flows.is_empty() && lab.fake.embryos.is_empty());
        }
    }
}

/// A gateway that starts now, with everything in another order, has the same tables.
fn digests_do_not_depend_on_history(lab: &Lab) {
    let mut desired = lab.world.desired();
    let digests = |reconciler: &Reconciler, desired: &Desired| {
        let ports = desired.service_ports.iter().zip(&reconciler.placement().service_ports);
        let mut digests: Vec<_> =
            ports.map(|(port, placed)| (port.vip, port.protocol, port.port, placed.digest, placed.slots)).collect();
        digests.sort_unstable();
        digests
    };
    let ours = digests(&lab.reconciler, &desired);
    desired.service_ports.reverse();
    desired.service_ports.iter_mut().for_each(|port| port.backends.reverse());
    let (mut other, mut fake) = (Reconciler::new(), Fake::new(16, 48, 8));
    lab::reconcile(&mut other, &desired, &lab.world, &mut fake).unwrap();
    assert_eq!(ours, digests(&other, &desired));
}
