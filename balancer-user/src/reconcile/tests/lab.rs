//! Turns operations on a desired state into frames of flows, and checks that each flow stays where it lives.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use balancer_common::{
    conntrack::{FlowKey, Signal},
    id::BackendRef,
    service::{PHASE_TRANSITION, STATE_ACTIVE, STATE_FREE, mapped},
};

use super::{
    datapath,
    fake::{Crash, Fake, Home},
    world::{TCP_IDLE, UDP_IDLE, World},
};
use crate::{
    model::{BackendState, Desired, Protocol, tables::Tables as _},
    reconcile::{ReconcileError, Reconciler, Report, Upkeep, Wish, transition},
};

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// A flow that is alive, and where its frames arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub key: FlowKey,
    /// None while its backend was not usable since its last frame: then it may go anywhere.
    pub home: Option<Home>,
    pub last_ns: u64,
}

pub(super) struct Lab {
    pub world: World,
    pub fake: Fake,
    pub reconciler: Reconciler,
    pub flows: Vec<Flow>,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::of(World::new())
    }

    pub(super) fn of(world: World) -> Self {
        let mut lab = Self { world, fake: Fake::new(16, 48, 8), reconciler: Reconciler::new(), flows: Vec::new() };
        lab.reconcile();
        lab
    }

    /// Applies the world; every flow that has to survive sends frames meanwhile if `watch` says so.
    pub(super) fn reconcile_watching(&mut self, watch: impl Fn(usize) -> bool) -> Report {
        self.release_unusable();
        let flows = self.flows.iter().enumerate().filter(|(at, _)| watch(*at));
        self.fake.watched = flows.filter_map(|(_, flow)| Some((flow.key, flow.home?))).collect();
        let writes = self.fake.writes;
        let report = self.apply();
        let (watched, now_ns) = (std::mem::take(&mut self.fake.watched), self.fake.now_ns);
        let sent = self.fake.writes != writes;
        for flow in self.flows.iter_mut().filter(|flow| sent && watched.iter().any(|(key, _)| *key == flow.key)) {
            flow.last_ns = now_ns;
        }
        let writes = self.fake.writes;
        let again = self.apply();
        assert_eq!((again, self.fake.writes), (Report::default(), writes), "a second reconcile changes nothing");
        self.check();
        report
    }

    pub(super) fn reconcile(&mut self) -> Report {
        self.reconcile_watching(|_| false)
    }

    /// Dies after `writes` writes, and starts again.
    pub(super) fn crash(&mut self, writes: usize) {
        self.release_unusable();
        self.fake.crash_after = Some(writes);
        if let Err(reason) = catch_unwind(AssertUnwindSafe(|| self.apply()))
            && !reason.is::<Crash>()
        {
            resume_unwind(reason);
        }
        self.fake.crash_after = None;
        self.reconciler = Reconciler::new();
    }

    fn apply(&mut self) -> Report {
        let desired = self.world.desired();
        loop {
            match reconcile(&mut self.reconciler, &desired, &self.world, &mut self.fake) {
                Ok(report) => return report,
                Err(ReconcileError::TooManyBackends { withheld, .. }) if withheld > 0 => {
                    self.fake.now_ns += 3 * SECOND_NS;
                    self.maintain();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn maintain(&mut self) -> Upkeep {
        let done = self.reconciler.maintain(&mut self.fake).unwrap();
        self.check();
        done
    }

    /// Lets time pass second by second. A flow sends when `sends` says so, or when it would be forgotten otherwise.
    pub(super) fn pass(&mut self, seconds: u64, sends: impl Fn(usize, u64) -> bool) {
        for second in 0..seconds {
            self.fake.now_ns += SECOND_NS;
            for at in (0..self.flows.len()).rev() {
                let flow = self.flows[at];
                let idle = if flow.key.protocol == 6 { TCP_IDLE } else { UDP_IDLE };
                if sends(at, second) || self.fake.now_ns - flow.last_ns >= (idle - 1) * SECOND_NS {
                    self.send(at);
                }
            }
            self.maintain();
        }
    }

    /// A new flow; none when its tuple is in use or nobody takes it.
    pub(super) fn open(&mut self, port: usize, client: u8, client_port: u8) -> Option<usize> {
        let port = self.world.ports[port].as_ref()?;
        let vip = match port.vip {
            std::net::IpAddr::V4(v4) => mapped(v4.octets()),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        let client = if port.vip.is_ipv4() { mapped([198, 51, 100, client]) } else { [client; 16] };
        let key = FlowKey {
            client,
            vip,
            vip_port: (port.port + u16::from(client_port) % (port.last - port.port + 1)).to_be_bytes(),
            client_port: [200, client_port],
            protocol: port.protocol.number(),
            reserved: [0; 3],
        };
        if self.flows.iter().any(|flow| flow.key == key) {
            return None;
        }
        let signal = if port.protocol == Protocol::Tcp { Signal::Opens } else { Signal::Continues };
        let reference = datapath::forward(&mut self.fake, &key, signal)?;
        let home = self.fake.home(reference);
        self.flows.push(Flow { key, home: Some(home), last_ns: self.fake.now_ns });
        Some(self.flows.len() - 1)
    }

    /// New flows of as many clients.
    pub(super) fn open_many(&mut self, port: usize, count: u8) {
        for client in 0..count {
            self.open(port, client, client).expect("a backend takes it");
        }
    }

    /// The next frame of a flow.
    pub(super) fn send(&mut self, at: usize) {
        let flow = &mut self.flows[at];
        let reached = datapath::forward(&mut self.fake, &flow.key, Signal::Continues).map(|word| self.fake.home(word));
        if flow.home.is_some() {
            assert_eq!(reached, flow.home, "{flow:?} left its backend");
        }
        flow.home = reached;
        flow.last_ns = self.fake.now_ns;
        if reached.is_none() {
            self.flows.remove(at);
        }
    }

    /// The flow ends.
    pub(super) fn close(&mut self, at: usize) {
        let flow = self.flows.remove(at);
        if flow.key.protocol == 6 {
            datapath::forward(&mut self.fake, &flow.key, Signal::Closes);
        }
    }

    /// A TCP flow ends with its backend; a UDP flow may go anywhere with its next frame.
    fn release_unusable(&mut self) {
        let desired = self.world.desired();
        for flow in &mut self.flows {
            if flow.home.is_some_and(|home| !is_usable(&desired, &flow.key, home)) {
                flow.home = None;
            }
        }
        self.flows.retain(|flow| flow.home.is_some() || flow.key.protocol != 6);
    }

    /// What holds after every operation.
    pub(super) fn check(&self) {
        assert_eq!(self.fake.faults, Vec::<String>::new());
        self.check_places();
        for ((_, service), slots) in &self.fake.tables {
            let entry = self.fake.services[*service as usize];
            assert_ne!(entry.family, 0, "a table without a service port");
            for slot in slots {
                for word in [slot.owner, slot.previous] {
                    let Some(reference) = BackendRef::from_word(word) else { continue };
                    let backend = self.fake.backends[reference.id().0 as usize];
                    assert_eq!((backend.reference, backend.service), (reference.word(), *service));
                    assert_eq!(backend.vni, entry.vni);
                }
            }
        }
    }

    /// Nothing is left of lists that nobody names, ranges that are gone, and policies of nobody.
    fn check_places(&self) {
        let fake = &self.fake;
        for (id, service) in (0_u32..).zip(&fake.services).filter(|(_, service)| service.protocol != 0) {
            assert!(
                fake.policies.contains_key(&id) && fake.policies.contains_key(&service.project),
                "{id} {service:?}"
            );
            for (other, same) in (0_u32..).zip(&fake.services).filter(|(_, other)| other.protocol != 0) {
                assert_eq!(same.vni == service.vni, same.project == service.project, "{id} and {other}");
            }
        }
        for id in fake.policies.keys() {
            let is_named = fake.services.iter().any(|service| service.project == *id);
            assert!(
                is_named || fake.services.get(*id as usize).is_some_and(|service| service.family != 0),
                "policy {id}"
            );
        }
        for key in fake.sources.keys() {
            let list = u64::from_ne_bytes(key.list);
            assert!(fake.policies.values().any(|policy| policy.sources == list), "{key:?}");
        }
        for (key, id) in &fake.ranges {
            let service = fake.services[*id as usize];
            assert!(service.port != service.port_last && key.protocol == service.protocol, "{key:?}");
            assert_eq!(fake.services[u32::from_ne_bytes(key.vip) as usize].vip, service.vip);
        }
        for (key, id) in &fake.reply_ranges {
            let backend = fake.backends[*id as usize];
            assert_eq!((key.address, key.vni), (backend.container, backend.vni.to_ne_bytes()));
            assert!(backend.state != STATE_FREE && backend.port == [0; 2]);
        }
    }

    /// No slot in transition, no window, no backend off the fast path without a reason.
    pub(super) fn is_settled(&self) -> bool {
        let slots = self.fake.tables.values().all(|slots| !transition::is_unsettled(slots));
        let windows = self.fake.services.iter().all(|service| service.flags & 3 == 0);
        let fast = self.fake.backends.iter().all(|backend| {
            backend.state != STATE_ACTIVE || backend.active == backend.reference || backend.flags & 1 != 0
        });
        slots && windows && fast
    }

    /// Slots in transition of one table.
    pub(super) fn unsettled_slots(&self) -> usize {
        self.fake.tables.values().flatten().filter(|slot| slot.owner & PHASE_TRANSITION != 0).count()
    }

    pub(super) fn backends_in_use(&self) -> usize {
        (0..self.fake.backends_len()).filter(|id| self.fake.backend(*id).state != STATE_FREE).count()
    }
}

pub(super) fn reconcile(
    reconciler: &mut Reconciler,
    desired: &Desired,
    world: &World,
    fake: &mut Fake,
) -> Result<Report, ReconcileError> {
    let wish = Wish { desired, generation: 1, view: &world.view, ports: &[3] };
    reconciler.reconcile(&wish, fake)
}

fn is_usable(desired: &Desired, key: &FlowKey, home: Home) -> bool {
    let bytes = |address| match address {
        std::net::IpAddr::V4(v4) => mapped(v4.octets()),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    desired.service_ports.iter().any(|port| {
        (bytes(port.vip), port.protocol.number()) == (key.vip, key.protocol)
            && (port.port..=port.port_last).contains(&u16::from_be_bytes(key.vip_port))
            && port.backends.iter().any(|backend| {
                (bytes(backend.address), backend.port.to_be_bytes()) == home && backend.state != BackendState::Dead
            })
    })
}
