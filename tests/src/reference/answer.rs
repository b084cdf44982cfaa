//! Turns a client's packet into what the gateway answers by itself: echo reply, reset, ICMP errors (cases 2, 7, 13, 17).

use std::net::IpAddr;

use balancer_common::verdict::{Reason, Verdict};

use super::{
    Packet, Prediction, Reference, Sent,
    bytes::{add, octets, pseudo, put, sum, updated, word},
    packet::bare,
};

/// Why a client is told that its packet went nowhere.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// TTL or hop limit ended.
    Expired,
    /// No backend for a datagram.
    Unreachable,
    /// Larger than the path, which takes this many bytes.
    TooBig(u16),
}

impl Notice {
    /// Type, code and the four bytes behind the checksum (RFC 792, RFC 1191, RFC 4443).
    const fn message(self, ipv4: bool) -> (u8, u8, u32) {
        match (self, ipv4) {
            (Self::Expired, true) => (11, 0, 0),
            (Self::Expired, false) => (3, 0, 0),
            (Self::Unreachable, true) => (3, 3, 0),
            (Self::Unreachable, false) => (1, 4, 0),
            (Self::TooBig(mtu), true) => (3, 4, mtu as u32),
            (Self::TooBig(mtu), false) => (2, 0, mtu as u32),
        }
    }

    const fn reason(self) -> Reason {
        match self {
            Self::Expired => Reason::TimeExceededSent,
            Self::Unreachable => Reason::UnreachableSent,
            Self::TooBig(_) => Reason::TooBigSent,
        }
    }
}

impl Reference {
    /// An ICMP error to the sender of a packet.
    pub(super) fn notify(&mut self, packet: &Packet<'_>, notice: Notice) -> Sent {
        let ends = turned(packet);
        let whole = &packet.bytes[..packet.fixed.length];
        let told = self.complaint(packet.fixed.destination, whole, (ends, 64), notice)?;
        Ok(back(packet, &told, notice.reason()))
    }

