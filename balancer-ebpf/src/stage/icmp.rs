//! Turns a frame into the ICMP that the gateway answers it with: echo reply, port unreachable, time exceeded, packet too big.

use balancer_common::{
    checksum::{Delta, fold, sum},
    service::Address,
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        icmp::{IcmpHeader, kinds},
        ip::{Ip, PROTOCOL_ICMP},
        quote::address_delta,
    },
};

use crate::{
    cold,
    frame::{Frame, Header, Packet},
    lookup, maps,
};

/// Echo request to a VIP (RFC 792, RFC 4443 section 4.1): the same bytes back under another type.
#[inline(always)]
pub fn echo<I: Ip + Header>(frame: &mut Frame) -> Verdict {
    let Some(packet) = frame.view_mut::<Packet<I, IcmpHeader>>(0) else { return Verdict::Drop(Reason::Truncated) };
    let length = packet.ip.packet_length().wrapping_sub(size_of::<I>() as u32);
    to_reply::<I>(&mut packet.transport);
    packet.ip.answer(I::ICMP, length as u16);
    packet.ethernet = packet.ethernet.swapped();
    Verdict::Transmit(Reason::EchoAnswered)
}

/// Echo request with options or in fragments: every fragment is turned around as it is, the first one under another type. The checksum
/// over all of them changes by the type alone.
#[inline(always)]
pub fn echo_of<I: Ip + Header>(frame: &mut Frame, ip: &mut I, icmp: Option<(u32, &mut IcmpHeader)>) -> Verdict {
    const ETHERNET: u32 = size_of::<EthernetHeader>() as u32;
    let truncated = Verdict::Drop(Reason::Truncated);
    if let Some((at, icmp)) = icmp {
        to_reply::<I>(icmp);
        if frame.store_header(at, icmp).is_none() {
            return truncated;
        }
    }
    ip.reflect();
    let written = frame.store_header(ETHERNET, ip);
    let Some(ethernet) = frame.view_mut::<EthernetHeader>(0).filter(|_| written.is_some()) else { return truncated };
    *ethernet = ethernet.swapped();
    Verdict::Transmit(Reason::EchoAnswered)
}

#[inline(always)]
fn to_reply<I: Ip>(icmp: &mut IcmpHeader) {
    let old = u16::from_ne_bytes([icmp.kind, icmp.code]);
    icmp.kind = kinds::<I>().echo_reply;
    let delta = Delta::of_word(old, u16::from_ne_bytes([icmp.kind, icmp.code]));
    icmp.checksum = delta.apply(u16::from_ne_bytes(icmp.checksum)).to_ne_bytes();
}

/// Largest IP packet that carries an error: 576 bytes (RFC 1812 section 4.3.2.3), 1280 over IPv6 (RFC 4443 section 2.4 c).
const fn error_max<I: Ip>() -> u32 {
    if I::ICMP == PROTOCOL_ICMP { 576 } else { 1280 }
}

/// Answers the client's packet with an ICMP error, when that is due.
#[inline(always)]
pub fn error<I: Ip + Header>(frame: &mut Frame, complaint: Complaint) -> Verdict {
    let Some(scratch) = maps::scratch() else { return Verdict::Drop(Reason::Internal) };
    let ethernet = size_of::<EthernetHeader>() as u32;
    let Some(ip) = frame.load_header::<I, _>(ethernet, &mut scratch.ip) else {
        return Verdict::Drop(Reason::Truncated);
    };
    if !is_due(ip, ip) {
        return Verdict::Drop(Reason::ErrorLimited);
    }
    match quote(frame, ip, complaint, None) {
        Ok(_) => Verdict::Transmit(complaint.reason()),
        Err(verdict) => verdict,
    }
}

