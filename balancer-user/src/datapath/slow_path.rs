//! Turns records of the datapath into packets that the host's stack sends, frames that come in again, and lessons for the daemon.

mod counters;
mod fragment;
mod hold;
mod known;
mod outer_error;
mod packet;
mod record;
mod sender;

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, MapError, RingBuf};
use balancer_common::{abi, fragment::FragmentKey};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

#[cfg(test)]
pub(super) use self::record::tests::written;
pub use self::{counters::SlowPathCounters, outer_error::OuterError};
use self::{
    hold::{Held, Hold},
    known::Known,
    record::Record,
    sender::Sender,
};
use super::{error::DatapathError, mmap::watch, pins, program::LIVE_FRAME_MAX};

/// The reader of the ring and what its records need.
pub struct SlowPath {
    ring: RingBuf<MapData>,
    pub(super) work: Work,
}

/// Records or held frames that are done before other tasks of the thread have their turn.
const FRAMES_PER_TURN: usize = 64;
/// How often the datapath is asked whether it knows what held frames wait for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Between two log lines about packets that could not be sent.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// The packets and frames that a record comes to, without sending them anywhere: what the fuzz target `record` looks at.
#[doc(hidden)]
#[must_use]
pub fn packets_of_record(record: &[u8]) -> Vec<Vec<u8>> {
    let whole = |frame| packet::of_frame(frame).map(|packet| packet.bytes.to_vec());
    match Record::read(record) {
        Some(Record::Send { frame }) => whole(frame).into_iter().collect(),
        Some(Record::Fragment { frame, inner_mtu }) => fragment::fragments(frame, inner_mtu).unwrap_or_default(),
        Some(Record::FragmentReply { frame, mtu }) => fragment::of_reply(frame, mtu).unwrap_or_default(),
        Some(Record::Hold { frame, .. }) => vec![frame.to_vec()],
        Some(Record::OuterError { frame }) => OuterError::read(frame).and_then(|_| whole(frame)).into_iter().collect(),
        None => vec![],
    }
}

/// Runs a frame through the program, as if it came in by an interface.
type RunAgain<'a> = dyn FnMut(&[u8], u32) -> Result<(), DatapathError> + 'a;

impl SlowPath {
    /// Opens the maps below a pin directory, and raw sockets in this network namespace.
    pub(super) fn open(pin_dir: &Path) -> Result<Self, DatapathError> {
        let ring = Map::from_map_data(pins::open(pin_dir, abi::MAP_SLOW_PATH)?)
            .and_then(RingBuf::try_from)
            .map_err(|error: MapError| DatapathError::of("reading the slow path's ring", &error))?;
        let sender =
            Sender::open().map_err(|error| DatapathError::of("opening the slow path's raw sockets", &error))?;
        let known = Known::open(pin_dir)?;
        let (hold, counters) = (Hold::default(), SlowPathCounters::default());
        Ok(Self { ring, work: Work { sender, known, hold, counters, errors: None, logged: None } })
    }

    /// The counters, to keep when the slow path is moved into its task.
    #[must_use]
    pub fn counters(&self) -> SlowPathCounters {
        self.work.counters.clone()
    }

    /// Does what the records of the ring ask for, as long as it is polled; needs a tokio runtime with I/O and time.
    ///
    /// `run_again` takes a held frame and the interface that it came in by
    /// ([`Datapath::run_live`](super::Datapath::run_live)). ICMP errors about outer packets go into `errors`; those that
    /// do not fit are lost, routers send them again.
    ///
    /// # Errors
    /// The ring cannot be polled; nothing else ends it.
    pub async fn run(
        self,
        mut run_again: impl FnMut(&[u8], u32) -> Result<(), DatapathError> + Send,
        errors: mpsc::Sender<OuterError>,
    ) -> io::Result<Infallible> {
        let Self { ring, mut work } = self;
        work.errors = Some(errors);
        let mut ring = watch(ring)?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ready = ring.readable_mut() => {
                    let mut ready = ready?;
                    if work.some(ready.get_inner_mut()) {
                        ready.clear_ready();
                    }
                }
                _ = look.tick(), if !work.hold.is_empty() => work.look(Instant::now(), &mut run_again),
            }
            yield_now().await;
        }
    }
}

/// What is done with records.
pub(super) struct Work {
    sender: Sender,
    known: Known,
    hold: Hold,
    counters: SlowPathCounters,
    pub(super) errors: Option<mpsc::Sender<OuterError>>,
    logged: Option<Instant>,
}

