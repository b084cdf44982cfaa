//! Turns a flow that its slot cannot place into a backend: the flows of a slot in transition, and of a backend that is not usable.
//!
//! Nothing here is on the way of a settled flow. What is remembered is only what the hash alone would get wrong later.

use balancer_common::{
    abi::{Backend, Gateway, Service, Slot},
    case::Case,
    conntrack::{FLOW_CLOSING, FLOW_OPEN, FlowEntry, FlowKey, ReplyKey, Signal, may_rebind, next_state},
    flow::FlowHash,
    id::BackendRef,
    service::{
        BACKEND_AMBIGUOUS, PHASE_TRANSITION, SERVICE_TRANSITION_TCP, SERVICE_TRANSITION_UDP, STATE_ACTIVE, STATE_DEAD,
        STATE_DRAINING, STATE_FREE,
    },
    verdict::{Reason, Verdict},
    wire::ip::PROTOCOL_TCP,
};

use crate::{
    cold,
    maps::{self, FlowTable},
};

/// Tries by another hash before the service port's refuge.
const TRIES: u32 = 8;

/// Id of this flow's backend; [`Reason::NoBackend`] when there is none and the client should be told.
#[inline(always)]
pub fn run(key: &FlowKey, signal: Signal, service_id: u32, slot: Slot, hash: FlowHash) -> Result<u32, Verdict> {
    let Some(service) = maps::service(service_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    let flow = Flow { service_id, service, signal, slot, hash };
    let reference = match known(key, &flow) {
        Known::At(reference) => reference,
        Known::Dead => 0,
        Known::No => place(key, &flow),
    };
    let (backend_id, backend) = current(reference, &flow)?;
    if backend.flags & BACKEND_AMBIGUOUS != 0 {
        remember_reply(key, backend, &flow);
    }
    Ok(backend_id)
}

/// The same for an ICMP error about this flow: nothing is remembered or refreshed.
#[inline(always)]
pub fn peek(key: &FlowKey, service_id: u32, slot: Slot, hash: FlowHash) -> Result<u32, Verdict> {
    let Some(service) = maps::service(service_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    let flow = Flow { service_id, service, signal: Signal::Continues, slot, hash };
    let known = maps::flow(FlowTable::Flows, key).or_else(|| maps::flow(FlowTable::Embryos, key));
    let live = known.filter(|entry| !is_stale(entry, key.protocol, maps::now_ns()));
    let reference = live.map_or(0, |entry| entry.backend);
    if keeps_flows(state_of(reference, &flow)) {
        return current(reference, &flow).map(|(id, _)| id);
    }
    let (owner, previous) = (slot.owner & BackendRef::MASK, slot.previous);
    let reference = if is_open(&flow, key.protocol) && keeps_flows(state_of(previous, &flow)) {
        previous
    } else if state_of(owner, &flow) == STATE_ACTIVE {
        owner
    } else {
        cold::fallback(service_id, hash)
    };
    current(reference, &flow).map(|(id, _)| id)
}

/// The backend behind a reference that was just found.
#[inline(always)]
fn current(reference: u32, flow: &Flow) -> Result<(u32, &'static Backend), Verdict> {
    if reference == 0 {
        return Err(Verdict::Drop(Reason::NoBackend));
    }
    let backend_id = reference & BackendRef::ID_MAX;
    let Some(backend) = maps::backend(backend_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    if !is_current(backend, reference, flow) {
        return Err(Verdict::Drop(Reason::BackendStale));
    }
    Ok((backend_id, backend))
}

/// A flow that its slot cannot place.
struct Flow {
    service_id: u32,
    service: &'static Service,
    signal: Signal,
    slot: Slot,
    hash: FlowHash,
}

/// What the tables say of a flow.
enum Known {
    /// It lives here.
    At(u32),
    /// It lived at a backend that is dead: a TCP client should reconnect.
    Dead,
    /// Nothing that still holds.
    No,
}

#[inline(always)]
fn known(key: &FlowKey, flow: &Flow) -> Known {
    let (table, entry) = match maps::flow(FlowTable::Flows, key) {
        Some(entry) => (FlowTable::Flows, entry),
        None => match maps::flow(FlowTable::Embryos, key) {
            Some(entry) => (FlowTable::Embryos, entry),
            None => return Known::No,
        },
    };
    let now = maps::now_ns();
    if may_rebind(entry.state, flow.signal) || is_stale(entry, key.protocol, now) {
        // Left in place, it would hide the entry that the flow is about to get in the other table.
        maps::forget_flow(table, key);
        return Known::No;
    }
    let reference = entry.backend;
    let state = state_of(reference, flow);
    if !keeps_flows(state) {
        maps::forget_flow(table, key);
        let cut = state == STATE_DEAD && key.protocol == PROTOCOL_TCP && flow.signal != Signal::Opens;
        return if cut { Known::Dead } else { Known::No };
    }
    entry.last_ns = now;
    entry.state = next_state(entry.state, flow.signal);
    if table == FlowTable::Embryos && flow.signal != Signal::Opens {
        let grown = *entry;
        maps::remember_flow(FlowTable::Flows, key, &grown);
        maps::forget_flow(FlowTable::Embryos, key);
    }
    Known::At(reference)
}

#[inline(always)]
fn is_stale(entry: &FlowEntry, protocol: u8, now: u64) -> bool {
    let Some(gateway) = maps::gateway() else { return true };
    now.saturating_sub(entry.last_ns) > idle_limit(gateway, entry.state, protocol)
}

#[inline(always)]
fn idle_limit(gateway: &Gateway, state: u32, protocol: u8) -> u64 {
    if protocol != PROTOCOL_TCP {
        gateway.udp_idle_ns
    } else if state == FLOW_CLOSING {
        gateway.closing_idle_ns
    } else {
        gateway.tcp_idle_ns
    }
}

/// Chooses for a flow that is not known, and remembers the choice where the slot alone would say something else later;
/// 0 when nobody is usable.
#[inline(always)]
fn place(key: &FlowKey, flow: &Flow) -> u32 {
    let (owner, previous) = (flow.slot.owner & BackendRef::MASK, flow.slot.previous);
    let in_transition = is_open(flow, key.protocol);
    let opens = flow.signal == Signal::Opens;
    if in_transition && !opens && keeps_flows(state_of(previous, flow)) {
        maps::count_case(Case::PreviousOwner);
        remember(FlowTable::Flows, key, previous, flow);
        return previous;
    }
    let state = state_of(owner, flow);
    if state == STATE_ACTIVE {
        if in_transition && opens && !remember(FlowTable::Embryos, key, owner, flow) {
            // Nobody will know that this flow began here: its next frames would go to the previous owner, so it does too.
            return if keeps_flows(state_of(previous, flow)) { previous } else { owner };
        }
        return owner;
    }
    // A dead backend's connections end at once, so that their clients reconnect (case 9).
    if state == STATE_DEAD && key.protocol == PROTOCOL_TCP && !opens {
        return 0;
    }
    let other = cold::fallback(flow.service_id, flow.hash);
    if other != 0 {
        maps::count_case(Case::OtherBackend);
        remember(if opens { FlowTable::Embryos } else { FlowTable::Flows }, key, other, flow);
    }
    other
}

/// Whether unknown flows of the slot are looked for at its previous owner.
#[inline(always)]
fn is_open(flow: &Flow, protocol: u8) -> bool {
    let window = if protocol == PROTOCOL_TCP { SERVICE_TRANSITION_TCP } else { SERVICE_TRANSITION_UDP };
    flow.slot.owner & PHASE_TRANSITION != 0 && flow.service.flags & window != 0
}

/// Some other active backend: bounded tries in the same table, then the refuge that the daemon names; 0 for none.
#[inline(always)]
pub fn fallback(service_id: u32, hash: FlowHash) -> u32 {
    let Some(service) = maps::service(service_id) else { return 0 };
    let signal = Signal::Continues;
    let flow = Flow { service_id, service, signal, slot: Slot::default(), hash };
    for attempt in 0..TRIES {
        let Some(slot) = maps::slot(u32::from(service.table_class), service_id, hash.again(attempt)) else { break };
        let reference = slot.owner & BackendRef::MASK;
        if state_of(reference, &flow) == STATE_ACTIVE {
            return reference;
        }
    }
    if state_of(service.refuge, &flow) == STATE_ACTIVE { service.refuge } else { 0 }
}

#[inline(always)]
fn keeps_flows(state: u32) -> bool {
    matches!(state, STATE_ACTIVE | STATE_DRAINING)
}

/// State of a backend; free when the reference no longer names it or it is not this service port's and project's.
#[inline(always)]
fn state_of(reference: u32, flow: &Flow) -> u32 {
    let Some(backend) = maps::backend(reference & BackendRef::ID_MAX) else { return STATE_FREE };
    if is_current(backend, reference, flow) { backend.state } else { STATE_FREE }
}

#[inline(always)]
fn is_current(backend: &Backend, reference: u32, flow: &Flow) -> bool {
    reference != 0
        && backend.reference == reference
        && backend.service == flow.service_id
        && backend.vni == flow.service.vni
}

/// Remembers a flow within the budgets of its service port and its project; false when they are spent (case 10).
#[inline(always)]
fn remember(table: FlowTable, key: &FlowKey, reference: u32, flow: &Flow) -> bool {
    let now = maps::now_ns();
    if !maps::afford([flow.service_id, flow.service.project], now) {
        return false;
    }
    let entry = FlowEntry { backend: reference, state: next_state(FLOW_OPEN, flow.signal), last_ns: now };
    maps::remember_flow(table, key, &entry);
    maps::count_case(Case::FlowRemembered);
    true
}

/// Several service ports publish this container port, so the reply says too little (case 12).
#[inline(always)]
fn remember_reply(key: &FlowKey, backend: &Backend, flow: &Flow) {
    let container_port = if backend.port == [0; 2] { key.vip_port } else { backend.port };
    let Some(scratch) = maps::scratch() else { return };
    let room = &mut scratch.reply;
    *room = ReplyKey::of(backend, key.client, key.protocol, [container_port, key.client_port]);
    if maps::reply_flow(room) != Some(backend.reference)
        && maps::afford([flow.service_id, flow.service.project], maps::now_ns())
    {
        maps::remember_reply_flow(room, backend.reference);
        maps::count_case(Case::ReplyRemembered);
    }
}
