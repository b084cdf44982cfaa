//! Turns a client's packet for a VIP into one for a backend's host, or into an answer (cases 2 to 17).

use std::net::IpAddr;

use balancer_common::{
    record::RECORD_FRAGMENT,
    verdict::{Reason, Verdict},
};

use ipnet::IpNet;

use super::{
    Packet, Record, Reference, Sent,
    answer::Notice,
    bytes::{octets, put, updated, updated_udp, word},
    carry::Carriage,
    conntrack::{Flow, Signal},
    fragment::{FragmentKey, Remembered},
    member::Member,
    packet::{self, Walk, bare},
    quote,
};

/// A packet for a service port.
struct Request {
    /// Position of the service port.
    at: usize,
    flow: Flow,
    signal: Signal,
    walk: Walk,
}

const fn drop<T>(reason: Reason) -> Result<T, Verdict> {
    Err(Verdict::Drop(reason))
}

impl Reference {
    /// A packet whose destination is a VIP. What the fast program sees is judged by its ports first; of everything else the headers
    /// have to be right before anything is looked up.
    pub(super) fn client_frame(&mut self, packet: &Packet<'_>) -> Sent {
        let fixed = &packet.fixed;
        let icmp = if fixed.ipv4 { 1 } else { 58 };
        let transport = bare(fixed.ipv4);
        let header = match fixed.protocol {
            6 => 20,
            17 => 8,
            protocol if protocol == icmp => 8,
            _ => 0,
        };
        if fixed.plain && packet.is_in_view(transport + header) {
            let is_fast = match fixed.protocol {
                6 | 17 => self.has_exact(packet),
                protocol if protocol == icmp => !quote::is_error(packet.bytes[transport], fixed.ipv4),
                _ => false,
            };
            if is_fast && fixed.protocol == icmp {
                return self.plain_message(packet);
            }
            if is_fast {
                return self.request(packet, Walk::plain(fixed, packet.bytes));
            }
            let is_message = fixed.protocol == icmp;
            if !is_message && !self.has_ranges(fixed.destination) {
                return Err(Verdict::Pass(Reason::VipPortClosed));
            }
        }
        self.careful(packet, icmp)
    }

    fn careful(&mut self, packet: &Packet<'_>, icmp: u8) -> Sent {
        let walk = packet::walk(packet.bytes, &packet.fixed).map_err(Verdict::Drop)?;
        whole(packet)?;
        if walk.protocol != 6 && walk.protocol != 17 && walk.protocol != icmp {
            return Err(Verdict::Pass(Reason::VipPortClosed));
        }
        if let Some(offset) = walk.fragment.map(|fragment| fragment.offset).filter(|offset| *offset != 0) {
            return self.later(packet, &walk, offset);
        }
        if packet.fixed.length < walk.transport + if walk.protocol == 6 { 20 } else { 8 } {
            return drop(Reason::Malformed);
        }
        if walk.protocol == icmp { self.message(packet, walk) } else { self.request(packet, walk) }
    }

    fn plain_message(&self, packet: &Packet<'_>) -> Sent {
        let transport = bare(packet.fixed.ipv4);
        if packet.bytes[transport] != echo_request(packet.fixed.ipv4) {
            return Err(Verdict::Pass(Reason::VipIcmp));
        }
        if packet.fixed.length < transport + 8 {
            return drop(Reason::Malformed);
        }
        whole(packet)?;
        Ok(Self::echo(packet, transport))
    }

    /// ICMP with options, in fragments, in several buffers, or an error.
    fn message(&mut self, packet: &Packet<'_>, walk: Walk) -> Sent {
        let kind = packet.bytes[walk.transport];
        if kind == echo_request(packet.fixed.ipv4) {
            if let Some(key) = FragmentKey::of(&packet.fixed, &walk, None) {
                self.remember_echo(key)?;
            }
            return Ok(Self::reflected(packet, Some(walk.transport)));
        }
        if !quote::is_error(kind, packet.fixed.ipv4) || walk.fragment.is_some() {
            return Err(Verdict::Pass(Reason::VipIcmp));
        }
        self.about_reply(packet, &walk)
    }

