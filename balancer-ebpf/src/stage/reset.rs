//! Turns a TCP segment that no backend can take into the reset its sender expects (RFC 9293 section 3.5.2).

use balancer_common::{
    checksum::{fold, sum},
    conntrack::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN},
    verdict::{Reason, Verdict},
    wire::{
        ip::{Ip, PROTOCOL_TCP},
        tcp::TcpHeader,
    },
};

use crate::frame::{Frame, Header, Packet};

/// A reset is never answered with a reset.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &mut Frame) -> Verdict {
    let Some(packet) = frame.view_mut::<Packet<I, TcpHeader>>(0) else { return Verdict::Drop(Reason::Truncated) };
    if packet.transport.flags & TCP_RST != 0 {
        return Verdict::Drop(Reason::NoBackend);
    }
    let payload = packet.ip.packet_length().wrapping_sub(size_of::<I>() as u32);
    packet.transport = answer(&packet.transport, payload);
    packet.ethernet = packet.ethernet.swapped();
    packet.ip.answer(PROTOCOL_TCP, size_of::<TcpHeader>() as u16);
    let tcp = &mut packet.transport;
    let words = sum(&tcp.source) + sum(&tcp.destination) + sum(&tcp.sequence) + sum(&tcp.acknowledgment);
    let pseudo = packet.ip.pseudo_sum(PROTOCOL_TCP, size_of::<TcpHeader>() as u16);
    tcp.checksum = (!fold(words + sum(&[tcp.data_offset, tcp.flags]) + pseudo)).to_ne_bytes();
    match frame.cut_tail(size_of::<Packet<I, TcpHeader>>() as u32) {
        Some(()) => Verdict::Transmit(Reason::ResetSent),
        None => Verdict::Drop(Reason::Truncated),
    }
}

/// With an ACK the reset takes its sequence number from it; without one it acknowledges all that the segment occupies.
#[inline(always)]
fn answer(segment: &TcpHeader, payload: u32) -> TcpHeader {
    let acknowledged = segment.flags & TCP_ACK != 0;
    let data = payload.wrapping_sub(segment.length());
    let flags_length = u32::from(segment.flags & TCP_SYN != 0) + u32::from(segment.flags & TCP_FIN != 0);
    let next = u32::from_be_bytes(segment.sequence).wrapping_add(data).wrapping_add(flags_length);
    TcpHeader {
        source: segment.destination,
        destination: segment.source,
        sequence: if acknowledged { segment.acknowledgment } else { [0; 4] },
        acknowledgment: if acknowledged { [0; 4] } else { next.to_be_bytes() },
        data_offset: 5 << 4,
        flags: if acknowledged { TCP_RST } else { TCP_RST | TCP_ACK },
        window: [0; 2],
        checksum: [0; 2],
        urgent: [0; 2],
    }
}
