//! Turns a service port's backends into the owner of every slot: a pure function of identities and weights, never of health.

use balancer_common::{
    abi::TABLE_SIZES,
    flow::siphash13,
    maglev::{self, Candidate, Cursor, Scratch},
    service::{SERVICE_CLIENT_AFFINITY, SERVICE_HASH_NO_ADDRESS, SERVICE_HASH_VIP_PORT, STATE_ACTIVE, STATE_DRAINING},
};

use super::render::{WantedBackend, WantedPort, identity};

/// The flags that decide on which slot a flow falls.
pub(super) const HASH_FLAGS: u32 = SERVICE_CLIENT_AFFINITY | SERVICE_HASH_NO_ADDRESS | SERVICE_HASH_VIP_PORT;

/// What is remembered of a filled table.
#[derive(Clone, Debug, Default)]
pub(super) struct Memo {
    /// Of everything that the slots depend on; another one means that the table is looked at again.
    pub fingerprint: u64,
    /// The same on every gateway with the same config.
    pub digest: u64,
    /// How many slots each reference owns, sorted by reference.
    pub shares: Vec<(u32, u32)>,
}

/// The wanted owner of every slot, as reference words; 0 in every slot when there is no backend for new flows.
pub(super) struct Filled {
    pub owners: Vec<u32>,
    pub memo: Memo,
}

/// Fills the table of a service port.
pub(super) fn fill(port: &WantedPort) -> Filled {
    let size = TABLE_SIZES[port.entry.table_class as usize];
    let backends = in_table(port);
    let candidates: Vec<Candidate> =
        backends.iter().map(|backend| Candidate::of(&identity(&backend.entry), backend.weight, size)).collect();
    let mut positions = vec![0; size as usize];
    if !candidates.is_empty() {
        let mut cursors = vec![Cursor::default(); candidates.len()];
        let mut occupied = vec![0; maglev::bitmap_words(size as usize)];
        maglev::fill(&mut positions, &candidates, Scratch { cursors: &mut cursors, occupied: &mut occupied });
    }
    let mut counts = vec![0_u32; candidates.len()];
    if !candidates.is_empty() {
        for position in &positions {
            counts[*position as usize] += 1;
        }
    }
    let references: Vec<u32> = backends.iter().map(|backend| backend.entry.reference).collect();
    let mut shares: Vec<(u32, u32)> = references.iter().copied().zip(counts).collect();
    shares.sort_unstable();
    let memo = Memo { fingerprint: fingerprint(port), digest: digest(&backends, &positions), shares };
    let owners = positions.iter().map(|position| references.get(*position as usize).copied().unwrap_or(0)).collect();
    Filled { owners, memo }
}

/// Of all that decides about slots: identities, weights, references, who is usable, and how flows are hashed.
pub(super) fn fingerprint(port: &WantedPort) -> u64 {
    let entry = &port.entry;
    let mut bytes = Vec::with_capacity(32 + port.backends.len() * 34);
    bytes.extend_from_slice(&entry.hash_key[0].to_le_bytes());
    bytes.extend_from_slice(&entry.hash_key[1].to_le_bytes());
    bytes.extend_from_slice(&entry.table_class.to_le_bytes());
    bytes.extend_from_slice(&(entry.flags & HASH_FLAGS).to_le_bytes());
    for backend in sorted(port.backends.iter()) {
        bytes.extend_from_slice(&identity(&backend.entry));
        bytes.extend_from_slice(&backend.weight.to_le_bytes());
        bytes.extend_from_slice(&backend.entry.reference.to_le_bytes());
        bytes.extend_from_slice(&backend.entry.state.to_le_bytes());
    }
    siphash13([0, 0], &bytes)
}

/// References that may have flows: of active and draining backends, sorted.
pub(super) fn usable(port: &WantedPort) -> Vec<u32> {
    let entries = port.backends.iter().map(|backend| &backend.entry);
    let usable = entries.filter(|entry| entry.state == STATE_ACTIVE || entry.state == STATE_DRAINING);
    let mut references: Vec<u32> = usable.map(|entry| entry.reference).collect();
    references.sort_unstable();
    references
}

/// A draining backend is not in the table; a dead one is, so that only its own flows move.
fn in_table(port: &WantedPort) -> Vec<&WantedBackend> {
    sorted(port.backends.iter().filter(|backend| backend.entry.state != STATE_DRAINING))
}

fn sorted<'a>(backends: impl Iterator<Item = &'a WantedBackend>) -> Vec<&'a WantedBackend> {
    let mut sorted: Vec<&WantedBackend> = backends.collect();
    sorted.sort_unstable_by_key(|backend| identity(&backend.entry));
    sorted
}

/// Over the identity of every slot's owner: no id, reference or name, which differ between gateways.
fn digest(backends: &[&WantedBackend], positions: &[u32]) -> u64 {
    let mut bytes = Vec::with_capacity(backends.len() * 22 + positions.len() * 4);
    for backend in backends {
        bytes.extend_from_slice(&identity(&backend.entry));
    }
    for position in positions {
        bytes.extend_from_slice(&position.to_le_bytes());
    }
    siphash13([0, 0], &bytes)
}
