//! Turns a container into a UDP server that answers with the same bytes, whatever their number, and a datagram into its answer.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::lab::Ns;

/// Larger than any datagram.
const DATAGRAM_MAX: usize = 65_536;

/// A server on threads of the test's process with its sockets in a container.
#[derive(Debug)]
pub struct DatagramEcho {
    stopped: Arc<AtomicBool>,
}

impl DatagramEcho {
    /// The port that most tests use.
    pub const PORT: u16 = 9001;
    /// How soon a stopped server lets go of its sockets.
    const STOP_LATENCY: Duration = Duration::from_millis(100);

    /// Answers on a port of every address of the container.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn start(container: &Ns, port: u16) -> Result<Self> {
        Self::start_at(container, &[SocketAddr::from(([0_u16; 8], port))])
    }

    /// Answers at these addresses, from the very address that was asked.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub fn start_at(container: &Ns, addresses: &[SocketAddr]) -> Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        for address in addresses {
            let socket = container.inside(|| UdpSocket::bind(address))?;
            let socket = socket.with_context(|| format!("bind UDP {address} in {}", container.role()))?;
            socket.set_read_timeout(Some(Self::STOP_LATENCY))?;
            let stopped = Arc::clone(&stopped);
            thread::spawn(move || echo(&socket, &stopped));
        }
        Ok(Self { stopped })
    }
}

impl Drop for DatagramEcho {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn echo(socket: &UdpSocket, stopped: &AtomicBool) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    while !stopped.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        // A datagram may be lost anyway.
        let _ = socket.send_to(&buffer[..length], client);
    }
}

/// A client's socket.
#[derive(Debug)]
pub struct DatagramClient {
    socket: UdpSocket,
}

impl DatagramClient {
    /// How long one answer may take.
    const ANSWER_LIMIT: Duration = Duration::from_millis(500);
    /// Datagrams may be lost while a path is being learnt.
    const TRIES: u32 = 8;

    /// A socket in a namespace whose peer is `target`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn connect(client: &Ns, target: SocketAddr) -> Result<Self> {
        Self::connect_from(client, 0, target)
    }

    /// The same from a port of choice.
    ///
    /// # Errors
    /// The kernel's.
    pub fn connect_from(client: &Ns, port: u16, target: SocketAddr) -> Result<Self> {
        let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = client.inside(|| UdpSocket::bind((any, port)))??;
        // Connecting looks up the route: that has to be the namespace's.
        client.inside(|| socket.connect(target))??;
        socket.set_read_timeout(Some(Self::ANSWER_LIMIT))?;
        Ok(Self { socket })
    }

    /// Sends a datagram once and checks that its answer has the same bytes.
    ///
    /// # Errors
    /// `WouldBlock` without an answer; as the kernel says when an ICMP error came back.
    pub fn exchange_once(&self, payload: &[u8]) -> io::Result<()> {
        self.socket.send(payload)?;
        self.receive(payload)
    }

    /// Waits for an answer with these bytes.
    ///
    /// # Errors
    /// Those of [`exchange_once`](Self::exchange_once).
    pub fn receive(&self, payload: &[u8]) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        let length = self.socket.recv(&mut buffer)?;
        if buffer[..length] == *payload {
            return Ok(());
        }
        Err(io::Error::other(format!("{length} other bytes came back for {}", payload.len())))
    }

    /// Sends a datagram until an answer with the same bytes is back.
    ///
    /// # Errors
    /// When none is after a few tries, or it has other bytes.
    pub fn exchange(&self, payload: &[u8]) -> Result<()> {
        for _ in 0..Self::TRIES {
            match self.exchange_once(payload) {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                // The kernel refuses a datagram with DF that became too big; the next one goes in fragments.
                Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {}
                Err(error) => return Err(error).context("exchange datagrams"),
            }
        }
        bail!("no answer to {} bytes after {} tries", payload.len(), Self::TRIES)
    }
}

/// One socket, one exchange for each size.
///
/// # Errors
/// When one of them fails; with the size.
pub fn exchange_sizes(client: &Ns, target: SocketAddr, sizes: &[usize]) -> Result<()> {
    let socket = DatagramClient::connect(client, target)?;
    for size in sizes {
        socket.exchange(&crate::transfer::pattern(*size)).with_context(|| format!("{size} bytes to {target}"))?;
    }
    ensure!(!sizes.is_empty(), "no sizes to exchange");
    Ok(())
}