/// Puts an ICMP error in front of as much of the packet, as it came, as it may quote, and turns it around; from `sender`, or from where
/// the packet went. Gives the bytes of the IP packet.
#[inline(always)]
pub fn quote<I: Ip + Header>(
    frame: &mut Frame,
    ip: &mut I,
    complaint: Complaint,
    sender: Option<&Address>,
) -> Result<u32, Verdict> {
    let truncated = Verdict::Drop(Reason::Truncated);
    let ethernet = size_of::<EthernetHeader>() as u32;
    let added = size_of::<I>() + size_of::<IcmpHeader>();
    let (room, length) = (error_max::<I>() - added as u32, ip.packet_length());
    let quoted = if length > room { room } else { length };
    frame.cut_tail(ethernet + quoted).ok_or(truncated)?;
    let outer = frame.view::<EthernetHeader>(0).map(|ethernet| ethernet.swapped()).ok_or(truncated)?;
    frame.grow_head(added).ok_or(Verdict::Drop(Reason::Headroom))?;
    let sum_of_quote = cold::sum(frame, ethernet + added as u32, quoted).ok_or(truncated)?;
    let payload = (size_of::<IcmpHeader>() as u32 + quoted) as u16;
    ip.answer(I::ICMP, payload);
    if let Some(sender) = sender {
        ip.reply_from(sender, address_delta::<I>(&ip.source(), sender));
    }
    let pseudo = if I::ICMP == PROTOCOL_ICMP { 0 } else { ip.pseudo_sum(I::ICMP, payload) };
    let (kind, code, rest) = complaint.words::<I>();
    let checksum = !fold(sum(&[kind, code]) + sum(&rest) + u64::from(sum_of_quote) + pseudo);
    let packet = frame.view_mut::<Packet<I, IcmpHeader>>(0).ok_or(truncated)?;
    packet.ethernet = outer;
    packet.ip = *ip;
    packet.transport = IcmpHeader { kind, code, checksum: checksum.to_ne_bytes(), rest };
    Ok(size_of::<I>() as u32 + u32::from(payload))
}

/// Whether the sender may be told, and the VIP that `to_vip` goes to has something left to tell with (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).
#[inline(always)]
pub fn is_due<I: Ip>(ip: &I, to_vip: &I) -> bool {
    let Some((vip, _)) = lookup::vip(to_vip) else { return false };
    ip.source_is_unicast() && maps::spend(vip, maps::now_ns())
}

/// What is wrong with a client's packet.
#[derive(Clone, Copy)]
pub enum Complaint {
    /// Nobody serves it (RFC 1122 section 4.1.3.1).
    NoBackend,
    /// Its TTL or hop limit ended here.
    Expired,
    /// It is larger than this MTU (RFC 1191 section 4, RFC 4443 section 3.2).
    TooBig(u16),
}

impl Complaint {
    /// As the one number that a global function can take: the MTU, or one of two that no MTU is.
    #[inline(always)]
    pub fn word(self) -> u32 {
        match self {
            Self::NoBackend => 0,
            Self::Expired => 1,
            Self::TooBig(mtu) => 2 | u32::from(mtu) << 16,
        }
    }

    /// Back from [`word`](Complaint::word).
    #[inline(always)]
    pub fn from_word(word: u32) -> Self {
        match word & 3 {
            0 => Self::NoBackend,
            1 => Self::Expired,
            _ => Self::TooBig((word >> 16) as u16),
        }
    }

    #[inline(always)]
    fn reason(self) -> Reason {
        match self {
            Self::NoBackend => Reason::UnreachableSent,
            Self::Expired => Reason::TimeExceededSent,
            Self::TooBig(_) => Reason::TooBigSent,
        }
    }

    /// Type, code, and the four bytes behind the checksum; both versions' MTU ends at the last of them.
    #[inline(always)]
    fn words<I: Ip>(self) -> (u8, u8, [u8; 4]) {
        let kinds = kinds::<I>();
        match self {
            Self::NoBackend => (kinds.port_unreachable.0, kinds.port_unreachable.1, [0; 4]),
            Self::Expired => (kinds.time_exceeded.0, kinds.time_exceeded.1, [0; 4]),
            Self::TooBig(mtu) => (kinds.too_big.0, kinds.too_big.1, u32::from(mtu).to_be_bytes()),
        }
    }
}
