//! Turns a packet for a container into a VXLAN frame for its host, and says by which interface it leaves (cases 15, 21).

use std::net::IpAddr;

use balancer_common::{
    abi::INNER_MTU_MAX,
    record::RECORD_SEND,
    verdict::{Reason, Verdict},
};
use balancer_user::model::NextHop;

use super::{
    Counters, Prediction, Record, Reference, Sent,
    bytes::{add, octets, pseudo, put, sum, word},
    member::{Incarnation, Way},
    packet::{Fixed, Walk, bare, ethertype},
};

/// What is around a packet.
pub(super) struct Carriage<'a> {
    pub way: &'a Way,
    pub vni: u32,
    /// Outer UDP source port.
    pub outer_port: [u8; 2],
}

/// A container host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// The way to it, when there is a route.
    pub hop: Option<NextHop>,
    /// Largest inner IP packet.
    pub inner_mtu: u16,
}

/// Outer MTU where nothing is known.
const MTU_UNKNOWN: u32 = 1500;

impl Reference {
    /// The host of a VTEP.
    pub(super) fn host(&self, vtep: IpAddr) -> Option<Host> {
        let wanted = self.desired.hosts.iter().find(|host| host.vtep == vtep)?;
        let hop = self.view.hosts.get(&vtep).copied();
        let learnt = self.view.path_mtus.get(&vtep).map(|mtu| u32::from(*mtu));
        let said = [wanted.mtu.map(u32::from), hop.map(|hop| hop.mtu), learnt];
        let outer = said.into_iter().flatten().min().unwrap_or(MTU_UNKNOWN);
        let inner = outer.saturating_sub(if vtep.is_ipv4() { 50 } else { 70 });
        Some(Host { hop, inner_mtu: inner.min(u32::from(INNER_MTU_MAX)) as u16 })
    }

    /// The finished frame. RFC 7348, RFC 6040: ToS and ECN are the packet's, DF, TTL 64, checksum 0 over IPv4 and a valid one
    /// over IPv6. `believed`: a plain packet, of which the checksum of the transport part is believed and not recomputed.
    pub(super) fn encapsulate(&self, inner: &[u8], believed: Option<&Walk>, carriage: &Carriage<'_>) -> Vec<u8> {
        let (Carriage { way, vni, outer_port }, inner_ipv4) = (carriage, inner[0] >> 4 == 4);
        let class = if inner_ipv4 { inner[1] } else { inner[0] << 4 | inner[1] >> 4 };
        let gateway = &self.desired.gateway;
        let ipv4 = way.vtep.is_ipv4();
        let source = if ipv4 { gateway.vtep_ipv4.map(IpAddr::V4) } else { gateway.vtep_ipv6.map(IpAddr::V6) };
        let source = source.unwrap_or(way.vtep);
        let mut udp = outer_port.to_vec();
        udp.extend(gateway.vxlan_port.to_be_bytes());
        udp.extend((8 + 8 + 14 + inner.len() as u16).to_be_bytes());
        udp.extend([0, 0, 8, 0, 0, 0]);
        udp.extend((vni << 8).to_be_bytes());
        udp.extend(way.mac);
        udp.extend(way.gateway_mac);
        udp.extend(ethertype(inner_ipv4));
        let length = udp.len() + inner.len();
        if !ipv4 {
            let headers = add(sum(&udp), pseudo(source, way.vtep, 17, length));
            let checksum = !add(headers, believed.map_or_else(|| sum(inner), |walk| packet_sum(inner, walk)));
            put(&mut udp, 6, if checksum == 0 { 0xffff } else { checksum });
        }
        let mut frame = self.hop_macs(way.vtep);
        frame.extend(ethertype(ipv4));
        frame.extend(outer(ipv4, class, length));
        frame.extend(octets(source));
        frame.extend(octets(way.vtep));
        if ipv4 {
            let checksum = !sum(&frame[14..34]);
            put(&mut frame, 24, checksum);
        }
        [frame, udp, inner.to_vec()].concat()
    }

    /// Out to a host, or to the daemon while the host's MAC is not known.
    pub(super) fn to_host(&self, frame: Vec<u8>, host: &Host, (ingress, reason): (u32, Reason)) -> Sent {
        match host.hop.filter(|hop| hop.destination_mac.is_some()) {
            Some(hop) => self.leave(frame, (hop.ifindex, ingress), reason),
            None => Ok(Self::handed(Reason::SlowPath, Record { kind: RECORD_SEND, inner_mtu: 0, frame })),
        }
    }

    /// Out by an interface: back where the frame came in, or by another one that the program is attached to.
    pub(super) fn leave(&self, frame: Vec<u8>, (port, ingress): (u32, u32), reason: Reason) -> Sent {
        let verdict = if port == ingress {
            Verdict::Transmit(reason)
        } else if self.interfaces.contains(&port) {
            Verdict::Redirect(reason)
        } else {
            return Err(Verdict::Drop(Reason::PortUnknown));
        };
        Ok(Prediction { verdict, frame, record: None })
    }

    /// Given to the daemon; the frame itself ends here.
    pub(super) fn handed(reason: Reason, record: Record) -> Prediction {
        Prediction { verdict: Verdict::Drop(reason), frame: vec![], record: Some(record) }
    }

    /// Counts for a service port and one of its backends.
    pub(super) fn count(&mut self, at: usize, home: Incarnation, add: impl Fn(&mut Counters)) {
        let port = &mut self.ports[at];
        add(&mut port.counters);
        for member in port.members.iter_mut().filter(|member| member.incarnation == home) {
            add(&mut member.counters);
        }
    }

    fn hop_macs(&self, vtep: IpAddr) -> Vec<u8> {
        self.view.hosts.get(&vtep).map_or_else(|| vec![0; 12], macs)
    }
}

/// Destination and source MAC of a way; zeroes for what is not known.
pub(super) fn macs(hop: &NextHop) -> Vec<u8> {
    [hop.destination_mac.unwrap_or_default(), hop.source_mac].concat()
}

/// The outer IP header without its addresses.
fn outer(ipv4: bool, class: u8, length: usize) -> Vec<u8> {
    if ipv4 {
        let [high, low] = (20 + length as u16).to_be_bytes();
        vec![0x45, class, high, low, 0, 0, 0x40, 0, 64, 17, 0, 0]
    } else {
        let [high, low] = (length as u16).to_be_bytes();
        vec![0x60 | class >> 4, class << 4, 0, 0, high, low, 17, 64]
    }
}

/// Sum of an inner packet whose transport part is not read: its checksum is believed to be right, so the outer one is wrong by as much
/// as the inner one is (local checksum offload). Only without a checksum it is summed.
fn packet_sum(inner: &[u8], walk: &Walk) -> u16 {
    let ipv4 = inner[0] >> 4 == 4;
    let has_checksum = walk.protocol == 6 || word(inner, walk.transport + 6) != 0;
    match Fixed::of(inner, ipv4) {
        Some(fixed) if has_checksum => {
            let transport = pseudo(fixed.source, fixed.destination, walk.protocol, inner.len() - bare(ipv4));
            add(sum(&inner[..bare(ipv4)]), !transport)
        }
        _ => sum(inner),
    }
}
