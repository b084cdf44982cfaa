//! Turns a VIP into answers, seen from the client's namespace: one request, one datagram, or a connection that stays open.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};
use xtask::lab::{Lab, Ns};

use crate::web;

/// How long an answer may take.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One HTTP request with a connection of its own; the body.
///
/// # Errors
/// When it fails.
pub fn fetch(client: &Ns, vip: &str) -> Result<String> {
    client.text(["curl", "--silent", "--show-error", "--fail", "--max-time", "5", &web::url(vip, "")])
}

/// One datagram to `vip`:`port` and the answer to it.
///
/// # Errors
/// `ConnectionRefused` when the port is unreachable, `WouldBlock` without an answer in [`ANSWER_LIMIT`].
pub fn datagram(client: &Ns, vip: &str, port: u16, payload: &str) -> io::Result<String> {
    let target = address(vip, port);
    let asked = client.inside(|| {
        let local: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(local)?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        socket.connect(target)?;
        socket.send(payload.as_bytes())?;
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    asked.map_err(io::Error::other)?
}

/// Tries to connect to `vip`:`port`.
///
/// # Errors
/// As the kernel says; `TimedOut` after [`ANSWER_LIMIT`].
pub fn connect(client: &Ns, vip: &str, port: u16) -> io::Result<TcpStream> {
    let target = address(vip, port);
    client.inside(|| TcpStream::connect_timeout(&target, ANSWER_LIMIT)).map_err(io::Error::other)?
}

/// A connection to port 80 of a VIP that stays open, and the backend it was given.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// The first word of the backend's answers.
    pub backend: String,
    /// Where it goes.
    pub vip: String,
}

impl Connection {
    /// Connects and asks once.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(client: &Ns, vip: &str) -> Result<Self> {
        let stream = connect(client, vip, 80).with_context(|| format!("connect to {vip}"))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream), backend: String::new(), vip: vip.into() };
        connection.backend = connection.ask()?;
        Ok(connection)
    }

    /// As many connections to every VIP of both projects.
    ///
    /// # Errors
    /// When one fails.
    pub fn open_everywhere(lab: &Lab, count_per_vip: usize) -> Result<Vec<Self>> {
        let client = lab.ns("client");
        web::everywhere()
            .flat_map(|(_, vip)| (0..count_per_vip).map(move |_| vip))
            .map(|vip| Self::open(&client, vip))
            .collect()
    }

    /// Sends a request on the open connection; the first word of the answer, which names the backend.
    ///
    /// # Errors
    /// `ConnectionReset` and the like when the connection is gone.
    pub fn ask(&mut self) -> io::Result<String> {
        self.stream.get_ref().write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body);
        Ok(body.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// Asks again and checks that the same backend answers.
    ///
    /// # Errors
    /// When the connection is gone or was moved.
    pub fn still_there(&mut self) -> Result<()> {
        let answer =
            self.ask().with_context(|| format!("an established connection to {} on {}", self.vip, self.backend))?;
        anyhow::ensure!(answer == self.backend, "a connection to {} moved from {} to {answer}", self.vip, self.backend);
        Ok(())
    }
}

fn address(vip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(vip.parse::<IpAddr>().expect("VIPs of tests are literals"), port)
}
