//! Turns an IP header and what follows it into where the transport header stands, through options and extension headers.

use super::{
    bytes::{Bytes, carried},
    ip::Ip as _,
    ipv4::{DONT_FRAGMENT, FRAGMENT_BITS, Ipv4Header},
    ipv6::{Ipv6Header, NEXT_HEADER_FRAGMENT},
};
use crate::verdict::Reason;

/// Most extension headers that are walked over: every kind once, and destination options twice (RFC 8200 section 4.1).
pub const EXTENSIONS_MAX: u32 = 8;
/// Most bytes of IPv4 options.
pub const OPTIONS_MAX: u32 = 40;

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Where the transport header stands, or the data of a later fragment; an offset as `at` is one.
    pub transport: u32,
    /// Bytes of the IP packet, its header included.
    pub length: u32,
    /// IPv4's or the fragment header's identification; 0 where there is none.
    pub identification: u32,
    /// Bytes of the packet before this fragment's.
    pub fragment_offset: u32,
    /// Protocol of what stands at `transport`.
    pub protocol: u32,
    /// `WALK_*` bits.
    pub flags: u32,
}

/// More fragments follow.
pub const WALK_MORE: u32 = 1 << 0;
/// It may be fragmented on its way: IPv4 without DF.
pub const WALK_MAY_FRAGMENT: u32 = 1 << 1;
/// IPv4 options.
pub const WALK_OPTIONS: u32 = 1 << 2;
/// IPv6 extension headers besides the fragment header.
pub const WALK_EXTENSIONS: u32 = 1 << 3;

impl Walk {
    /// Whether it is one of several fragments. A lone fragment header on a whole packet makes none (RFC 6946).
    #[must_use]
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.fragment_offset != 0 || self.flags & WALK_MORE != 0
    }

    /// Whether it is a fragment behind the first.
    #[must_use]
    #[inline(always)]
    pub const fn is_later(&self) -> bool {
        self.fragment_offset != 0
    }
}

/// Kinds of IPv4 option (RFC 791 section 3.1).
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LOOSE_ROUTE: u8 = 131;
const OPTION_STRICT_ROUTE: u8 = 137;

/// Walks an IPv4 packet whose header stands at `at`.
///
/// # Errors
/// [`Reason::Malformed`], [`Reason::Truncated`] when the bytes end before the headers do, [`Reason::SourceRouted`].
#[inline(always)]
pub fn ipv4<B: Bytes + ?Sized>(bytes: &B, at: u32, ip: &Ipv4Header) -> Result<Walk, Reason> {
    let header = u32::from(ip.version_ihl & 0x0f) * 4;
    let length = ip.packet_length();
    if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4Header>() as u32 || length < header {
        return Err(Reason::Malformed);
    }
    let options = header - size_of::<Ipv4Header>() as u32;
    let mut flags = 0;
    if options != 0 {
        check_options(bytes, at + size_of::<Ipv4Header>() as u32, options)?;
        flags |= WALK_OPTIONS;
    }
    let fragment = u16::from_be_bytes(ip.fragment);
    let fragment_offset = u32::from(fragment & FRAGMENT_BITS & !MORE_FRAGMENTS) * 8;
    if fragment_offset + length > PACKET_MAX {
        return Err(Reason::Malformed);
    }
    if fragment & u16::from_be_bytes(DONT_FRAGMENT) == 0 {
        flags |= WALK_MAY_FRAGMENT;
    }
    if fragment & MORE_FRAGMENTS != 0 {
        flags |= WALK_MORE;
    }
    Ok(Walk {
        transport: at + header,
        length,
        identification: u32::from(u16::from_be_bytes(ip.identification)),
        fragment_offset,
        protocol: u32::from(ip.protocol),
        flags,
    })
}

/// No packet is longer, in fragments or not: its length is 16 bits.
const PACKET_MAX: u32 = u16::MAX as u32;
/// "More fragments" of IPv4.
const MORE_FRAGMENTS: u16 = 0x2000;

/// Every position among the options.
const OPTIONS_MASK: u32 = 0x3f;
/// Every offset of a frame: a packet of 64 KiB, and the headers around it.
const OFFSET_MASK: u32 = 0x1_ffff;

/// Refuses options that choose the route, and lengths that lie.
#[inline(always)]
fn check_options<B: Bytes + ?Sized>(bytes: &B, at: u32, length: u32) -> Result<(), Reason> {
    let mut position = 0;
    for _ in 0..OPTIONS_MAX {
        if position >= length {
            break;
        }
        let Some([kind]) = bytes.load(at + position) else { return Err(Reason::Truncated) };
        if kind == OPTION_END {
            break;
        }
        if kind == OPTION_NOP {
            position = carried(position + 1, OPTIONS_MASK);
            continue;
        }
        let Some([option_length]) = bytes.load(at + position + 1) else { return Err(Reason::Truncated) };
        let option_length = u32::from(option_length);
        if option_length < 2 || position + option_length > length {
            return Err(Reason::Malformed);
        }
        if kind == OPTION_LOOSE_ROUTE || kind == OPTION_STRICT_ROUTE {
            return Err(Reason::SourceRouted);
        }
        position = carried(position + option_length, OPTIONS_MASK);
    }
    Ok(())
}

