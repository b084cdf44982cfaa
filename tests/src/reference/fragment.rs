//! Turns fragments of packets into the way that their first fragment went, or leaves them to the daemon (case 19).

use std::net::IpAddr;

use balancer_common::{
    flow::FlowHash,
    record::{RECORD_FRAGMENT, RECORD_HOLD},
    verdict::{Reason, Verdict},
};

use super::{
    Packet, Prediction, Record, Reference, Sent,
    bytes::octets,
    carry::Carriage,
    client::reseal,
    member::Incarnation,
    packet::{Fixed, Walk},
};

/// What the fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub identification: u32,
    pub protocol: u8,
    /// Of a container's packet.
    pub vni: Option<u32>,
}

/// Where the first one went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    /// To a backend, under this hash.
    Forward(Incarnation, FlowHash),
    /// From a backend to its client.
    Reply(Incarnation),
    /// It was an echo request and was answered.
    Echo,
}

impl FragmentKey {
    /// None for what is no fragment.
    pub fn of(fixed: &Fixed, walk: &Walk, vni: Option<u32>) -> Option<Self> {
        let fragment = walk.fragment?;
        Some(Self {
            source: fixed.source,
            destination: fixed.destination,
            identification: fragment.identification,
            protocol: walk.protocol,
            vni,
        })
    }
}

impl Reference {
    /// Remembers the first fragment of a packet through a service port, for a token of its and its project's budget.
    pub(super) fn remember_fragment(&mut self, key: Option<FragmentKey>, at: usize, home: Remembered) {
        if let Some(key) = key
            && self.spend(at)
        {
            self.fragments.insert(key, home);
        }
    }

    /// A client's fragment behind the first one.
    pub(super) fn later(&mut self, packet: &Packet<'_>, walk: &Walk, offset: usize) -> Sent {
        // RFC 3128: nobody overwrites the TCP header that was looked at.
        if walk.protocol == 6 && offset < 20 {
            return Err(Verdict::Drop(Reason::Malformed));
        }
        let key = FragmentKey::of(&packet.fixed, walk, None);
        match key.and_then(|key| self.fragments.get(&key)).copied() {
            None => Ok(held(packet)),
            Some(Remembered::Echo) => Ok(Self::reflected(packet, None)),
            Some(Remembered::Reply(_)) => Err(Verdict::Drop(Reason::BackendStale)),
            Some(Remembered::Forward(home, hash)) => self.follow(packet, walk, (home, hash)),
        }
    }

    fn follow(&mut self, packet: &Packet<'_>, walk: &Walk, (home, hash): (Incarnation, FlowHash)) -> Sent {
        let stale = Verdict::Drop(Reason::BackendStale);
        let (vip, length) = (packet.fixed.destination, packet.fixed.length);
        let at = self.ports.iter().position(|port| port.key.vip == vip && port.member(Some(home)).is_some());
        let at = at.ok_or(stale)?;
        let member = self.ports[at].member(Some(home)).ok_or(stale)?.clone();
        // Its first fragment was answered; of a later one nobody is told (RFC 1122 section 3.2.2).
        if packet.fixed.ttl <= 1 {
            return Err(Verdict::Drop(Reason::ErrorLimited));
        }
        let host = self.host(member.way.vtep).ok_or(Verdict::Drop(Reason::Internal))?;
        let too_big = length > usize::from(host.inner_mtu);
        if too_big && !walk.may_fragment {
            return Err(Verdict::Drop(Reason::TooBig));
        }
        let before = &packet.bytes[..length];
        let mut inner = before.to_vec();
        inner[if packet.fixed.ipv4 { 8 } else { 7 }] -= 1;
        if !member.way.dsr {
            let (from, address) = (if packet.fixed.ipv4 { 16 } else { 24 }, octets(member.container));
            inner[from..from + address.len()].copy_from_slice(&address);
        }
        reseal(before, &mut inner, packet.fixed.ipv4);
        let carriage = Carriage { way: &member.way, vni: self.ports[at].key.vni, outer_port: hash.outer_port() };
        let frame = self.encapsulate(&inner, None, &carriage);
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

/// The daemon holds it until the first one was seen: the frame as it came, tags and padding included.
pub(super) fn held(packet: &Packet<'_>) -> Prediction {
    let frame = packet.arrival.frame.to_vec();
    Reference::handed(Reason::FragmentHeld, Record { kind: RECORD_HOLD, inner_mtu: 0, frame })
}
