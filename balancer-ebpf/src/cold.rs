//! What is off the fast path, as global functions: the kernel verifies each of them once, not once for every caller.
//!
//! A global function takes the context and numbers and returns a number (since Linux 5.6). The pipeline and the stages
//! call the typed functions at the top; [`global!`] makes the symbols below.

use balancer_common::{
    abi::Slot,
    conntrack::{FlowKey, Signal},
    flow::FlowHash,
    service::FAMILY_IPV4,
    verdict::{Reason, Verdict},
    wire::{
        ip::{Ip, PROTOCOL_TCP},
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
    },
};

use crate::{
    frame::{Frame, Header, Packet, global},
    maps,
    stage::{
        conntrack, emit, guard,
        icmp::{self, Complaint},
        length, mss, reply, reset,
    },
};

/// Id of the backend of a flow that its slot cannot place; [`Reason::NoBackend`] when there is none.
#[inline(always)]
pub fn conntrack<I: Ip, T: Transport>(frame: &Frame, service: u32, slot: Slot, hash: FlowHash) -> Result<u32, Verdict> {
    let (context, slot, hash) = (frame.raw(), u64::from(slot.owner) | u64::from(slot.previous) << 32, hash.0);
    let word = match (I::FAMILY == FAMILY_IPV4, T::PROTOCOL == PROTOCOL_TCP) {
        (true, true) => conntrack_tcp_ipv4(context, service, slot, hash),
        (true, false) => conntrack_udp_ipv4(context, service, slot, hash),
        (false, true) => conntrack_tcp_ipv6(context, service, slot, hash),
        (false, false) => conntrack_udp_ipv6(context, service, slot, hash),
    };
    if word >> 32 == 0 { Ok(word as u32) } else { Err(Verdict::from_word(word as u32)) }
}

/// Some other active backend of a service port, as a [`BackendRef`](balancer_common::id::BackendRef) word; 0 for none.
#[inline(always)]
pub fn fallback(service: u32, hash: FlowHash) -> u32 {
    conntrack_fallback(service, hash.0)
}

/// Nothing behind the IP packet, and nothing of it missing: cuts padding off, or says that the frame holds less.
#[inline(always)]
pub fn fit(frame: &mut Frame, length: u32) -> Result<(), Verdict> {
    if length::fits(frame, length) || fit_length(frame.raw(), length) == 0 {
        Ok(())
    } else {
        Err(Verdict::Drop(Reason::Truncated))
    }
}

/// Answers the segment at `transport` with a reset.
#[inline(always)]
pub fn reset<I: Ip>(frame: &mut Frame, transport: u32) -> Verdict {
    let context = frame.raw();
    let is_ipv4 = I::FAMILY == FAMILY_IPV4;
    Verdict::from_word(if is_ipv4 { reset_ipv4(context, transport) } else { reset_ipv6(context, transport) })
}

/// Answers with an ICMP error.
#[inline(always)]
pub fn icmp_error<I: Ip>(frame: &mut Frame, complaint: Complaint) -> Verdict {
    let (context, complaint) = (frame.raw(), complaint.word());
    let word = if I::FAMILY == FAMILY_IPV4 { icmp_ipv4(context, complaint) } else { icmp_ipv6(context, complaint) };
    Verdict::from_word(word)
}

/// Refuses clients that the service port's list of sources does not let in, and what only the careful program can hash.
#[inline(always)]
pub fn guard<I: Ip>(frame: &Frame, service: u32) -> Result<(), Verdict> {
    let context = frame.raw();
    let word = if I::FAMILY == FAMILY_IPV4 { guard_ipv4(context, service) } else { guard_ipv6(context, service) };
    if word == 0 { Ok(()) } else { Err(Verdict::from_word(word)) }
}

/// Id of the backend of the flow in [`maps::Scratch::flow`], as [`conntrack`]; for an ICMP error about it without a signal.
#[inline(always)]
pub fn conntrack_scratch(service: u32, slot: Slot, hash: FlowHash, signal: Option<Signal>) -> Result<u32, Verdict> {
    let slot = u64::from(slot.owner) | u64::from(slot.previous) << 32;
    let signal = match signal {
        None => PEEK,
        Some(Signal::Opens) => 1,
        Some(Signal::Closes) => 2,
        Some(Signal::Continues) => 3,
    };
    let word = conntrack_of_scratch(service, slot, hash.0, signal);
    if word >> 32 == 0 { Ok(word as u32) } else { Err(Verdict::from_word(word as u32)) }
}

