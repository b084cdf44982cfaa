//! Turns a VXLAN packet from a host into what its container says to a client, or leaves it to the kernel's device (cases 12, 15, 18, 19, 22, 23).

use std::net::IpAddr;

use balancer_common::{
    record::{RECORD_FRAGMENT_REPLY, RECORD_SEND},
    verdict::{Reason, Verdict},
};
use balancer_user::model::{ClientRoutes, Mode};

use super::{
    Packet, Record, Reference, Sent,
    answer::Notice,
    bytes::{octets, put, updated, updated_udp, word},
    carry::{Carriage, macs},
    client::{clamp, reseal},
    conntrack::ReplyFlow,
    fragment::{FragmentKey, Remembered, held},
    member::{Incarnation, Member},
    packet::{Fixed, Link, Walk, bare, ethertype, walk},
    quote::{Quote, Renamed, is_error},
    world::Port,
};

/// What is no reply is the kernel's VXLAN device's, as it came.
const NOT_REPLY: Verdict = Verdict::Pass(Reason::OverlayNotReply);

/// An inner packet and what is around it.
struct Inner<'a> {
    outer: &'a Packet<'a>,
    vni: u32,
    /// The inner frame.
    link: Link<'a>,
    fixed: Fixed,
    walk: Walk,
}

/// Position of a service port, and one of its backends.
pub(super) type Place = (usize, Incarnation);

impl Reference {
    /// VXLAN for this gateway.
    pub(super) fn host_frame(&mut self, packet: &Packet<'_>) -> Sent {
        let vxlan = packet.bytes.get(bare(packet.fixed.ipv4) + 8..).ok_or(NOT_REPLY)?;
        let (header, frame) = vxlan.split_at_checked(8).ok_or(NOT_REPLY)?;
        let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
        if header[0] & 0x08 == 0 || vni == 0 {
            return Err(NOT_REPLY);
        }
        // The inner frame carries no tags.
        let link = Link::of(frame).filter(|link| link.tags.is_empty()).ok_or(NOT_REPLY)?;
        let fixed = Fixed::of(link.rest, link.ipv4).ok_or(NOT_REPLY)?;
        let icmp = if fixed.ipv4 { 1 } else { 58 };
        let transport = bare(fixed.ipv4);
        let header = if fixed.protocol == 6 { 20 } else { 8 };
        let is_known = matches!(fixed.protocol, 6 | 17);
        let start = packet.bytes.len() - link.rest.len();
        if fixed.plain && is_known && packet.is_in_view(start + transport + header) {
            let walk = Walk::plain(&fixed, link.rest);
            let inner = Inner { outer: packet, vni, link, fixed, walk };
            let key = inner.key();
            let is_range = self.publisher(&key).is_none_or(|(at, _)| self.ports[at].is_range());
            if !is_range || !self.has_reply_ranges() {
                return self.whole(&inner, true);
            }
        }
        let walk = walk(link.rest, &fixed).map_err(|_| NOT_REPLY)?;
        let link_length = link.rest.len();
        let inner = Inner { outer: packet, vni, link, fixed, walk };
        match walk.fragment {
            Some(fragment) if fragment.offset != 0 => self.later_reply(&inner),
            _ if matches!(walk.protocol, 6 | 17) => {
                let header = if walk.protocol == 6 { 20 } else { 8 };
                let is_there = fixed.length.min(link_length) >= walk.transport + header;
                if is_there { self.whole(&inner, false) } else { Err(NOT_REPLY) }
            }
            None if walk.protocol == icmp => self.about_forwarded(&inner),
            _ => Err(NOT_REPLY),
        }
    }

