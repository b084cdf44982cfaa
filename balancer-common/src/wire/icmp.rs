//! ICMP (RFC 792) and ICMPv6 (RFC 4443): the 8 bytes they have in common.

use super::ip::{Ip, PROTOCOL_ICMP};

/// The 8-byte header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: [u8; 2],
    /// Identifier and sequence number of an echo, unused or MTU of an error.
    pub rest: [u8; 4],
}

/// Types and codes of one version's ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpKinds {
    /// Echo request.
    pub echo_request: u8,
    /// Echo reply.
    pub echo_reply: u8,
    /// Destination unreachable: type, code "port unreachable".
    pub port_unreachable: (u8, u8),
    /// Time exceeded in transit: type, code.
    pub time_exceeded: (u8, u8),
    /// Fragmentation needed, or packet too big: type, code.
    pub too_big: (u8, u8),
    /// A bit for each type that is an error about a packet, which it quotes.
    pub errors: u32,
}

impl IcmpKinds {
    /// Whether a type is an error about a packet.
    #[must_use]
    #[inline(always)]
    pub const fn is_error(&self, kind: u8) -> bool {
        kind < 32 && self.errors >> kind & 1 != 0
    }
}

/// The types that belong to a version of IP.
#[must_use]
#[inline(always)]
pub const fn kinds<I: Ip>() -> IcmpKinds {
    if I::ICMP == PROTOCOL_ICMP { ICMP } else { ICMPV6 }
}

/// ICMP over IPv4.
pub const ICMP: IcmpKinds = IcmpKinds {
    echo_request: 8,
    echo_reply: 0,
    port_unreachable: (3, 3),
    time_exceeded: (11, 0),
    too_big: (3, 4),
    errors: 1 << 3 | 1 << 11 | 1 << 12,
};
/// ICMPv6.
pub const ICMPV6: IcmpKinds = IcmpKinds {
    echo_request: 128,
    echo_reply: 129,
    port_unreachable: (1, 4),
    time_exceeded: (3, 0),
    too_big: (2, 0),
    errors: 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
};