const PEEK: u32 = 0;

/// Clamps an MSS that is not the first option.
#[inline(always)]
pub fn mss<I: Ip>(frame: &mut Frame, transport: u32, inner_mtu: u16) {
    let (context, inner_mtu) = (frame.raw(), u32::from(inner_mtu));
    let _whether = if I::FAMILY == FAMILY_IPV4 {
        mss_ipv4(context, transport, inner_mtu)
    } else {
        mss_ipv6(context, transport, inner_mtu)
    };
}

/// The backend entry of a reply whose container port several service ports publish; 0 for none.
#[inline(always)]
pub fn reply_flow<O: Ip, I: Ip>(frame: &Frame, backend: u32, protocol: u8) -> Option<u32> {
    let (context, protocol) = (frame.raw(), u32::from(protocol));
    let id = match (O::FAMILY == FAMILY_IPV4, I::FAMILY == FAMILY_IPV4) {
        (true, true) => reply_ipv4_in_ipv4(context, backend, protocol),
        (true, false) => reply_ipv6_in_ipv4(context, backend, protocol),
        (false, true) => reply_ipv4_in_ipv6(context, backend, protocol),
        (false, false) => reply_ipv6_in_ipv6(context, backend, protocol),
    };
    (id != 0).then_some(id)
}

/// Sends a reply as the kernel's routes say.
#[inline(always)]
pub fn to_client_by_kernel<I: Ip>(frame: &mut Frame) -> Verdict {
    let context = frame.raw();
    Verdict::from_word(if I::FAMILY == FAMILY_IPV4 { by_kernel_ipv4(context) } else { by_kernel_ipv6(context) })
}

/// Hands a finished frame to the daemon, or drops it for `otherwise`.
#[inline(always)]
pub fn through_daemon(frame: &Frame, otherwise: Reason) -> Verdict {
    Verdict::from_word(slow_path(frame.raw(), otherwise as u32))
}

/// Folded sum of `length` bytes from an even `offset`, across buffers.
#[inline(always)]
pub fn sum(frame: &Frame, offset: u32, length: u32) -> Option<u16> {
    u16::try_from(sum_bytes(frame.raw(), offset, length)).ok()
}

global! {
    fn conntrack_fallback(service: u32, hash: u64) -> u32 { conntrack::fallback(service, FlowHash(hash)) }
    fn conntrack_of_scratch(service: u32, slot: u64, hash: u64, signal: u32) -> u64 {
        placed_scratch(service, slot, hash, signal)
    }
}