    /// A whole reply, or the first fragment of one. The fast program looks for the end of the packet last.
    fn whole(&mut self, inner: &Inner<'_>, fast: bool) -> Sent {
        let (fixed, bytes) = (&inner.fixed, &inner.link.rest[inner.walk.transport..]);
        let any = self.publisher(&inner.key()).ok_or(NOT_REPLY)?;
        let (at, home) = self.sender(inner, any, &inner.key())?;
        let tcp = inner.walk.protocol == 6;
        let (least, said) = if tcp { (20, usize::from(bytes[12] >> 4) * 4) } else { (8, usize::from(word(bytes, 4))) };
        let payload = fixed.length.checked_sub(inner.walk.transport).ok_or(Verdict::Drop(Reason::Malformed))?;
        if inner.walk.fragment.is_none() && (said < least || said > payload) {
            return Err(Verdict::Drop(Reason::Malformed));
        }
        if !fixed.ipv4 && !tcp && word(bytes, 6) == 0 {
            return Err(Verdict::Drop(Reason::UdpChecksumMissing));
        }
        if fixed.ttl <= 1 {
            return Err(Verdict::Drop(Reason::ReplyTtl));
        }
        // What may not fit the way to its client is the careful program's, which looks for the end of the packet first.
        let fast = fast && fixed.length <= self.segment_mtu((at, home))?;
        if !fast && inner.link.rest.len() < fixed.length {
            return Err(Verdict::Drop(Reason::Truncated));
        }
        let oversized = !fast && fixed.length > self.client_mtu(fixed.ipv4);
        if oversized && !inner.walk.may_fragment {
            return self.tell_container(inner, (at, home));
        }
        if !fast {
            let key = FragmentKey::of(fixed, &inner.walk, Some(inner.vni));
            self.remember_fragment(key, at, Remembered::Reply(home));
        }
        let marked = inner.marked()?;
        if marked.len() < fixed.length {
            return Err(Verdict::Drop(Reason::Truncated));
        }
        let (port, member) = self.at((at, home))?;
        let vip_port = if member.port == 0 { word(bytes, 0) } else { port.key.first };
        let segment_mtu = self.segment_mtu((at, home))?;
        let mut answer = returned(&marked[..fixed.length], &inner.walk, (port, Some(vip_port)));
        clamp(&mut answer, &inner.walk, segment_mtu);
        self.count_reply((at, home), fixed.length);
        if oversized {
            self.in_fragments(inner, &answer)
        } else {
            self.to_client(inner, at, (&answer, Reason::Replied))
        }
    }

    /// Another fragment of a reply.
    fn later_reply(&mut self, inner: &Inner<'_>) -> Sent {
        let fixed = &inner.fixed;
        let key = FragmentKey::of(fixed, &inner.walk, Some(inner.vni));
        let Some(known) = key.and_then(|key| self.fragments.get(&key)).copied() else {
            // Only what can be a reply is waited for.
            let all = self.ports.iter().filter(|port| port.key.vni == inner.vni && port.wanted.mode == Mode::Nat);
            let mut members = all.flat_map(|port| &port.members);
            let any = members.find(|member| member.container == fixed.source).ok_or(NOT_REPLY)?;
            if any.way.gateway == Some(fixed.destination) {
                return Err(Verdict::Pass(Reason::OverlayForGateway));
            }
            return Ok(held(inner.outer));
        };
        let stale = Verdict::Drop(Reason::BackendStale);
        let Remembered::Reply(home) = known else { return Err(stale) };
        let at = self.ports.iter().position(|port| port.member(Some(home)).is_some()).ok_or(stale)?;
        let (port, member) = self.at((at, home))?;
        if port.key.vni != inner.vni || member.container != fixed.source {
            return Err(stale);
        }
        if inner.outer.fixed.source != member.way.vtep {
            return Err(Verdict::Drop(Reason::VtepMismatch));
        }
        if fixed.ttl <= 1 {
            return Err(Verdict::Drop(Reason::ReplyTtl));
        }
        if inner.link.rest.len() < fixed.length {
            return Err(Verdict::Drop(Reason::Truncated));
        }
        let oversized = fixed.length > self.client_mtu(fixed.ipv4);
        if oversized && !inner.walk.may_fragment {
            return Err(Verdict::Drop(Reason::TooBig));
        }
        let answer = returned(&inner.marked()?[..fixed.length], &inner.walk, (port, None));
        self.count_reply((at, home), fixed.length);
        if oversized {
            self.in_fragments(inner, &answer)
        } else {
            self.to_client(inner, at, (&answer, Reason::Replied))
        }
    }

    /// What the way to the clients takes; whatever it is where nobody knows.
    fn client_mtu(&self, ipv4: bool) -> usize {
        let routes = if ipv4 { &self.view.clients_ipv4 } else { &self.view.clients_ipv6 };
        match routes.default.map_or(0, |hop| hop.mtu as usize) {
            0 => usize::from(u16::MAX),
            mtu => mtu.min(usize::from(u16::MAX)),
        }
    }

    /// A reply that the daemon cuts.
    fn in_fragments(&self, inner: &Inner<'_>, answer: &[u8]) -> Sent {
        let frame = [inner.link.macs, ethertype(inner.fixed.ipv4), answer].concat();
        let inner_mtu = self.client_mtu(inner.fixed.ipv4) as u32;
        Ok(Self::handed(Reason::FragmentedByDaemon, Record { kind: RECORD_FRAGMENT_REPLY, inner_mtu, frame }))
    }

