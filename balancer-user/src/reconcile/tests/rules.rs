//! Turns single situations into what the maps must hold then.

use balancer_common::service::{
    BACKEND_AMBIGUOUS, BACKEND_EXCEPTIONS, STATE_ACTIVE, STATE_DEAD, STATE_DRAINING, STATE_FREE,
};

use super::{
    lab::{Lab, SECOND_NS},
    world::{self, TCP_IDLE, active, vtep},
};
use crate::{
    model::{BackendState, ClientRoutes},
    reconcile::{Reconciler, Report},
};

fn state(lab: &mut Lab, port: usize, number: u8, state: BackendState) {
    lab.world.ports[port].as_mut().unwrap().members.get_mut(&number).unwrap().state = state;
}

/// The entry of a container behind a service port that reconcile numbers in the world's order.
fn entry(lab: &Lab, port: usize, position: usize) -> balancer_common::abi::Backend {
    let placed = lab.reconciler.placement().service_ports[port].backends[position];
    lab.fake.backends[placed.id.0 as usize]
}

#[test]
fn a_failover_is_one_backend_write_and_the_refuge() {
    let mut lab = Lab::new();
    state(&mut lab, 1, 1, BackendState::Dead);
    let report = lab.reconcile();
    let expected = Report { backends_changed: 1, services_changed: 1, ..Report::default() };
    assert_eq!(report, expected);
    let dead = entry(&lab, 1, 0);
    assert_eq!((dead.state, dead.active), (STATE_DEAD, 0));
}

#[test]
fn a_revived_backend_is_on_the_fast_path_once_no_flow_lives_elsewhere() {
    let mut lab = Lab::new();
    state(&mut lab, 1, 1, BackendState::Dead);
    lab.reconcile();
    lab.open_many(1, 40);
    state(&mut lab, 1, 1, BackendState::Active);
    lab.reconcile();
    assert_eq!(entry(&lab, 1, 0).flags, BACKEND_EXCEPTIONS);
    lab.pass(60, |_, second| second % 5 == 0);
    assert_eq!(entry(&lab, 1, 0).flags, BACKEND_EXCEPTIONS, "flows still live elsewhere");
    lab.flows.clear();
    lab.pass(60, |_, _| false);
    assert_eq!((entry(&lab, 1, 0).flags, entry(&lab, 1, 0).active), (0, entry(&lab, 1, 0).reference));
}

#[test]
fn drained_backend_keeps_its_flows_and_leaves_the_table() {
    let mut lab = Lab::new();
    lab.open_many(2, 40);
    state(&mut lab, 2, 1, BackendState::Draining);
    lab.reconcile_watching(|_| true);
    assert_eq!(entry(&lab, 2, 0).state, STATE_DRAINING);
    assert_eq!(lab.reconciler.placement().service_ports[2].backends[0].slots, 0);
    lab.pass(3 * TCP_IDLE, |_, second| second % 50 == 49);
    assert!(lab.flows.iter().any(|flow| flow.home.unwrap().0[15] == 1), "no flow was on the drained backend");
}

#[test]
fn moved_container_keeps_its_flows_under_a_new_entry() {
    let mut lab = Lab::new();
    let before = entry(&lab, 2, 0);
    lab.open_many(2, 40);
    state(&mut lab, 2, 2, BackendState::Draining);
    lab.reconcile();
    lab.pass(2, |_, _| true);
    lab.world.hosts.insert(1, 2);
    lab.world.hosts.insert(2, 1);
    let report = lab.reconcile_watching(|_| true);
    assert!(report.flows_rebound > 0 && report.slots_changed == 0, "{report:?}");
    let after = entry(&lab, 2, 0);
    assert_ne!(before.reference, after.reference);
    let freed = lab.fake.backends[(before.reference & 0xf_ffff) as usize];
    assert_eq!((freed.state, freed.active, freed.reference), (STATE_FREE, 0, before.reference));
    lab.pass(200, |_, second| second % 40 == 0);
}

