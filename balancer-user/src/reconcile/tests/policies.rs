//! Turns changed lists of sources, rates and projects into what `POLICIES` and `SOURCES` must hold, also between two writes.

use balancer_common::{
    abi::{Policy, SERVICES_MAX},
    conntrack::FlowKey,
    service::{SERVICE_SOURCES, mapped},
    source::{SOURCE_DENY, SourceKey},
};

use super::{datapath, fake::Fake, lab::Lab, world::sources};
use crate::{
    model::{Project, ServicePort},
    reconcile::{Reconciler, Report},
};

const SECOND_NS: u64 = 1_000_000_000;

/// The id of the service port at a position of the world.
fn id(lab: &Lab, position: usize) -> u32 {
    lab.reconciler.placement().service_ports[position].id.0
}

fn policy(lab: &Lab, position: usize) -> Policy {
    lab.fake.policies[&id(lab, position)]
}

/// Whether TCP port 80 of the first VIP keeps a client out, and another in, of whom all lists of these tests say the same.
fn says_what_all_lists_say(fake: &Fake) -> Option<String> {
    let key = FlowKey { vip: mapped([192, 0, 2, 10]), protocol: 6, vip_port: [0, 80], ..FlowKey::default() };
    let id = datapath::find(fake, &key)?;
    let verdicts = [[10, 1, 1, 1], [198, 51, 100, 1]].map(|client| datapath::lets_in(fake, id, &mapped(client)));
    (verdicts != [Ok(false), Ok(true)]).then(|| format!("{verdicts:?}"))
}

#[test]
fn a_changed_list_is_swapped_without_a_moment_in_which_neither_holds() {
    let lists = [
        sources(&[], &["10.0.0.0/8"]),
        sources(&[], &["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"]),
        sources(&["198.51.100.0/24"], &[]),
        sources(&["198.51.100.0/24", "203.0.113.0/24"], &["198.51.100.128/25"]),
    ];
    for crash_after in 0..40 {
        let mut lab = Lab::new();
        lab.world.ports[0].as_mut().unwrap().sources = lists[0].clone();
        lab.reconcile();
        lab.fake.watch = Some(says_what_all_lists_say);
        for list in lists.iter().rev() {
            lab.world.ports[0].as_mut().unwrap().sources = list.clone();
            lab.crash(crash_after);
            lab.reconcile();
        }
        assert_eq!(lab.fake.sources.len(), lists[0].entries_count());
    }
}

#[test]
fn a_list_comes_before_its_flag_and_goes_after_it() {
    let mut lab = Lab::new();
    lab.fake.watch = Some(|fake| (1..16).find_map(|id| datapath::lets_in(fake, id, &[9; 16]).err()));
    for list in [sources(&[], &["10.0.0.0/8"]), sources(&[], &[])] {
        for port in lab.world.ports.iter_mut().flatten() {
            port.sources = list.clone();
        }
        lab.reconcile();
        let flagged = lab.fake.services.iter().filter(|service| service.flags & SERVICE_SOURCES != 0).count();
        assert_eq!(flagged, if list.is_open() { 0 } else { 4 });
    }
    assert!(lab.fake.sources.is_empty());
}

#[test]
fn service_ports_with_equal_lists_share_one() {
    let mut lab = Lab::new();
    for position in [0, 3] {
        lab.world.ports[position].as_mut().unwrap().sources = sources(&["10.0.0.0/8"], &[]);
    }
    let report = lab.reconcile();
    assert_eq!((report.source_entries, report.policies_changed, report.services_changed), (2, 2, 2));
    let list = policy(&lab, 0).sources;
    assert!(list != 0 && policy(&lab, 3).sources == list && policy(&lab, 1).sources == 0);
    assert_eq!(lab.fake.sources[&SourceKey::of(list, [0; 16], 0)], SOURCE_DENY);
    lab.world.ports[0].as_mut().unwrap().sources = sources(&[], &[]);
    assert_eq!(lab.reconcile().source_entries, 0, "the other one still uses it");
    lab.world.ports[3] = None;
    assert_eq!(lab.reconcile().source_entries, 2);
    assert!(lab.fake.sources.is_empty());
}