    /// The container learns what the way to its clients takes: from the gateway's address in the project, in VXLAN.
    fn tell_container(&mut self, inner: &Inner<'_>, place: Place) -> Sent {
        let (port, member) = self.at(place)?;
        let (vip, vni, way) = (port.key.vip, port.key.vni, member.way.clone());
        let gateway = way.gateway.ok_or(Verdict::Drop(Reason::Internal))?;
        let ends = (gateway, inner.fixed.source);
        let notice = Notice::TooBig(self.client_mtu(inner.fixed.ipv4) as u16);
        // One hop less, as everything that the gateway sends into a project.
        let told = self.complaint(vip, &inner.link.rest[..inner.fixed.length], (ends, 63), notice)?;
        let host = self.host(way.vtep).ok_or(Verdict::Drop(Reason::Internal))?;
        let carriage = Carriage { way: &way, vni, outer_port: 49_152_u16.to_be_bytes() };
        let frame = self.encapsulate(&told, None, &carriage);
        self.to_host(frame, &host, (inner.outer.arrival.ingress, Reason::TooBigSent))
    }

    /// An ICMP error about a packet that was forwarded: its client gets it, as from the VIP.
    fn about_forwarded(&mut self, inner: &Inner<'_>) -> Sent {
        let (fixed, icmp) = (&inner.fixed, inner.walk.transport);
        if inner.link.rest.len() < fixed.length {
            return Err(NOT_REPLY);
        }
        let before = &inner.link.rest[..fixed.length];
        if fixed.length < icmp + 8 || !is_error(before[icmp], fixed.ipv4) {
            return Err(NOT_REPLY);
        }
        let quote = Quote::read(before, icmp, fixed.ipv4).ok_or(NOT_REPLY)?;
        // A container complains of what came to it, to whom it came from.
        if quote.destination.0 != fixed.source || quote.source.0 != fixed.destination {
            return Err(NOT_REPLY);
        }
        let key = ReplyFlow {
            vni: inner.vni,
            container: fixed.source,
            container_port: quote.destination.1,
            client: quote.source.0,
            client_port: quote.source.1,
            protocol: quote.protocol,
        };
        let any = self.publisher(&key).ok_or(NOT_REPLY)?;
        let (at, home) = self.sender(inner, any, &key)?;
        if fixed.ttl <= 1 {
            return Err(Verdict::Drop(Reason::ReplyTtl));
        }
        let marked = inner.marked()?;
        let (port, member) = self.at((at, home))?;
        let vip_port = Some(port.key.first).filter(|_| member.port != 0);
        let renamed = Renamed { source: false, address: port.key.vip, port: vip_port };
        let renamed = quote.rename(&marked[..fixed.length], (icmp, fixed.ipv4), &renamed);
        let answer = returned(&renamed, &inner.walk, (port, None));
        self.to_client(inner, at, (&answer, Reason::ErrorReplied))
    }

    fn at(&self, (at, home): Place) -> Result<(&Port, &Member), Verdict> {
        let port = &self.ports[at];
        Ok((port, port.member(Some(home)).ok_or(Verdict::Drop(Reason::Internal))?))
    }

    /// Who sent it: by the gateway's MAC, the flow where several service ports publish the port, and the host's VTEP.
    fn sender(&self, inner: &Inner<'_>, any: Place, key: &ReplyFlow) -> Result<Place, Verdict> {
        let (_, member) = self.at(any)?;
        if member.way.gateway == Some(inner.fixed.destination) {
            return Err(Verdict::Pass(Reason::OverlayForGateway));
        }
        if inner.link.macs[..6] != member.way.gateway_mac {
            return Err(NOT_REPLY);
        }
        let place = if member.ambiguous {
            let unknown = Verdict::Drop(Reason::ReplyFlowUnknown);
            let home = *self.reply_flows.get(key).ok_or(unknown)?;
            let at = self.ports.iter().position(|port| port.key.vni == key.vni && port.member(Some(home)).is_some());
            (at.ok_or(unknown)?, home)
        } else {
            any
        };
        let (_, member) = self.at(place)?;
        if inner.outer.fixed.source != member.way.vtep {
            return Err(Verdict::Drop(Reason::VtepMismatch));
        }
        Ok(place)
    }

    /// What fits the ways to a backend's host and to the clients.
    pub(super) fn segment_mtu(&self, place: Place) -> Result<usize, Verdict> {
        let (_, member) = self.at(place)?;
        let host = self.host(member.way.vtep).ok_or(Verdict::Drop(Reason::Internal))?;
        let view = &self.view;
        let defaults = [&view.clients_ipv4, &view.clients_ipv6].into_iter().filter_map(|routes| routes.default);
        let narrowest = defaults.map(|hop| hop.mtu as usize).min();
        Ok(narrowest.unwrap_or(usize::MAX).min(usize::from(host.inner_mtu)))
    }

    fn has_reply_ranges(&self) -> bool {
        let ranges = self.ports.iter().filter(|port| port.is_range() && port.wanted.mode == Mode::Nat);
        ranges.into_iter().any(|port| !port.members.is_empty())
    }

