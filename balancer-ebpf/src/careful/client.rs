//! Turns a packet of a client's side into one for a backend, or into what the client has to be told.

use balancer_common::{
    abi::{Backend, Host},
    case::Case,
    conntrack::FlowKey,
    flow::FlowHash,
    fragment::{FRAGMENT_ECHO, FRAGMENT_FORWARD, FragmentKey},
    id::BackendRef,
    record::RECORD_FRAGMENT,
    service::{FAMILY_IPV4, STATE_FREE},
    verdict::{Reason, Verdict},
    wire::{
        ip::{Ip, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP},
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        quote::Quote,
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
        walk::{WALK_MAY_FRAGMENT, Walk},
    },
};

use super::{IP_AT, Next, count, tags};
use crate::{
    cold,
    frame::{Frame, Header, global},
    lookup::{self, Found},
    maps,
    stage::{
        emit, encap, fragment, guard,
        icmp::{self, Complaint},
        length, parse, rewrite, select,
    },
    value::{Carriage, Choice, Parcel, Scratch},
};

/// What a packet is whose destination may be a VIP; how its headers lie stays in this CPU's room.
#[inline(always)]
pub fn look<I: Ip>(frame: &Frame, ip: &I, walk: &mut Walk) -> Result<Next, Verdict> {
    if lookup::vip(ip).is_none() {
        return Err(Verdict::Pass(Reason::NotOurs));
    }
    *walk = ip.walk(frame, IP_AT).map_err(Verdict::Drop)?;
    count(walk);
    if frame.first_buffer() < walk.transport {
        maps::count_case(Case::HeadersSplit);
    }
    if !length::holds(frame, walk.length) {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    let protocol = walk.protocol as u8;
    if protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && protocol != I::ICMP {
        return Err(Verdict::Pass(Reason::VipPortClosed));
    }
    if walk.is_later() {
        return Ok(Next::Later);
    }
    Ok(match protocol {
        PROTOCOL_TCP => Next::Tcp,
        PROTOCOL_UDP => Next::Udp,
        _ => Next::Message,
    })
}

global! { |frame|
    fn careful_tcp_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, choose::<Ipv4Header, TcpHeader>) }
    fn careful_tcp_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, choose::<Ipv6Header, TcpHeader>) }
    fn careful_udp_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, choose::<Ipv4Header, UdpHeader>) }
    fn careful_udp_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, choose::<Ipv6Header, UdpHeader>) }
    fn careful_later_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, later::<Ipv4Header>) }
    fn careful_later_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, later::<Ipv6Header>) }
    fn careful_send_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, send::<Ipv4Header>) }
    fn careful_send_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, send::<Ipv6Header>) }
    fn careful_deliver() -> u32 { deliver(&mut frame).word() }
}

/// A packet that its headers describe, and parts of this CPU's room.
pub(super) struct Described<'a, I> {
    pub ip: &'a mut I,
    pub walk: Walk,
    pub vip: Found,
    pub transport: &'a mut [u8; 24],
    pub quoted_ip: &'a mut [u8; 40],
    pub quote: &'a mut Quote,
    pub flow: &'a mut FlowKey,
    pub key: &'a mut FragmentKey,
    pub parcel: &'a mut Parcel,
}

impl<I> Described<'_, I> {
    /// Where the IP packet ends in the frame.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        IP_AT + self.walk.length
    }
}

