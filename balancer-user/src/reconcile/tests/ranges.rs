//! Turns service ports that are ranges, or in `dsr` mode, into what service ports, backends and ranges must hold.

use std::collections::BTreeMap;

use balancer_common::{
    abi::{Backend, Service},
    checksum::Delta,
    conntrack::FlowKey,
    range::{RangeKey, ReplyRangeKey},
    service::{
        BACKEND_AMBIGUOUS, GATEWAY_REPLY_RANGES, SERVICE_CAREFUL, SERVICE_CLIENT_AFFINITY, SERVICE_DSR,
        SERVICE_HASH_NO_ADDRESS, SERVICE_HASH_VIP_PORT, SERVICE_RANGES, mapped,
    },
};

use super::{
    datapath,
    fake::Fake,
    lab::Lab,
    world::{Port, active, port},
};
use crate::{
    model::{HashFields, Mode, Protocol},
    reconcile::{Reconciler, Report},
};

const VIP: [u8; 4] = [192, 0, 2, 10];

/// A lab whose only service ports are these at one VIP.
fn lab(ports: Vec<Port>) -> Lab {
    let mut lab = Lab::new();
    lab.world.ports = ports.into_iter().map(Some).collect();
    lab.reconcile();
    lab
}

fn range(protocol: Protocol, first: u16, last: u16) -> Port {
    Port { last, ..port(0, VIP.into(), protocol, first) }
}

fn service(lab: &Lab, position: usize) -> Service {
    lab.fake.services[lab.reconciler.placement().service_ports[position].id.0 as usize]
}

fn backend(lab: &Lab, position: usize, number: usize) -> Backend {
    lab.fake.backends[lab.reconciler.placement().service_ports[position].backends[number].id.0 as usize]
}

/// The ports of the service port that a frame finds.
fn found(fake: &Fake, protocol: u8, vip_port: u16) -> Option<(u16, u16)> {
    let key = FlowKey { vip: mapped(VIP), protocol, vip_port: vip_port.to_be_bytes(), ..FlowKey::default() };
    let service = fake.services[datapath::find(fake, &key)? as usize];
    Some((u16::from_be_bytes(service.port), u16::from_be_bytes(service.port_last)))
}

#[test]
fn exact_ports_come_first_then_the_range_then_all_ports() {
    let tcp = Protocol::Tcp;
    let mut lab = lab(vec![range(tcp, 0, 65_535), range(tcp, 8000, 8099), port(0, VIP.into(), tcp, 8000)]);
    for (port, expected) in [
        (8000, (8000, 8000)),
        (8001, (8000, 8099)),
        (8099, (8000, 8099)),
        (8100, (0, 65_535)),
        (7999, (0, 65_535)),
        (0, (0, 65_535)),
    ] {
        assert_eq!(found(&lab.fake, 6, port), Some(expected), "{port}");
        assert_eq!(found(&lab.fake, 17, port), None);
    }
    let alone = lab.fake.services.iter().find(|service| service.family != 0 && service.protocol == 0).unwrap();
    assert_eq!(alone.flags, SERVICE_RANGES);
    assert_eq!((service(&lab, 1).flags, service(&lab, 2).flags), (SERVICE_CAREFUL, 0));
    lab.world.ports.truncate(1);
    lab.world.ports[0] = Some(port(0, VIP.into(), tcp, 80));
    lab.reconcile();
    assert!(lab.fake.ranges.is_empty() && lab.fake.reply_ranges.is_empty());
    assert!(lab.fake.services.iter().all(|service| service.flags & SERVICE_RANGES == 0));
}

#[test]
fn a_port_of_the_range_before_and_after_is_found_at_every_moment() {
    let mut lab = lab(vec![range(Protocol::Tcp, 8000, 8099)]);
    lab.fake.watch = Some(|fake| {
        let lost = (8050..=8099).find(|port| found(fake, 6, *port).is_none());
        lost.map(|port| format!("port {port} is nobody's"))
    });
    for (first, last) in [(8000, 8199), (8050, 8099), (1, 65_534), (0, 65_535), (8003, 8130)] {
        for crash_after in [0, 2, 5, 9, 14, 30] {
            lab.world.ports[0] = Some(range(Protocol::Tcp, first, last));
            lab.crash(crash_after);
        }
        lab.reconcile();
        assert_eq!(found(&lab.fake, 6, first), Some((first, last)));
    }
}

#[test]
fn a_port_that_leaves_or_joins_a_range_is_found_at_every_moment() {
    let tcp = Protocol::Tcp;
    let mut lab = lab(vec![range(tcp, 8050, 8051)]);
    lab.fake.watch = Some(|fake| {
        let lost = (8050..=8051).find(|port| found(fake, 6, *port).is_none());
        lost.map(|port| format!("port {port} is nobody's"))
    });
    let apart = vec![port(0, VIP.into(), tcp, 8050), port(0, VIP.into(), tcp, 8051)];
    for ports in [apart.clone(), vec![range(tcp, 8050, 8051)], apart, vec![range(tcp, 0, 65_535)]] {
        for crash_after in [0, 3, 7, 12, 20, 30] {
            lab.world.ports = ports.iter().cloned().map(Some).collect();
            lab.crash(crash_after);
        }
        lab.reconcile();
    }
    assert_eq!(found(&lab.fake, 6, 8050), Some((0, 65_535)));
}

