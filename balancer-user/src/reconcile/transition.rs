//! Turns the slots of a table in use and the wanted owners into new slots that leave every flow where it lives.
//!
//! What a flow's slot knows about flows that are not remembered:
//!
//! ```text
//! settled                       they live with the owner
//! in transition, window open    they live with `previous`; whatever began since the window was opened is remembered
//! in transition, window closed  they live with the owner; some that live elsewhere are remembered
//! ```

use std::collections::BTreeMap;

use balancer_common::{abi::Slot, id::BackendRef, service::PHASE_TRANSITION};

/// A table in use and what is to become of it.
pub(super) struct Swap<'a> {
    /// Slots as they stand, as many as `owners`.
    pub old: &'a [Slot],
    /// Wanted owners, reference words.
    pub owners: &'a [u32],
    /// Whether unknown flows are looked for at `previous` now.
    pub window_open: bool,
    /// Sorted references of backends that may keep flows.
    pub usable: &'a [u32],
    /// Entries whose container now stands under another reference.
    pub moved: &'a BTreeMap<u32, u32>,
    /// The flows of a slot are not the ones it had before, so that none may settle at once.
    pub reshuffled: bool,
}

/// The new table.
pub(super) struct Swapped {
    pub slots: Vec<Slot>,
    /// Some slot has a previous owner that unknown flows live with: the window has to be open.
    pub opens: bool,
    /// How many slots changed their owner.
    pub changed: usize,
}

impl Swap<'_> {
    /// The new slots, each from its old one and its wanted owner alone.
    pub fn run(&self) -> Swapped {
        let mut swapped = Swapped { slots: Vec::with_capacity(self.owners.len()), opens: false, changed: 0 };
        for (old, new) in self.old.iter().zip(self.owners.iter().copied()) {
            let owner = self.follow(old.owner & BackendRef::MASK);
            let in_transition = old.owner & PHASE_TRANSITION != 0;
            let changes = owner != new;
            swapped.changed += usize::from(changes);
            if !changes && !in_transition && !self.reshuffled {
                swapped.slots.push(settled(new));
                continue;
            }
            let previous = self.holder(old, owner, new);
            swapped.opens |= previous != new && (changes || self.reshuffled);
            swapped.slots.push(Slot { owner: new | PHASE_TRANSITION, previous });
        }
        swapped
    }

    /// Who has the flows of the slot that are not remembered. A backend that cannot keep them passes them to the new owner.
    fn holder(&self, old: &Slot, owner: u32, new: u32) -> u32 {
        if old.owner & PHASE_TRANSITION != 0 && self.window_open {
            let previous = self.follow(old.previous & BackendRef::MASK);
            if self.is_usable(previous) {
                return previous;
            }
        }
        if self.is_usable(owner) { owner } else { new }
    }

    fn follow(&self, reference: u32) -> u32 {
        self.moved.get(&reference).copied().unwrap_or(reference)
    }

    fn is_usable(&self, reference: u32) -> bool {
        self.usable.binary_search(&reference).is_ok()
    }
}

/// A slot about which there is no doubt.
pub(super) const fn settled(owner: u32) -> Slot {
    Slot { owner, previous: owner }
}

/// Every slot in transition without another owner to look at: for flows whose slots nobody can know any more.
pub(super) fn unknown(owners: &[u32]) -> Vec<Slot> {
    owners.iter().map(|owner| Slot { owner: owner | PHASE_TRANSITION, previous: *owner }).collect()
}

/// The table as it may stand while the window is closed: opening it must not send anyone to a `previous` of an earlier window.
pub(super) fn closed(slots: &[Slot]) -> Vec<Slot> {
    slots.iter().map(|slot| Slot { owner: slot.owner, previous: slot.owner & BackendRef::MASK }).collect()
}

/// Whether some slot is in transition.
pub(super) fn is_unsettled(slots: &[Slot]) -> bool {
    slots.iter().any(|slot| slot.owner & PHASE_TRANSITION != 0)
}

/// The same table in another size. A slot is a range of hashes (multiply and shift), so the old slot in the middle of a
/// new one's range had all or most of its flows. The rest follow the new table unless they are remembered.
pub(super) fn resized(old: &[Slot], size: usize) -> Vec<Slot> {
    if old.len() == size {
        return old.to_vec();
    }
    (0..size).map(|position| old[(2 * position + 1) * old.len() / (2 * size)]).collect()
}
