//! Turns a request to a container into an answer that says which container answered and who asked.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::namespace::Ns;

/// A server on threads of the owner's process with its sockets in a container's namespace, IPv4 and IPv6.
///
/// TCP 8080 speaks HTTP/1.1 with keep-alive: `red/web-1 <client address>`. UDP 7007 answers `red/web-1 <payload>`.
#[derive(Debug)]
pub struct NameServer {
    stopped: Arc<AtomicBool>,
}

impl NameServer {
    /// Port of HTTP.
    pub const HTTP_PORT: u16 = 8080;
    /// Port of the UDP echo.
    pub const ECHO_PORT: u16 = 7007;
    /// How soon a stopped server lets go of its sockets.
    const STOP_LATENCY: Duration = Duration::from_millis(100);

    /// Starts answering with `name` in `container`.
    ///
    /// # Errors
    /// When the namespace cannot be entered or a port cannot be bound.
    pub fn start(container: &Ns, name: &str) -> Result<Self> {
        let bound = container.inside(|| -> std::io::Result<_> {
            Ok((TcpListener::bind(("::", Self::HTTP_PORT))?, UdpSocket::bind(("::", Self::ECHO_PORT))?))
        });
        let (listener, socket) = bound?.with_context(|| format!("bind the ports of {name}"))?;
        listener.set_nonblocking(true)?;
        socket.set_read_timeout(Some(Self::STOP_LATENCY))?;
        let stopped = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let (stopped, name) = (Arc::clone(&stopped), Arc::<str>::from(name));
            move || accept(&listener, &name, &stopped)
        });
        thread::spawn({
            let (stopped, name) = (Arc::clone(&stopped), name.to_owned());
            move || echo(&socket, &name, &stopped)
        });
        Ok(Self { stopped })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, name: &Arc<str>, stopped: &Arc<AtomicBool>) {
    /// Accepting without blocking keeps the stop simple; connections of a demo can wait this long.
    const PAUSE: Duration = Duration::from_millis(2);
    while !stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, client)) => {
                let (name, stopped) = (Arc::clone(name), Arc::clone(stopped));
                // A client that goes away ends its own connection only.
                thread::spawn(move || answer(stream, client, &name, &stopped).ok());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return,
        }
    }
}

fn answer(stream: TcpStream, client: SocketAddr, name: &str, stopped: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(NameServer::STOP_LATENCY))?;
    let body = format!("{name} {}\n", client.ip().to_canonical());
    let response =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while !stopped.load(Ordering::Relaxed) {
        // After a timeout `line` keeps what has arrived of it.
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) if line.trim().is_empty() => (&stream).write_all(response.as_bytes())?,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        line.clear();
    }
    Ok(())
}

fn echo(socket: &UdpSocket, name: &str, stopped: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stopped.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
        // A datagram may be lost anyway.
        let _ = socket.send_to(&answer, client);
    }
}