#[test]
fn a_freed_id_waits_and_takes_the_next_generation() {
    let mut lab = Lab::new();
    let old = entry(&lab, 1, 0);
    lab.world.ports[1].as_mut().unwrap().members.remove(&1);
    lab.reconcile();
    lab.world.ports[1].as_mut().unwrap().members.insert(3, active(1));
    lab.reconcile();
    assert_ne!(entry(&lab, 1, 1).reference & 0xf_ffff, old.reference & 0xf_ffff, "still in quarantine");
    lab.fake.now_ns += 5 * SECOND_NS;
    lab.maintain();
    lab.world.ports[1].as_mut().unwrap().members.insert(4, active(1));
    lab.reconcile();
    assert_eq!(entry(&lab, 1, 2).reference, old.reference + (1 << 20));
}

#[test]
fn the_last_generation_is_followed_by_the_first() {
    let mut lab = Lab::new();
    let next_id = lab.backends_in_use() + 1;
    lab.fake.backends[next_id].reference = next_id as u32 | 1023 << 20;
    lab.world.ports[1].as_mut().unwrap().members.insert(3, active(1));
    lab.reconcile();
    assert_eq!(entry(&lab, 1, 2).reference, next_id as u32 | 1 << 20);
}

#[test]
fn two_service_ports_with_one_container_port_are_ambiguous_until_one_goes() {
    let mut lab = Lab::new();
    let shared = entry(&lab, 0, 0);
    assert_eq!((shared.flags, shared.active, shared.state), (BACKEND_AMBIGUOUS, 0, STATE_ACTIVE));
    lab.world.ports[3] = None;
    lab.reconcile();
    let alone = entry(&lab, 0, 0);
    assert_eq!((alone.flags, alone.active), (0, alone.reference));
}

#[test]
fn another_class_of_table_keeps_nearly_all_flows() {
    let mut lab = Lab::new();
    lab.open_many(2, 200);
    lab.world.ports[2].as_mut().unwrap().class = 1;
    lab.world.ports[2].as_mut().unwrap().members.insert(3, active(1));
    lab.reconcile();
    let stayed = |lab: &mut Lab| {
        let flows = lab.flows.clone();
        let stays = flows.iter().filter(|flow| {
            let key = flow.key;
            let word = super::datapath::forward(&mut lab.fake, &key, balancer_common::conntrack::Signal::Continues);
            Some(lab.fake.home(word.unwrap())) == flow.home
        });
        stays.count()
    };
    assert!(stayed(&mut lab) >= 180);
    assert_eq!(lab.fake.tables.keys().filter(|(class, _)| *class == 1).count(), 1);
    assert_eq!(lab.fake.tables.len(), 4);
}

#[test]
fn a_restarted_reconciler_writes_nothing_and_keeps_the_window() {
    let mut lab = Lab::new();
    lab.world.ports[2].as_mut().unwrap().members.insert(3, active(1));
    lab.reconcile();
    assert!(!lab.is_settled());
    lab.reconciler = Reconciler::new();
    let writes = lab.fake.writes;
    lab.reconcile();
    assert_eq!(lab.fake.writes, writes);
    lab.pass(TCP_IDLE, |_, _| false);
    assert!(!lab.is_settled(), "the window began anew");
    lab.pass(5, |_, _| false);
    assert!(lab.is_settled());
}

#[test]
fn a_window_closed_by_a_crash_sends_nobody_to_the_owner_before() {
    let mut lab = Lab::new();
    lab.world.ports[2].as_mut().unwrap().members.insert(3, active(1));
    lab.reconcile();
    let id = lab.reconciler.placement().service_ports[2].id.0 as usize;
    lab.fake.services[id].flags = 0;
    lab.open_many(2, 100);
    assert!(lab.fake.embryos.is_empty(), "a closed window remembers nobody");
    lab.reconciler = Reconciler::new();
    lab.world.ports[2].as_mut().unwrap().members.insert(4, active(1));
    lab.reconcile_watching(|_| true);
    lab.pass(2 * TCP_IDLE, |_, second| second % 50 == 0);
}

