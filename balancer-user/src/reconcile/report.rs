//! Turns what was written into the numbers of one log line.

/// What one reconcile wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Service ports and VIPs that are new.
    pub services_added: usize,
    /// Those whose entry was written anew.
    pub services_changed: usize,
    /// Those that are gone.
    pub services_removed: usize,
    /// Backends that are new.
    pub backends_added: usize,
    /// Those whose state or flags changed.
    pub backends_changed: usize,
    /// Those that are gone, or stand under another id because their container moved.
    pub backends_removed: usize,
    /// Hosts that are new.
    pub hosts_added: usize,
    /// Hosts with another way to them.
    pub hosts_changed: usize,
    /// Hosts that are gone.
    pub hosts_removed: usize,
    /// Tables of slots that were put in place.
    pub tables_put: usize,
    /// Slots whose owner changed, over all tables.
    pub slots_changed: usize,
    /// Entries of the two indexes that were written.
    pub index_entries: usize,
    /// Policies that were written or freed.
    pub policies_changed: usize,
    /// Prefixes of sources that were written or removed.
    pub source_entries: usize,
    /// Prefixes of port ranges that were written or removed, of service ports and of replies.
    pub range_entries: usize,
    /// Remembered flows that follow their container to its new entry.
    pub flows_rebound: usize,
    /// Whether gateway, client routes or ports were written.
    pub gateway_changed: bool,
}

impl Report {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        *self == Self::default()
    }
}

/// What one round of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Service ports whose transition window was closed.
    pub windows_closed: usize,
    /// Slots that settled.
    pub slots_settled: usize,
    /// Flows that were forgotten.
    pub flows_forgotten: usize,
    /// Backends that are back on the fast path.
    pub exceptions_ended: usize,
    /// Backend ids that may be used again.
    pub backend_ids_freed: usize,
    /// Service ports that still have slots in transition.
    pub services_unsettled: usize,
}
