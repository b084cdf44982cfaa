//! Turns a client's frame into the backend it reaches, step by step as `balancer-ebpf`'s classify, select and conntrack do.

use balancer_common::{
    abi::{SERVICE_BUCKETS, Service, Slot},
    conntrack::{FLOW_CLOSING, FLOW_OPEN, FlowEntry, FlowKey, Signal, may_rebind, next_state},
    flow::FlowHash,
    id::BackendRef,
    index::{Place, service_ipv4, service_ipv6},
    range::{PORT_BITS, RangeKey},
    service::{
        Address, FAMILY_IPV4, PHASE_TRANSITION, SERVICE_RANGES, SERVICE_SOURCES, SERVICE_TRANSITION_TCP,
        SERVICE_TRANSITION_UDP, STATE_ACTIVE, STATE_DEAD, STATE_DRAINING,
    },
    source::{SOURCE_ALLOW, SourceKey},
};

use super::fake::Fake;
use crate::model::tables::{Index, Tables as _};

const TCP: u8 = 6;
const TRIES: u32 = 8;

struct Request<'a> {
    key: &'a FlowKey,
    id: u32,
    service: Service,
    signal: Signal,
}

/// Reference of the backend that gets the frame; none when the client is refused or no service port matches.
pub(super) fn forward(fake: &mut Fake, key: &FlowKey, signal: Signal) -> Option<u32> {
    let id = find(fake, key)?;
    let request = Request { key, id, service: fake.services[id as usize], signal };
    let hash = hash(&request);
    let slot = slot(fake, &request, hash);
    let backend = fake.backends[(slot.owner & BackendRef::ID_MAX) as usize];
    let reference = if backend.active == slot.owner && slot.owner != 0 && backend.service == id {
        slot.owner
    } else {
        conntrack(fake, &request, slot, hash)?
    };
    let chosen = fake.backends[(reference & BackendRef::ID_MAX) as usize];
    assert_eq!((chosen.reference, chosen.service), (reference, id), "stale backend");
    assert_eq!(chosen.vni, request.service.vni, "a frame crossed into another project");
    assert_ne!(fake.hosts[chosen.host as usize].family, 0, "backend without a host");
    Some(reference)
}

/// The service port of a key, found as a frame finds it: through the index, else as a range.
pub(super) fn find(fake: &Fake, key: &FlowKey) -> Option<u32> {
    indexed(fake, key).or_else(|| {
        let alone = indexed(fake, &FlowKey { vip: key.vip, ..FlowKey::default() })?;
        let has_ranges = fake.services[alone as usize].flags & SERVICE_RANGES != 0;
        has_ranges.then(|| ranged(fake, alone, key)).flatten()
    })
}

fn indexed(fake: &Fake, key: &FlowKey) -> Option<u32> {
    let v = &key.vip;
    let (place, family) = if v[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] {
        (service_ipv4([v[12], v[13], v[14], v[15]], key.protocol, key.vip_port), FAMILY_IPV4)
    } else {
        (service_ipv6(v, key.protocol, key.vip_port), 6)
    };
    let in_bucket = |place: Place, position: u32| {
        let id = fake.bucket(Index::Services, position).find(place)?;
        let s = &fake.services[id as usize];
        let same = (s.vip, s.protocol, s.port, s.family) == (key.vip, key.protocol, key.vip_port, family);
        same.then_some(id)
    };
    let home = place.bucket(SERVICE_BUCKETS);
    in_bucket(place, home).or_else(|| {
        let spilled = fake.bucket(Index::Services, home).spilled != 0;
        spilled.then(|| in_bucket(place, place.next_bucket(SERVICE_BUCKETS))).flatten()
    })
}

/// The longest prefix decides, and the entry that it names is looked at in full.
fn ranged(fake: &Fake, alone: u32, key: &FlowKey) -> Option<u32> {
    let port = u16::from_be_bytes(key.vip_port);
    let id = (0..=PORT_BITS).rev().find_map(|bits| {
        let masked = port & u16::try_from(u32::from(u16::MAX) << (PORT_BITS - bits) & 0xffff).unwrap();
        fake.ranges.get(&RangeKey::of(alone, key.protocol, masked.to_be_bytes(), bits)).copied()
    })?;
    let s = &fake.services[id as usize];
    let holds = (u16::from_be_bytes(s.port)..=u16::from_be_bytes(s.port_last)).contains(&port);
    assert!((s.vip, s.protocol) == (key.vip, key.protocol) && holds, "a prefix leads astray: {s:?}");
    Some(id)
}

/// Whether a service port's list lets a client in; an error where there is no list that could say.
pub(super) fn lets_in(fake: &Fake, id: u32, client: &Address) -> Result<bool, String> {
    if fake.services[id as usize].flags & SERVICE_SOURCES == 0 {
        return Ok(true);
    }
    let list = fake.policies.get(&id).map_or(0, |policy| policy.sources);
    let found = (0..=128_u32).rev().find_map(|bits| {
        let masked = u128::from_be_bytes(*client) & u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        fake.sources.get(&SourceKey::of(list, masked.to_be_bytes(), bits))
    });
    found
        .map(|verdict| *verdict == SOURCE_ALLOW)
        .ok_or_else(|| format!("service {id} names list {list:x}, which is not there"))
}