#[test]
fn flows_of_a_range_keep_their_container_when_its_end_moves() {
    let mut lab = lab(vec![range(Protocol::Udp, 8000, 8099)]);
    let homes = |lab: &mut Lab| {
        (0..50_u8)
            .map(|client| {
                let key = FlowKey {
                    client: mapped([198, 51, 100, client]),
                    vip: mapped(VIP),
                    vip_port: (8000 + u16::from(client)).to_be_bytes(),
                    client_port: [90, client],
                    protocol: 17,
                    ..FlowKey::default()
                };
                let signal = balancer_common::conntrack::Signal::Continues;
                let reference = datapath::forward(&mut lab.fake, &key, signal).unwrap();
                lab.fake.home(reference)
            })
            .collect::<Vec<_>>()
    };
    let before = homes(&mut lab);
    assert!(before.iter().any(|home| *home != before[0]));
    lab.world.ports[0] = Some(range(Protocol::Udp, 8000, 8199));
    lab.reconcile();
    assert_eq!(homes(&mut lab), before);
}

#[test]
fn a_range_in_nat_mode_translates_addresses_only_and_is_found_by_reply() {
    let mut lab = lab(vec![range(Protocol::Tcp, 8000, 8099)]);
    let entry = backend(&lab, 0, 0);
    let container = mapped([10, 0, 0, 1]);
    assert_eq!((entry.address, entry.container, entry.vip), (container, container, mapped(VIP)));
    assert_eq!((entry.port, entry.vip_port, entry.active), ([0; 2], [0; 2], entry.reference));
    let delta = Delta::of(&VIP, &[10, 0, 0, 1]).0;
    assert_eq!((entry.l3_delta, entry.l4_delta), (delta, delta));
    // 8000-8063, 8064-8095 and 8096-8099, for each of the two containers.
    assert_eq!(lab.fake.reply_ranges.len(), 6);
    let key = ReplyRangeKey::of(100, container, 6, 8064_u16.to_be_bytes(), 11);
    assert_eq!(lab.fake.reply_ranges[&key], entry.reference & 0xf_ffff);
    // The two containers alone, for fragments that show no port.
    assert_eq!(index_entries(&lab), 2);
    assert_eq!(lab.fake.gateway.flags, GATEWAY_REPLY_RANGES);
    lab.fake.watch = Some(|fake| {
        let lost = fake.gateway.flags == 0 && !fake.reply_ranges.is_empty();
        lost.then(|| "replies of the range are not looked for any more".to_owned())
    });
    lab.world.ports[0] = Some(port(0, VIP.into(), Protocol::Tcp, 80));
    lab.reconcile();
    assert_eq!((lab.fake.gateway.flags, lab.fake.reply_ranges.len()), (0, 0));
}

/// Entries of the index over replies.
fn index_entries(lab: &Lab) -> usize {
    lab.fake.buckets[1].values().map(|bucket| bucket.entries.iter().filter(|entry| **entry != 0).count()).sum()
}

#[test]
fn dsr_leaves_the_vip_in_place_and_has_no_way_back() {
    let dsr = |port: Port| Port { mode: Mode::Dsr, ..port };
    let mut lab = lab(vec![
        dsr(port(0, VIP.into(), Protocol::Tcp, 80)),
        dsr(range(Protocol::Tcp, 8000, 8099)),
        // The same container port, in nat mode: nobody else claims its replies.
        port(0, [192, 0, 2, 11].into(), Protocol::Tcp, 8080),
    ]);
    let (exact, ranged) = (backend(&lab, 0, 0), backend(&lab, 1, 1));
    assert_eq!((exact.address, exact.container), (mapped(VIP), mapped([10, 0, 0, 1])));
    assert_eq!((exact.port, exact.vip_port, exact.l3_delta, exact.l4_delta), ([0, 80], [0, 80], 0, 0));
    assert_eq!((ranged.address, ranged.container), (mapped(VIP), mapped([10, 0, 0, 2])));
    assert_eq!((ranged.port, ranged.vip_port, ranged.l3_delta, ranged.l4_delta), ([0; 2], [0; 2], 0, 0));
    assert_eq!((exact.flags, ranged.flags, backend(&lab, 2, 0).flags), (0, 0, 0));
    assert_eq!((service(&lab, 0).flags, service(&lab, 1).flags), (SERVICE_DSR, SERVICE_DSR | SERVICE_CAREFUL));
    // Two container ports and the two containers alone.
    assert_eq!((index_entries(&lab), lab.fake.reply_ranges.len(), lab.fake.gateway.flags), (4, 0, 0));
    assert_ne!(backend(&lab, 0, 0).reference, backend(&lab, 0, 1).reference);
    lab.world.ports[0].as_mut().unwrap().mode = Mode::Nat;
    lab.reconcile();
    assert_eq!(backend(&lab, 0, 0).address, mapped([10, 0, 0, 1]));
}

