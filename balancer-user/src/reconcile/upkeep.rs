//! Turns the passing of time into settled slots, forgotten flows and free ids.

use std::collections::{BTreeMap, BTreeSet};

use balancer_common::{
    abi::{Backend, Gateway, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    id::{BackendId, BackendRef, ServiceId},
    service::{BACKEND_EXCEPTIONS, PHASE_TRANSITION, STATE_ACTIVE, STATE_FREE},
};

use super::{ReconcileError, Reconciler, Upkeep, apply::window, error::Step as _, flows, transition};
use crate::model::{Protocol, tables::Tables};

/// How long a freed backend id is not used, ns: frames in flight are long gone then, and a sweep has forgotten its flows.
const QUARANTINE_NS: u64 = 2_000_000_000;
/// How often the remembered flows are looked through while something waits for it, ns.
const SWEEP_WAITING_NS: u64 = 2_000_000_000;
/// The same while nothing does, ns.
const SWEEP_IDLE_NS: u64 = 30_000_000_000;

/// Flows of one service port by slot, as the last sweep saw them.
type FlowsOf = BTreeMap<ServiceId, Vec<(FlowKey, u32)>>;

/// One round. Looking through all flows is the expensive part, so it is done only when something depends on it.
pub(super) fn run(memory: &mut Reconciler, tables: &mut impl Tables) -> Result<Upkeep, ReconcileError> {
    let (now_ns, gateway) = (tables.now_ns(), tables.gateway());
    let mut done = Upkeep { windows_closed: close_windows(memory, tables, &gateway), ..Upkeep::default() };
    done.services_unsettled = memory.unsettled.len();
    if done.windows_closed == 0 && !is_sweep_due(memory, now_ns) {
        return Ok(done);
    }
    // What frames in flight still do with an open window or a dead backend is remembered before the flows are read.
    tables.wait_for_readers().step("wait for frames in flight")?;
    let doubtful = doubtful(memory, tables);
    let mut flows_of = FlowsOf::new();
    for (key, entry) in tables.flows().step("read the remembered flows")? {
        match owner_of(tables, &entry).filter(|_| flows::is_live(&key, &entry, &gateway, now_ns)) {
            None => {
                tables.forget_flow(&key).step("forget a flow")?;
                done.flows_forgotten += 1;
            }
            Some(service) if doubtful.contains(&service) => {
                flows_of.entry(service).or_default().push((key, entry.backend));
            }
            Some(_) => {}
        }
    }
    memory.swept_ns = Some(now_ns);
    for id in doubtful {
        settle(memory, tables, (id, flows_of.remove(&id).unwrap_or_default()), &mut done)?;
    }
    let kept = memory.quarantine.len();
    memory.quarantine.retain(|_, since| now_ns.saturating_sub(*since) < QUARANTINE_NS);
    done.backend_ids_freed = kept - memory.quarantine.len();
    done.services_unsettled = memory.unsettled.len();
    Ok(done)
}

/// Closes the windows in which every flow that is alive must have shown itself. Gives how many.
fn close_windows(memory: &mut Reconciler, tables: &mut impl Tables, gateway: &Gateway) -> usize {
    let now_ns = tables.now_ns();
    let mut closed = 0;
    for (id, unsettled) in &mut memory.unsettled {
        let Some(opened_ns) = unsettled.opened_ns else { continue };
        let mut service = tables.service(id.0);
        let idle_ns =
            if service.protocol == Protocol::Tcp.number() { gateway.tcp_idle_ns } else { gateway.udp_idle_ns };
        if now_ns.saturating_sub(opened_ns) <= idle_ns {
            continue;
        }
        service.flags &= !window(&service);
        tables.set_service(id.0, &service);
        unsettled.opened_ns = None;
        closed += 1;
    }
    closed
}

fn is_sweep_due(memory: &Reconciler, now_ns: u64) -> bool {
    let waits = !memory.exceptions.is_empty()
        || memory.unsettled.values().any(|unsettled| unsettled.opened_ns.is_none())
        || memory.quarantine.values().any(|since| now_ns.saturating_sub(*since) >= QUARANTINE_NS);
    let every_ns = if waits { SWEEP_WAITING_NS } else { SWEEP_IDLE_NS };
    memory.swept_ns.is_none_or(|last| now_ns.saturating_sub(last) >= every_ns)
}

/// Service ports for which it matters where their flows live.
fn doubtful(memory: &Reconciler, tables: &impl Tables) -> BTreeSet<ServiceId> {
    let closed = memory.unsettled.iter().filter(|(_, unsettled)| unsettled.opened_ns.is_none()).map(|(id, _)| *id);
    let exceptions = memory.exceptions.iter().map(|id| ServiceId(tables.backend(id.0).service));
    closed.chain(exceptions).filter(|id| id.0 != 0).collect()
}

/// The service port of the backend that an entry names; none when that backend is gone.
fn owner_of(tables: &impl Tables, entry: &FlowEntry) -> Option<ServiceId> {
    let reference = BackendRef::from_word(entry.backend)?;
    if reference.id().0 >= tables.backends_len() {
        return None;
    }
    let backend = tables.backend(reference.id().0);
    (backend.reference == entry.backend && backend.state != STATE_FREE).then_some(ServiceId(backend.service))
}

/// Settles the slots of one service port on which nobody lives elsewhere any more, and ends its backends' exceptions likewise.
fn settle(
    memory: &mut Reconciler,
    tables: &mut impl Tables,
    (id, flows): (ServiceId, Vec<(FlowKey, u32)>),
    done: &mut Upkeep,
) -> Result<(), ReconcileError> {
    let service = tables.service(id.0);
    let Some(old) = tables.table(service.table_class as usize, id.0).step("read a table")? else {
        memory.unsettled.remove(&id);
        return Ok(());
    };
    let mut away = vec![false; old.len()];
    for (key, backend) in &flows {
        let slot = flows::slot(key, &service);
        away[slot] |= old[slot].owner & BackendRef::MASK != *backend;
    }
    if memory.unsettled.get(&id).is_some_and(|unsettled| unsettled.opened_ns.is_none()) {
        let new = settled(&old, &away);
        if new != old {
            tables.put_table(service.table_class as usize, id.0, &new).step("put a table")?;
        }
        forget_settled(tables, (&service, &flows), (&old, &new), done)?;
        if !transition::is_unsettled(&new) {
            memory.unsettled.remove(&id);
        }
    }
    let busy: BTreeSet<u32> =
        old.iter().zip(&away).filter(|(_, away)| **away).map(|(slot, _)| slot.owner & BackendRef::MASK).collect();
    end_exceptions(memory, tables, (id, &busy), done);
    Ok(())
}

/// The table with a closed window: settled where nobody is away, else without any other owner to look at.
fn settled(old: &[Slot], away: &[bool]) -> Vec<Slot> {
    let settle = |(slot, away): (&Slot, &bool)| {
        let owner = slot.owner & BackendRef::MASK;
        if *away { Slot { owner: slot.owner, previous: owner } } else { transition::settled(owner) }
    };
    old.iter().zip(away).map(settle).collect()
}

/// A settled slot's flows need no entry, and what an entry says of them grows old: the datapath does not look at it any more.
fn forget_settled(
    tables: &mut impl Tables,
    (service, flows): (&Service, &[(FlowKey, u32)]),
    (old, new): (&[Slot], &[Slot]),
    done: &mut Upkeep,
) -> Result<(), ReconcileError> {
    let has_settled = |at: usize| old[at].owner & PHASE_TRANSITION != 0 && new[at].owner & PHASE_TRANSITION == 0;
    done.slots_settled += (0..old.len()).filter(|at| has_settled(*at)).count();
    for (key, _) in flows.iter().filter(|(key, _)| has_settled(flows::slot(key, service))) {
        tables.forget_flow(key).step("forget a flow")?;
        done.flows_forgotten += 1;
    }
    Ok(())
}

/// Puts backends back on the fast path when none of their slots has a flow elsewhere.
fn end_exceptions(
    memory: &mut Reconciler,
    tables: &mut impl Tables,
    (service, busy): (ServiceId, &BTreeSet<u32>),
    done: &mut Upkeep,
) {
    let mut ended: Vec<BackendId> = Vec::new();
    for id in &memory.exceptions {
        let mut entry = tables.backend(id.0);
        if ServiceId(entry.service) != service || busy.contains(&entry.reference) {
            continue;
        }
        ended.push(*id);
        if entry.flags & BACKEND_EXCEPTIONS != 0 {
            entry.flags &= !BACKEND_EXCEPTIONS;
            entry.active = fast(&entry);
            tables.set_backend(id.0, &entry);
            done.exceptions_ended += 1;
        }
    }
    for id in ended {
        memory.exceptions.remove(&id);
    }
}

/// The fast path's word of an entry.
fn fast(entry: &Backend) -> u32 {
    if entry.state == STATE_ACTIVE && entry.flags == 0 { entry.reference } else { 0 }
}
