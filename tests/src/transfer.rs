//! Turns a container into a TCP server that sends and takes known bytes, and a client's wish into proof that all of them arrived.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::Ns;

/// How long a transfer may stand still.
const STALL_LIMIT: Duration = Duration::from_secs(20);

/// A server on threads of the test's process with its socket in a container, IPv4 and IPv6.
///
/// A client sends `d` or `u` and a length of 8 bytes, then takes or sends that many bytes of [`pattern`]; after an upload the
/// server says `1` when all of them were right.
#[derive(Debug)]
pub struct TransferServer {
    stopped: Arc<AtomicBool>,
}

impl TransferServer {
    /// The port that most tests use.
    pub const PORT: u16 = 9000;

    /// Starts serving on a port of the container.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn start(container: &Ns, port: u16) -> Result<Self> {
        let listener = container.inside(|| TcpListener::bind(("::", port)))?;
        let listener = listener.with_context(|| format!("bind TCP {port} in {}", container.role()))?;
        listener.set_nonblocking(true)?;
        let stopped = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let stopped = Arc::clone(&stopped);
            move || accept(&listener, &stopped)
        });
        Ok(Self { stopped })
    }
}

impl Drop for TransferServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the container to the client.
    Download,
    /// From the client to the container.
    Upload,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Download, Self::Upload];
}

/// A connection that has been made, and transfers bytes when asked to.
#[derive(Debug)]
pub struct Transfer(TcpStream);

impl Transfer {
    /// Connects from a namespace to a VIP.
    ///
    /// # Errors
    /// When that fails.
    pub fn connect(client: &Ns, vip: &str, port: u16) -> Result<Self> {
        let stream = crate::client::connect(client, vip, port).with_context(|| format!("connect to {vip} {port}"))?;
        limit(&stream)?;
        Ok(Self(stream))
    }

    /// Moves `bytes` bytes one way and compares every one of them.
    ///
    /// # Errors
    /// When the connection ends or stands still, or a byte is another.
    pub fn run(&self, way: Way, bytes: usize) -> Result<()> {
        let mut stream = &self.0;
        let kind = match way {
            Way::Download => b'd',
            Way::Upload => b'u',
        };
        stream.write_all(&[&[kind][..], &(bytes as u64).to_be_bytes()].concat())?;
        match way {
            Way::Download => {
                let mut received = vec![0; bytes];
                stream.read_exact(&mut received).with_context(|| format!("{way:?} of {bytes} bytes"))?;
                ensure!(received == pattern(bytes), "{way:?}: other bytes than sent");
            }
            Way::Upload => {
                let mut verdict = [0];
                stream.write_all(&pattern(bytes)).with_context(|| format!("{way:?} of {bytes} bytes"))?;
                stream.read_exact(&mut verdict).with_context(|| format!("{way:?} of {bytes} bytes, the answer"))?;
                ensure!(verdict == *b"1", "{way:?}: other bytes than sent");
            }
        }
        Ok(())
    }
}

/// One connection, one transfer.
///
/// # Errors
/// Those of [`Transfer`].
pub fn transfer(client: &Ns, (vip, port): (&str, u16), way: Way, bytes: usize) -> Result<()> {
    Transfer::connect(client, vip, port)?.run(way, bytes).with_context(|| format!("through {vip} {port}"))
}

/// Bytes without a period (`SplitMix64`), the same every time.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words.flat_map(u64::to_be_bytes).take(length).collect()
}

fn accept(listener: &TcpListener, stopped: &AtomicBool) {
    /// Accepting without blocking keeps the stop simple.
    const PAUSE: Duration = Duration::from_millis(2);
    while !stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that goes away ends its own connection only.
            Ok((stream, _)) => drop(thread::spawn(move || serve(&stream))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return,
        }
    }
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    limit(stream)?;
    loop {
        let mut request = [0; 9];
        stream.read_exact(&mut request)?;
        let [kind, length @ ..] = request;
        let expected = pattern(usize::try_from(u64::from_be_bytes(length)).map_err(io::Error::other)?);
        if kind == b'd' {
            stream.write_all(&expected)?;
        } else {
            let mut received = vec![0; expected.len()];
            stream.read_exact(&mut received)?;
            stream.write_all(if received == expected { b"1" } else { b"0" })?;
        }
    }
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL_LIMIT))?;
    stream.set_write_timeout(Some(STALL_LIMIT))
}

/// The address of a port at a VIP.
///
/// # Panics
/// When the VIP is no address.
#[must_use]
pub fn target(vip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(vip.parse().expect("VIPs of tests are literals"), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_the_same_every_time_and_has_no_short_period() {
        assert_eq!(pattern(1000), pattern(2000)[..1000]);
        assert_ne!(pattern(64)[..32], pattern(64)[32..]);
    }
}
