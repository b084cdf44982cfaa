//! Turns an interface's index into the XDP program that the kernel runs there, asked by one rtnetlink request.

use std::{io, os::fd::AsRawFd as _};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// How the kernel runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before there is a socket buffer.
    Native,
    /// In the network stack.
    Generic,
}

impl Mode {
    /// The word of config, metrics and CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnInterface {
    /// Its id.
    pub program_id: u32,
    /// How it runs; none when in the hardware, or several at once.
    pub mode: Option<Mode>,
}

/// The program on an interface, if any.
///
/// # Errors
/// The kernel's; ENODEV when there is no such interface.
pub fn program_on(ifindex: u32) -> io::Result<Option<OnInterface>> {
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(netlink.as_raw_fd(), &request(ifindex), MsgFlags::empty())?;
    let mut reply = vec![0; REPLY_MAX];
    let length = recv(netlink.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    parse(&reply[..length])
}

/// More than the kernel sends about one interface (`NLMSG_GOODSIZE` is at most 8 KiB, virtual functions add some).
const REPLY_MAX: usize = 128 << 10;

// From include/uapi/linux/{netlink,rtnetlink,if_link}.h.
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const MESSAGE_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;

fn request(ifindex: u32) -> [u8; MESSAGE_HEADER + LINK_HEADER] {
    let mut bytes = [0; MESSAGE_HEADER + LINK_HEADER];
    let length = bytes.len() as u32;
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes[20..24].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

fn parse(reply: &[u8]) -> io::Result<Option<OnInterface>> {
    let malformed =
        || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about the interface is malformed");
    let kind = reply.get(4..6).and_then(u16_of).ok_or_else(malformed)?;
    if kind == NLMSG_ERROR {
        let code = reply.get(16..20).and_then(u32_of).ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(code.cast_signed().saturating_neg()));
    }
    if kind != RTM_NEWLINK {
        return Err(malformed());
    }
    let attributes = reply.get(MESSAGE_HEADER + LINK_HEADER..).ok_or_else(malformed)?;
    let Some(xdp) = attribute(attributes, IFLA_XDP) else { return Ok(None) };
    let mode = match attribute(xdp, IFLA_XDP_ATTACHED).and_then(|value| value.first().copied()) {
        Some(XDP_ATTACHED_DRV) => Some(Mode::Native),
        Some(XDP_ATTACHED_SKB) => Some(Mode::Generic),
        Some(_) | None => None,
    };
    // With programs in driver and hardware at once the kernel names them apart only.
    let program_id = attribute(xdp, IFLA_XDP_PROG_ID).or_else(|| attribute(xdp, IFLA_XDP_DRV_PROG_ID));
    Ok(program_id.and_then(u32_of).filter(|id| *id != 0).map(|program_id| OnInterface { program_id, mode }))
}

/// The value of the first attribute of a kind (`struct nlattr`: length with header, kind, value, padded to 4).
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_of(attributes.get(0..2)?)?);
        let kind = u16_of(attributes.get(2..4)?)? & ATTRIBUTE_TYPE_MASK;
        let value = attributes.get(ATTRIBUTE_HEADER..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_of(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; MESSAGE_HEADER + LINK_HEADER];
        bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        bytes.extend_from_slice(attributes);
        bytes
    }

    fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE_HEADER + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_become_the_program_and_its_mode() {
        let xdp = |mode: u8, id: u32| {
            let inner = [nested(IFLA_XDP_ATTACHED, &[mode]), nested(IFLA_XDP_PROG_ID, &id.to_ne_bytes())].concat();
            [nested(3, b"eth0\0"), nested(IFLA_XDP, &inner)].concat()
        };
        let table = [
            (link(&xdp(1, 7)), Some(OnInterface { program_id: 7, mode: Some(Mode::Native) })),
            (link(&xdp(2, 8)), Some(OnInterface { program_id: 8, mode: Some(Mode::Generic) })),
            (link(&xdp(3, 9)), Some(OnInterface { program_id: 9, mode: None })),
            (link(&nested(IFLA_XDP, &nested(IFLA_XDP_ATTACHED, &[0]))), None),
            (link(&nested(3, b"eth0\0")), None),
            (link(&[]), None),
        ];
        for (bytes, expected) in table {
            assert_eq!(parse(&bytes).ok(), Some(expected), "{bytes:?}");
        }
    }

    #[test]
    fn loopback_can_be_asked_and_a_missing_interface_is_enodev() {
        assert!(program_on(1).is_ok());
        assert_eq!(program_on(0x7fff_0000).map_err(|error| error.raw_os_error()), Err(Some(nix::libc::ENODEV)));
    }
}
