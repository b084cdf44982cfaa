//! IPv6 (RFC 8200), the fixed header.

use super::{
    bytes::{Bytes, BytesMut},
    ethernet::ETHERTYPE_IPV6,
    ip::{ECN_MASK, Ip, PROTOCOL_ICMPV6, PROTOCOL_UDP, TTL_ORIGINATED},
    quote::End,
    walk::{self, Walk},
};
use crate::{
    checksum::{Delta, fold, pseudo_header, sum},
    flow::FlowHash,
    index::{Place, reply_ipv6, service_ipv6},
    service::{Address, FAMILY_IPV6, Gateway},
    verdict::Reason,
};

/// The 40-byte fixed header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_label: [u8; 4],
    /// Bytes after this header.
    pub payload_length: [u8; 2],
    /// Protocol of the payload, or of an extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

/// Hop-by-hop, routing, fragment, authentication, destination options, mobility: what may stand before the transport header.
#[must_use]
#[inline(always)]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, 0 | 43 | 44 | 51 | 60 | 135)
}

/// The fragment header (RFC 8200 section 4.5).
pub const NEXT_HEADER_FRAGMENT: u8 = 44;

/// Folded sum of the outer pseudo-header's words that are the same for every packet between two VTEPs: all but the length.
#[must_use]
pub fn outer_sum(source: &Address, destination: &Address) -> u16 {
    fold(pseudo_header(source, destination, PROTOCOL_UDP, 0))
}

#[inline(always)]
fn halves(a: &Address) -> (u64, u64) {
    (
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    )
}

/// A copy in two words; see [`EthernetHeader::write`](super::ethernet::EthernetHeader::write).
#[inline(always)]
fn copied(address: &Address) -> Address {
    let (first, second) = halves(address);
    let (f, s) = (first.to_ne_bytes(), second.to_ne_bytes());
    [f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]]
}

#[inline(always)]
fn equal(left: &Address, right: &Address) -> bool {
    let (l, r) = (halves(left), halves(right));
    (l.0 ^ r.0) | (l.1 ^ r.1) == 0
}

impl Ipv6Header {
    /// Fills the header of a UDP packet that the gateway originates; `length` is UDP's.
    #[inline(always)]
    pub fn write_udp(&mut self, source: &Address, destination: &Address, traffic_class: u8, length: u16) {
        self.version_class_label = [0x60 | traffic_class >> 4, traffic_class << 4, 0, 0];
        self.payload_length = length.to_be_bytes();
        self.next_header = PROTOCOL_UDP;
        self.hop_limit = TTL_ORIGINATED;
        self.source = copied(source);
        self.destination = copied(destination);
    }
}

