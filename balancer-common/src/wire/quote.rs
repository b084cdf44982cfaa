//! Turns the packet that an ICMP error quotes into the flow it belongs to, and rewrites one end of it (RFC 5508 section 4).

use super::{
    bytes::{Bytes, BytesMut},
    icmp::IcmpHeader,
    ip::{Ip, PROTOCOL_TCP, PROTOCOL_UDP},
    walk::Walk,
};
use crate::{checksum::Delta, service::Address};

/// A quoted TCP or UDP packet, of which at least 8 bytes behind the IP headers are there (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where its IP header stands.
    pub header: u32,
    /// Where its transport header stands.
    pub transport: u32,
    /// Where the quote ends.
    pub end: u32,
    /// 6 or 17.
    pub protocol: u32,
    /// Source and destination port, network order.
    pub ports: [[u8; 2]; 2],
}

/// Where the quote begins behind the start of the ICMP header.
pub const QUOTE_AT: u32 = size_of::<IcmpHeader>() as u32;
/// Bytes behind the IP headers that every error quotes.
const QUOTED_MIN: u32 = 8;

/// Which end of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

impl Quote {
    /// The packet quoted by the error whose ICMP header stands at `icmp` and which ends at `end`; `ip` is the header behind that.
    ///
    /// None for what names no flow: a quote that is too short, a later fragment, another protocol.
    #[must_use]
    #[inline(always)]
    pub fn read<I: Ip, B: Bytes + ?Sized>(bytes: &B, ip: &I, icmp: u32, end: u32) -> Option<Self> {
        let header = icmp + QUOTE_AT;
        let Ok(Walk { transport, fragment_offset, protocol, .. }) = ip.walk(bytes, header) else { return None };
        let is_known = protocol == u32::from(PROTOCOL_TCP) || protocol == u32::from(PROTOCOL_UDP);
        if fragment_offset != 0 || !is_known || transport + QUOTED_MIN > end {
            return None;
        }
        let [a, b, c, d] = bytes.load(transport)?;
        Some(Self { header, transport, end, protocol, ports: [[a, b], [c, d]] })
    }

    /// Gives one end of the packet another address and port, and its checksums what that changes; a checksum behind the
    /// end of the quote is nobody's. Returns the effect on the sum of the quoted bytes, for the error's own checksum.
    #[inline(always)]
    pub fn replace<I: Ip, B: BytesMut + ?Sized>(
        &self,
        bytes: &mut B,
        end: End,
        (old, new): (&Address, &Address),
        port: [u8; 2],
    ) -> Option<Delta> {
        let addresses = address_delta::<I>(old, new);
        let header = I::replace_quoted(bytes, self.header, end, new, addresses)?;
        let (at, old_port) = match end {
            End::Source => (self.transport, self.ports[0]),
            End::Destination => (self.transport + 2, self.ports[1]),
        };
        bytes.store(at, &port)?;
        let ports = Delta::of_word(u16::from_ne_bytes(old_port), u16::from_ne_bytes(port));
        let checksum = self.checksum(bytes, addresses.and(ports))?;
        Some(header.and(ports).and(checksum))
    }

    /// Updates the transport checksum where it is quoted; the effect on the sum.
    #[inline(always)]
    fn checksum<B: BytesMut + ?Sized>(&self, bytes: &mut B, delta: Delta) -> Option<Delta> {
        let is_tcp = self.protocol == u32::from(PROTOCOL_TCP);
        let at = self.transport + if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        if at + 2 > self.end {
            return Some(Delta::NONE);
        }
        // A quote may be shorter than the error's own length says; what is not there needs no update.
        let Some(old) = bytes.load(at).map(u16::from_ne_bytes) else { return Some(Delta::NONE) };
        let new = if is_tcp { delta.apply(old) } else { delta.apply_udp(old) };
        bytes.store(at, &new.to_ne_bytes())?;
        Some(Delta::of_word(old, new))
    }
}

const TCP_CHECKSUM: u32 = 16;
const UDP_CHECKSUM: u32 = 6;

