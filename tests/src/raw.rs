//! Turns IP packets made by hand into packets on a namespace's way out.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};
use xtask::lab::Ns;

/// A raw socket in a namespace; the kernel only routes what it is given, and fills in the IPv4 header's checksum.
#[derive(Debug)]
pub struct RawSender {
    ipv4: OwnedFd,
    ipv6: OwnedFd,
}

impl RawSender {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(namespace: &Ns) -> Result<Self> {
        let open = |family| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        let [ipv4, ipv6] = namespace.inside(|| [AddressFamily::Inet, AddressFamily::Inet6].map(open))?;
        Ok(Self { ipv4: ipv4.context("open a raw socket")?, ipv6: ipv6.context("open a raw socket")? })
    }

    /// Sends one IP packet to the destination in its header.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let sent = if packet[0] >> 4 == 4 {
            let destination: [u8; 4] = packet[16..20].try_into()?;
            let address = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::from(destination), 0));
            sendto(self.ipv4.as_raw_fd(), packet, &address, MsgFlags::empty())
        } else {
            let destination: [u8; 16] = packet[24..40].try_into()?;
            let address = SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::from(destination), 0, 0, 0));
            sendto(self.ipv6.as_raw_fd(), packet, &address, MsgFlags::empty())
        };
        sent.map(drop).context("send a raw packet")
    }
}
