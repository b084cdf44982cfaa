//! What the pipeline needs of a transport header, TCP or UDP, so that every stage is written once.

use super::{
    ip::{PROTOCOL_TCP, PROTOCOL_UDP},
    tcp::TcpHeader,
    udp::UdpHeader,
};
use crate::{checksum::Delta, conntrack::Signal};

/// A TCP or UDP header.
pub trait Transport: Copy + Sized {
    /// IP protocol number.
    const PROTOCOL: u8;

    /// Source port, network order.
    fn source_port(&self) -> [u8; 2];
    /// Destination port, network order.
    fn destination_port(&self) -> [u8; 2];
    /// What it says about its flow.
    fn signal(&self) -> Signal;
    /// Whether it carries options that a SYN carries.
    fn is_syn(&self) -> bool;
    /// Whether its own lengths fit an IP payload of `payload` bytes.
    fn fits(&self, payload: u32) -> bool;
    /// Whether it has a checksum at all.
    fn has_checksum(&self) -> bool;
    /// Writes a new destination port; `delta` is the effect of all changed words, addresses included.
    fn forward_to(&mut self, port: [u8; 2], delta: Delta);
    /// Writes a new source port likewise.
    fn reply_from(&mut self, port: [u8; 2], delta: Delta);
}

impl Transport for TcpHeader {
    const PROTOCOL: u8 = PROTOCOL_TCP;

    #[inline(always)]
    fn source_port(&self) -> [u8; 2] {
        self.source
    }

    #[inline(always)]
    fn destination_port(&self) -> [u8; 2] {
        self.destination
    }

    #[inline(always)]
    fn signal(&self) -> Signal {
        Signal::of_tcp(self.flags)
    }

    #[inline(always)]
    fn is_syn(&self) -> bool {
        self.flags & crate::conntrack::TCP_SYN != 0
    }

    #[inline(always)]
    fn fits(&self, payload: u32) -> bool {
        self.length() >= size_of::<Self>() as u32 && self.length() <= payload
    }

    #[inline(always)]
    fn has_checksum(&self) -> bool {
        true
    }

    #[inline(always)]
    fn forward_to(&mut self, port: [u8; 2], delta: Delta) {
        self.destination = port;
        self.checksum = delta.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }

    #[inline(always)]
    fn reply_from(&mut self, port: [u8; 2], delta: Delta) {
        self.source = port;
        self.checksum = delta.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }
}

impl Transport for UdpHeader {
    const PROTOCOL: u8 = PROTOCOL_UDP;

    #[inline(always)]
    fn source_port(&self) -> [u8; 2] {
        self.source
    }

    #[inline(always)]
    fn destination_port(&self) -> [u8; 2] {
        self.destination
    }

    #[inline(always)]
    fn signal(&self) -> Signal {
        Signal::Continues
    }

    #[inline(always)]
    fn is_syn(&self) -> bool {
        false
    }

    #[inline(always)]
    fn fits(&self, payload: u32) -> bool {
        let length = u16::from_be_bytes(self.length) as u32;
        length >= size_of::<Self>() as u32 && length <= payload
    }

    #[inline(always)]
    fn has_checksum(&self) -> bool {
        self.checksum != [0, 0]
    }

    #[inline(always)]
    fn forward_to(&mut self, port: [u8; 2], delta: Delta) {
        self.destination = port;
        self.checksum = delta.apply_udp(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }

    #[inline(always)]
    fn reply_from(&mut self, port: [u8; 2], delta: Delta) {
        self.source = port;
        self.checksum = delta.apply_udp(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }
}