fn hash(request: &Request<'_>) -> FlowHash {
    let key = request.key;
    FlowHash::of(&request.service, &key.client, key.client_port, key.vip_port)
}

fn slot(fake: &Fake, request: &Request<'_>, hash: FlowHash) -> Slot {
    let class = request.service.table_class as usize;
    fake.tables[&(class, request.id)][hash.slot(class) as usize]
}

fn conntrack(fake: &mut Fake, request: &Request<'_>, slot: Slot, hash: FlowHash) -> Option<u32> {
    match known(fake, request) {
        Known::At(reference) => Some(reference),
        Known::Dead => None,
        Known::No => place(fake, request, slot, hash),
    }
}

enum Known {
    At(u32),
    Dead,
    No,
}

fn known(fake: &mut Fake, request: &Request<'_>) -> Known {
    let (key, signal) = (request.key, request.signal);
    let in_flows = fake.flows.contains_key(key);
    let Some(entry) = fake.flows.get(key).or_else(|| fake.embryos.get(key)).copied() else { return Known::No };
    if may_rebind(entry.state, signal) || is_stale(fake, &entry, key.protocol) {
        return forget(fake, key);
    }
    match state_of(fake, entry.backend, request) {
        Some(STATE_ACTIVE | STATE_DRAINING) => {}
        Some(STATE_DEAD) if key.protocol == TCP && signal != Signal::Opens => {
            if in_flows {
                fake.flows.remove(key)
            } else {
                fake.embryos.remove(key)
            };
            return Known::Dead;
        }
        _ => return forget(fake, key),
    }
    let entry = FlowEntry { state: next_state(entry.state, signal), last_ns: fake.now_ns, ..entry };
    if in_flows || signal != Signal::Opens {
        fake.flows.insert(*key, entry);
        if !in_flows {
            fake.embryos.remove(key);
        }
    } else {
        fake.embryos.insert(*key, entry);
    }
    Known::At(entry.backend)
}

/// What does not hold any more must go: in FLOWS it would hide the embryo of the flow that now uses the tuple.
fn forget(fake: &mut Fake, key: &FlowKey) -> Known {
    fake.flows.remove(key);
    fake.embryos.remove(key);
    Known::No
}

fn is_stale(fake: &Fake, entry: &FlowEntry, protocol: u8) -> bool {
    let gateway = &fake.gateway;
    let limit = if protocol != TCP {
        gateway.udp_idle_ns
    } else if entry.state == FLOW_CLOSING {
        gateway.closing_idle_ns
    } else {
        gateway.tcp_idle_ns
    };
    fake.now_ns.saturating_sub(entry.last_ns) > limit
}

fn place(fake: &mut Fake, request: &Request<'_>, slot: Slot, hash: FlowHash) -> Option<u32> {
    let owner = slot.owner & BackendRef::MASK;
    let is_tcp = request.key.protocol == TCP;
    let window = if is_tcp { SERVICE_TRANSITION_TCP } else { SERVICE_TRANSITION_UDP };
    let in_transition = slot.owner & PHASE_TRANSITION != 0 && request.service.flags & window != 0;
    let opens = request.signal == Signal::Opens;
    let previous_usable = matches!(state_of(fake, slot.previous, request), Some(STATE_ACTIVE | STATE_DRAINING));
    if in_transition && !opens && previous_usable {
        remember(fake, request, slot.previous, false);
        return Some(slot.previous);
    }
    match state_of(fake, owner, request) {
        Some(STATE_ACTIVE) => {
            if in_transition && opens {
                remember(fake, request, owner, true);
            }
            return Some(owner);
        }
        Some(STATE_DEAD) if is_tcp && !opens => return None,
        _ => {}
    }
    let other = fallback(fake, request, hash)?;
    remember(fake, request, other, opens);
    Some(other)
}

fn fallback(fake: &Fake, request: &Request<'_>, hash: FlowHash) -> Option<u32> {
    let is_active = |reference: &u32| state_of(fake, *reference, request) == Some(STATE_ACTIVE);
    let tries = (0..TRIES).map(|attempt| slot(fake, request, hash.again(attempt)).owner & BackendRef::MASK);
    tries.chain([request.service.refuge]).find(is_active)
}

fn state_of(fake: &Fake, reference: u32, request: &Request<'_>) -> Option<u32> {
    let backend = fake.backends.get((reference & BackendRef::ID_MAX) as usize)?;
    let current = reference != 0
        && backend.reference == reference
        && backend.service == request.id
        && backend.vni == request.service.vni;
    current.then_some(backend.state)
}

fn remember(fake: &mut Fake, request: &Request<'_>, backend: u32, embryo: bool) {
    let entry = FlowEntry { backend, state: next_state(FLOW_OPEN, request.signal), last_ns: fake.now_ns };
    if embryo { &mut fake.embryos } else { &mut fake.flows }.insert(*request.key, entry);
}
