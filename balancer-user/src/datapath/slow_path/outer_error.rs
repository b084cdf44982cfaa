//! Turns an ICMP error about one of our outer packets into the path MTU that it tells of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use balancer_common::checksum::{fold, pseudo_header, sum};

use super::packet;

/// What the underlay says about the way to a host. Anybody can send this: whoever uses it checks all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterError {
    /// Who is said to have sent the packet that was too big; the error was sent to this address.
    pub source: IpAddr,
    /// Where that packet went.
    pub host: IpAddr,
    /// The UDP port there.
    pub port: u16,
    /// Bytes of the largest IP packet that passes, as far as 16 bits tell.
    pub mtu: u16,
}

const ICMP_HEADER: usize = 8;
const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
const UDP: u8 = 17;
/// Destination unreachable, fragmentation needed (RFC 792).
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Packet too big (RFC 4443 section 3.2), whatever its code.
const PACKET_TOO_BIG: u8 = 2;
/// Offset and more-fragments flag of an IPv4 header.
const FRAGMENT_MASK: u16 = 0x3fff;
const OFFSET_MASK: u16 = 0x1fff;
/// MTUs that links have (RFC 1191 section 7, table 7-1).
const PLATEAUS: [u16; 11] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];

impl OuterError {
    /// Reads a whole Ethernet frame; none when it is anything but a right "fragmentation needed" or "packet too big" that
    /// quotes a UDP packet of the address it was sent to.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let whole = packet::of_frame(frame)?;
        match whole.destination {
            IpAddr::V4(to) => ipv4(whole.bytes, to),
            IpAddr::V6(to) => ipv6(whole.bytes, to),
        }
    }
}

fn ipv4(packet: &[u8], to: Ipv4Addr) -> Option<OuterError> {
    let (header, icmp) = split_ipv4(packet)?;
    let (head, quote) = icmp.split_first_chunk::<ICMP_HEADER>()?;
    let whole = word(header, 6)? & FRAGMENT_MASK == 0 && header[9] == ICMPV4 && fold(sum(icmp)) == 0xffff;
    (whole && head[..2] == FRAGMENTATION_NEEDED).then_some(())?;
    let (quoted, udp) = split_ipv4(quote)?;
    let right = quoted[9] == UDP && word(quoted, 6)? & OFFSET_MASK == 0 && address_v4(quoted, 12)? == to;
    let mtu = match word(head, 6)? {
        // From before RFC 1191.
        0 => plateau_below(word(quoted, 2)?),
        mtu => mtu,
    };
    let host = address_v4(quoted, 16)?.into();
    right.then_some(OuterError { source: to.into(), host, port: port(udp)?, mtu })
}

fn ipv6(packet: &[u8], to: Ipv6Addr) -> Option<OuterError> {
    let (header, icmp) = packet.split_first_chunk::<40>()?;
    let (head, quote) = icmp.split_first_chunk::<ICMP_HEADER>()?;
    let pseudo = pseudo_header(&header[8..24], &header[24..40], ICMPV6, icmp.len() as u16);
    let whole = header[6] == ICMPV6 && fold(pseudo + sum(icmp)) == 0xffff;
    (whole && head[0] == PACKET_TOO_BIG).then_some(())?;
    let (quoted, udp) = quote.split_first_chunk::<40>()?;
    let right = quoted[0] >> 4 == 6 && quoted[6] == UDP && address_v6(quoted, 8)? == to;
    let mtu = u16::try_from(u32::from_be_bytes(*head[4..].first_chunk()?)).unwrap_or(u16::MAX);
    let host = address_v6(quoted, 24)?.into();
    right.then_some(OuterError { source: to.into(), host, port: port(udp)?, mtu })
}

/// Header with options, and what follows.
fn split_ipv4(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = packet.first()?;
    let length = usize::from(first & 0xf) * 4;
    packet.split_at_checked(length).filter(|_| first >> 4 == 4 && length >= 20)
}

/// The destination port; RFC 792 has 8 bytes quoted at least, which is all of a UDP header.
fn port(udp: &[u8]) -> Option<u16> {
    word(udp.first_chunk::<8>()?, 2)
}

fn plateau_below(length: u16) -> u16 {
    PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(68)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn address_v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes))
}

fn address_v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes))
}

#[cfg(test)]
mod tests;
