//! Turns a frame's bytes into where its headers stand and what they say (cases 1, 3, 4, 19, 20).

use std::net::IpAddr;

use balancer_common::verdict::Reason;

use super::bytes::{address, word};

/// A frame as Ethernet and its VLAN tags divide it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    /// Destination and source MAC.
    pub macs: &'a [u8],
    /// No, one or two tags, 4 bytes each.
    pub tags: &'a [u8],
    /// Everything behind the ethertype.
    pub rest: &'a [u8],
    /// Whether the ethertype is IPv4's; otherwise it is IPv6's.
    pub ipv4: bool,
}

impl<'a> Link<'a> {
    /// None for what is not IP, or too short to say.
    pub fn of(frame: &'a [u8]) -> Option<Self> {
        let mut at = 12;
        while at < 20 && matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
            at += 4;
        }
        let ipv4 = match frame.get(at..at + 2)? {
            [0x08, 0x00] => true,
            [0x86, 0xdd] => false,
            _ => return None,
        };
        Some(Self { macs: &frame[..12], tags: &frame[12..at], rest: &frame[at + 2..], ipv4 })
    }

    /// MACs for the way back, tags and ethertype.
    pub fn turned(&self) -> Vec<u8> {
        let (destination, source) = self.macs.split_at(6);
        [source, destination, self.tags, ethertype(self.ipv4)].concat()
    }
}

/// The ethertype of a family.
pub(super) const fn ethertype(ipv4: bool) -> &'static [u8] {
    if ipv4 { &[0x08, 0x00] } else { &[0x86, 0xdd] }
}

/// What the fixed IP header says, believed or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    /// Family.
    pub ipv4: bool,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Bytes of the IP packet.
    pub length: usize,
    /// TTL or hop limit.
    pub ttl: u8,
    /// ToS or traffic class.
    pub class: u8,
    /// Protocol, or the first extension header's number.
    pub protocol: u8,
    /// Neither options nor extension headers nor a fragment, and the version is right: what the fast program takes.
    pub plain: bool,
}

impl Fixed {
    /// Of the bytes behind the ethertype; none when there are too few.
    pub fn of(bytes: &[u8], ipv4: bool) -> Option<Self> {
        if bytes.len() < bare(ipv4) {
            return None;
        }
        Some(if ipv4 {
            Self {
                ipv4,
                source: address(bytes, 12, true),
                destination: address(bytes, 16, true),
                length: usize::from(word(bytes, 2)),
                ttl: bytes[8],
                class: bytes[1],
                protocol: bytes[9],
                plain: bytes[0] == 0x45 && word(bytes, 6) & 0x3fff == 0,
            }
        } else {
            Self {
                ipv4,
                source: address(bytes, 8, false),
                destination: address(bytes, 24, false),
                length: 40 + usize::from(word(bytes, 4)),
                ttl: bytes[7],
                class: bytes[0] << 4 | bytes[1] >> 4,
                protocol: bytes[6],
                plain: bytes[0] >> 4 == 6 && !is_extension(bytes[6]),
            }
        })
    }
}

/// Bytes of the fixed header.
pub(super) const fn bare(ipv4: bool) -> usize {
    if ipv4 { 20 } else { 40 }
}

/// Hop-by-hop, routing, fragment, authentication, destination options, mobility.
const fn is_extension(number: u8) -> bool {
    matches!(number, 0 | 43 | 44 | 51 | 60 | 135)
}

/// Where the transport header stands, and which part of a packet this is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Offset of the transport header, or of a later fragment's data.
    pub transport: usize,
    /// What stands there.
    pub protocol: u8,
    /// The fragment's, when it is one of several.
    pub fragment: Option<Fragment>,
    /// IPv4 without DF.
    pub may_fragment: bool,
}

impl Walk {
    /// Of a packet without anything between its headers.
    pub fn plain(fixed: &Fixed, bytes: &[u8]) -> Self {
        Self {
            transport: bare(fixed.ipv4),
            protocol: fixed.protocol,
            fragment: None,
            may_fragment: fixed.ipv4 && bytes[6] & 0x40 == 0,
        }
    }
}

/// One of several fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// What all of them have in common.
    pub identification: u32,
    /// Bytes before it.
    pub offset: usize,
}

/// Most extension headers.
const EXTENSIONS_MAX: usize = 8;
/// No packet is longer, in fragments or not.
const PACKET_MAX: usize = 65_535;

/// Walks over options and extension headers.
pub(super) fn walk(bytes: &[u8], fixed: &Fixed) -> Result<Walk, Reason> {
    if fixed.ipv4 { walk_ipv4(bytes, fixed) } else { walk_ipv6(bytes, fixed) }
}

fn walk_ipv4(bytes: &[u8], fixed: &Fixed) -> Result<Walk, Reason> {
    let transport = usize::from(bytes[0] & 0x0f) * 4;
    if bytes[0] >> 4 != 4 || transport < 20 || fixed.length < transport {
        return Err(Reason::Malformed);
    }
    let mut at = 20;
    while at < transport {
        let kind = *bytes.get(at).ok_or(Reason::Truncated)?;
        match kind {
            0 => break,
            1 => at += 1,
            _ => {
                let length = usize::from(*bytes.get(at + 1).ok_or(Reason::Truncated)?);
                if length < 2 || at + length > transport {
                    return Err(Reason::Malformed);
                }
                // Loose and strict source route.
                if kind == 131 || kind == 137 {
                    return Err(Reason::SourceRouted);
                }
                at += length;
            }
        }
    }
    let field = word(bytes, 6);
    let offset = usize::from(field & 0x1fff) * 8;
    if offset + fixed.length > PACKET_MAX {
        return Err(Reason::Malformed);
    }
    let is_fragment = field & 0x3fff != 0;
    Ok(Walk {
        transport,
        protocol: fixed.protocol,
        fragment: is_fragment.then(|| Fragment { identification: u32::from(word(bytes, 4)), offset }),
        may_fragment: field & 0x4000 == 0,
    })
}

fn walk_ipv6(bytes: &[u8], fixed: &Fixed) -> Result<Walk, Reason> {
    if bytes[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let (mut at, mut protocol, mut fragment) = (40, fixed.protocol, None);
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(protocol) {
            break;
        }
        if at + 8 > fixed.length {
            return Err(Reason::Malformed);
        }
        let header = bytes.get(at..at + 8).ok_or(Reason::Truncated)?;
        let kind = std::mem::replace(&mut protocol, header[0]);
        at += match kind {
            44 => {
                let offset = usize::from(word(header, 2) & 0xfff8);
                let identification = u32::from(word(header, 4)) << 16 | u32::from(word(header, 6));
                // A later fragment header replaces an earlier one; a lone one on a whole packet makes none (RFC 6946).
                let more = header[3] & 1 != 0 || fragment.is_some();
                fragment = (offset != 0 || more).then_some(Fragment { identification, offset });
                8
            }
            43 if header[3] != 0 => return Err(Reason::SourceRouted),
            51 => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if at > fixed.length {
            return Err(Reason::Malformed);
        }
        if let Some(Fragment { offset, .. }) = fragment.filter(|fragment| fragment.offset != 0) {
            if offset + fixed.length - at > PACKET_MAX {
                return Err(Reason::Malformed);
            }
            return Ok(Walk { transport: at, protocol, fragment, may_fragment: false });
        }
    }
    if is_extension(protocol) {
        return Err(Reason::HeadersTooLong);
    }
    Ok(Walk { transport: at, protocol, fragment, may_fragment: false })
}
