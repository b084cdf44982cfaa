//! Turns a VXLAN packet whose inner IPv4 packet is too large into VXLAN packets that hold its fragments, and a reply likewise.
//!
//! Source: RFC 791 sections 3.1 and 3.2. The fragments are the container's to put together, as if a router on the way had
//! cut the packet, so the outer packets stay whole and keep their DF.

use balancer_common::checksum::{fold, pseudo_header, sum};

use super::packet;

/// UDP, VXLAN and inner Ethernet header, which stand between outer and inner IP header.
const BETWEEN: usize = 8 + 8 + 14;
/// Bytes of the outer headers.
const OUTER_IPV4: usize = 20;
const OUTER_IPV6: usize = 40;
/// Least MTU that every link has (RFC 791 section 3.2): the longest header and 8 bytes.
const MTU_MIN: u32 = 68;
const UDP: u8 = 17;

// The word of flags and offset of an IPv4 header.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Bit of an option's type that says that every fragment carries it.
const COPIED: u8 = 0x80;
const OPTION_END: u8 = 0;
const OPTION_NONE: u8 = 1;

/// IP packets, each with the outer headers of `frame` and a fragment of at most `inner_mtu` bytes of its inner packet.
///
/// None when the frame is not plain VXLAN around an IPv4 packet that may be cut, or the MTU is below 68.
pub fn fragments(frame: &[u8], inner_mtu: u32) -> Option<Vec<Vec<u8>>> {
    let whole = packet::of_frame(frame)?;
    let (outer, inner) = outer(whole.bytes)?;
    Some(cut(&Inner::read(inner)?, inner_mtu)?.iter().map(|fragment| encapsulated(outer, fragment)).collect())
}

/// IPv4 packets of at most `mtu` bytes, fragments of the one in `frame`, which goes to a client as it is.
///
/// None when it is no IPv4 packet that may be cut, or the MTU is below 68.
pub fn of_reply(frame: &[u8], mtu: u32) -> Option<Vec<Vec<u8>>> {
    cut(&Inner::read(packet::of_frame(frame)?.bytes)?, mtu)
}

fn cut(whole: &Inner<'_>, mtu: u32) -> Option<Vec<Vec<u8>>> {
    let room = |header: &[u8]| (mtu as usize - header.len()) & !7;
    (mtu >= MTU_MIN).then_some(())?;
    let later_header = header_of_later(whole.header)?;
    let mut fragments = Vec::new();
    let mut rest = whole.payload;
    let mut offset = whole.offset;
    loop {
        let header = if fragments.is_empty() { whole.header } else { later_header.as_slice() };
        let (now, later) = rest.split_at(room(header).min(rest.len()));
        let more = whole.more || !later.is_empty();
        fragments.push([&with(header, now.len(), offset, more), now].concat());
        if later.is_empty() {
            return Some(fragments);
        }
        rest = later;
        offset = offset.checked_add((now.len() / 8) as u16).filter(|offset| *offset <= OFFSET_MASK)?;
    }
}

/// The headers in front of the inner IP packet, and that packet with whatever follows it.
fn outer(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, protocol) = match packet.first()? {
        0x45 => (OUTER_IPV4, 9),
        first if first >> 4 == 6 => (OUTER_IPV6, 6),
        _ => return None,
    };
    let (outer, inner) = packet.split_at_checked(length + BETWEEN)?;
    let ethertype = &outer[length + BETWEEN - 2..];
    (outer[protocol] == UDP && ethertype == [0x08, 0x00]).then_some((outer, inner))
}

/// An IPv4 packet that may be cut.
struct Inner<'a> {
    /// With options.
    header: &'a [u8],
    payload: &'a [u8],
    /// Where the payload stands in the packet it was cut from, in units of 8 bytes.
    offset: u16,
    /// It was cut from a packet that goes on behind it.
    more: bool,
}

impl<'a> Inner<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let fixed = bytes.first_chunk::<20>()?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let packet = bytes.get(..usize::from(word(2)))?;
        let (header, payload) = packet.split_at_checked(usize::from(fixed[0] & 0xf) * 4)?;
        let (flags, more) = (word(6), word(6) & MORE_FRAGMENTS != 0);
        let right = fixed[0] >> 4 == 4 && header.len() >= fixed.len() && flags & DONT_FRAGMENT == 0;
        // Only the last fragment's payload ends anywhere.
        let whole = !more || payload.len().is_multiple_of(8);
        (right && whole).then_some(Self { header, payload, offset: flags & OFFSET_MASK, more })
    }
}

/// The header of every fragment but the first: the options that are not to be copied are left out.
fn header_of_later(header: &[u8]) -> Option<Vec<u8>> {
    let (fixed, mut options) = header.split_at_checked(20)?;
    let mut later = fixed.to_vec();
    while let [kind, behind @ ..] = options {
        match *kind {
            OPTION_END => break,
            OPTION_NONE => options = behind,
            kind => {
                let length = usize::from(*behind.first()?);
                let (option, rest) = options.split_at_checked(length).filter(|_| length >= 2)?;
                if kind & COPIED != 0 {
                    later.extend_from_slice(option);
                }
                options = rest;
            }
        }
    }
    later.resize(later.len().next_multiple_of(4), OPTION_END);
    later[0] = 0x40 | (later.len() / 4) as u8;
    Some(later)
}

/// The header of one fragment.
fn with(header: &[u8], payload_length: usize, offset: u16, more: bool) -> Vec<u8> {
    let mut header = header.to_vec();
    let flags = if more { MORE_FRAGMENTS } else { 0 };
    let length = header.len() + payload_length;
    put(&mut header, 2, length);
    header[6..8].copy_from_slice(&(flags | offset).to_be_bytes());
    put_ipv4_checksum(&mut header);
    header
}

/// An inner packet behind a copy of the outer headers that says its length.
fn encapsulated(outer: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut packet = [outer, inner].concat();
    let ip_length = outer.len() - BETWEEN;
    let udp_length = packet.len() - ip_length;
    put(&mut packet, ip_length + 4, udp_length);
    packet[ip_length + 6..ip_length + 8].fill(0);
    if ip_length == OUTER_IPV4 {
        put(&mut packet, 2, ip_length + udp_length);
        put_ipv4_checksum(&mut packet[..ip_length]);
    } else {
        put(&mut packet, 4, udp_length);
        let pseudo = pseudo_header(&packet[8..24], &packet[24..40], UDP, udp_length as u16);
        let checksum = match !fold(pseudo + sum(&packet[ip_length..])) {
            // RFC 768: 0 means none.
            0 => 0xffff,
            checksum => checksum,
        };
        packet[ip_length + 6..ip_length + 8].copy_from_slice(&checksum.to_ne_bytes());
    }
    packet
}

fn put_ipv4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = !fold(sum(header));
    header[10..12].copy_from_slice(&checksum.to_ne_bytes());
}

/// Writes a length, which fits because the packets are shorter than the one they were cut from.
fn put(bytes: &mut [u8], at: usize, length: usize) {
    bytes[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
}

#[cfg(test)]
mod tests;
