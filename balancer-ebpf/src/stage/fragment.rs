//! Turns the first fragment of a packet into a memory of where it went, and the others into the same way (case 19).
//!
//! No payload is kept here: what comes before its first fragment is held by the daemon, and run through the program again.

use balancer_common::{
    case::Case,
    fragment::{FRAGMENT_LIFE_NS, FragmentEntry, FragmentKey},
    record::RECORD_HOLD,
    verdict::{Reason, Verdict},
    wire::{ip::Ip, walk::Walk},
};

use crate::{frame::Frame, maps};

/// What the fragments of this packet have in common, left in this CPU's room. `vni` is 0 for a client's.
#[inline(always)]
pub fn key<I: Ip>(ip: &I, walk: &Walk, vni: u32, room: &mut FragmentKey) {
    *room = FragmentKey {
        source: ip.source(),
        destination: ip.destination(),
        identification: walk.identification,
        vni,
        protocol: walk.protocol as u8,
        reserved: [0; 7],
    };
}

/// Remembers where the first fragment goes, for a token of each of these budgets; without one, the others will not find it.
#[inline(always)]
pub fn remember(key: &FragmentKey, (backend, kind, hash): (u32, u32, u64), budgets: [u32; 2]) -> bool {
    maps::count_case(Case::FragmentFirst);
    let now = maps::now_ns();
    if !maps::afford(budgets, now) {
        return false;
    }
    let until_ns = now + FRAGMENT_LIFE_NS;
    maps::remember_fragment(key, &FragmentEntry { backend, kind, hash, until_ns });
    true
}

/// Where the first one went.
#[inline(always)]
pub fn find(key: &FragmentKey) -> Option<FragmentEntry> {
    let entry = maps::fragment(key).filter(|entry| entry.until_ns > maps::now_ns())?;
    maps::count_case(Case::FragmentLater);
    Some(entry)
}

/// Gives the frame, as it came, to the daemon until the first fragment was seen.
#[inline(always)]
pub fn hold(frame: &Frame, key: &FragmentKey) -> Verdict {
    maps::count_case(Case::FragmentEarly);
    let held = maps::hand_to_daemon(frame, RECORD_HOLD, 0, Some(key));
    Verdict::Drop(if held { Reason::FragmentHeld } else { Reason::FragmentUnknown })
}