/// Next headers (IANA, IPv6 Extension Header Types).
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;
const MOBILITY: u32 = 135;

/// Walks an IPv6 packet whose header stands at `at`.
///
/// # Errors
/// As [`ipv4`], and [`Reason::HeadersTooLong`].
#[inline(always)]
pub fn ipv6<B: Bytes + ?Sized>(bytes: &B, at: u32, ip: &Ipv6Header) -> Result<Walk, Reason> {
    if ip.version_class_label[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let mut walk = Walk {
        transport: at + size_of::<Ipv6Header>() as u32,
        length: ip.packet_length(),
        identification: 0,
        fragment_offset: 0,
        protocol: u32::from(ip.next_header),
        flags: 0,
    };
    let end = at + walk.length;
    for _ in 0..EXTENSIONS_MAX {
        if !is_walked(walk.protocol) {
            return Ok(walk);
        }
        let header = walk.transport;
        if header + EXTENSION_MIN > end {
            return Err(Reason::Malformed);
        }
        let Some(extension) = bytes.load(header) else { return Err(Reason::Truncated) };
        step(&mut walk, extension)?;
        walk.transport = carried(walk.transport, OFFSET_MASK);
        if walk.transport > end {
            return Err(Reason::Malformed);
        }
        if walk.is_later() {
            let is_possible = walk.fragment_offset + (end - walk.transport) <= PACKET_MAX;
            return if is_possible { Ok(walk) } else { Err(Reason::Malformed) };
        }
    }
    if is_walked(walk.protocol) { Err(Reason::HeadersTooLong) } else { Ok(walk) }
}

/// Bytes of the shortest extension header.
const EXTENSION_MIN: u32 = 8;

#[inline(always)]
const fn is_walked(next_header: u32) -> bool {
    next_header == HOP_BY_HOP
        || next_header == ROUTING
        || next_header == NEXT_HEADER_FRAGMENT as u32
        || next_header == AUTHENTICATION
        || next_header == DESTINATION_OPTIONS
        || next_header == MOBILITY
}

/// Over one extension header, whose first bytes these are.
#[inline(always)]
fn step(walk: &mut Walk, extension: [u8; EXTENSION_MIN as usize]) -> Result<(), Reason> {
    let [next_header, length, ..] = extension;
    let kind = walk.protocol;
    walk.protocol = u32::from(next_header);
    if kind == u32::from(NEXT_HEADER_FRAGMENT) {
        // RFC 8200 section 4.5: 13 bits of offset in units of 8 bytes, two reserved, M.
        let field = u16::from_be_bytes([extension[2], extension[3]]);
        walk.fragment_offset = u32::from(field & 0xfff8);
        walk.flags |= if field & 1 != 0 { WALK_MORE } else { 0 };
        walk.identification = u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
        walk.transport += EXTENSION_MIN;
        return Ok(());
    }
    walk.flags |= WALK_EXTENSIONS;
    if kind == ROUTING && extension[3] != 0 {
        return Err(Reason::SourceRouted);
    }
    // RFC 4302 section 2.2 counts in 4 bytes and leaves two of them out; all others count in 8 and leave one out.
    walk.transport += if kind == AUTHENTICATION { (u32::from(length) + 2) * 4 } else { (u32::from(length) + 1) * 8 };
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk4(bytes: &[u8]) -> Result<Walk, Reason> {
        let b = bytes.load::<20>(0).expect("tests give whole headers");
        let ip = Ipv4Header {
            version_ihl: b[0],
            total_length: [b[2], b[3]],
            identification: [b[4], b[5]],
            fragment: [b[6], b[7]],
            protocol: b[9],
            ..Ipv4Header::default()
        };
        ipv4(bytes, 0, &ip)
    }

    fn walk6(bytes: &[u8]) -> Result<Walk, Reason> {
        let b = bytes.load::<40>(0).expect("tests give whole headers");
        let ip = Ipv6Header {
            version_class_label: [b[0], b[1], b[2], b[3]],
            payload_length: [b[4], b[5]],
            next_header: b[6],
            ..Ipv6Header::default()
        };
        ipv6(bytes, 0, &ip)
    }

    fn packet4(ihl: u8, fragment: u16, options: &[u8], payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x40 | ihl, 0];
        bytes.extend((20 + options.len() as u16 + payload as u16).to_be_bytes());
        bytes.extend([0xab, 0xcd]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, 17]);
        bytes.extend([0; 10]);
        bytes.extend(options);
        bytes.extend(vec![0; payload]);
        bytes
    }

    fn packet6(first: u8, extensions: &[&[u8]], payload: usize) -> Vec<u8> {
        let behind = extensions.concat();
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((behind.len() as u16 + payload as u16).to_be_bytes());
        bytes.extend([first, 64]);
        bytes.extend([0; 32]);
        bytes.extend(behind);
        bytes.extend(vec![0; payload]);
        bytes
    }

    #[test]
    fn ipv4_transport_stands_behind_the_options() {
        let table: [(&[u8], Result<u32, Reason>); 8] = [
            (&[], Ok(20)),
            (&[1, 1, 1, 0], Ok(24)),
            (&[7, 7, 4, 0, 0, 0, 0, 0], Ok(28)),
            (&[0, 131, 3, 4], Ok(24)),
            (&[131, 3, 4, 0], Err(Reason::SourceRouted)),
            (&[1, 137, 3, 4], Err(Reason::SourceRouted)),
            (&[7, 1, 0, 0], Err(Reason::Malformed)),
            (&[1, 7, 4, 0], Err(Reason::Malformed)),
        ];
        for (options, expected) in table {
            let walked = walk4(&packet4(5 + options.len() as u8 / 4, 0x4000, options, 8));
            assert_eq!(walked.map(|walk| walk.transport), expected, "{options:?}");
        }
        assert_eq!(walk4(&packet4(4, 0, &[], 8)), Err(Reason::Malformed));
        assert_eq!(walk4(&packet4(15, 0, &[], 8)), Err(Reason::Malformed));
    }

    #[test]
    fn ipv4_fragments_say_where_they_belong() {
        let table = [
            (0x4000, (0, 0)),
            (0x0000, (0, WALK_MAY_FRAGMENT)),
            (0x2000, (0, WALK_MAY_FRAGMENT | WALK_MORE)),
            (0x2001, (8, WALK_MAY_FRAGMENT | WALK_MORE)),
            (0x00b9, (1480, WALK_MAY_FRAGMENT)),
        ];
        for (fragment, expected) in table {
            let walk = walk4(&packet4(5, fragment, &[], 8)).expect("sound");
            assert_eq!((walk.fragment_offset, walk.flags), expected, "{fragment:#x}");
            assert_eq!((walk.identification, walk.protocol), (0xabcd, 17));
        }
        assert_eq!(walk4(&packet4(5, 0x1fff, &[], 8)), Err(Reason::Malformed), "beyond 65535 bytes");
    }

    #[test]
    fn ipv6_transport_stands_behind_every_extension_header() {
        let hop: &[u8] = &[60, 0, 1, 4, 0, 0, 0, 0];
        let options: &[u8] = &[17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let walk = walk6(&packet6(0, &[hop, options], 8)).expect("sound");
        assert_eq!((walk.transport, walk.protocol, walk.flags), (64, 17, WALK_EXTENSIONS));
        let authentication: &[u8] = &[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let walk = walk6(&packet6(51, &[authentication], 20)).expect("sound");
        assert_eq!((walk.transport, walk.protocol), (64, 6));
        let routed: &[u8] = &[6, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(walk6(&packet6(43, &[routed], 20)), Err(Reason::SourceRouted));
        let arrived: &[u8] = &[6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(walk6(&packet6(43, &[arrived], 20)).map(|walk| walk.transport), Ok(48));
    }

    #[test]
    fn ipv6_fragment_header_says_where_it_belongs_and_a_lone_one_is_none() {
        let fragment = |field: u16| {
            let [high, low] = field.to_be_bytes();
            walk6(&packet6(44, &[&[17, 0, high, low, 1, 2, 3, 4]], 16)).expect("sound")
        };
        assert!(!fragment(0).is_fragment());
        let first = fragment(1);
        assert!(first.is_fragment() && !first.is_later());
        assert_eq!((first.identification, first.transport), (0x0102_0304, 48));
        let later = fragment(1480 | 1);
        assert_eq!((later.is_later(), later.fragment_offset, later.flags), (true, 1480, WALK_MORE));
    }

    #[test]
    fn eight_extension_headers_are_walked_and_no_more() {
        let chain = |count: usize| {
            let headers: Vec<Vec<u8>> =
                (1..=count).map(|number| vec![if number == count { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]).collect();
            let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
            walk6(&packet6(60, &headers, 8)).map(|walk| walk.transport)
        };
        assert_eq!(chain(8), Ok(40 + 64));
        assert_eq!(chain(9), Err(Reason::HeadersTooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_lead_out_of_the_packet(bytes in proptest::collection::vec(any::<u8>(), 40..200)) {
            if let Ok(walk) = walk4(&bytes) {
                prop_assert!(walk.transport <= walk.length && walk.transport >= 20);
            }
            if let Ok(walk) = walk6(&bytes) {
                prop_assert!(walk.transport <= walk.length && walk.transport >= 40);
            }
        }
    }
}