/// The effect of one address in place of another, as they stand in a packet.
#[must_use]
#[inline(always)]
pub fn address_delta<I: Ip>(old: &Address, new: &Address) -> Delta {
    let mut delta = Delta::NONE;
    let mut at = I::ADDRESS_AT;
    while at < size_of::<Address>() {
        let word = |address: &Address| u16::from_ne_bytes([address[at], address[at + 1]]);
        delta = delta.and(Delta::of_word(word(old), word(new)));
        at += 2;
    }
    delta
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        checksum::{fold, pseudo_header, sum},
        service::mapped,
        wire::{ipv4::Ipv4Header, ipv6::Ipv6Header},
    };

    fn load4(bytes: &[u8], at: u32) -> Option<Ipv4Header> {
        let b = bytes.load::<20>(at)?;
        Some(Ipv4Header {
            version_ihl: b[0],
            tos: b[1],
            total_length: [b[2], b[3]],
            identification: [b[4], b[5]],
            fragment: [b[6], b[7]],
            ttl: b[8],
            protocol: b[9],
            checksum: [b[10], b[11]],
            source: [b[12], b[13], b[14], b[15]],
            destination: [b[16], b[17], b[18], b[19]],
        })
    }

    fn load6(bytes: &[u8], at: u32) -> Option<Ipv6Header> {
        let b = bytes.load::<40>(at)?;
        Some(Ipv6Header {
            version_class_label: [b[0], b[1], b[2], b[3]],
            payload_length: [b[4], b[5]],
            next_header: b[6],
            hop_limit: b[7],
            source: *b[8..].first_chunk().expect("40 bytes"),
            destination: *b[24..].first_chunk().expect("40 bytes"),
        })
    }

    /// An IPv4 packet with a right header and transport checksum.
    fn packet4(source: [u8; 4], destination: [u8; 4], protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut ip = Ipv4Header { source: destination, destination: source, ..Ipv4Header::default() };
        ip.answer(protocol, transport.len() as u16);
        let mut bytes = vec![0x45, 0];
        bytes.extend(ip.total_length);
        bytes.extend([0, 0, 0x40, 0, 64, protocol]);
        bytes.extend(ip.checksum);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(sealed(&source, &destination, protocol, transport));
        bytes
    }

    fn packet6(source: [u8; 16], destination: [u8; 16], protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((transport.len() as u16).to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(sealed(&source, &destination, protocol, transport));
        bytes
    }

    fn sealed(source: &[u8], destination: &[u8], protocol: u8, transport: &[u8]) -> Vec<u8> {
        let at = if protocol == 6 { 16 } else { 6 };
        let mut bytes = transport.to_vec();
        bytes[at..at + 2].fill(0);
        let checksum = !fold(pseudo_header(source, destination, protocol, bytes.len() as u16) + sum(&bytes));
        let checksum = if checksum == 0 && protocol == 17 { 0xffff } else { checksum };
        bytes[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn rewritten_quote_is_the_packet_that_was_really_sent(
            vip: [u8; 4], container: [u8; 4], client: [u8; 4], ports: [u16; 2], port: u16, tcp: bool,
            mut transport in proptest::collection::vec(any::<u8>(), 20..60), quoted in 8_usize..60, toward_source: bool,
        ) {
            let protocol = if tcp { 6 } else { 17 };
            let end = if toward_source { End::Source } else { End::Destination };
            let build = |address, own: u16, transport: &mut Vec<u8>| {
                let (at, other) = if toward_source { (0, 2) } else { (2, 0) };
                transport[at..at + 2].copy_from_slice(&own.to_be_bytes());
                transport[other..other + 2].copy_from_slice(&ports[1].to_be_bytes());
                let (source, destination) = if toward_source { (address, client) } else { (client, address) };
                packet4(source, destination, protocol, transport)
            };
            let before = build(vip, ports[0], &mut transport);
            let after = build(container, port, &mut transport);
            // Half a checksum at the end of a quote is nobody's.
            let cut = 20 + (quoted.min(transport.len()) & !1);
            let mut error = vec![0; 8];
            error.extend(&before[..cut]);
            let sum_before = fold(sum(&error[8..]));
            let ip = load4(&error, 8).expect("a header");
            let quote = Quote::read::<Ipv4Header, [u8]>(&error, &ip, 0, error.len() as u32).expect("long enough");
            let delta = quote.replace::<Ipv4Header, [u8]>(&mut error, end, (&mapped(vip), &mapped(container)), port.to_be_bytes());
            // Two forms of zero are one to every receiver.
            let differ: Vec<usize> = (0..cut).filter(|at| error[8 + at] != after[*at]).collect();
            let is_zero_form = |at: usize| matches!((&error[8 + at..8 + at + 2], &after[at..at + 2]), ([0, 0], [255, 255]) | ([255, 255], [0, 0]));
            prop_assert!(differ.iter().all(|at| is_zero_form(at & !1)), "{differ:?}");
            let delta = delta.expect("all there");
            prop_assert_eq!(fold(u64::from(sum_before) + u64::from(delta.0)) % 0xffff, fold(sum(&error[8..])) % 0xffff);
        }

        #[test]
        fn rewritten_ipv6_quote_is_the_packet_that_was_really_sent(vip: [u8; 16], container: [u8; 16], client: [u8; 16], port: u16) {
            let mut transport = vec![7; 32];
            transport[..4].copy_from_slice(&[0, 80, 0x30, 0x39]);
            let before = packet6(vip, client, 6, &transport);
            transport[..2].copy_from_slice(&port.to_be_bytes());
            let after = packet6(container, client, 6, &transport);
            let mut error = [&[0; 8], before.as_slice()].concat();
            let ip = load6(&error, 8).expect("a header");
            let quote = Quote::read::<Ipv6Header, [u8]>(&error, &ip, 0, error.len() as u32).expect("long enough");
            let sum_before = fold(sum(&error[8..]));
            let delta = quote.replace::<Ipv6Header, [u8]>(&mut error, End::Source, (&vip, &container), port.to_be_bytes()).expect("all there");
            prop_assert_eq!(&error[8..8 + 56], &after[..56]);
            prop_assert_eq!(fold(u64::from(sum_before) + u64::from(delta.0)) % 0xffff, fold(sum(&error[8..])) % 0xffff);
        }

        #[test]
        fn no_bytes_at_all_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..120), icmp in 0_u32..60) {
            let end = bytes.len() as u32;
            let mut copy = bytes.clone();
            let read4 = load4(&bytes, icmp + 8).and_then(|ip| Quote::read::<Ipv4Header, [u8]>(&bytes, &ip, icmp, end));
            if let Some(quote) = read4 {
                prop_assert!(quote.transport + 8 <= end);
                prop_assert!(quote.replace::<Ipv4Header, [u8]>(&mut copy, End::Destination, (&[1; 16], &[2; 16]), [3; 2]).is_some());
            }
            let read6 = load6(&bytes, icmp + 8).and_then(|ip| Quote::read::<Ipv6Header, [u8]>(&bytes, &ip, icmp, end));
            if let Some(quote) = read6 {
                prop_assert!(quote.transport + 8 <= end);
            }
        }
    }

    #[test]
    fn seven_bytes_later_fragments_and_other_protocols_name_no_flow() {
        let packet = packet4([1; 4], [2; 4], 6, &[7; 20]);
        let read = |packet: &[u8], cut: usize| {
            let error = [&[0; 8], &packet[..cut]].concat();
            let ip = load4(&error, 8).expect("a header");
            Quote::read::<Ipv4Header, [u8]>(&error, &ip, 0, error.len() as u32).is_some()
        };
        assert!(read(&packet, 28));
        assert!(!read(&packet, 27));
        let change = |at: usize, to: u8| {
            let mut changed = packet.clone();
            changed[at] = to;
            changed
        };
        assert!(!read(&change(7, 1), 40), "a later fragment");
        assert!(!read(&change(9, 1), 40), "ICMP");
        assert!(!read(&change(0, 0x55), 40), "version 5");
    }
}
