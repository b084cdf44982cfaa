//! Turns the desired state and the network's view into the content of the maps, in an order that never sends a frame wrong.
//!
//! ```text
//! tables -> current -+
//! desired, view -----+-> render (ids, entries) -> diff -> apply: hosts, backends, sources, policies, tables, services,
//!                                                          |    ranges, index; removals in reverse
//!                                                          |
//!                       upkeep, every second: closes windows, settles slots, forgets flows, frees ids
//! ```
//!
//! All that must outlive the process stands in the maps themselves: ids, generations, phases of slots, open windows.

mod apply;
mod current;
mod diff;
mod error;
mod flows;
mod index;
mod placement;
mod render;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod transition;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use balancer_common::id::{BackendId, ServiceId};

use self::{
    apply::{Apply, Known},
    current::Current,
    diff::Diff,
    render::Inputs,
    table::Memo,
};
pub use self::{
    error::ReconcileError,
    placement::{BackendPlacement, Placement, ServicePlacement},
    report::{Report, Upkeep},
};
use crate::model::{Desired, NetworkView, tables::Tables};

/// How long the memory of what a table says is trusted before all tables are read back, ns.
const READ_BACK_NS: u64 = 60_000_000_000;

/// Keeps the maps as the desired state wants them. One for each set of maps, and nothing else writes them.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// What `PORTS` holds; it cannot be read back, so it is written once after a start.
    ports: Option<BTreeSet<u32>>,
    /// What is known of the tables, so that only those that change are filled and read.
    memo: HashMap<ServiceId, Memo>,
    /// What the maps hold that are searched by longest prefix, and that only a full run reads back.
    known: Known,
    /// When all tables were read back last.
    read_back_ns: Option<u64>,
    /// Service ports with slots in transition or an open window.
    unsettled: BTreeMap<ServiceId, Unsettled>,
    /// Backends with `BACKEND_EXCEPTIONS`.
    exceptions: BTreeSet<BackendId>,
    /// Freed backend ids that flows or frames may still name, and since when.
    quarantine: BTreeMap<BackendId, u64>,
    /// Whether the quarantine of an earlier process was taken over.
    started: bool,
    /// When the remembered flows were looked through last.
    swept_ns: Option<u64>,
    placement: Placement,
}

/// What the maps should say.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The config in force, with the state that health gives each backend.
    pub desired: &'a Desired,
    /// Its number.
    pub generation: u64,
    /// The kernel's routes and neighbours.
    pub view: &'a NetworkView,
    /// Indexes of the interfaces that the program is attached to.
    pub ports: &'a [u32],
}

/// A service port whose slots are not all settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unsettled {
    /// When its window was opened (or found open after a restart); none once it is closed.
    opened_ns: Option<u64>,
}

impl Reconciler {
    /// Knows nothing yet; the first [`reconcile`](Self::reconcile) reads it from the tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the tables say what is wished for. Writes nothing where nothing differs.
    ///
    /// # Errors
    /// A limit of the maps is reached, or the kernel refuses. What was written by then is consistent, frames go on
    /// flowing, and the next call goes on from there.
    pub fn reconcile(&mut self, wish: &Wish<'_>, tables: &mut impl Tables) -> Result<Report, ReconcileError> {
        let now_ns = tables.now_ns();
        let full = self.read_back_ns.is_none_or(|last| now_ns.saturating_sub(last) >= READ_BACK_NS);
        let result = self.run(wish, full, tables);
        self.read_back_ns = match (&result, full) {
            (Ok(_), true) => Some(now_ns),
            (Ok(_), false) => self.read_back_ns,
            (Err(_), _) => None,
        };
        result
    }

    /// Closes the windows whose time is over, settles slots, forgets flows and frees ids. To be called every second.
    ///
    /// # Errors
    /// The kernel refuses; the next call tries again.
    pub fn maintain(&mut self, tables: &mut impl Tables) -> Result<Upkeep, ReconcileError> {
        upkeep::run(self, tables)
    }

    /// Where everything of the last applied desired state stands, in its order.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// `full` reads every table and bucket back, whatever is remembered of it.
    fn run(&mut self, wish: &Wish<'_>, full: bool, tables: &mut impl Tables) -> Result<Report, ReconcileError> {
        let current = Current::read(tables);
        if !self.started {
            let now_ns = tables.now_ns();
            self.quarantine.extend(current.freed_backends().map(|id| (id, now_ns)));
            self.started = true;
        }
        let inputs = Inputs {
            desired: wish.desired,
            generation: wish.generation,
            view: wish.view,
            current: &current,
            withheld: &self.quarantine,
        };
        let wanted = render::run(&inputs)?;
        let diff = Diff::of(&current, &wanted);
        let report = Apply::new(self, tables, &diff).run(&wanted, wish, full)?;
        self.placement = Placement::of(&wanted, &self.memo);
        Ok(report)
    }
}