/// Takes a packet on from where the look at it ended.
#[inline(always)]
pub(super) fn described<I: Ip + Header>(
    frame: &mut Frame,
    step: impl FnOnce(&mut Frame, Described<'_, I>) -> Result<Next, Verdict>,
) -> u32 {
    let internal = Verdict::Drop(Reason::Internal).word();
    let Some(Scratch { ip, transport, flow, fragment: key, quoted_ip, quote, walk, parcel, .. }) = maps::scratch()
    else {
        return internal;
    };
    let Some(ip) = frame.load_header::<I, _>(IP_AT, ip) else { return internal };
    let Some(vip) = lookup::vip(ip) else { return internal };
    Next::or_verdict(step(frame, Described { ip, walk: *walk, vip, transport, quoted_ip, quote, flow, key, parcel }))
}

/// Finds the backend of a whole packet, or of the first fragment of one.
#[inline(always)]
fn choose<I, T>(frame: &mut Frame, packet: Described<'_, I>) -> Result<Next, Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    let end = packet.end();
    let Described { ip, walk, vip, transport, flow, parcel, .. } = packet;
    let malformed = Verdict::Drop(Reason::Malformed);
    if walk.transport + size_of::<T>() as u32 > end {
        return Err(malformed);
    }
    let transport = frame.load_header::<T, _>(walk.transport, transport).ok_or(Verdict::Drop(Reason::Truncated))?;
    let port = transport.destination_port();
    let (service_id, service) =
        lookup::at_vip(ip, vip, T::PROTOCOL, port).ok_or(Verdict::Pass(Reason::VipPortClosed))?;
    if !walk.is_fragment() && !transport.fits(end - walk.transport) {
        return Err(malformed);
    }
    if I::ICMP != PROTOCOL_ICMP && !transport.has_checksum() {
        return Err(Verdict::Drop(Reason::UdpChecksumMissing));
    }
    if ip.ttl() <= 1 {
        return complain(parcel, Complaint::Expired);
    }
    guard::source(ip, service_id, service.flags)?;
    if service.port != service.port_last {
        maps::count_case(Case::PortRange);
    }
    select::learn(service, service_id, tags());
    *flow = FlowKey {
        client: ip.source(),
        vip: ip.destination(),
        client_port: transport.source_port(),
        vip_port: port,
        protocol: T::PROTOCOL,
        reserved: [0; 3],
    };
    let hash = FlowHash::of(service, &flow.client, flow.client_port, port);
    let selection = select::look(service, service_id, hash)?;
    let placed = if selection.settled {
        Ok(selection.slot.owner & BackendRef::ID_MAX)
    } else {
        cold::conntrack_scratch(service_id, selection.slot, hash, Some(transport.signal()))
    };
    *parcel = Parcel {
        hash,
        service_id,
        length: walk.length,
        traffic_class: u32::from(ip.traffic_class()),
        ..Parcel::FORWARDED
    };
    match placed {
        Ok(backend_id) => {
            parcel.backend_id = backend_id;
            Ok(Next::Send)
        }
        Err(Verdict::Drop(Reason::NoBackend)) if T::PROTOCOL == PROTOCOL_TCP => {
            Err(cold::reset::<I>(frame, walk.transport))
        }
        Err(Verdict::Drop(Reason::NoBackend)) => complain(parcel, Complaint::NoBackend),
        Err(verdict) => Err(verdict),
    }
}

#[inline(always)]
fn complain(parcel: &mut Parcel, complaint: Complaint) -> Result<Next, Verdict> {
    parcel.complaint = complaint.word();
    Ok(Next::Complain)
}

/// Translates a packet whose backend is known; a first fragment is remembered.
#[inline(always)]
fn send<I: Ip + Header>(frame: &mut Frame, packet: Described<'_, I>) -> Result<Next, Verdict> {
    let Described { ip, walk, transport, key, parcel, .. } = packet;
    let (backend, host) = backend_and_host(parcel.backend_id)?;
    let service = maps::service(parcel.service_id).ok_or(Verdict::Drop(Reason::Internal))?;
    if walk.length > u32::from(host.inner_mtu) {
        if walk.flags & WALK_MAY_FRAGMENT == 0 {
            return complain(parcel, Complaint::TooBig(host.inner_mtu));
        }
        parcel.oversized = 1;
    }
    if walk.is_fragment() {
        fragment::key(ip, &walk, 0, key);
        let entry = (backend.reference, FRAGMENT_FORWARD, parcel.hash.0);
        fragment::remember(key, entry, [parcel.service_id, service.project]);
    }
    cold::fit(frame, walk.length)?;
    if walk.protocol as u8 == PROTOCOL_TCP {
        translate::<I, TcpHeader>(frame, (ip, &walk), transport, (backend, host))?;
    } else {
        translate::<I, UdpHeader>(frame, (ip, &walk), transport, (backend, host))?;
    }
    Ok(Next::Deliver)
}

#[inline(always)]
fn translate<I, T>(
    frame: &mut Frame,
    (ip, walk): (&mut I, &Walk),
    room: &mut [u8; 24],
    (backend, host): (&Backend, &Host),
) -> Result<(), Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    let truncated = Verdict::Drop(Reason::Truncated);
    let transport = frame.load_header::<T, _>(walk.transport, room).ok_or(truncated)?;
    rewrite::forward_at(ip, Some(&mut *transport), backend);
    frame.store_header(IP_AT, ip).ok_or(truncated)?;
    frame.store_header(walk.transport, transport).ok_or(truncated)?;
    if transport.is_syn() {
        cold::mss::<I>(frame, walk.transport, host.segment_mtu);
    }
    Ok(())
}

