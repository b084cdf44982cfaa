//! Turns ICMP errors about packets that were translated into errors that their receivers understand (case 18, RFC 5508).

use std::net::IpAddr;

use balancer_common::verdict::{Reason, Verdict};

use super::{
    Packet, Reference, Sent,
    bytes::{octets, put, updated, updated_udp, word},
    carry::Carriage,
    client::reseal,
    conntrack::Flow,
    packet::{self, Fixed, Walk, bare},
};

/// The packet that an error quotes, of which at least 8 bytes behind the IP headers are there.
pub(super) struct Quote {
    /// Where its IP header stands, from the start of the packet that quotes it.
    header: usize,
    /// Where its transport header stands likewise.
    transport: usize,
    pub protocol: u8,
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
}

/// Which end of a quoted packet is another for its receiver, and what it is there.
pub(super) struct Renamed {
    pub source: bool,
    pub address: IpAddr,
    /// None where ports stay.
    pub port: Option<u16>,
}

/// Destination unreachable, time exceeded, parameter problem; packet too big over IPv6.
pub(super) const fn is_error(kind: u8, ipv4: bool) -> bool {
    if ipv4 { matches!(kind, 3 | 11 | 12) } else { matches!(kind, 1..=4) }
}

impl Quote {
    /// None for what names no flow: too short, a later fragment, neither TCP nor UDP. `bytes` end where the packet that quotes ends.
    pub fn read(bytes: &[u8], icmp: usize, ipv4: bool) -> Option<Self> {
        let header = icmp + 8;
        let quoted = bytes.get(header..)?;
        let fixed = Fixed::of(quoted, ipv4)?;
        let Walk { transport, protocol, fragment, .. } = packet::walk(quoted, &fixed).ok()?;
        let is_later = fragment.is_some_and(|fragment| fragment.offset != 0);
        if is_later || !matches!(protocol, 6 | 17) || quoted.len() < transport + 8 {
            return None;
        }
        Some(Self {
            header,
            transport: header + transport,
            protocol,
            source: (fixed.source, word(quoted, transport)),
            destination: (fixed.destination, word(quoted, transport + 2)),
        })
    }

    /// The packet that quotes with another end in the quote, and right checksums of it as far as they are quoted. `outer` is the
    /// address of the packet itself that changes in the same way.
    pub fn rename(&self, before: &[u8], (icmp, ipv4): (usize, bool), renamed: &Renamed) -> Vec<u8> {
        let mut after = before.to_vec();
        let (from, port) = match (renamed.source, ipv4) {
            (true, true) => (12, self.transport),
            (true, false) => (8, self.transport),
            (false, true) => (16, self.transport + 2),
            (false, false) => (24, self.transport + 2),
        };
        let address = octets(renamed.address);
        let place = self.header + from..self.header + from + address.len();
        after[place.clone()].copy_from_slice(&address);
        if let Some(number) = renamed.port {
            put(&mut after, port, number);
        }
        let ends = |bytes: &[u8]| [&bytes[place.clone()], &bytes[port..port + 2]].concat();
        let checksum = self.transport + if self.protocol == 6 { 16 } else { 6 };
        if checksum + 2 <= before.len() {
            let update = if self.protocol == 6 { updated } else { updated_udp };
            let sum = update(word(before, checksum), &ends(before), &ends(&after));
            put(&mut after, checksum, sum);
        }
        reseal(&before[self.header..], &mut after[self.header..], ipv4);
        // ICMPv6 sums its pseudo-header too, where the same address changes.
        let pseudo = |bytes: &[u8]| if ipv4 { vec![] } else { bytes[place.clone()].to_vec() };
        let summed = |bytes: &[u8]| [pseudo(bytes), bytes[icmp + 4..].to_vec()].concat();
        let sum = updated(word(before, icmp + 2), &summed(before), &summed(&after));
        put(&mut after, icmp + 2, sum);
        after
    }
}

impl Reference {
    /// An ICMP error from the client's side, about a packet that a container sent: the container gets it. Errors are in
    /// nobody's counters.
    pub(super) fn about_reply(&mut self, packet: &Packet<'_>, walk: &Walk) -> Sent {
        let not_ours = Verdict::Pass(Reason::VipIcmp);
        let (fixed, before) = (&packet.fixed, &packet.bytes[..packet.fixed.length]);
        let quote = Quote::read(before, walk.transport, fixed.ipv4).ok_or(not_ours)?;
        if quote.source.0 != fixed.destination {
            return Err(not_ours);
        }
        let (vip, vip_port) = quote.source;
        let (client, client_port) = quote.destination;
        let at = self.find(vip, quote.protocol, vip_port).ok_or(not_ours)?;
        let hash = self.ports[at].flow_hash(client, client_port, vip_port);
        let flow = Flow { client, client_port, vip, vip_port, protocol: quote.protocol };
        let home = self.look(at, &flow, hash).ok_or(Verdict::Drop(Reason::NoBackend))?;
        let member = self.ports[at].member(Some(home)).ok_or(Verdict::Drop(Reason::Internal))?.clone();
        if fixed.ttl <= 1 {
            return Err(Verdict::Drop(Reason::ErrorLimited));
        }
        let host = self.host(member.way.vtep).ok_or(Verdict::Drop(Reason::Internal))?;
        if fixed.length > usize::from(host.inner_mtu) {
            return Err(Verdict::Drop(Reason::TooBig));
        }
        let address = if member.way.dsr { vip } else { member.container };
        let port = Some(member.port).filter(|port| *port != 0);
        let renamed = Renamed { source: true, address, port };
        let mut inner = quote.rename(before, (walk.transport, fixed.ipv4), &renamed);
        let (ttl, destination) = if fixed.ipv4 { (8, 16) } else { (7, 24) };
        inner[ttl] -= 1;
        inner[destination..bare(fixed.ipv4)].copy_from_slice(&octets(address));
        reseal(before, &mut inner, fixed.ipv4);
        let carriage = Carriage { way: &member.way, vni: self.ports[at].key.vni, outer_port: hash.outer_port() };
        let frame = self.encapsulate(&inner, None, &carriage);
        self.to_host(frame, &host, (packet.arrival.ingress, Reason::ErrorForwarded))
    }

    /// Whether the underlay says that a packet of ours to a host was too big.
    pub(super) fn is_outer_error(&self, packet: &Packet<'_>) -> bool {
        let (fixed, icmp) = (&packet.fixed, bare(packet.fixed.ipv4));
        let too_big = if fixed.ipv4 { (1, [3, 4]) } else { (58, [2, 0]) };
        let Some(message) = packet.bytes.get(icmp..icmp + 2) else { return false };
        if (fixed.protocol, [message[0], message[1]]) != too_big {
            return false;
        }
        Quote::read(packet.bytes, icmp, fixed.ipv4).is_some_and(|quote| {
            let ours = Some(quote.source.0) == self.vtep(fixed.ipv4);
            ours && quote.protocol == 17 && quote.destination.1 == self.desired.gateway.vxlan_port
        })
    }
}
