//! Turns frames that the datapath could not send, for want of a neighbour's MAC, into packets that the host's stack sends.

mod packet;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, MapError, RingBuf};
use balancer_common::abi;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::yield_now;
use tracing::debug;

use super::{error::DatapathError, mmap::watch, pins};

/// The reader of the ring and the sockets that its packets leave by.
pub struct SlowPath {
    ring: RingBuf<MapData>,
    pub(super) sender: Sender,
}

/// Counters that outlive the move of a [`SlowPath`] into its task.
#[derive(Clone, Debug, Default)]
pub struct SlowPathCounters(Arc<Counted>);

/// Values of [`SlowPathCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowPathCounts {
    /// Packets given to the host's stack.
    pub sent: u64,
    /// Packets that the host's stack refused.
    pub refused: u64,
    /// Records that hold no IP packet.
    pub malformed: u64,
}

#[derive(Debug, Default)]
struct Counted {
    sent: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

/// Frames sent before other tasks of the thread have their turn.
const FRAMES_PER_TURN: usize = 64;
/// Between two log lines about packets that could not be sent.
const LOG_EVERY: Duration = Duration::from_secs(1);

impl SlowPath {
    /// Opens the ring below a pin directory, and raw sockets in this network namespace.
    pub(super) fn open(pin_dir: &Path) -> Result<Self, DatapathError> {
        let ring = Map::from_map_data(pins::open(pin_dir, abi::MAP_SLOW_PATH)?)
            .and_then(RingBuf::try_from)
            .map_err(|error: MapError| DatapathError::of("reading the slow path's ring", &error))?;
        let sender =
            Sender::open().map_err(|error| DatapathError::of("opening the slow path's raw sockets", &error))?;
        Ok(Self { ring, sender })
    }

    /// The counters, to keep when the slow path is moved into its task.
    #[must_use]
    pub fn counters(&self) -> SlowPathCounters {
        self.sender.counters.clone()
    }

    /// Sends what comes out of the ring, for as long as it is polled; needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// The ring cannot be polled; nothing else ends it.
    pub async fn run(self) -> io::Result<Infallible> {
        let Self { ring, mut sender } = self;
        let mut ring = watch(ring)?;
        loop {
            let mut ready = ring.readable_mut().await?;
            if sender.send_some(ready.get_inner_mut()) {
                ready.clear_ready();
            }
            yield_now().await;
        }
    }
}

impl SlowPathCounters {
    /// The values now.
    #[must_use]
    pub fn read(&self) -> SlowPathCounts {
        let Counted { sent, refused, malformed } = &*self.0;
        SlowPathCounts {
            sent: sent.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            malformed: malformed.load(Ordering::Relaxed),
        }
    }
}

pub(super) struct Sender {
    ipv4: Socket,
    ipv6: Socket,
    counters: SlowPathCounters,
    logged: Option<Instant>,
}

impl Sender {
    fn open() -> io::Result<Self> {
        let protocol = Some(Protocol::from(nix::libc::IPPROTO_RAW));
        let ipv4 = Socket::new(Domain::IPV4, Type::RAW, protocol)?;
        ipv4.set_header_included_v4(true)?;
        let ipv6 = Socket::new(Domain::IPV6, Type::RAW, protocol)?;
        ipv6.set_header_included_v6(true)?;
        for socket in [&ipv4, &ipv6] {
            // A full send buffer must not stop the thread that everything else runs on.
            socket.set_nonblocking(true)?;
        }
        Ok(Self { ipv4, ipv6, counters: SlowPathCounters::default(), logged: None })
    }

    /// Sends up to [`FRAMES_PER_TURN`] frames; true when the ring is empty.
    fn send_some(&mut self, ring: &mut RingBuf<MapData>) -> bool {
        for _ in 0..FRAMES_PER_TURN {
            let Some(record) = ring.next() else { return true };
            self.send(&record);
        }
        false
    }

    pub(super) fn send(&mut self, record: &[u8]) {
        let counted = &*self.counters.0;
        let Some(packet) = packet::of_record(record) else {
            counted.malformed.fetch_add(1, Ordering::Relaxed);
            self.log("a record holds no IP packet");
            return;
        };
        let socket = if packet.destination.is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        // A raw socket of IPPROTO_RAW takes the protocol from the packet; the port must be 0 (net/ipv6/raw.c).
        match socket.send_to(packet.bytes, &SocketAddr::new(packet.destination, 0).into()) {
            Ok(_) => {
                counted.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                counted.refused.fetch_add(1, Ordering::Relaxed);
                self.log(&format!("{}: {error}", packet.destination));
            }
        }
    }

    fn log(&mut self, reason: &str) {
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY) {
            return;
        }
        self.logged = Some(Instant::now());
        let SlowPathCounts { sent, refused, malformed } = self.counters.read();
        debug!(reason, sent, refused, malformed, "the slow path could not send a packet");
    }
}
