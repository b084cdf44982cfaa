//! What the pipeline needs of an IP header, whichever the version, so that every stage is written once.

use super::{
    bytes::{Bytes, BytesMut},
    quote::End,
    walk::Walk,
};
use crate::{
    checksum::Delta,
    flow::FlowHash,
    index::Place,
    service::{Address, Gateway},
    verdict::Reason,
};

/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Next header of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// An IPv4 header without options, or an IPv6 header.
pub trait Ip: Copy + Sized {
    /// `family` in the maps.
    const FAMILY: u8;
    /// Ethertype in front of it.
    const ETHERTYPE: [u8; 2];
    /// The ICMP of this version.
    const ICMP: u8;
    /// IP header and TCP header without options: what an MSS does not count.
    const MSS_OVERHEAD: u16;

    /// Where the packet's own bytes of an address begin in its mapped form.
    const ADDRESS_AT: usize;

    /// Whether version and lengths are as this type assumes and no fragment or extension header hides the transport header.
    fn is_plain(&self) -> bool;
    /// Whether it is a fragment, as far as this header says.
    fn is_fragment(&self) -> bool;
    /// Whether the destination is the gateway's VTEP of this family.
    fn is_for_vtep(&self, gateway: &Gateway) -> bool;
    /// Whether the source is.
    fn source_is_vtep(&self, gateway: &Gateway) -> bool;
    /// Protocol or next header.
    fn protocol(&self) -> u8;
    /// Bytes of the whole packet, header included.
    fn packet_length(&self) -> u32;
    /// TTL or hop limit.
    fn ttl(&self) -> u8;
    /// ToS or traffic class: DSCP and ECN.
    fn traffic_class(&self) -> u8;
    /// Source address, mapped when IPv4.
    fn source(&self) -> Address;
    /// Destination address, mapped when IPv4.
    fn destination(&self) -> Address;
    /// Compares without building the mapped form.
    fn source_is(&self, address: &Address) -> bool;
    /// Compares without building the mapped form.
    fn destination_is(&self, address: &Address) -> bool;
    /// Whether the destination lies in a prefix, both mapped when IPv4.
    fn destination_in(&self, address: &Address, mask: &Address) -> bool;
    /// Place of the destination and this port in the index over service ports.
    fn service_place(&self, protocol: u8, port: [u8; 2]) -> Place;
    /// Place of the source and this port in the index over replies.
    fn reply_place(&self, vni: u32, protocol: u8, port: [u8; 2]) -> Place;
    /// Keyed hash of the source and this port.
    fn flow_hash(&self, key: [u64; 2], port: [u8; 2]) -> FlowHash;
    /// Writes a new destination, decrements the TTL and updates the header's checksum; `address_delta` is the destination's part.
    fn forward_to(&mut self, destination: &Address, address_delta: Delta);
    /// Writes a new source, decrements the TTL and updates the header's checksum; `address_delta` is the source's part.
    fn reply_from(&mut self, source: &Address, address_delta: Delta);
    /// Sum of the pseudo-header of this packet for `protocol` over `length` bytes, not folded.
    fn pseudo_sum(&self, protocol: u8, length: u16) -> u64;
    /// Sum of the header's own bytes, not folded.
    fn header_sum(&self) -> u64;
    /// Turns the packet around: addresses swapped, a new TTL, payload length and protocol, checksum filled in.
    fn answer(&mut self, protocol: u8, payload_length: u16);
    /// Turns a packet around and leaves all else as it is: addresses swapped, a new TTL, the checksum updated. For fragments and
    /// packets with options, which [`answer`](Ip::answer) would lose.
    fn reflect(&mut self);
    /// Whether an ICMP error may be sent to the source (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e): one host's address.
    fn source_is_unicast(&self) -> bool;
    /// Where the transport header of the packet is whose header this is and stands at `at`.
    ///
    /// # Errors
    /// As [`walk::ipv4`](super::walk::ipv4) and its twin.
    fn walk<B: Bytes + ?Sized>(&self, bytes: &B, at: u32) -> Result<Walk, Reason>;
    /// Writes an address of the quoted header at `header`, and its checksum; the effect on the sum of the header's bytes.
    fn replace_quoted<B: BytesMut + ?Sized>(
        bytes: &mut B,
        header: u32,
        end: End,
        address: &Address,
        delta: Delta,
    ) -> Option<Delta>;
    /// Writes the ECN field (RFC 3168 section 5) and updates the header's checksum.
    fn set_ecn(&mut self, ecn: u8);
}

/// TTL of packets that the gateway itself originates (RFC 1700's successor registry recommends 64).
pub const TTL_ORIGINATED: u8 = 64;
/// Both bits of the ECN field (RFC 3168 section 5).
pub const ECN_MASK: u8 = 0b11;
/// The transport knows no ECN.
pub const ECN_NOT_ECT: u8 = 0b00;
/// ECN-capable transport, codepoint 0.
pub const ECN_ECT_0: u8 = 0b10;
/// ECN-capable transport, codepoint 1.
pub const ECN_ECT_1: u8 = 0b01;
/// Congestion experienced.
pub const ECN_CE: u8 = 0b11;
