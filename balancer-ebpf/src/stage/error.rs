//! Turns an ICMP error about a packet that was translated into one that its receiver can match with what it sent (case 18, RFC 5508).

use balancer_common::{
    checksum::Delta,
    verdict::{Reason, Verdict},
    wire::{
        bytes::{Bytes as _, BytesMut as _},
        ip::{Ip, PROTOCOL_ICMP},
        quote::{End, Quote, address_delta},
    },
};

use crate::frame::{Frame, Header};

/// Where the checksum stands in an ICMP header.
const CHECKSUM: u32 = 2;

/// One end of a quoted packet as it stands, and as its receiver knows it: address and port.
pub struct Ends<'a> {
    pub end: End,
    pub old: &'a [u8; 16],
    pub new: &'a [u8; 16],
    /// 0 where ports stay.
    pub port: [u8; 2],
}

/// Rewrites the quote and the error's own checksum; the addresses of the error itself are the caller's, who changes the one that
/// equals the quote's end in the same way.
#[inline(always)]
pub fn translate<I: Ip + Header>(frame: &mut Frame, icmp: u32, quote: &Quote, ends: &Ends<'_>) -> Result<(), Verdict> {
    let truncated = Verdict::Drop(Reason::Truncated);
    let quoted_port = match ends.end {
        End::Source => quote.ports[0],
        End::Destination => quote.ports[1],
    };
    let port = if ends.port == [0; 2] { quoted_port } else { ends.port };
    let delta = quote.replace::<I, Frame>(frame, ends.end, (ends.old, ends.new), port).ok_or(truncated)?;
    // ICMPv6 sums its pseudo-header too, in which the same address changes.
    let outer = if I::ICMP == PROTOCOL_ICMP { Delta::NONE } else { address_delta::<I>(ends.old, ends.new) };
    let checksum = frame.load(icmp + CHECKSUM).map(u16::from_ne_bytes).ok_or(truncated)?;
    let updated = delta.and(outer).apply(checksum).to_ne_bytes();
    frame.store(icmp + CHECKSUM, &updated).ok_or(truncated)
}
