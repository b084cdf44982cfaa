//! Turns owners of slots into new owners, so that every flow stays where it lives (cases 6, 7, 11).

use std::collections::BTreeMap;

use balancer_common::maglev::{self, Candidate, Cursor, Scratch};

use super::member::{Incarnation, Member};

/// One slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Whom new flows go to.
    pub owner: Option<Incarnation>,
    /// Whom unknown flows that do not begin go to while the window is open.
    pub previous: Option<Incarnation>,
    /// Flows may live elsewhere than with the owner.
    pub transition: bool,
}

/// What a new table is made from.
pub(super) struct Change<'a> {
    /// The table in use.
    pub old: &'a [Slot],
    /// Wanted owners.
    pub owners: &'a [Option<Incarnation>],
    /// Whether `previous` of the table in use says something.
    pub window_open: bool,
    /// The backends of the service port as they will be.
    pub members: &'a [Member],
    /// Who continues whom.
    pub moved: &'a BTreeMap<Incarnation, Incarnation>,
}

/// The owner of every slot: Maglev over identities and weights; draining backends are not in it, dead ones are.
pub(super) fn owners(members: &[Member], size: usize, vni: u32) -> Vec<Option<Incarnation>> {
    let mut takers: Vec<&Member> = members.iter().filter(|member| !member.is_draining()).collect();
    takers.sort_by_key(|member| member.identity(vni));
    if takers.is_empty() {
        return vec![None; size];
    }
    let candidates: Vec<Candidate> =
        takers.iter().map(|member| Candidate::of(&member.identity(vni), member.weight, size as u32)).collect();
    let mut positions = vec![0; size];
    let mut cursors = vec![Cursor::default(); candidates.len()];
    let mut occupied = vec![0; maglev::bitmap_words(size)];
    maglev::fill(&mut positions, &candidates, Scratch { cursors: &mut cursors, occupied: &mut occupied });
    positions.iter().map(|position| Some(takers[*position as usize].incarnation)).collect()
}

/// A table about which there is no doubt.
pub(super) fn settled(owners: &[Option<Incarnation>]) -> Vec<Slot> {
    owners.iter().map(|owner| Slot { owner: *owner, previous: *owner, transition: false }).collect()
}

/// A table whose flows are on slots that nobody can know: another hash.
pub(super) fn unknown(owners: &[Option<Incarnation>]) -> Vec<Slot> {
    owners.iter().map(|owner| Slot { owner: *owner, previous: *owner, transition: true }).collect()
}

impl Change<'_> {
    /// The new table, and whether unknown flows have to be looked for at previous owners from now on.
    pub fn run(&self) -> (Vec<Slot>, bool) {
        let resized = self.old.len() != self.owners.len();
        let mut opens = false;
        let slots = self.owners.iter().enumerate().map(|(position, wanted)| {
            let old = self.old[self.position(position)];
            let owner = self.follow(old.owner);
            if owner == *wanted && !old.transition && !resized {
                return Slot { owner, previous: owner, transition: false };
            }
            let previous = self.holder(old, owner, *wanted);
            opens |= previous != *wanted && (owner != *wanted || resized);
            Slot { owner: *wanted, previous, transition: true }
        });
        let slots = slots.collect();
        (slots, opens)
    }

    /// The old slot in the middle of a new one's range of hashes.
    fn position(&self, new: usize) -> usize {
        (2 * new + 1) * self.old.len() / (2 * self.owners.len())
    }

    /// Whom the flows of a slot live with that are not remembered.
    fn holder(&self, old: Slot, owner: Option<Incarnation>, wanted: Option<Incarnation>) -> Option<Incarnation> {
        let previous = self.follow(old.previous);
        if old.transition && self.window_open && self.keeps(previous) {
            previous
        } else if self.keeps(owner) {
            owner
        } else {
            wanted
        }
    }

    fn follow(&self, incarnation: Option<Incarnation>) -> Option<Incarnation> {
        incarnation.map(|old| self.moved.get(&old).copied().unwrap_or(old))
    }

    fn keeps(&self, incarnation: Option<Incarnation>) -> bool {
        incarnation
            .is_some_and(|one| self.members.iter().any(|member| member.incarnation == one && member.keeps_flows()))
    }
}