    /// The fragments of an echo request are answered only when its first one is, for a token of the budget of
    /// the VIP's errors.
    fn remember_echo(&mut self, key: FragmentKey) -> Result<(), Verdict> {
        let limited = Verdict::Drop(Reason::ErrorLimited);
        let vip = self.vips.get_mut(&key.destination).ok_or(limited)?;
        if !vip.errors.has_one() {
            return Err(limited);
        }
        vip.errors.spend();
        self.fragments.insert(key, Remembered::Echo);
        Ok(())
    }

    fn has_ranges(&self, vip: IpAddr) -> bool {
        self.ports.iter().any(|port| port.key.vip == vip && port.is_range())
    }

    /// Whether there is a service port of exactly the port that stands at the plain place.
    fn has_exact(&self, packet: &Packet<'_>) -> bool {
        let port = word(packet.bytes, bare(packet.fixed.ipv4) + 2);
        let found = self.find(packet.fixed.destination, packet.fixed.protocol, port);
        found.is_some_and(|at| !self.ports[at].is_range())
    }

    fn request(&mut self, packet: &Packet<'_>, walk: Walk) -> Sent {
        let (fixed, bytes) = (&packet.fixed, &packet.bytes[walk.transport..]);
        let flow = Flow {
            client: fixed.source,
            client_port: word(bytes, 0),
            vip: fixed.destination,
            vip_port: word(bytes, 2),
            protocol: walk.protocol,
        };
        let closed = Verdict::Pass(Reason::VipPortClosed);
        let at = self.find(flow.vip, flow.protocol, flow.vip_port).ok_or(closed)?;
        let tcp = walk.protocol == 6;
        let payload = fixed.length.checked_sub(walk.transport).ok_or(Verdict::Drop(Reason::Malformed))?;
        let (least, said) = if tcp { (20, usize::from(bytes[12] >> 4) * 4) } else { (8, usize::from(word(bytes, 4))) };
        // Of a fragment nobody knows yet how long the whole is.
        if walk.fragment.is_none() && (said < least || said > payload) {
            return drop(Reason::Malformed);
        }
        if !tcp && !fixed.ipv4 && word(bytes, 6) == 0 {
            return drop(Reason::UdpChecksumMissing);
        }
        // A packet whose time ends here is answered by what is there of it only when all of it is there.
        whole(packet)?;
        if fixed.ttl <= 1 {
            return self.notify(packet, Notice::Expired);
        }
        if !self.lets_in(at, flow.client) {
            return drop(Reason::SourceDenied);
        }
        let signal = if tcp { Signal::of(bytes[13]) } else { Signal::Continues };
        self.forward(packet, &Request { at, flow, signal, walk })
    }

    /// The longest prefix that holds the client decides; whom none holds may, unless there are prefixes to allow.
    fn lets_in(&self, at: usize, client: IpAddr) -> bool {
        let sources = &self.ports[at].wanted.sources;
        let longest =
            |prefixes: &[IpNet]| prefixes.iter().filter(|prefix| prefix.contains(&client)).map(IpNet::prefix_len).max();
        match (longest(&sources.allow), longest(&sources.deny)) {
            (None, None) => sources.allow.is_empty(),
            (allow, deny) => allow > deny,
        }
    }

    fn forward(&mut self, packet: &Packet<'_>, request: &Request) -> Sent {
        let Request { at, flow, signal, walk } = *request;
        self.ports[at].tags = packet.link.tags.to_vec();
        let hash = self.ports[at].flow_hash(flow.client, flow.client_port, flow.vip_port);
        let Some(home) = self.choose(at, flow, (signal, hash)) else {
            return if flow.protocol == 6 {
                self.reset(packet, walk.transport)
            } else {
                self.notify(packet, Notice::Unreachable)
            };
        };
        let member = self.ports[at].member(Some(home)).ok_or(Verdict::Drop(Reason::Internal))?.clone();
        let host = self.host(member.way.vtep).ok_or(Verdict::Drop(Reason::Internal))?;
        let length = packet.fixed.length;
        let too_big = length > usize::from(host.inner_mtu);
        if too_big && !walk.may_fragment {
            return self.notify(packet, Notice::TooBig(host.inner_mtu));
        }
        let mut inner = delivered(packet, &walk, &member);
        clamp(&mut inner, &walk, self.segment_mtu((at, home))?);
        let carriage = Carriage { way: &member.way, vni: self.ports[at].key.vni, outer_port: hash.outer_port() };
        // The careful program sums what it carries; the fast one believes the checksum of the packet's transport part.
        let is_summed =
            !packet.fixed.plain || too_big || self.ports[at].is_careful() || !packet.is_in_view(need(&walk));
        let frame = self.encapsulate(&inner, Some(&walk).filter(|_| !is_summed), &carriage);
        let key = FragmentKey::of(&packet.fixed, &walk, None);
        self.remember_fragment(key, at, Remembered::Forward(home, hash));
        self.count(at, home, |counters| {
            counters.forward_packets += 1;
            counters.forward_bytes += length as u64;
        });
        if too_big {
            let record = Record { kind: RECORD_FRAGMENT, inner_mtu: u32::from(host.inner_mtu), frame };
            return Ok(Self::handed(Reason::FragmentedByDaemon, record));
        }
        self.to_host(frame, &host, (packet.arrival.ingress, Reason::Forwarded))
    }
}

