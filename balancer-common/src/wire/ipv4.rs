//! IPv4 (RFC 791).

use super::{
    bytes::{Bytes, BytesMut},
    ethernet::ETHERTYPE_IPV4,
    ip::{ECN_MASK, Ip, PROTOCOL_ICMP, PROTOCOL_UDP, TTL_ORIGINATED},
    quote::End,
    walk::{self, Walk},
};
use crate::{
    checksum::{Delta, fold, pseudo_header, sum},
    flow::FlowHash,
    index::{Place, reply_ipv4, service_ipv4},
    service::{Address, FAMILY_IPV4, Gateway, mapped},
    verdict::Reason,
};

/// Version 4 with 5 words of header: no options.
pub const VERSION_IHL_PLAIN: u8 = 0x45;
/// "More fragments" and the fragment offset.
pub const FRAGMENT_BITS: u16 = 0x3fff;
/// "Don't fragment".
pub const DONT_FRAGMENT: [u8; 2] = [0x40, 0x00];

/// The 20 bytes without options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version in the upper half, header length in 4-byte words in the lower.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Header and payload, bytes.
    pub total_length: [u8; 2],
    /// Identification.
    pub identification: [u8; 2],
    /// Flags and fragment offset.
    pub fragment: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: [u8; 2],
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4Header {
    /// The checksum this header should carry, as it stands in memory.
    #[must_use]
    #[inline(always)]
    pub fn computed_checksum(&self) -> [u8; 2] {
        let own = u64::from(u16::from_ne_bytes(self.checksum));
        (!fold(self.header_sum() + u64::from(!(own as u16)))).to_ne_bytes()
    }

    #[inline(always)]
    fn hop(&mut self, address_delta: Delta) {
        // One less is the same change whatever the TTL; 0 does not come this far.
        const ONE_LESS: Delta = Delta::of_word(u16::from_ne_bytes([1, 0]), 0);
        self.ttl = self.ttl.wrapping_sub(1);
        self.checksum = ONE_LESS.apply_both(address_delta, u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }
}

/// Folded sum of the words of an outer header that are the same for every packet between two VTEPs, mapped addresses: all but ToS
/// with version, and total length.
#[must_use]
pub fn outer_sum(source: &Address, destination: &Address) -> u16 {
    let fixed = sum(&DONT_FRAGMENT) + sum(&[TTL_ORIGINATED, PROTOCOL_UDP]);
    fold(fixed + sum(&last_four(source)) + sum(&last_four(destination)))
}

#[inline(always)]
fn last_four(address: &Address) -> [u8; 4] {
    [address[12], address[13], address[14], address[15]]
}

impl Ip for Ipv4Header {
    const FAMILY: u8 = FAMILY_IPV4;
    const ETHERTYPE: [u8; 2] = ETHERTYPE_IPV4;
    const ICMP: u8 = PROTOCOL_ICMP;
    const MSS_OVERHEAD: u16 = 40;
    const ADDRESS_AT: usize = 12;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_ihl == VERSION_IHL_PLAIN && !self.is_fragment()
    }

    #[inline(always)]
    fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & FRAGMENT_BITS != 0
    }

    #[inline(always)]
    fn is_for_vtep(&self, gateway: &Gateway) -> bool {
        u32::from_ne_bytes(self.destination) == u32::from_ne_bytes(gateway.vtep_ipv4)
    }

    #[inline(always)]
    fn source_is_vtep(&self, gateway: &Gateway) -> bool {
        u32::from_ne_bytes(self.source) == u32::from_ne_bytes(gateway.vtep_ipv4)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn packet_length(&self) -> u32 {
        u16::from_be_bytes(self.total_length) as u32
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn traffic_class(&self) -> u8 {
        self.tos
    }

    #[inline(always)]
    fn source(&self) -> Address {
        mapped(self.source)
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        mapped(self.destination)
    }

    #[inline(always)]
    fn source_is(&self, address: &Address) -> bool {
        u32::from_ne_bytes(self.source) == u32::from_ne_bytes(last_four(address))
    }

    #[inline(always)]
    fn destination_is(&self, address: &Address) -> bool {
        u32::from_ne_bytes(self.destination) == u32::from_ne_bytes(last_four(address))
    }

    #[inline(always)]
    fn destination_in(&self, address: &Address, mask: &Address) -> bool {
        let bits = u32::from_ne_bytes(self.destination) ^ u32::from_ne_bytes(last_four(address));
        bits & u32::from_ne_bytes(last_four(mask)) == 0
    }

    #[inline(always)]
    fn service_place(&self, protocol: u8, port: [u8; 2]) -> Place {
        service_ipv4(self.destination, protocol, port)
    }

    #[inline(always)]
    fn reply_place(&self, vni: u32, protocol: u8, port: [u8; 2]) -> Place {
        reply_ipv4(vni, self.source, protocol, port)
    }

    #[inline(always)]
    fn flow_hash(&self, key: [u64; 2], port: [u8; 2]) -> FlowHash {
        FlowHash::ipv4(key, self.source, port)
    }

    #[inline(always)]
    fn forward_to(&mut self, destination: &Address, address_delta: Delta) {
        self.destination = last_four(destination);
        self.hop(address_delta);
    }

    #[inline(always)]
    fn reply_from(&mut self, source: &Address, address_delta: Delta) {
        self.source = last_four(source);
        self.hop(address_delta);
    }

    #[inline(always)]
    fn pseudo_sum(&self, protocol: u8, length: u16) -> u64 {
        pseudo_header(&self.source, &self.destination, protocol, length)
    }

    #[inline(always)]
    fn header_sum(&self) -> u64 {
        sum(&[self.version_ihl, self.tos])
            + sum(&self.total_length)
            + sum(&self.identification)
            + sum(&self.fragment)
            + sum(&[self.ttl, self.protocol])
            + sum(&self.checksum)
            + sum(&self.source)
            + sum(&self.destination)
    }

    #[inline(always)]
    fn answer(&mut self, protocol: u8, payload_length: u16) {
        *self = Self {
            version_ihl: VERSION_IHL_PLAIN,
            tos: 0,
            total_length: (payload_length + size_of::<Self>() as u16).to_be_bytes(),
            identification: [0; 2],
            fragment: DONT_FRAGMENT,
            ttl: TTL_ORIGINATED,
            protocol,
            checksum: [0; 2],
            source: self.destination,
            destination: self.source,
        };
        self.checksum = (!fold(self.header_sum())).to_ne_bytes();
    }

    #[inline(always)]
    fn reflect(&mut self) {
        (self.source, self.destination) = (self.destination, self.source);
        let old = u16::from_ne_bytes([self.ttl, self.protocol]);
        self.ttl = TTL_ORIGINATED;
        let delta = Delta::of_word(old, u16::from_ne_bytes([self.ttl, self.protocol]));
        self.checksum = delta.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }

    /// Neither "this network", loopback, multicast, reserved nor broadcast (RFC 1122 section 3.2.1.3).
    #[inline(always)]
    fn source_is_unicast(&self) -> bool {
        let [first, ..] = self.source;
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn walk<B: Bytes + ?Sized>(&self, bytes: &B, at: u32) -> Result<Walk, Reason> {
        walk::ipv4(bytes, at, self)
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
            End::Source => 12,
            End::Destination => 16,
        };
        bytes.store(header + at, &last_four(address))?;
        let old = u16::from_ne_bytes(bytes.load(header + 10)?);
        let new = delta.apply(old);
        bytes.store(header + 10, &new.to_ne_bytes())?;
        Some(delta.and(Delta::of_word(old, new)))
    }

    #[inline(always)]
    fn set_ecn(&mut self, ecn: u8) {
        let old = u16::from_ne_bytes([self.version_ihl, self.tos]);
        self.tos = self.tos & !ECN_MASK | ecn;
        let delta = Delta::of_word(old, u16::from_ne_bytes([self.version_ihl, self.tos]));
        self.checksum = delta.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Ipv4Header {
        let mut header =
            Ipv4Header { source: [198, 51, 100, 7], destination: [203, 0, 113, 10], ..Ipv4Header::default() };
        header.answer(6, 20);
        header
    }

    #[test]
    fn an_answer_has_swapped_addresses_and_a_valid_checksum() {
        let header = sample();
        assert_eq!((header.source, header.destination), ([203, 0, 113, 10], [198, 51, 100, 7]));
        assert_eq!(fold(header.header_sum()), 0xffff);
        assert_eq!(header.computed_checksum(), header.checksum);
    }

    #[test]
    fn forwarding_keeps_the_checksum_valid_for_every_ttl() {
        let (from, to) = (mapped([198, 51, 100, 7]), mapped([10, 1, 0, 11]));
        for ttl in 2..=255 {
            let mut header = sample();
            header.ttl = ttl;
            header.checksum = header.computed_checksum();
            header.forward_to(&to, Delta::of(&from, &to));
            assert_eq!((header.ttl, header.destination), (ttl - 1, [10, 1, 0, 11]));
            assert_eq!(fold(header.header_sum()), 0xffff, "ttl {ttl}");
        }
    }

    #[test]
    fn options_and_fragments_are_not_plain() {
        let plain = sample();
        assert!(plain.is_plain());
        for (version_ihl, fragment) in [(0x46, [0, 0]), (0x65, [0, 0]), (0x45, [0x20, 0]), (0x45, [0, 1])] {
            assert!(!Ipv4Header { version_ihl, fragment, ..plain }.is_plain());
        }
    }

    #[test]
    fn ecn_field_keeps_the_checksum_valid() {
        for ecn in 0..=ECN_MASK {
            let mut header = sample();
            header.set_ecn(ecn);
            assert_eq!(header.tos & ECN_MASK, ecn);
            assert_eq!(fold(header.header_sum()), 0xffff);
        }
    }
}
