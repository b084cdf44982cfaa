//! Turns a TCP segment that no backend can take into the reset its sender expects (RFC 9293 section 3.5.2).

use balancer_common::{
    checksum::{fold, sum},
    conntrack::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN},
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        ip::{Ip, PROTOCOL_TCP},
        tcp::TcpHeader,
    },
};

use crate::{
    frame::{Frame, Header, Link, Packet},
    maps,
};

/// Answers the segment whose TCP header stands at `transport`; IP options and extension headers do not come back. A reset is
/// never answered with a reset.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &mut Frame, transport: u32) -> Verdict {
    const ETHERNET: u32 = size_of::<EthernetHeader>() as u32;
    let truncated = Verdict::Drop(Reason::Truncated);
    let Some(scratch) = maps::scratch() else { return Verdict::Drop(Reason::Internal) };
    let Some(ip) = frame.load_header::<I, _>(ETHERNET, &mut scratch.ip) else { return truncated };
    let Some(segment) = frame.load_header::<TcpHeader, _>(transport, &mut scratch.transport) else { return truncated };
    if segment.flags & TCP_RST != 0 {
        return Verdict::Drop(Reason::NoBackend);
    }
    let payload = (ETHERNET + ip.packet_length()).wrapping_sub(transport);
    *segment = answer(segment, payload);
    ip.answer(PROTOCOL_TCP, size_of::<TcpHeader>() as u16);
    let tcp = segment;
    let words = sum(&tcp.source) + sum(&tcp.destination) + sum(&tcp.sequence) + sum(&tcp.acknowledgment);
    let pseudo = ip.pseudo_sum(PROTOCOL_TCP, size_of::<TcpHeader>() as u16);
    tcp.checksum = (!fold(words + sum(&[tcp.data_offset, tcp.flags]) + pseudo)).to_ne_bytes();
    let written = frame
        .cut_tail(size_of::<Packet<I, TcpHeader>>() as u32)
        .and_then(|()| frame.store_header(ETHERNET, ip))
        .and_then(|()| frame.store_header(size_of::<Link<I>>() as u32, tcp));
    let Some(ethernet) = frame.view_mut::<EthernetHeader>(0).filter(|_| written.is_some()) else { return truncated };
    *ethernet = ethernet.swapped();
    Verdict::Transmit(Reason::ResetSent)
}

/// With an ACK the reset takes its sequence number from it; without one it acknowledges all that the segment occupies.
#[inline(always)]
fn answer(segment: &TcpHeader, payload: u32) -> TcpHeader {
    let acknowledged = segment.flags & TCP_ACK != 0;
    // A first fragment may hold less than its header says.
    let data = payload.saturating_sub(segment.length());
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