    /// Some backend that publishes this container's port, exactly or in a range; which one of several does not matter, as all are
    /// ambiguous then.
    fn publisher(&self, key: &ReplyFlow) -> Option<Place> {
        let nat = self.ports.iter().enumerate().filter(|(_, port)| {
            port.wanted.mode == Mode::Nat && (port.key.vni, port.key.protocol.number()) == (key.vni, key.protocol)
        });
        let of = |(at, port): (usize, &Port)| {
            let member = port.members.iter().find(|member| {
                let ports = if port.is_range() { port.key.first..=port.key.last } else { member.port..=member.port };
                member.container == key.container && ports.contains(&key.container_port)
            })?;
            Some((port.is_range(), (at, member.incarnation)))
        };
        nat.filter_map(of).min_by_key(|(is_range, _)| *is_range).map(|(_, place)| place)
    }

    fn count_reply(&mut self, (at, home): Place, length: usize) {
        self.count(at, home, |counters| {
            counters.reply_packets += 1;
            counters.reply_bytes += length as u64;
        });
    }

    /// Out to the client, with the tags that the service port's clients come with.
    fn to_client(&self, inner: &Inner<'_>, at: usize, (answer, reason): (&[u8], Reason)) -> Sent {
        let (ipv4, client, tags) = (inner.fixed.ipv4, inner.fixed.destination, &self.ports[at].tags);
        let routes = if ipv4 { &self.view.clients_ipv4 } else { &self.view.clients_ipv6 };
        let is_exception = routes.ask_kernel || routes.exceptions.iter().any(|network| network.contains(&client));
        match resolved(routes).filter(|_| !is_exception) {
            Some(hop) => {
                let frame = [&macs(&hop), &tags[..], ethertype(ipv4), answer].concat();
                self.leave(frame, (hop.ifindex, inner.outer.arrival.ingress), reason)
            }
            // The kernel routes nothing to what is not a node beyond a link (`rt6_need_strict` of net/ipv6/route.c).
            None if is_strict(client) => Err(Verdict::Drop(Reason::NoRoute)),
            // The kernel answers for no interface that does not forward, and those of the tests do not: the daemon sends it.
            None => {
                let frame = [inner.link.macs, ethertype(ipv4), answer].concat();
                Ok(Self::handed(Reason::SlowPath, Record { kind: RECORD_SEND, inner_mtu: 0, frame }))
            }
        }
    }
}

impl Inner<'_> {
    /// The flow, of a packet whose ports are there.
    fn key(&self) -> ReplyFlow {
        let bytes = &self.link.rest[self.walk.transport..];
        ReplyFlow {
            vni: self.vni,
            container: self.fixed.source,
            container_port: word(bytes, 0),
            client: self.fixed.destination,
            client_port: word(bytes, 2),
            protocol: self.walk.protocol,
        }
    }

    /// The packet, with what the ECN fields of both headers come to (RFC 6040 section 4.2, figure 4).
    fn marked(&self) -> Result<Vec<u8>, Verdict> {
        let ecn = match (self.fixed.class & 0b11, self.outer.fixed.class & 0b11) {
            (0b00, 0b11) => return Err(Verdict::Drop(Reason::EcnInvalid)),
            (0b01 | 0b10, 0b11) => 0b11,
            (0b10, 0b01) => 0b01,
            (same, _) => same,
        };
        let (before, mut after) = (self.link.rest, self.link.rest.to_vec());
        if self.fixed.ipv4 {
            after[1] = after[1] & !0b11 | ecn;
            reseal(before, &mut after, true);
        } else {
            after[1] = after[1] & !0b0011_0000 | ecn << 4;
        }
        Ok(after)
    }
}

/// Multicast, link-local and loopback of IPv6.
fn is_strict(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

fn resolved(routes: &ClientRoutes) -> Option<balancer_user::model::NextHop> {
    routes.default.filter(|hop| hop.destination_mac.is_some())
}

/// The packet as the client gets it: from the VIP, one hop less; with the VIP's port where there is a transport header to change.
fn returned(before: &[u8], walk: &Walk, (from, vip_port): (&Port, Option<u16>)) -> Vec<u8> {
    let (mut after, ipv4) = (before.to_vec(), from.key.vip.is_ipv4());
    let (ttl, source) = if ipv4 { (8, 12) } else { (7, 8) };
    let address = octets(from.key.vip);
    after[ttl] -= 1;
    after[source..source + address.len()].copy_from_slice(&address);
    if let Some(number) = vip_port {
        put(&mut after, walk.transport, number);
        let checksum = walk.transport + if walk.protocol == 6 { 16 } else { 6 };
        let ends = |packet: &[u8]| {
            let address = &packet[source..source + address.len()];
            [address, &packet[walk.transport..walk.transport + 2]].concat()
        };
        let update = if walk.protocol == 6 { updated } else { updated_udp };
        let sum = update(word(before, checksum), &ends(before), &ends(&after));
        put(&mut after, checksum, sum);
    }
    reseal(before, &mut after, ipv4);
    after
}
