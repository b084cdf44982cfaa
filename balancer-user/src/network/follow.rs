//! Turns the kernel's events into reads, reads into facts, and facts into a published view and requests to resolve neighbours.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};
use tracing::{debug, info, warn};

use super::{
    NetworkError, Wanted,
    events::{Change, Events},
    facts::{Facts, Family},
    kernel::Kernel,
    resolve::{Request, Resolver},
    view::view,
};
use crate::model::NetworkView;

/// How long after an event others are waited for, so that one read serves them all.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Shortest time between two reads of a kind.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// Reads of a kind take at most one part in this many of the time, however large the tables are.
const READ_SHARE: u32 = 5;
/// Everything is read again this often, whatever the events say.
const SAFETY_READ: Duration = Duration::from_secs(30);
/// Pause before a failed read or a lost connection is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The state of the following task.
pub(super) struct Follower {
    kernel: Kernel,
    events: Events,
    wanted: watch::Receiver<Wanted>,
    view: watch::Sender<NetworkView>,
    facts: Facts,
    resolver: Resolver,
    /// No read of everything before this time.
    everything_after: Instant,
    /// No read of any kind before this time. Neighbours are read quickly, so their changes do not wait for the rest.
    neighbours_after: Instant,
    safety_read_at: Instant,
}

impl Follower {
    /// Subscribes, then reads everything and publishes it.
    pub(super) async fn open(
        wanted: watch::Receiver<Wanted>,
        view: watch::Sender<NetworkView>,
    ) -> Result<Self, NetworkError> {
        let events = Events::open()?;
        let kernel = Kernel::open()?;
        let now = Instant::now();
        let (facts, resolver) = (Facts::default(), Resolver::default());
        let mut follower = Self {
            kernel,
            events,
            wanted,
            view,
            facts,
            resolver,
            everything_after: now,
            neighbours_after: now,
            safety_read_at: now,
        };
        follower.read(Change::Everything).await?;
        Ok(follower)
    }

    /// Follows the kernel until nobody can want anything any more.
    pub(super) async fn run(mut self) {
        while let Some(change) = self.next_change().await {
            let outcome = match change {
                Change::Nothing => self.resolve().await,
                Change::Neighbours | Change::Everything => self.read(change).await,
                Change::Lost => self.reconnect().await,
            };
            if let Err(error) = outcome {
                self.recover(change, &error);
            }
        }
    }

    /// Waits for something to do: a change to read, already debounced, or neighbours to resolve (`Nothing`). None at the end.
    async fn next_change(&mut self) -> Option<Change> {
        let resolve_at = self.resolver.next_at(Instant::now());
        let resolve = async {
            match resolve_at {
                Some(at) => time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let least = tokio::select! {
            changed = self.wanted.changed() => {
                changed.ok()?;
                Change::Everything
            }
            () = self.events.changed() => Change::Neighbours,
            () = time::sleep_until(self.safety_read_at.into()) => Change::Everything,
            () = resolve => return Some(Change::Nothing),
        };
        time::sleep_until(self.neighbours_after.max(Instant::now() + DEBOUNCE).into()).await;
        let change = self.events.take().max(least);
        if change == Change::Everything && Instant::now() < self.everything_after {
            self.events.put_back(change);
            return Some(Change::Neighbours);
        }
        Some(change)
    }

    /// Reads what changed and publishes the view if it differs.
    async fn read(&mut self, change: Change) -> Result<(), NetworkError> {
        if change >= Change::Everything {
            let started = Instant::now();
            self.read_routing().await?;
            self.everything_after = pace(started);
        }
        let started = Instant::now();
        self.facts.neighbours = self.kernel.neighbours().await?;
        self.neighbours_after = pace(started);

        let (view, needed) = view(&self.facts);
        self.resolver.update(&needed, &self.facts.neighbours, Instant::now());
        self.publish(view);
        Ok(())
    }

    async fn read_routing(&mut self) -> Result<(), NetworkError> {
        let vteps = self.wanted.borrow_and_update().vteps.clone();
        self.facts.links = self.kernel.links().await?;
        // A table above the limit says "ask the kernel" whatever changes in it, so its many events are not worth a read each.
        let all = Instant::now() >= self.safety_read_at;
        if all || !self.facts.ipv4.main_overflow {
            self.facts.ipv4 = self.kernel.family_routes(Family::Ipv4).await?;
        }
        if all || !self.facts.ipv6.main_overflow {
            self.facts.ipv6 = self.kernel.family_routes(Family::Ipv6).await?;
        }
        let mut hosts = BTreeMap::new();
        for vtep in vteps {
            if let Some(way) = self.kernel.way_to(vtep).await? {
                hosts.insert(vtep, way);
            }
        }
        self.facts.hosts = hosts;
        if all {
            self.safety_read_at = Instant::now() + SAFETY_READ;
        }
        Ok(())
    }

    fn publish(&self, view: NetworkView) {
        let published = self.view.send_if_modified(|current| {
            let differs = *current != view;
            if differs {
                *current = view;
            }
            differs
        });
        if published {
            let view = self.view.borrow();
            let resolved = view.hosts.values().filter(|next_hop| next_hop.destination_mac.is_some()).count();
            info!(hosts = view.hosts.len(), resolved, "the way to hosts or clients changed");
            debug!(?view, "network view");
        }
    }

    /// Sends the requests whose time has come.
    async fn resolve(&mut self) -> Result<(), NetworkError> {
        for request in self.resolver.due(Instant::now()) {
            let outcome = match request {
                Request::Resolve { key, exists } => self.kernel.resolve(key, exists).await,
                Request::Release { key } => self.kernel.release(key).await,
            };
            match outcome {
                Ok(()) => debug!(?request, "neighbour requested"),
                // The interface may just have gone, the table may be full: the request comes again in its time.
                Err(error @ NetworkError::Refused { .. }) => {
                    debug!(?request, error = &error as &dyn std::error::Error, "neighbour request refused")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn reconnect(&mut self) -> Result<(), NetworkError> {
        // Both at once: events that come before the first read are not missed.
        self.events = Events::open()?;
        self.kernel = Kernel::open()?;
        self.read(Change::Everything).await?;
        info!("netlink connection is back");
        Ok(())
    }

    /// Has what failed done again after a pause; the last view stays meanwhile.
    fn recover(&mut self, change: Change, error: &NetworkError) {
        warn!(
            error = error as &dyn std::error::Error,
            ?change,
            "cannot follow the kernel's routes and neighbours, trying again"
        );
        let again = match error {
            NetworkError::Open(_) | NetworkError::Closed { .. } | NetworkError::Timeout { .. } => Change::Lost,
            NetworkError::Refused { .. } | NetworkError::Interrupted { .. } | NetworkError::NoLink { .. } => {
                change.max(Change::Neighbours)
            }
        };
        self.events.put_back(again);
        self.neighbours_after = Instant::now() + RETRY;
        self.everything_after = self.neighbours_after;
    }
}

/// When the next read of the kind may begin, after one that began then and ends now.
fn pace(started: Instant) -> Instant {
    started + (started.elapsed() * READ_SHARE).max(READ_INTERVAL)
}

#[cfg(test)]
mod tests;