#[test]
fn backends_whose_ports_meet_are_ambiguous_and_the_lowest_stands_for_them() {
    let other = [192, 0, 2, 11].into();
    let mut lab = lab(vec![
        range(Protocol::Tcp, 8000, 8099),
        port(0, other, Protocol::Tcp, 80),
        Port { last: 8099, ..port(0, other, Protocol::Tcp, 8064) },
        range(Protocol::Udp, 8000, 8099),
        Port { last: 9001, ..port(0, other, Protocol::Tcp, 9000) },
    ]);
    let flags = |lab: &Lab| (0..5).map(|at| backend(lab, at, 0).flags).collect::<Vec<_>>();
    let both = BACKEND_AMBIGUOUS;
    assert_eq!(flags(&lab), [both, both, both, 0, 0], "container port 8080 lies in the first");
    let lowest = backend(&lab, 0, 0).reference & 0xf_ffff;
    assert!(lowest < backend(&lab, 2, 0).reference & 0xf_ffff);
    let key = |port: u16, bits| ReplyRangeKey::of(100, mapped([10, 0, 0, 1]), 6, port.to_be_bytes(), bits);
    assert_eq!(lab.fake.reply_ranges[&key(8064, 11)], lowest);
    lab.world.ports[0] = None;
    lab.world.ports[1] = None;
    lab.reconcile();
    assert_eq!(backend(&lab, 0, 0).flags, 0);
    assert_eq!(lab.fake.reply_ranges[&key(8064, 11)], backend(&lab, 0, 0).reference & 0xf_ffff);
}

#[test]
fn hashed_fields_become_flags() {
    let fields = |client_address, client_port, vip_port| HashFields { client_address, client_port, vip_port };
    for (hash, flags) in [
        (HashFields::FLOW, SERVICE_CAREFUL),
        (HashFields::CLIENT, SERVICE_CAREFUL | SERVICE_CLIENT_AFFINITY),
        (fields(false, true, false), SERVICE_CAREFUL | SERVICE_HASH_NO_ADDRESS),
        (fields(true, false, true), SERVICE_CAREFUL | SERVICE_CLIENT_AFFINITY | SERVICE_HASH_VIP_PORT),
    ] {
        let lab = lab(vec![Port { hash, ..range(Protocol::Tcp, 8000, 8099) }]);
        assert_eq!(service(&lab, 0).flags, flags, "{hash:?}");
    }
    let mut lab = lab(vec![port(0, VIP.into(), Protocol::Tcp, 80)]);
    lab.world.ports[0].as_mut().unwrap().hash = fields(false, true, false);
    let report = lab.reconcile();
    assert_eq!((report.tables_put, service(&lab, 0).flags), (1, SERVICE_CAREFUL | SERVICE_HASH_NO_ADDRESS));
}

#[test]
fn a_restart_writes_nothing_and_heals_what_is_damaged() {
    let mut lab = lab(vec![range(Protocol::Tcp, 8000, 8099), range(Protocol::Udp, 1, 65_534)]);
    let (ranges, replies, writes) = (lab.fake.ranges.clone(), lab.fake.reply_ranges.clone(), lab.fake.writes);
    assert_eq!(ranges.len(), 33);
    lab.reconciler = Reconciler::new();
    lab.reconcile();
    assert_eq!(lab.fake.writes, writes);
    let (first, _) = lab.fake.ranges.pop_first().unwrap();
    lab.fake.ranges.insert(RangeKey { protocol: 99, ..first }, 1);
    *lab.fake.ranges.values_mut().next().unwrap() = 0;
    lab.fake.reply_ranges = BTreeMap::from([(ReplyRangeKey::of(1, [9; 16], 6, [0; 2], 0), 3)]);
    lab.reconciler = Reconciler::new();
    let report = lab.reconcile();
    assert_eq!((lab.fake.ranges, lab.fake.reply_ranges), (ranges, replies));
    assert_eq!(report, Report { range_entries: 3 + 66 + 1, gateway_changed: true, ..Report::default() });
}

#[test]
fn backends_of_a_range_come_and_go() {
    let mut lab = lab(vec![range(Protocol::Tcp, 8000, 8099)]);
    lab.world.ports[0].as_mut().unwrap().members.insert(3, active(1));
    let report = lab.reconcile();
    assert_eq!((report.range_entries, report.backends_added, report.services_added), (3, 1, 0));
    lab.world.ports[0].as_mut().unwrap().members.remove(&1);
    let report = lab.reconcile();
    assert_eq!((report.range_entries, report.backends_removed), (3, 1));
    assert!(lab.fake.reply_ranges.keys().all(|key| key.address != mapped([10, 0, 0, 1])));
}
