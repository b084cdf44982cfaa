//! Turns one service port's wanted backends into its table and its entry, so that established flows stay where they live.

use balancer_common::{
    abi::{Service, Slot},
    service::{SERVICE_TRANSITION_TCP, SERVICE_TRANSITION_UDP},
};

use super::Apply;
use crate::{
    model::{Protocol, tables::Tables},
    reconcile::{
        ReconcileError, Unsettled,
        error::Step as _,
        render::WantedPort,
        table::{self, Filled, HASH_FLAGS},
        transition::{self, Swap, Swapped},
    },
};

/// Writes table and entry of one service port where they differ; all of them are read back when `full`.
pub(super) fn run<T: Tables>(apply: &mut Apply<'_, T>, port: &WantedPort, full: bool) -> Result<(), ReconcileError> {
    let id = port.id;
    let Some(before) = apply.diff.services_before.get(&id).copied() else { return add(apply, port) };
    let known = apply.memory.memo.get(&id).is_some_and(|memo| memo.fingerprint == table::fingerprint(port));
    let mut entry = before;
    if full || !known {
        let filled = table::fill(port);
        entry = swap(apply, (port, &filled), before)?;
        apply.memory.memo.insert(id, filled.memo);
    }
    let wanted = Service { flags: port.entry.flags | entry.flags & window(&entry), ..port.entry };
    if !is_written(&entry, &wanted) {
        apply.tables.set_service(id.0, &wanted);
        apply.report.services_changed += 1;
    }
    if before.table_class != wanted.table_class {
        apply.tables.wait_for_readers().step("wait for frames in flight")?;
        apply.drop_tables(id, Some(wanted.table_class as usize))?;
    }
    Ok(())
}

/// Whether an entry says what is wanted; VLAN tags are the datapath's to write.
pub(super) fn is_written(entry: &Service, wanted: &Service) -> bool {
    *entry == Service { vlan_outer: entry.vlan_outer, vlan_inner: entry.vlan_inner, ..*wanted }
}

/// The window of the service port's own protocol.
pub(in crate::reconcile) const fn window(service: &Service) -> u32 {
    if service.protocol == Protocol::Tcp.number() { SERVICE_TRANSITION_TCP } else { SERVICE_TRANSITION_UDP }
}

/// Nobody has flows through a service port that no index names yet: all slots are settled.
fn add<T: Tables>(apply: &mut Apply<'_, T>, port: &WantedPort) -> Result<(), ReconcileError> {
    let filled = table::fill(port);
    apply.tables.clear_service_counters(port.id.0).step("clear a service port's counters")?;
    put(apply, port, &settled(&filled))?;
    apply.report.slots_changed += filled.owners.len();
    apply.tables.set_service(port.id.0, &port.entry);
    apply.memory.memo.insert(port.id, filled.memo);
    apply.report.services_added += 1;
    Ok(())
}

/// Puts the next table in place if it differs. Gives the entry as it stands then, with its window open if it has to be.
///
/// The window is opened before the table that needs it is in place, and only over a table in which nothing points to
/// the previous owner of an earlier window.
fn swap<T: Tables>(
    apply: &mut Apply<'_, T>,
    (port, filled): (&WantedPort, &Filled),
    before: Service,
) -> Result<Service, ReconcileError> {
    let id = port.id;
    let Some(old) = apply.tables.table(before.table_class as usize, id.0).step("read a table")? else {
        put(apply, port, &settled(filled))?;
        apply.report.slots_changed += filled.owners.len();
        return Ok(before);
    };
    let mut entry = before;
    let swapped = next(apply, (port, filled), (&before, &old));
    let is_open = entry.flags & window(&entry) != 0;
    if swapped.opens && !is_open {
        let normal = transition::closed(&old);
        if normal != old {
            apply.tables.put_table(before.table_class as usize, id.0, &normal).step("put a table")?;
            apply.report.tables_put += 1;
        }
        entry.flags |= window(&entry);
        apply.tables.set_service(id.0, &entry);
        apply.report.services_changed += 1;
    }
    apply.report.slots_changed += swapped.changed;
    if swapped.slots != old || before.table_class != port.entry.table_class {
        put(apply, port, &swapped.slots)?;
    }
    watch(apply, port, (&entry, &swapped));
    Ok(entry)
}

/// The next slots, by what happens to the flows' positions.
fn next<T: Tables>(
    apply: &Apply<'_, T>,
    (port, filled): (&WantedPort, &Filled),
    (before, old): (&Service, &[Slot]),
) -> Swapped {
    let (owners, wanted) = (&filled.owners, &port.entry);
    if before.hash_key != wanted.hash_key || (before.flags ^ wanted.flags) & HASH_FLAGS != 0 {
        return Swapped { slots: transition::unknown(owners), opens: false, changed: owners.len() };
    }
    let resized = transition::resized(old, owners.len());
    let swap = Swap {
        old: &resized,
        owners,
        window_open: before.flags & window(before) != 0,
        usable: &table::usable(port),
        moved: &apply.diff.moved,
        reshuffled: before.table_class != wanted.table_class,
    };
    swap.run()
}

/// Remembers that upkeep has something to do here. A window that was found open begins anew.
fn watch<T: Tables>(apply: &mut Apply<'_, T>, port: &WantedPort, (entry, swapped): (&Service, &Swapped)) {
    let is_open = entry.flags & window(entry) != 0;
    let known = apply.memory.unsettled.get(&port.id).copied();
    if !is_open && known.is_none() && !transition::is_unsettled(&swapped.slots) {
        return;
    }
    let now_ns = apply.tables.now_ns();
    let kept_ns = known.and_then(|known| known.opened_ns);
    let opened_ns = if swapped.opens { Some(now_ns) } else { kept_ns.or(is_open.then_some(now_ns)) };
    apply.memory.unsettled.insert(port.id, Unsettled { opened_ns });
}

fn put<T: Tables>(apply: &mut Apply<'_, T>, port: &WantedPort, slots: &[Slot]) -> Result<(), ReconcileError> {
    apply.tables.put_table(port.entry.table_class as usize, port.id.0, slots).step("put a table")?;
    apply.report.tables_put += 1;
    Ok(())
}

fn settled(filled: &Filled) -> Vec<Slot> {
    filled.owners.iter().map(|owner| transition::settled(*owner)).collect()
}
