//! Turns a frame into the ICMP that the gateway answers it with: echo reply, port unreachable, time exceeded.

use balancer_common::{
    checksum::{Delta, fold, sum},
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        icmp::{ICMP, ICMPV6, IcmpHeader, IcmpKinds},
        ip::{Ip, PROTOCOL_ICMP},
    },
};

use crate::{
    cold,
    frame::{Frame, Header, Link, Packet},
};

const fn kinds<I: Ip>() -> IcmpKinds {
    if I::ICMP == PROTOCOL_ICMP { ICMP } else { ICMPV6 }
}

/// Echo request to a VIP (RFC 792, RFC 4443 section 4.1): the same bytes back under another type.
#[inline(always)]
pub fn echo<I: Ip + Header>(frame: &mut Frame) -> Verdict {
    let Some(packet) = frame.view_mut::<Packet<I, IcmpHeader>>(0) else { return Verdict::Drop(Reason::Truncated) };
    let length = packet.ip.packet_length().wrapping_sub(size_of::<I>() as u32);
    let icmp = &mut packet.transport;
    let old = u16::from_ne_bytes([icmp.kind, icmp.code]);
    icmp.kind = kinds::<I>().echo_reply;
    let delta = Delta::of_word(old, u16::from_ne_bytes([icmp.kind, icmp.code]));
    icmp.checksum = delta.apply(u16::from_ne_bytes(icmp.checksum)).to_ne_bytes();
    packet.ip.answer(I::ICMP, length as u16);
    packet.ethernet = packet.ethernet.swapped();
    Verdict::Transmit(Reason::EchoAnswered)
}

/// Largest IP packet that carries an error: 576 bytes (RFC 1812 section 4.3.2.3), 1280 over IPv6 (RFC 4443 section 2.4 c).
const fn error_max<I: Ip>() -> u32 {
    if I::ICMP == PROTOCOL_ICMP { 576 } else { 1280 }
}

/// Puts an ICMP error in front of as much of the client's packet as it may quote, and turns it around: time exceeded when
/// the TTL or hop limit ended here, else port unreachable for want of a backend (RFC 1122 section 4.1.3.1).
#[inline(always)]
pub fn error<I: Ip + Header>(frame: &mut Frame, expired: bool) -> Verdict {
    let truncated = Verdict::Drop(Reason::Truncated);
    let ethernet = size_of::<EthernetHeader>();
    let added = size_of::<I>() + size_of::<IcmpHeader>();
    let Some(link) = frame.view::<Link<I>>(0) else { return truncated };
    let (room, length) = (error_max::<I>() - added as u32, link.ip.packet_length());
    let quoted = if length > room { room } else { length };
    if frame.cut_tail(ethernet as u32 + quoted).is_none() {
        return truncated;
    }
    if frame.grow_head(added).is_none() {
        return Verdict::Drop(Reason::Headroom);
    }
    let Some(quote) = cold::sum(frame, (ethernet + added) as u32, quoted) else { return truncated };
    let payload = (size_of::<IcmpHeader>() as u32 + quoted) as u16;
    let Some(outer) = frame.view::<EthernetHeader>(added).copied() else { return truncated };
    let Some(ip) = frame.view::<I>(ethernet + added).copied() else { return truncated };
    let Some(packet) = frame.view_mut::<Packet<I, IcmpHeader>>(0) else { return truncated };
    packet.ethernet = outer.swapped();
    packet.ip = ip;
    packet.ip.answer(I::ICMP, payload);
    let pseudo = if I::ICMP == PROTOCOL_ICMP { 0 } else { packet.ip.pseudo_sum(I::ICMP, payload) };
    let (kind, code) = if expired { kinds::<I>().time_exceeded } else { kinds::<I>().port_unreachable };
    let checksum = !fold(sum(&[kind, code]) + u64::from(quote) + pseudo);
    packet.transport = IcmpHeader { kind, code, checksum: checksum.to_ne_bytes(), rest: [0; 4] };
    Verdict::Transmit(if expired { Reason::TimeExceededSent } else { Reason::UnreachableSent })
}
