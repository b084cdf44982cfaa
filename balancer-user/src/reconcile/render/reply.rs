//! Turns backends into who is found by a reply: one for each container port, one for each prefix of a range of them.

use std::collections::BTreeMap;

use balancer_common::{
    id::BackendId,
    range::{ReplyRangeKey, prefixes},
    service::{Address, BACKEND_AMBIGUOUS, SERVICE_DSR},
};

use super::{WantedPort, range::is_range};
use crate::reconcile::{current::id_of, index::Key};

/// Who answers under which key, one for each key.
pub(super) struct Replies {
    /// Container ports, and containers alone.
    pub index: Vec<(Key, BackendId)>,
    pub ranges: BTreeMap<ReplyRangeKey, u32>,
}

/// Ports of one container that belong to one backend. In `dsr` mode there are none: the container answers by itself.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    vni: u32,
    container: Address,
    protocol: u8,
    first: u16,
    last: u16,
    id: BackendId,
    /// Positions of service port and backend.
    at: (usize, usize),
}

impl Claim {
    const fn is_of_same_container(&self, other: &Self) -> bool {
        self.vni == other.vni
            && self.protocol == other.protocol
            && u128::from_ne_bytes(self.container) == u128::from_ne_bytes(other.container)
    }
}

/// Backends whose ports meet are marked ambiguous, and the lowest id stands for what they share.
pub(super) fn render(ports: &mut [WantedPort]) -> Replies {
    let mut claims = claims(ports);
    claims.sort_unstable();
    let mut replies = Replies { index: Vec::with_capacity(claims.len()), ranges: BTreeMap::new() };
    let mut before: Option<&Claim> = None;
    for claim in &claims {
        if claim.first != claim.last {
            for (port, bits) in prefixes(claim.first, claim.last) {
                let key = ReplyRangeKey::of(claim.vni, claim.container, claim.protocol, port.to_be_bytes(), bits);
                let lowest = replies.ranges.entry(key).or_insert(claim.id.0);
                *lowest = (*lowest).min(claim.id.0);
            }
        } else if !before.is_some_and(|before| {
            claim.is_of_same_container(before) && (before.first, before.last) == (claim.first, claim.last)
        }) {
            let (port, backend) = claim.at;
            replies.index.push((Key::of_reply(&ports[port].backends[backend].entry), claim.id));
        }
        before = Some(claim);
    }
    replies.index.extend(containers(&claims, ports));
    for (port, backend) in ambiguous(&claims) {
        ports[port].backends[backend].entry.flags |= BACKEND_AMBIGUOUS;
    }
    replies
}

/// Every container alone, under its backend with the lowest id.
fn containers(claims: &[Claim], ports: &[WantedPort]) -> Vec<(Key, BackendId)> {
    let mut lowest: BTreeMap<Key, BackendId> = BTreeMap::new();
    for claim in claims {
        let (port, backend) = claim.at;
        let key = Key::of_container(&ports[port].backends[backend].entry);
        let id = lowest.entry(key).or_insert(claim.id);
        *id = (*id).min(claim.id);
    }
    lowest.into_iter().collect()
}

fn claims(ports: &[WantedPort]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (at, port) in ports.iter().enumerate().filter(|(_, port)| port.entry.flags & SERVICE_DSR == 0) {
        for (position, backend) in port.backends.iter().enumerate() {
            let entry = &backend.entry;
            let (first, last) =
                if is_range(&port.entry) { (port.entry.port, port.entry.port_last) } else { (entry.port, entry.port) };
            claims.push(Claim {
                vni: entry.vni,
                container: entry.container,
                protocol: entry.protocol,
                first: u16::from_be_bytes(first),
                last: u16::from_be_bytes(last),
                id: id_of(entry),
                at: (at, position),
            });
        }
    }
    claims
}

/// Where the claims stand that meet another one. They are sorted, so a claim meets an earlier one exactly if it meets the one
/// that reaches furthest; and who reached furthest once is found by the next claim that meets it.
fn ambiguous(claims: &[Claim]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut furthest: Option<&Claim> = None;
    for claim in claims {
        let known = furthest.filter(|known| known.is_of_same_container(claim));
        if let Some(known) = known.filter(|known| known.last >= claim.first) {
            found.extend([known.at, claim.at]);
        }
        furthest = known.filter(|known| known.last >= claim.last).or(Some(claim));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(at: usize, container: u8, (first, last): (u16, u16)) -> Claim {
        Claim { vni: 1, container: [container; 16], protocol: 6, first, last, id: BackendId(at as u32), at: (at, 0) }
    }

    proptest! {
        #[test]
        fn exactly_the_claims_that_meet_another_are_ambiguous(given in proptest::collection::vec((0_u8..2, 0_u16..40, 0_u16..12), 0..14)) {
            let mut claims: Vec<Claim> = given.iter().enumerate().map(|(at, (container, first, more))| claim(at, *container, (*first, first + more))).collect();
            claims.sort();
            let meets = |one: &Claim, other: &Claim| {
                one.at != other.at && one.container == other.container && one.first <= other.last && other.first <= one.last
            };
            let mut expected: Vec<_> =
                claims.iter().filter(|one| claims.iter().any(|other| meets(one, other))).map(|one| one.at).collect();
            let mut found = ambiguous(&claims);
            found.sort_unstable();
            found.dedup();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