impl Ip for Ipv6Header {
    const FAMILY: u8 = FAMILY_IPV6;
    const ETHERTYPE: [u8; 2] = ETHERTYPE_IPV6;
    const ICMP: u8 = PROTOCOL_ICMPV6;
    const MSS_OVERHEAD: u16 = 60;
    const ADDRESS_AT: usize = 0;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_class_label[0] >> 4 == 6 && !is_extension(self.next_header)
    }

    #[inline(always)]
    fn is_fragment(&self) -> bool {
        self.next_header == NEXT_HEADER_FRAGMENT
    }

    #[inline(always)]
    fn is_for_vtep(&self, gateway: &Gateway) -> bool {
        equal(&self.destination, &gateway.vtep_ipv6)
    }

    #[inline(always)]
    fn source_is_vtep(&self, gateway: &Gateway) -> bool {
        equal(&self.source, &gateway.vtep_ipv6)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.next_header
    }

    #[inline(always)]
    fn packet_length(&self) -> u32 {
        u16::from_be_bytes(self.payload_length) as u32 + size_of::<Self>() as u32
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn traffic_class(&self) -> u8 {
        self.version_class_label[0] << 4 | self.version_class_label[1] >> 4
    }

    #[inline(always)]
    fn source(&self) -> Address {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        self.destination
    }

    #[inline(always)]
    fn source_is(&self, address: &Address) -> bool {
        equal(&self.source, address)
    }

    #[inline(always)]
    fn destination_is(&self, address: &Address) -> bool {
        equal(&self.destination, address)
    }

    #[inline(always)]
    fn destination_in(&self, address: &Address, mask: &Address) -> bool {
        let (d, a, m) = (halves(&self.destination), halves(address), halves(mask));
        (d.0 ^ a.0) & m.0 | (d.1 ^ a.1) & m.1 == 0
    }

    #[inline(always)]
    fn service_place(&self, protocol: u8, port: [u8; 2]) -> Place {
        service_ipv6(&self.destination, protocol, port)
    }

    #[inline(always)]
    fn reply_place(&self, vni: u32, protocol: u8, port: [u8; 2]) -> Place {
        reply_ipv6(vni, &self.source, protocol, port)
    }

    #[inline(always)]
    fn flow_hash(&self, key: [u64; 2], port: [u8; 2]) -> FlowHash {
        FlowHash::ipv6(key, &self.source, port)
    }

    #[inline(always)]
    fn forward_to(&mut self, destination: &Address, _no_header_checksum: Delta) {
        self.destination = copied(destination);
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }

    #[inline(always)]
    fn reply_from(&mut self, source: &Address, _no_header_checksum: Delta) {
        self.source = copied(source);
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }

    #[inline(always)]
    fn pseudo_sum(&self, protocol: u8, length: u16) -> u64 {
        pseudo_header(&self.source, &self.destination, protocol, length)
    }

    #[inline(always)]
    fn header_sum(&self) -> u64 {
        sum(&self.version_class_label)
            + sum(&self.payload_length)
            + sum(&[self.next_header, self.hop_limit])
            + sum(&self.source)
            + sum(&self.destination)
    }

    #[inline(always)]
    fn answer(&mut self, protocol: u8, payload_length: u16) {
        self.version_class_label = [0x60, 0, 0, 0];
        self.payload_length = payload_length.to_be_bytes();
        self.next_header = protocol;
        self.hop_limit = TTL_ORIGINATED;
        let source = copied(&self.destination);
        self.destination = copied(&self.source);
        self.source = source;
    }

    #[inline(always)]
    fn reflect(&mut self) {
        let source = copied(&self.destination);
        self.destination = copied(&self.source);
        self.source = source;
        self.hop_limit = TTL_ORIGINATED;
    }

    /// Neither unspecified, loopback, IPv4-mapped nor multicast (RFC 4291 section 2.4).
    #[inline(always)]
    fn source_is_unicast(&self) -> bool {
        let (first, second) = halves(&self.source);
        self.source[0] != 0xff && !(first == 0 && (second == 0 || second == 1_u64.to_be() || self.source[10] == 0xff))
    }

    #[inline(always)]
    fn walk<B: Bytes + ?Sized>(&self, bytes: &B, at: u32) -> Result<Walk, Reason> {
        walk::ipv6(bytes, at, self)
    }

    #[inline(always)]
    fn replace_quoted<B: BytesMut + ?Sized>(
        bytes: &mut B,
        header: u32,
        end: End,
        address: &Address,
        delta: Delta,
    ) -> Option<Delta> {
        let at = match end {
            End::Source => 8,
            End::Destination => 24,
        };
        bytes.store(header + at, address)?;
        Some(delta)
    }

    #[inline(always)]
    fn set_ecn(&mut self, ecn: u8) {
        self.version_class_label[1] = self.version_class_label[1] & !(ECN_MASK << 4) | ecn << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_class_lies_across_two_bytes() {
        let header = Ipv6Header { version_class_label: [0x6a, 0xb0, 0, 0], ..Ipv6Header::default() };
        assert_eq!(header.traffic_class(), 0xab);
        let mut marked = header;
        marked.set_ecn(0b01);
        assert_eq!(marked.traffic_class(), 0xa9);
        assert_eq!(marked.version_class_label[0] >> 4, 6);
    }

    #[test]
    fn addresses_compare_in_full() {
        let mut header = Ipv6Header { source: [7; 16], ..Ipv6Header::default() };
        assert!(header.source_is(&[7; 16]));
        for byte in 0..16 {
            header.source = [7; 16];
            header.source[byte] = 8;
            assert!(!header.source_is(&[7; 16]), "byte {byte}");
        }
    }
}