#[test]
fn a_damaged_index_is_healed_after_a_restart() {
    let mut lab = Lab::new();
    let before = lab.fake.buckets.clone();
    let first = *lab.fake.buckets[1].keys().next().unwrap();
    lab.fake.buckets[1].remove(&first);
    let other = lab.fake.buckets[0].entry(77).or_default();
    (other.entries[3], other.spilled) = (0xdead_beef_0000_0002, 1);
    lab.reconciler = Reconciler::new();
    lab.reconcile();
    let used = |buckets: &std::collections::HashMap<u32, balancer_common::index::Bucket>| {
        let mut used: Vec<_> = buckets.iter().filter(|(_, bucket)| **bucket != Default::default()).collect();
        used.sort_unstable_by_key(|(position, _)| **position);
        used.into_iter().map(|(position, bucket)| (*position, *bucket)).collect::<Vec<_>>()
    };
    assert_eq!(before.each_ref().map(used), lab.fake.buckets.each_ref().map(used));
}

#[test]
fn next_hops_are_written_in_place() {
    let mut lab = Lab::new();
    let hop = lab.world.view.hosts.get_mut(&vtep(0)).unwrap();
    (hop.destination_mac, hop.mtu) = (None, 9000);
    assert_eq!(lab.reconcile(), Report { hosts_changed: 1, ..Report::default() });
    assert_eq!((lab.fake.hosts[1].next_hop.resolved, lab.fake.hosts[1].inner_mtu), (0, 8950));
    lab.world.view.hosts.clear();
    lab.reconcile();
    assert_eq!((lab.fake.hosts[1].next_hop.resolved, lab.fake.hosts[1].inner_mtu), (0, 8950));
}

#[test]
fn the_smallest_mtu_known_of_a_host_counts() {
    let mut lab = Lab::new();
    lab.world.view.path_mtus.insert(vtep(0), 1400);
    assert_eq!(lab.reconcile(), Report { hosts_changed: 1, ..Report::default() });
    assert_eq!((lab.fake.hosts[1].inner_mtu, lab.fake.hosts[2].inner_mtu), (1350, 1550));
    lab.world.view.path_mtus.insert(vtep(0), 9000);
    lab.reconcile();
    assert_eq!(lab.fake.hosts[1].inner_mtu, 1550);
    lab.world.view.hosts.get_mut(&vtep(0)).unwrap().mtu = 65_535;
    lab.world.view.path_mtus.clear();
    lab.reconcile();
    assert_eq!(lab.fake.hosts[1].inner_mtu, balancer_common::abi::INNER_MTU_MAX);
}

#[test]
fn client_routes_in_short_or_the_kernel() {
    let mut lab = Lab::new();
    let prefix: ipnet::IpNet = "10.1.2.3/8".parse().unwrap();
    lab.world.view.clients_ipv4 = ClientRoutes { default: None, exceptions: vec![prefix], ask_kernel: false };
    lab.world.view.clients_ipv6 = ClientRoutes { default: None, exceptions: Vec::new(), ask_kernel: true };
    lab.reconcile();
    let [v4, v6] = lab.fake.client_routes;
    assert_eq!((v4.exceptions_count, v6.exceptions_count), (1, 9));
    assert_eq!(v4.exceptions[0].address, balancer_common::service::mapped([10, 0, 0, 0]));
    assert_eq!(v4.exceptions[0].mask[..14], [[0xff; 13].as_slice(), &[0]].concat());
}

#[test]
fn removing_everything_leaves_only_generations() {
    let mut lab = Lab::of(world::World::with_range());
    lab.world.ports[0].as_mut().unwrap().sources = world::sources(&["10.0.0.0/8"], &[]);
    lab.reconcile();
    assert!(!lab.fake.sources.is_empty() && !lab.fake.ranges.is_empty() && !lab.fake.reply_ranges.is_empty());
    lab.world.ports.iter_mut().for_each(|port| *port = None);
    lab.reconcile();
    assert!(lab.fake.tables.is_empty() && lab.fake.services.iter().all(|entry| entry.family == 0));
    assert!(lab.fake.backends.iter().all(|entry| entry.state == STATE_FREE));
    assert!(lab.fake.sources.is_empty() && lab.fake.ranges.is_empty() && lab.fake.reply_ranges.is_empty());
    assert!(lab.fake.policies.is_empty() && lab.fake.gateway.flags == 0);
    let entries = lab.fake.buckets.iter().flat_map(|buckets| buckets.values());
    assert!(entries.into_iter().all(|bucket| *bucket == Default::default()));
    assert_eq!(lab.fake.hosts.iter().filter(|host| host.family != 0).count(), world::HOSTS);
}
