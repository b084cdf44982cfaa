//! Turns IP packets into packets that the host's stack routes, resolves and sends.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Raw sockets of this network namespace.
pub struct Sender {
    ipv4: Socket,
    ipv6: Socket,
}

impl Sender {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let protocol = Some(Protocol::from(nix::libc::IPPROTO_RAW));
        let ipv4 = Socket::new(Domain::IPV4, Type::RAW, protocol)?;
        ipv4.set_header_included_v4(true)?;
        let ipv6 = Socket::new(Domain::IPV6, Type::RAW, protocol)?;
        ipv6.set_header_included_v6(true)?;
        for socket in [&ipv4, &ipv6] {
            // A full send buffer must not stop the thread that everything else runs on.
            socket.set_nonblocking(true)?;
        }
        Ok(Self { ipv4, ipv6 })
    }

    /// Sends a packet, headers included.
    ///
    /// # Errors
    /// The kernel's: no route, larger than the route's MTU, the send buffer is full.
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let socket = if destination.is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        // A raw socket of IPPROTO_RAW takes the protocol from the packet; the port must be 0 (net/ipv6/raw.c).
        socket.send_to(packet, &SocketAddr::new(destination, 0).into()).map(drop)
    }
}