/// Another fragment of a packet, behind its first one.
#[inline(always)]
fn later<I: Ip + Header>(frame: &mut Frame, packet: Described<'_, I>) -> Result<Next, Verdict> {
    let Described { ip, walk, key, parcel, .. } = packet;
    // RFC 3128: nobody else's flags overwrite those that were looked at.
    if walk.protocol as u8 == PROTOCOL_TCP && walk.fragment_offset < size_of::<TcpHeader>() as u32 {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    fragment::key(ip, &walk, 0, key);
    let Some(entry) = fragment::find(key) else { return Err(hold(frame, key)) };
    if entry.kind == FRAGMENT_ECHO {
        cold::fit(frame, walk.length)?;
        return Err(icmp::echo_of(frame, ip, None));
    }
    let backend_id = entry.backend & BackendRef::ID_MAX;
    let (backend, host) = backend_and_host(backend_id)?;
    let is_same = backend.reference == entry.backend && ip.destination_is(&backend.vip);
    if entry.kind != FRAGMENT_FORWARD || !is_same || backend.state == STATE_FREE {
        return Err(Verdict::Drop(Reason::BackendStale));
    }
    // A later fragment is answered with no ICMP (RFC 1122 section 3.2.2); its first one was.
    if ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ErrorLimited));
    }
    let is_large = walk.length > u32::from(host.inner_mtu);
    if is_large && walk.flags & WALK_MAY_FRAGMENT == 0 {
        return Err(Verdict::Drop(Reason::TooBig));
    }
    *parcel = Parcel {
        hash: FlowHash(entry.hash),
        backend_id,
        service_id: backend.service,
        length: walk.length,
        traffic_class: u32::from(ip.traffic_class()),
        oversized: u32::from(is_large),
        ..Parcel::FORWARDED
    };
    cold::fit(frame, walk.length)?;
    rewrite::forward_at::<I, UdpHeader>(ip, None, backend);
    frame.store_header(IP_AT, ip).ok_or(Verdict::Drop(Reason::Truncated))?;
    Ok(Next::Deliver)
}

/// Gives the frame to the daemon as it came, tags included.
#[inline(always)]
fn hold(frame: &mut Frame, key: &FragmentKey) -> Verdict {
    let tags = tags();
    if tags.any() && parse::push(frame, tags).is_none() {
        return Verdict::Drop(Reason::Headroom);
    }
    fragment::hold(frame, key)
}

/// A backend and the host it runs on.
#[inline(always)]
pub(super) fn backend_and_host(backend_id: u32) -> Result<(&'static Backend, &'static Host), Verdict> {
    let internal = Verdict::Drop(Reason::Internal);
    let backend = maps::backend(backend_id).ok_or(internal)?;
    Ok((backend, maps::host(backend.host).ok_or(internal)?))
}

/// Encapsulates a translated packet and sends it to its backend's host, or to the daemon that cuts it into fragments.
#[inline(always)]
fn deliver(frame: &mut Frame) -> Verdict {
    let internal = Verdict::Drop(Reason::Internal);
    let Some(parcel) = maps::scratch().map(|scratch| scratch.parcel) else { return internal };
    let (Ok((backend, host)), Some(reason)) = (backend_and_host(parcel.backend_id), Reason::from_word(parcel.reason))
    else {
        return internal;
    };
    let packet_sum = if host.family == FAMILY_IPV4 { Some(0) } else { cold::sum(frame, IP_AT, parcel.length) };
    let Some(packet_sum) = packet_sum else { return Verdict::Drop(Reason::Truncated) };
    let is_ipv4 = backend.family == FAMILY_IPV4;
    let carriage = Carriage {
        service_id: backend.service,
        choice: Choice { backend_id: parcel.backend_id, backend, hash: parcel.hash },
        host,
        length: parcel.length,
        ethertype: if is_ipv4 { Ipv4Header::ETHERTYPE } else { Ipv6Header::ETHERTYPE },
        traffic_class: parcel.traffic_class as u8,
        packet_sum,
    };
    if let Err(verdict) = encap::run(frame, &carriage) {
        return verdict;
    }
    if parcel.oversized != 0 {
        maps::count_forward(carriage.service_id, parcel.backend_id, parcel.length);
        let taken = maps::hand_to_daemon(frame, RECORD_FRAGMENT, u32::from(host.inner_mtu), None);
        return Verdict::Drop(if taken { Reason::FragmentedByDaemon } else { Reason::TooBig });
    }
    if reason == Reason::Forwarded { emit::to_host(frame, &carriage) } else { emit::by(frame, &carriage, reason) }
}
