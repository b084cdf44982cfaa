//! Turns a thousand backends into a table of 65 537 slots, with the clock running.

use std::time::Instant;

use balancer_common::{
    abi::Slot,
    id::BackendRef,
    maglev::{Candidate, Cursor, Scratch, bitmap_words, fill as fill_table},
};

/// Name of the case that fills a table.
pub const FILL: &str = "maglev_fill_1000";
/// Name of the case that hands a table to the kernel.
pub const HANDOVER: &str = "table_handover";
/// Most milliseconds of the two cases.
pub const TARGETS_MS: [(&str, f64); 2] = [(FILL, 1.5), (HANDOVER, 1.0)];

const SIZE: u32 = 65_537;
const BACKENDS: u32 = 1000;

/// Milliseconds to fill a table, from the backends' identities on.
#[must_use]
pub fn fill() -> f64 {
    let mut table = vec![0; SIZE as usize];
    let mut cursors = vec![Cursor::default(); BACKENDS as usize];
    let mut occupied = vec![0; bitmap_words(SIZE as usize)];
    let before = Instant::now();
    let candidates: Vec<_> = (0..BACKENDS).map(candidate).collect();
    fill_table(&mut table, &candidates, Scratch { cursors: &mut cursors, occupied: &mut occupied });
    let spent = before.elapsed();
    std::hint::black_box(&table);
    spent.as_secs_f64() * 1e3
}

/// An identity has the size of the real one: address, port, VNI.
fn candidate(number: u32) -> Candidate {
    let mut identity = [0; 22];
    identity[..4].copy_from_slice(&number.to_be_bytes());
    Candidate::of(&identity, 1, SIZE)
}

/// A filled table as it is handed over.
#[must_use]
pub fn slots() -> Vec<Slot> {
    (0..SIZE)
        .map(|position| (position % BACKENDS) | (1 << BackendRef::ID_BITS))
        .map(|owner| Slot { owner, previous: owner })
        .collect()
}