    /// An ICMP error that quotes as much of the packet as fits 576 bytes (RFC 1812) or 1280 (RFC 4443), for a token of the VIP's budget.
    pub(super) fn complaint(
        &mut self,
        vip: IpAddr,
        whole: &[u8],
        ((from, to), ttl): ((IpAddr, IpAddr), u8),
        notice: Notice,
    ) -> Result<Vec<u8>, Verdict> {
        let ipv4 = to.is_ipv4();
        let limited = Verdict::Drop(Reason::ErrorLimited);
        let vip = self.vips.get_mut(&vip).ok_or(limited)?;
        if !may_be_told(to) || !vip.errors.has_one() {
            return Err(limited);
        }
        vip.errors.spend();
        let room = (if ipv4 { 576 } else { 1280 }) - bare(ipv4) - 8;
        let (kind, code, rest) = notice.message(ipv4);
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest.to_be_bytes());
        message.extend(&whole[..whole.len().min(room)]);
        let protocol = if ipv4 { 1 } else { 58 };
        let over = if ipv4 { 0 } else { pseudo(from, to, protocol, message.len()) };
        let checksum = !add(sum(&message), over);
        put(&mut message, 2, checksum);
        Ok(ip((from, to), (protocol, ttl), &message))
    }

    /// RFC 9293 section 3.5.2: with an ACK the reset takes its sequence number from it; without one it acknowledges all that the
    /// segment occupies. A reset is never answered with a reset.
    pub(super) fn reset(&self, packet: &Packet<'_>, transport: usize) -> Sent {
        let segment = &packet.bytes[transport..packet.fixed.length];
        let flags = segment[13];
        if flags & 0x04 != 0 {
            return Err(Verdict::Drop(Reason::NoBackend));
        }
        // A fragment may hold less than its header says.
        let data = segment.len().saturating_sub(usize::from(segment[12] >> 4) * 4);
        let occupied = data as u32 + u32::from(flags & 0x02 != 0) + u32::from(flags & 0x01 != 0);
        let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
        let mut answer = [&segment[2..4], &segment[..2]].concat();
        if flags & 0x10 != 0 {
            answer.extend(&segment[8..12]);
            answer.extend([0; 4]);
        } else {
            answer.extend([0; 4]);
            answer.extend(sequence.wrapping_add(occupied).to_be_bytes());
        }
        answer.extend([5 << 4, if flags & 0x10 != 0 { 0x04 } else { 0x14 }, 0, 0, 0, 0, 0, 0]);
        let checksum = !add(sum(&answer), self.pseudo_back(packet, 6, answer.len()));
        put(&mut answer, 16, checksum);
        Ok(back(packet, &ip(turned(packet), (6, 64), &answer), Reason::ResetSent))
    }

    /// The same bytes back under another type; the checksum stays as right or wrong as it was.
    pub(super) fn echo(packet: &Packet<'_>, transport: usize) -> Prediction {
        let request = &packet.bytes[transport..packet.fixed.length];
        let mut answer = request.to_vec();
        answer[0] = if packet.fixed.ipv4 { 0 } else { 129 };
        let checksum = updated(word(request, 2), &request[..2], &answer[..2]);
        put(&mut answer, 2, checksum);
        let protocol = if packet.fixed.ipv4 { 1 } else { 58 };
        back(packet, &ip(turned(packet), (protocol, 64), &answer), Reason::EchoAnswered)
    }

    /// An echo request with options, in fragments or in several buffers goes back as it is, under another type.
    pub(super) fn reflected(packet: &Packet<'_>, transport: Option<usize>) -> Prediction {
        let before = &packet.bytes[..packet.fixed.length];
        let (mut answer, ipv4) = (before.to_vec(), packet.fixed.ipv4);
        if let Some(at) = transport {
            answer[at] = if ipv4 { 0 } else { 129 };
            let checksum = updated(word(before, at + 2), &before[at..at + 2], &answer[at..at + 2]);
            put(&mut answer, at + 2, checksum);
        }
        answer[if ipv4 { 8 } else { 7 }] = 64;
        if ipv4 {
            // The addresses change places, which no sum sees.
            let checksum = updated(word(before, 10), &before[8..10], &answer[8..10]);
            put(&mut answer, 10, checksum);
        }
        let (from, to) = (if ipv4 { 12 } else { 8 }, bare(ipv4));
        let ends = [octets(packet.fixed.destination), octets(packet.fixed.source)].concat();
        answer[from..to].copy_from_slice(&ends);
        back(packet, &answer, Reason::EchoAnswered)
    }

    fn pseudo_back(&self, packet: &Packet<'_>, protocol: u8, length: usize) -> u16 {
        pseudo(packet.fixed.destination, packet.fixed.source, protocol, length)
    }
}

/// RFC 1122 section 3.2.2 and RFC 4443 section 2.4 e: no error to what is not one host's own address.
fn may_be_told(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.octets()[0] == 0 || v4.octets()[0] >= 224),
        IpAddr::V6(v6) => {
            !(v6.is_multicast() || v6.is_loopback() || v6.is_unspecified() || v6.to_ipv4_mapped().is_some())
        }
    }
}

/// A packet of the gateway's own.
fn ip((from, to): (IpAddr, IpAddr), (protocol, ttl): (u8, u8), payload: &[u8]) -> Vec<u8> {
    let mut header = if to.is_ipv4() {
        let [high, low] = (20 + payload.len() as u16).to_be_bytes();
        vec![0x45, 0, high, low, 0, 0, 0x40, 0, ttl, protocol, 0, 0]
    } else {
        let [high, low] = (payload.len() as u16).to_be_bytes();
        vec![0x60, 0, 0, 0, high, low, protocol, ttl]
    };
    header.extend([octets(from), octets(to)].concat());
    if to.is_ipv4() {
        let checksum = !sum(&header);
        put(&mut header, 10, checksum);
    }
    [&header, payload].concat()
}

/// Who sends and gets what goes back for a packet.
fn turned(packet: &Packet<'_>) -> (IpAddr, IpAddr) {
    (packet.fixed.destination, packet.fixed.source)
}

/// Out by the way it came, with its tags.
fn back(packet: &Packet<'_>, answer: &[u8], reason: Reason) -> Prediction {
    let frame = [&packet.link.turned(), answer].concat();
    Prediction { verdict: Verdict::Transmit(reason), frame, record: None }
}
