//! Turns large configs into the time that they take, so that nothing quadratic slips in.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use ipnet::Ipv4Net;

use super::{
    fake::Fake,
    lab,
    world::{self, Port, World, active},
};
use crate::{
    model::{BackendState, Desired, Protocol, Sources},
    reconcile::{Reconciler, Report},
};

/// Fewer without optimisation, where only the counts are checked.
const PORTS: u16 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const BACKENDS: u8 = 10;
/// Prefixes of the list of sources that all of them share.
const PREFIXES: u32 = 10_000;

/// Many service ports with 10 backends each, every one with containers of its own, and one list of sources for all.
fn large() -> (World, Desired) {
    let mut world = World::new();
    let denied = (0..PREFIXES).map(|number| Ipv4Net::new(Ipv4Addr::from(number << 8), 24).unwrap().into()).collect();
    let list = Arc::new(Sources { allow: Vec::new(), deny: denied });
    world.ports = (0..PORTS)
        .map(|number| {
            let [high, low] = (number / 4).to_be_bytes();
            let vip = IpAddr::from([192, 18, high, low]);
            Some(Port {
                sources: Arc::clone(&list),
                members: (0..BACKENDS).map(|number| (number, active(1))).collect::<BTreeMap<_, _>>(),
                ..world::port(0, vip, Protocol::Tcp, 80 + number % 4)
            })
        })
        .collect();
    let mut desired = world.desired();
    for (number, port) in desired.service_ports.iter_mut().enumerate() {
        for (at, backend) in port.backends.iter_mut().enumerate() {
            let [high, low] = (number as u16).to_be_bytes();
            backend.address = IpAddr::from([10, high, low, at as u8]);
        }
    }
    (world, desired)
}

#[test]
fn ten_thousand_service_ports_are_no_trouble() {
    let (world, mut desired) = large();
    let mut fake = Fake::new(32_768, 131_072, 4_096);
    let mut reconciler = Reconciler::new();
    let timed = |what: &str, reconciler: &mut Reconciler, desired: &Desired, fake: &mut Fake| {
        let begin = Instant::now();
        let report = lab::reconcile(reconciler, desired, &world, fake).unwrap();
        println!("{what}: {:?}", begin.elapsed());
        (report, begin.elapsed())
    };
    let (report, fill) = timed("fill", &mut reconciler, &desired, &mut fake);
    assert_eq!((report.backends_added, report.tables_put), (usize::from(PORTS) * 10, usize::from(PORTS)));
    assert_eq!(report.source_entries, PREFIXES as usize + 1);
    let (report, _) = timed("nothing", &mut reconciler, &desired, &mut fake);
    assert_eq!(report, Report::default());
    desired.service_ports[500].backends[3].state = BackendState::Dead;
    let (report, _) = timed("one dies", &mut reconciler, &desired, &mut fake);
    assert_eq!(report, Report { backends_changed: 1, ..Report::default() });
    let (report, _) = timed("restart", &mut Reconciler::new(), &desired, &mut fake);
    assert_eq!(report, Report { gateway_changed: true, ..Report::default() });
    desired.service_ports.truncate(usize::from(PORTS) / 2);
    let (report, removal) = timed("half goes", &mut reconciler, &desired, &mut fake);
    assert_eq!(report.backends_removed, usize::from(PORTS) * 5);
    if !cfg!(debug_assertions) {
        assert!(fill.as_secs_f32() < 2.0 && removal.as_secs_f32() < 2.0, "{fill:?}, {removal:?}");
    }
}
