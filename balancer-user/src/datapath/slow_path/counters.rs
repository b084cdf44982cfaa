//! Turns what the slow path does into numbers that can be read while it runs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::model::status::SlowPath;

/// Counters that outlive the move of the slow path into its task.
#[derive(Clone, Debug, Default)]
pub struct SlowPathCounters(Arc<Counted>);

/// The counters of [`SlowPath`], each under its name.
#[derive(Debug, Default)]
pub struct Counted {
    pub sent: AtomicU64,
    pub fragmented: AtomicU64,
    pub fragments_sent: AtomicU64,
    pub held: AtomicU64,
    pub released: AtomicU64,
    pub expired: AtomicU64,
    pub too_long: AtomicU64,
    pub overflowed: AtomicU64,
    pub refused: AtomicU64,
    pub malformed: AtomicU64,
    pub outer_errors: AtomicU64,
}

impl SlowPathCounters {
    /// The values now.
    #[must_use]
    pub fn read(&self) -> SlowPath {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counted = &*self.0;
        SlowPath {
            sent: read(&counted.sent),
            fragmented: read(&counted.fragmented),
            fragments_sent: read(&counted.fragments_sent),
            held: read(&counted.held),
            released: read(&counted.released),
            expired: read(&counted.expired),
            too_long: read(&counted.too_long),
            overflowed: read(&counted.overflowed),
            refused: read(&counted.refused),
            malformed: read(&counted.malformed),
            outer_errors: read(&counted.outer_errors),
        }
    }

    /// Counts some more of what `counter` picks.
    pub(super) fn add(&self, counter: fn(&Counted) -> &AtomicU64, more: usize) {
        counter(&self.0).fetch_add(more as u64, Ordering::Relaxed);
    }
}