/// Bytes up to the end of the transport header.
const fn need(walk: &Walk) -> usize {
    walk.transport + if walk.protocol == 6 { 20 } else { 8 }
}

const fn echo_request(ipv4: bool) -> u8 {
    if ipv4 { 8 } else { 128 }
}

/// Case 4: a frame that holds less than its IP packet is dropped; what is behind the packet is padding.
fn whole(packet: &Packet<'_>) -> Result<(), Verdict> {
    if packet.bytes.len() < packet.fixed.length { drop(Reason::Truncated) } else { Ok(()) }
}

/// The packet as the container gets it: its own address and port, one hop less.
fn delivered(packet: &Packet<'_>, walk: &Walk, member: &Member) -> Vec<u8> {
    let before = &packet.bytes[..packet.fixed.length];
    let mut after = before.to_vec();
    let ipv4 = packet.fixed.ipv4;
    let (ttl, destination) = if ipv4 { (8, 16) } else { (7, 24) };
    after[ttl] -= 1;
    if !member.way.dsr {
        let address = octets(member.container);
        after[destination..destination + address.len()].copy_from_slice(&address);
        if member.port != 0 {
            put(&mut after, walk.transport + 2, member.port);
        }
    }
    let transport = walk.transport;
    let checksum = transport + if walk.protocol == 6 { 16 } else { 6 };
    let old = [&before[destination..bare(ipv4)], &before[transport..transport + 4]].concat();
    let new = [&after[destination..bare(ipv4)], &after[transport..transport + 4]].concat();
    let update = if walk.protocol == 6 { updated } else { updated_udp };
    let sum = update(word(before, checksum), &old, &new);
    put(&mut after, checksum, sum);
    reseal(before, &mut after, ipv4);
    after
}

/// Gives the header checksum of IPv4 what changed in the header.
pub(super) fn reseal(before: &[u8], after: &mut [u8], ipv4: bool) {
    if ipv4 {
        let sum = updated(word(before, 10), &before[..20], &after[..20]);
        put(after, 10, sum);
    }
}

/// Case 17: the MSS of what carries SYN is lowered to what fits; options in any order. What does not lie within the header is no option.
pub(super) fn clamp(packet: &mut [u8], walk: &Walk, mtu: usize) {
    if walk.protocol != 6 || packet[walk.transport + 13] & 0x02 == 0 {
        return;
    }
    let overhead = if packet[0] >> 4 == 4 { 40 } else { 60 };
    let (most, segment) =
        (mtu.saturating_sub(overhead).min(usize::from(u16::MAX)) as u16, &mut packet[walk.transport..]);
    let end = (usize::from(segment[12] >> 4) * 4).min(segment.len());
    let mut at = 20;
    while at + 4 <= end {
        match (segment[at], segment[at + 1]) {
            (0, _) => return,
            (1, _) => at += 1,
            (2, 4) => {
                if word(segment, at + 2) > most {
                    let before = segment[..end].to_vec();
                    put(segment, at + 2, most);
                    let sum = updated(word(segment, 16), &before, &segment[..end]);
                    put(segment, 16, sum);
                }
                return;
            }
            (_, 0 | 1) => return,
            (_, length) => at += usize::from(length),
        }
    }
}
