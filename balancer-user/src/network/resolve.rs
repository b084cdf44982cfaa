//! Turns wanted neighbours and the neighbour table into requests to resolve or release, and the times to send them; no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::facts::{Neighbour, NeighbourKey, Neighbours, Standing};

/// First pause between two requests for a neighbour that does not resolve; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Pause between two requests for a neighbour that is resolved but that the kernel does not keep so by itself (before Linux 5.16).
const REFRESH: Duration = Duration::from_secs(5);

/// What was asked of the kernel and is still to be asked.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    attempts: BTreeMap<NeighbourKey, Attempt>,
    /// Neighbours that this resolver had marked as managed.
    managed: BTreeSet<NeighbourKey>,
    release: Vec<NeighbourKey>,
}

/// Why a neighbour is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// There is no MAC.
    Resolve,
    /// There is one, but nothing would notice that it changed.
    Manage,
}

#[derive(Debug)]
struct Attempt {
    need: Need,
    exists: bool,
    next: Instant,
    pause: Duration,
}

/// A request for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Request {
    /// Resolve it and keep it so.
    Resolve {
        /// Which neighbour.
        key: NeighbourKey,
        /// The table has an entry for it.
        exists: bool,
    },
    /// Stop keeping it resolved.
    Release {
        /// Which neighbour.
        key: NeighbourKey,
    },
}

impl Resolver {
    /// Takes in what is wanted and what the table holds now.
    pub(super) fn update(&mut self, wanted: &BTreeSet<NeighbourKey>, neighbours: &Neighbours, now: Instant) {
        self.attempts.retain(|key, _| wanted.contains(key));
        for key in wanted {
            let entry = neighbours.get(key);
            let Some(need) = need(entry) else {
                self.attempts.remove(key);
                continue;
            };
            let attempt = self.attempts.entry(*key).or_insert_with(|| Attempt::new(need, now));
            if attempt.need != need {
                *attempt = Attempt::new(need, now);
            }
            attempt.exists = entry.is_some();
        }
        let release: Vec<_> = self.managed.difference(wanted).copied().collect();
        for key in release {
            self.managed.remove(&key);
            if neighbours.get(&key).is_some_and(|neighbour| neighbour.managed) {
                self.release.push(key);
            }
        }
    }

    /// The requests whose time has come. Each is given out once; those that go on not resolving come back later.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Request> {
        let mut requests: Vec<_> = self.release.drain(..).map(|key| Request::Release { key }).collect();
        for (key, attempt) in &mut self.attempts {
            if attempt.next > now {
                continue;
            }
            attempt.next = now + attempt.pause;
            attempt.pause = match attempt.need {
                Need::Resolve => (attempt.pause * 2).min(RETRY_MAX),
                Need::Manage => REFRESH,
            };
            self.managed.insert(*key);
            requests.push(Request::Resolve { key: *key, exists: attempt.exists });
        }
        requests
    }

    /// When [`Resolver::due`] has something to give next.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        if !self.release.is_empty() {
            return Some(now);
        }
        self.attempts.values().map(|attempt| attempt.next).min()
    }
}

impl Attempt {
    const fn new(need: Need, now: Instant) -> Self {
        let pause = match need {
            Need::Resolve => RETRY_MIN,
            Need::Manage => REFRESH,
        };
        Self { need, exists: false, next: now, pause }
    }
}

fn need(entry: Option<&Neighbour>) -> Option<Need> {
    let Some(neighbour) = entry else {
        return Some(Need::Resolve);
    };
    match neighbour.standing {
        // The operator's word, or nothing to resolve: a request would take the PERMANENT state away.
        Standing::Fixed => None,
        Standing::Learned if neighbour.managed => None,
        Standing::Learned => Some(Need::Manage),
        Standing::Unresolved => Some(Need::Resolve),
    }
}

#[cfg(test)]
mod tests;