#[test]
fn damaged_lists_and_policies_are_healed_after_a_restart() {
    let mut lab = Lab::new();
    lab.world.ports[0].as_mut().unwrap().sources = sources(&["10.0.0.0/8"], &["10.1.0.0/16"]);
    lab.reconcile();
    let (lists, policies) = (lab.fake.sources.clone(), lab.fake.policies.clone());
    let list = policy(&lab, 0).sources;
    lab.fake.sources.remove(&SourceKey::of(list, mapped([10, 1, 0, 0]), 112)).unwrap();
    lab.fake.sources.insert(SourceKey::of(list, [0; 16], 0), 77);
    lab.fake.sources.insert(SourceKey::of(list, [9; 16], 128), SOURCE_DENY);
    lab.fake.sources.insert(SourceKey::of(list ^ 1, [0; 16], 0), SOURCE_DENY);
    lab.fake.policies.insert(id(&lab, 1), Policy { sources: 5, ..Policy::default() });
    lab.fake.policies.insert(SERVICES_MAX + 9, Policy { interval_ns: 5, ..Policy::default() });
    lab.reconciler = Reconciler::new();
    lab.reconcile();
    assert_eq!((lab.fake.sources, lab.fake.policies), (lists, policies));
}

#[test]
fn rates_become_intervals_and_a_second_of_burst() {
    let mut lab = Lab::new();
    for (position, rate) in [(0, 1), (1, 3), (2, 10_000_000)] {
        lab.world.ports[position].as_mut().unwrap().new_flows_per_second = rate;
    }
    assert_eq!(lab.reconcile(), Report { policies_changed: 3, ..Report::default() });
    let rate = |policy: Policy| (policy.interval_ns, policy.burst_ns, policy.sources);
    assert_eq!(rate(policy(&lab, 0)), (SECOND_NS, SECOND_NS, 0));
    assert_eq!(rate(policy(&lab, 1)), (333_333_333, SECOND_NS, 0));
    assert_eq!(rate(policy(&lab, 2)), (100, SECOND_NS, 0));
    assert_eq!(rate(policy(&lab, 3)), (SECOND_NS / u64::from(ServicePort::NEW_FLOWS_DEFAULT), SECOND_NS, 0));
    let project = lab.fake.services[id(&lab, 0) as usize].project;
    assert_eq!(lab.fake.policies[&project].interval_ns, SECOND_NS / u64::from(Project::NEW_FLOWS_DEFAULT));
    let vips = lab.fake.services.iter().enumerate().filter(|(_, service)| service.family != 0 && service.protocol == 0);
    let errors: Vec<u64> = vips.map(|(id, _)| lab.fake.policies[&(id as u32)].interval_ns).collect();
    assert_eq!(errors, [1_000_000; 3], "1000 ICMP errors a second");
}

#[test]
fn what_is_spent_stays_while_the_rate_changes_and_goes_with_the_service_port() {
    let mut lab = Lab::new();
    let first = id(&lab, 1);
    lab.fake.policies.get_mut(&first).unwrap().spent_until_ns = 77;
    assert_eq!(lab.reconcile(), Report::default(), "what is spent is no difference");
    lab.world.ports[1].as_mut().unwrap().new_flows_per_second = 5;
    lab.reconcile();
    assert_eq!((policy(&lab, 1).spent_until_ns, policy(&lab, 1).interval_ns), (77, SECOND_NS / 5));
    lab.world.ports[1] = None;
    lab.reconcile();
    assert!(!lab.fake.policies.contains_key(&first));
}

#[test]
fn a_project_keeps_its_budget_through_restarts_and_other_orders() {
    let mut lab = Lab::new();
    let place = |lab: &Lab, vni: u32| {
        let of_project = lab.fake.services.iter().filter(|service| service.protocol != 0 && service.vni == vni);
        let places: Vec<u32> = of_project.map(|service| service.project).collect();
        assert!(!places.is_empty() && places.iter().all(|place| *place == places[0]), "{places:?}");
        places[0]
    };
    let (red, blue) = (place(&lab, 100), place(&lab, 200));
    assert_eq!((red, blue), (SERVICES_MAX + 1, SERVICES_MAX + 2));
    lab.reconciler = Reconciler::new();
    lab.world.ports.reverse();
    lab.reconcile();
    assert_eq!((place(&lab, 100), place(&lab, 200)), (red, blue));
    let others: Vec<_> = lab.world.ports.iter().map(|port| port.clone().filter(|port| port.project == 1)).collect();
    let all = std::mem::replace(&mut lab.world.ports, others);
    lab.reconciler = Reconciler::new();
    lab.reconcile();
    assert_eq!(place(&lab, 200), blue);
    assert!(!lab.fake.policies.contains_key(&red), "nobody publishes anything in that project");
    lab.world.ports = all;
    lab.reconcile();
    assert_eq!((place(&lab, 100), place(&lab, 200)), (red, blue));
    assert_eq!(lab.fake.policies[&red].spent_until_ns, 0);
}