global! { |frame|
    fn conntrack_tcp_ipv4(service: u32, slot: u64, hash: u64) -> u64 {
        placed::<Ipv4Header, TcpHeader>(&frame, service, slot, hash)
    }
    fn conntrack_udp_ipv4(service: u32, slot: u64, hash: u64) -> u64 {
        placed::<Ipv4Header, UdpHeader>(&frame, service, slot, hash)
    }
    fn conntrack_tcp_ipv6(service: u32, slot: u64, hash: u64) -> u64 {
        placed::<Ipv6Header, TcpHeader>(&frame, service, slot, hash)
    }
    fn conntrack_udp_ipv6(service: u32, slot: u64, hash: u64) -> u64 {
        placed::<Ipv6Header, UdpHeader>(&frame, service, slot, hash)
    }
    fn fit_length(length: u32) -> u32 { u32::from(!length::fit(&mut frame, length)) }
    fn reset_ipv4(transport: u32) -> u32 { reset::run::<Ipv4Header>(&mut frame, transport).word() }
    fn reset_ipv6(transport: u32) -> u32 { reset::run::<Ipv6Header>(&mut frame, transport).word() }
    fn icmp_ipv4(complaint: u32) -> u32 {
        icmp::error::<Ipv4Header>(&mut frame, Complaint::from_word(complaint)).word()
    }
    fn icmp_ipv6(complaint: u32) -> u32 {
        icmp::error::<Ipv6Header>(&mut frame, Complaint::from_word(complaint)).word()
    }
    fn guard_ipv4(service: u32) -> u32 { word_of(guard::run::<Ipv4Header>(&frame, service)) }
    fn guard_ipv6(service: u32) -> u32 { word_of(guard::run::<Ipv6Header>(&frame, service)) }
    fn mss_ipv4(transport: u32, inner_mtu: u32) -> u32 {
        u32::from(mss::search::<Ipv4Header>(&mut frame, transport, inner_mtu as u16))
    }
    fn mss_ipv6(transport: u32, inner_mtu: u32) -> u32 {
        u32::from(mss::search::<Ipv6Header>(&mut frame, transport, inner_mtu as u16))
    }
    fn reply_ipv4_in_ipv4(backend: u32, protocol: u32) -> u32 {
        reply::remembered_plain::<Ipv4Header, Ipv4Header>(&frame, backend, protocol as u8)
    }
    fn reply_ipv6_in_ipv4(backend: u32, protocol: u32) -> u32 {
        reply::remembered_plain::<Ipv4Header, Ipv6Header>(&frame, backend, protocol as u8)
    }
    fn reply_ipv4_in_ipv6(backend: u32, protocol: u32) -> u32 {
        reply::remembered_plain::<Ipv6Header, Ipv4Header>(&frame, backend, protocol as u8)
    }
    fn reply_ipv6_in_ipv6(backend: u32, protocol: u32) -> u32 {
        reply::remembered_plain::<Ipv6Header, Ipv6Header>(&frame, backend, protocol as u8)
    }
    fn by_kernel_ipv4() -> u32 { emit::by_kernel::<Ipv4Header>(&mut frame).word() }
    fn by_kernel_ipv6() -> u32 { emit::by_kernel::<Ipv6Header>(&mut frame).word() }
    fn slow_path(otherwise: u32) -> u32 { emit::through_daemon(&frame, otherwise).word() }
    fn sum_bytes(offset: u32, length: u32) -> u32 { frame.sum(offset, length) }
}

/// A backend's id, or a verdict's word above bit 32.
#[inline(always)]
fn placed<I, T>(frame: &Frame, service: u32, slot: u64, hash: u64) -> u64
where
    I: Ip + Header,
    T: Transport + Header,
{
    let Some(packet) = frame.view::<Packet<I, T>>(0) else { return refused(Verdict::Drop(Reason::Truncated)) };
    let key = FlowKey {
        client: packet.ip.source(),
        vip: packet.ip.destination(),
        client_port: packet.transport.source_port(),
        vip_port: packet.transport.destination_port(),
        protocol: T::PROTOCOL,
        reserved: [0; 3],
    };
    let slot = Slot { owner: slot as u32, previous: (slot >> 32) as u32 };
    id_or_refused(conntrack::run(&key, packet.transport.signal(), service, slot, FlowHash(hash)))
}

/// The same for the flow that the careful program left in this CPU's room.
#[inline(always)]
fn placed_scratch(service: u32, slot: u64, hash: u64, signal: u32) -> u64 {
    let Some(scratch) = maps::scratch() else { return refused(Verdict::Drop(Reason::Internal)) };
    let (key, slot) = (&scratch.flow, Slot { owner: slot as u32, previous: (slot >> 32) as u32 });
    let signal = match signal {
        PEEK => return id_or_refused(conntrack::peek(key, service, slot, FlowHash(hash))),
        1 => Signal::Opens,
        2 => Signal::Closes,
        _ => Signal::Continues,
    };
    id_or_refused(conntrack::run(key, signal, service, slot, FlowHash(hash)))
}

#[inline(always)]
fn id_or_refused(result: Result<u32, Verdict>) -> u64 {
    match result {
        Ok(backend_id) => u64::from(backend_id),
        Err(verdict) => refused(verdict),
    }
}

#[inline(always)]
fn refused(verdict: Verdict) -> u64 {
    1 << 32 | u64::from(verdict.word())
}

/// 0, which no refusal is, or a verdict's word: a pass for the first reason says that nothing stands in the way.
#[inline(always)]
fn word_of(result: Result<(), Verdict>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(verdict) => verdict.word(),
    }
}