impl Work {
    /// Does up to [`FRAMES_PER_TURN`] records; true when the ring is empty.
    fn some(&mut self, ring: &mut RingBuf<MapData>) -> bool {
        for _ in 0..FRAMES_PER_TURN {
            let Some(record) = ring.next() else { return true };
            self.record(&record, Instant::now());
        }
        false
    }

    /// Does one record.
    pub(super) fn record(&mut self, bytes: &[u8], now: Instant) {
        match Record::read(bytes) {
            Some(Record::Send { frame }) => self.send_whole(frame),
            Some(Record::Fragment { frame, inner_mtu }) => {
                self.send_fragments(frame, fragment::fragments(frame, inner_mtu))
            }
            Some(Record::FragmentReply { frame, mtu }) => self.send_fragments(frame, fragment::of_reply(frame, mtu)),
            Some(Record::Hold { frame, ifindex, key }) => self.hold(frame, ifindex, key, now),
            Some(Record::OuterError { frame }) => self.learn(frame),
            None => self.malformed("a record is none of the datapath's"),
        }
    }

    /// Drops held frames whose time is over, and runs those again whose first fragment is known by now.
    pub(super) fn look(&mut self, now: Instant, run_again: &mut RunAgain<'_>) {
        self.counters.add(|counted| &counted.expired, self.hold.expire(now));
        let mut released = 0;
        for key in self.hold.keys() {
            match self.known.holds(&key) {
                Ok(true) => released += self.release(&key, run_again),
                Ok(false) => {}
                Err(error) => self.log(&format!("looking a fragment up: {error}")),
            }
            if released >= FRAMES_PER_TURN {
                return;
            }
        }
    }

    fn send_whole(&mut self, frame: &[u8]) {
        let Some(packet) = packet::of_frame(frame) else {
            return self.malformed("a frame holds no whole IP packet");
        };
        if self.send(packet.bytes, packet.destination) {
            self.counters.add(|counted| &counted.sent, 1);
        }
    }

    fn send_fragments(&mut self, frame: &[u8], fragments: Option<Vec<Vec<u8>>>) {
        let Some((packet, fragments)) = packet::of_frame(frame).zip(fragments) else {
            return self.malformed("a packet cannot be fragmented");
        };
        let sent = fragments.iter().filter(|fragment| self.send(fragment, packet.destination)).count();
        self.counters.add(|counted| &counted.fragmented, 1);
        self.counters.add(|counted| &counted.fragments_sent, sent);
    }

    /// Gives a packet to the host's stack; false when that refuses it.
    fn send(&mut self, packet: &[u8], destination: IpAddr) -> bool {
        let result = self.sender.send(packet, destination);
        if let Err(error) = &result {
            self.counters.add(|counted| &counted.refused, 1);
            self.log(&format!("{destination}: {error}"));
        }
        result.is_ok()
    }

    fn hold(&mut self, frame: &[u8], ifindex: u32, key: FragmentKey, now: Instant) {
        if frame.len() > LIVE_FRAME_MAX {
            self.counters.add(|counted| &counted.too_long, 1);
            return;
        }
        self.counters.add(|counted| &counted.expired, self.hold.expire(now));
        match self.hold.take(now, key, Held { frame: frame.to_vec(), ifindex }) {
            Ok(()) => self.counters.add(|counted| &counted.held, 1),
            Err(hold::Full) => self.counters.add(|counted| &counted.overflowed, 1),
        }
    }

    /// Runs the frames of a key again and returns how many they were.
    fn release(&mut self, key: &FragmentKey, run_again: &mut RunAgain<'_>) -> usize {
        let waiting = self.hold.release(key);
        for held in &waiting {
            match run_again(&held.frame, held.ifindex) {
                Ok(()) => self.counters.add(|counted| &counted.released, 1),
                Err(error) => {
                    self.counters.add(|counted| &counted.refused, 1);
                    self.log(&error.to_string());
                }
            }
        }
        waiting.len()
    }

    fn learn(&mut self, frame: &[u8]) {
        let Some(error) = OuterError::read(frame) else {
            return self.malformed("an ICMP error is not about a packet of ours");
        };
        let taken = self.errors.as_ref().is_some_and(|errors| errors.try_send(error).is_ok());
        self.counters.add(if taken { |counted| &counted.outer_errors } else { |counted| &counted.overflowed }, 1);
    }

    fn malformed(&mut self, reason: &str) {
        self.counters.add(|counted| &counted.malformed, 1);
        self.log(reason);
    }

    fn log(&mut self, reason: &str) {
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY) {
            return;
        }
        self.logged = Some(Instant::now());
        debug!(reason, counters = ?self.counters.read(), "the slow path could not do what the datapath asked for");
    }
}
