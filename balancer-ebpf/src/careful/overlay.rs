//! Turns a VXLAN packet from a host into what a container sends to a client: a reply in any shape, or an ICMP error.

use balancer_common::{
    abi::Backend,
    case::Case,
    checksum::Delta,
    conntrack::ReplyKey,
    flow::FlowHash,
    fragment::{FRAGMENT_REPLY, FragmentKey},
    id::BackendRef,
    record::RECORD_FRAGMENT_REPLY,
    service::{BACKEND_AMBIGUOUS, FAMILY_IPV4, STATE_FREE},
    verdict::{Reason, Verdict},
    wire::{
        bytes::Bytes,
        ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader},
        icmp::{IcmpHeader, kinds},
        ip::{ECN_MASK, Ip, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP},
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        quote::{End, QUOTE_AT, Quote},
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
        vxlan::VxlanHeader,
        walk::{WALK_MAY_FRAGMENT, Walk},
    },
};

use super::{IP_AT, Next, count};
use crate::{
    cold,
    frame::{Frame, Header, Overlay, global},
    lookup, maps,
    stage::{
        decap, emit,
        error::{self, Ends},
        fragment,
        icmp::{self, Complaint},
        parse, reply, rewrite,
    },
    value::{Around, Parcel, Scratch, Tags},
};

/// What is no reply is the kernel's VXLAN device's, as it came.
const NOT_REPLY: Verdict = Verdict::Pass(Reason::OverlayNotReply);

/// What is inside a UDP packet to the VXLAN port of our VTEP; what is around it stays in this CPU's room.
#[inline(always)]
pub fn look<O: Ip + Header>(frame: &Frame, outer: &O) -> Result<Next, Verdict> {
    let scratch = maps::scratch().ok_or(Verdict::Drop(Reason::Internal))?;
    let vxlan_at = IP_AT + (size_of::<O>() + size_of::<UdpHeader>()) as u32;
    let vxlan = frame.load_header::<VxlanHeader, _>(vxlan_at, &mut scratch.transport).ok_or(NOT_REPLY)?;
    let (vni, at) = (vxlan.vni(), size_of::<Overlay<O>>() as u32);
    if vni == 0 {
        return Err(NOT_REPLY);
    }
    let ecn = u32::from(outer.traffic_class() & ECN_MASK);
    scratch.around = Around { source: outer.source(), at, vni, ecn, family: u32::from(O::FAMILY) };
    let ethertype: [u8; 2] = Bytes::load(frame, at - ETHERTYPE_BYTES).ok_or(NOT_REPLY)?;
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Next::OverlayIpv4),
        ETHERTYPE_IPV6 => Ok(Next::OverlayIpv6),
        _ => Err(NOT_REPLY),
    }
}

const ETHERTYPE_BYTES: u32 = 2;

/// Looks at the inner packet, then goes on with what it is; as [`super::network`] does.
#[inline(always)]
pub fn network<I: Ip>(frame: &Frame) -> Verdict {
    let (context, is_ipv4) = (frame.raw(), I::FAMILY == FAMILY_IPV4);
    let mut next = if is_ipv4 { careful_inner_ipv4(context) } else { careful_inner_ipv6(context) };
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::Tcp), true) => careful_from_tcp_ipv4(context),
        (Some(Next::Tcp), false) => careful_from_tcp_ipv6(context),
        (Some(Next::Udp), true) => careful_from_udp_ipv4(context),
        (Some(Next::Udp), false) => careful_from_udp_ipv6(context),
        (Some(Next::Message), true) => careful_from_message_ipv4(context),
        (Some(Next::Message), false) => careful_from_message_ipv6(context),
        (Some(Next::Later), true) => careful_from_later_ipv4(context),
        (Some(Next::Later), false) => careful_from_later_ipv6(context),
        (_, _) => next,
    };
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::ComplainInside), true) => careful_complain_inside_ipv4(context),
        (Some(Next::ComplainInside), false) => careful_complain_inside_ipv6(context),
        (_, _) => next,
    };
    if next == Next::Deliver.word() {
        return Verdict::from_word(super::client::careful_deliver(context));
    }
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::ToClient), true) => careful_to_client_ipv4(context),
        (Some(Next::ToClient), false) => careful_to_client_ipv6(context),
        (_, _) => next,
    };
    Verdict::from_word(next)
}

global! { |frame|
    fn careful_inner_ipv4() -> u32 { Next::or_verdict(inner::<Ipv4Header>(&frame)) }
    fn careful_inner_ipv6() -> u32 { Next::or_verdict(inner::<Ipv6Header>(&frame)) }
    fn careful_from_tcp_ipv4() -> u32 { from_container::<Ipv4Header>(&mut frame, whole::<Ipv4Header, TcpHeader>) }
    fn careful_from_tcp_ipv6() -> u32 { from_container::<Ipv6Header>(&mut frame, whole::<Ipv6Header, TcpHeader>) }
    fn careful_from_udp_ipv4() -> u32 { from_container::<Ipv4Header>(&mut frame, whole::<Ipv4Header, UdpHeader>) }
    fn careful_from_udp_ipv6() -> u32 { from_container::<Ipv6Header>(&mut frame, whole::<Ipv6Header, UdpHeader>) }
    fn careful_from_message_ipv4() -> u32 { from_container::<Ipv4Header>(&mut frame, about_forwarded::<Ipv4Header>) }
    fn careful_from_message_ipv6() -> u32 { from_container::<Ipv6Header>(&mut frame, about_forwarded::<Ipv6Header>) }
    fn careful_from_later_ipv4() -> u32 { from_container::<Ipv4Header>(&mut frame, later::<Ipv4Header>) }
    fn careful_from_later_ipv6() -> u32 { from_container::<Ipv6Header>(&mut frame, later::<Ipv6Header>) }
    fn careful_complain_inside_ipv4() -> u32 { Next::or_verdict(complain_inside::<Ipv4Header>(&mut frame)) }
    fn careful_complain_inside_ipv6() -> u32 { Next::or_verdict(complain_inside::<Ipv6Header>(&mut frame)) }
    fn careful_to_client_ipv4() -> u32 { to_client::<Ipv4Header>(&mut frame).word() }
    fn careful_to_client_ipv6() -> u32 { to_client::<Ipv6Header>(&mut frame).word() }
}

#[inline(always)]
fn inner<I: Ip + Header>(frame: &Frame) -> Result<Next, Verdict> {
    let Scratch { ip, around, walk, .. } = maps::scratch().ok_or(Verdict::Drop(Reason::Internal))?;
    let ip = frame.load_header::<I, _>(around.at, ip).ok_or(NOT_REPLY)?;
    *walk = ip.walk(frame, around.at).map_err(|_| NOT_REPLY)?;
    let protocol = walk.protocol as u8;
    if walk.is_later() {
        return Ok(Next::Later);
    }
    match protocol {
        PROTOCOL_TCP => Ok(Next::Tcp),
        PROTOCOL_UDP => Ok(Next::Udp),
        protocol if protocol == I::ICMP && !walk.is_fragment() => Ok(Next::Message),
        _ => Err(NOT_REPLY),
    }
}

/// Takes an inner packet on from where the look at it ended.
#[inline(always)]
fn from_container<I: Ip + Header>(
    frame: &mut Frame,
    step: impl FnOnce(&mut Frame, Origin<'_, I>) -> Result<Next, Verdict>,
) -> u32 {
    let internal = Verdict::Drop(Reason::Internal).word();
    let Some(Scratch { ip, transport, quoted_ip, fragment: key, walk, around, parcel, reply, .. }) = maps::scratch()
    else {
        return internal;
    };
    let Some(ip) = frame.load_header::<I, _>(around.at, ip) else { return internal };
    Next::or_verdict(step(frame, Origin { ip, walk: *walk, around, transport, quoted_ip, key, reply, parcel }))
}

/// An inner packet and what is around it.
struct Origin<'a, I> {
    ip: &'a mut I,
    walk: Walk,
    around: &'a Around,
    transport: &'a mut [u8; 24],
    quoted_ip: &'a mut [u8; 40],
    key: &'a mut FragmentKey,
    reply: &'a mut ReplyKey,
    parcel: &'a mut Parcel,
}

/// A whole reply, or the first fragment of one.
#[inline(always)]
fn whole<I, T>(frame: &mut Frame, origin: Origin<'_, I>) -> Result<Next, Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    let Origin { ip, walk, around, transport: room, key, reply, parcel, .. } = origin;
    let end = around.at + walk.length;
    if walk.transport + size_of::<T>() as u32 > end {
        return Err(NOT_REPLY);
    }
    let transport = frame.load_header::<T, _>(walk.transport, room).ok_or(NOT_REPLY)?;
    let ports = [transport.source_port(), transport.destination_port()];
    let (any_id, any) = lookup::backend_or_range(ip, around.vni, T::PROTOCOL, ports[0]).ok_or(NOT_REPLY)?;
    check_gateway(frame, ip, any, around)?;
    *reply = ReplyKey::of(any, ip.destination(), T::PROTOCOL, ports);
    let (backend_id, backend) = sender((any_id, any), around, reply)?;
    if !walk.is_fragment() && !transport.fits(end - walk.transport) {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    if I::ICMP != PROTOCOL_ICMP && !transport.has_checksum() {
        return Err(Verdict::Drop(Reason::UdpChecksumMissing));
    }
    if ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ReplyTtl));
    }
    if frame.length() < end {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    let client_mtu = emit::client_mtu::<I>();
    parcel.oversized = 0;
    if walk.length > u32::from(client_mtu) {
        (parcel.backend_id, parcel.complaint) = (backend_id, Complaint::TooBig(client_mtu).word());
        if walk.flags & WALK_MAY_FRAGMENT == 0 {
            return Ok(Next::ComplainInside);
        }
        parcel.oversized = u32::from(client_mtu);
    }
    let service = maps::service(backend.service).ok_or(Verdict::Drop(Reason::Internal))?;
    if walk.is_fragment() {
        fragment::key(ip, &walk, around.vni, key);
        let entry = (backend.reference, FRAGMENT_REPLY, 0);
        fragment::remember(key, entry, [backend.service, service.project]);
    }
    count(&walk);
    rewrite::reply_at(ip, Some(&mut *transport), backend);
    let moved = unwrap(frame, ip, &walk, around)?;
    frame.store_header(moved, transport).ok_or(Verdict::Drop(Reason::Truncated))?;
    if transport.is_syn()
        && let Some(host) = maps::host(backend.host)
    {
        cold::mss::<I>(frame, moved, host.segment_mtu);
    }
    maps::count_reply(backend.service, backend_id, walk.length);
    leave(parcel, backend_id, Reason::Replied)
}

/// Whether a container's packet goes to its clients by this gateway: to the gateway's MAC, but not to the gateway itself.
#[inline(always)]
fn check_gateway<I: Ip>(frame: &Frame, ip: &I, any: &Backend, around: &Around) -> Result<(), Verdict> {
    if ip.destination_is(&any.gateway) {
        return Err(Verdict::Pass(Reason::OverlayForGateway));
    }
    let mac: [u8; 6] = Bytes::load(frame, around.at - size_of::<EthernetHeader>() as u32).ok_or(NOT_REPLY)?;
    if Some(&mac) == any.macs.last_chunk::<6>() { Ok(()) } else { Err(NOT_REPLY) }
}

/// The backend entry that a container's packet belongs to, when it came from that container's host.
#[inline(always)]
fn sender(
    (any_id, any): (u32, &'static Backend),
    around: &Around,
    key: &ReplyKey,
) -> Result<(u32, &'static Backend), Verdict> {
    let (backend_id, backend) = if any.flags & BACKEND_AMBIGUOUS == 0 {
        (any_id, any)
    } else {
        let unknown = Verdict::Drop(Reason::ReplyFlowUnknown);
        let id = reply::remembered(key);
        (id, maps::backend(id).filter(|_| id != 0).ok_or(unknown)?)
    };
    is_from_host(backend, around)?;
    Ok((backend_id, backend))
}

#[inline(always)]
fn is_from_host(backend: &Backend, around: &Around) -> Result<(), Verdict> {
    let host = maps::host(backend.host).ok_or(Verdict::Drop(Reason::Internal))?;
    let same = around.source == host.vtep && u32::from(host.family) == around.family;
    if same { Ok(()) } else { Err(Verdict::Drop(Reason::VtepMismatch)) }
}

/// Another fragment of a reply, behind its first one.
#[inline(always)]
fn later<I: Ip + Header>(frame: &mut Frame, origin: Origin<'_, I>) -> Result<Next, Verdict> {
    let Origin { ip, walk, around, key, parcel, .. } = origin;
    fragment::key(ip, &walk, around.vni, key);
    let Some(entry) = fragment::find(key) else {
        // Only what can be a reply is waited for: not what containers send to the gateway itself.
        let any = lookup::container(ip, around.vni).ok_or(NOT_REPLY)?;
        if ip.destination_is(&any.gateway) {
            return Err(Verdict::Pass(Reason::OverlayForGateway));
        }
        return Err(fragment::hold(frame, key));
    };
    let backend_id = entry.backend & BackendRef::ID_MAX;
    let backend = maps::backend(backend_id).ok_or(Verdict::Drop(Reason::Internal))?;
    let is_same = backend.reference == entry.backend && backend.vni == around.vni && ip.source_is(&backend.container);
    if entry.kind != FRAGMENT_REPLY || !is_same || backend.state == STATE_FREE {
        return Err(Verdict::Drop(Reason::BackendStale));
    }
    is_from_host(backend, around)?;
    if ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ReplyTtl));
    }
    if frame.length() < around.at + walk.length {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    let client_mtu = u32::from(emit::client_mtu::<I>());
    parcel.oversized = if walk.length > client_mtu { client_mtu } else { 0 };
    if parcel.oversized != 0 && walk.flags & WALK_MAY_FRAGMENT == 0 {
        return Err(Verdict::Drop(Reason::TooBig));
    }
    rewrite::reply_at::<I, UdpHeader>(ip, None, backend);
    unwrap(frame, ip, &walk, around)?;
    maps::count_reply(backend.service, backend_id, walk.length);
    leave(parcel, backend_id, Reason::Replied)
}

/// An ICMP error about a packet that was forwarded: its client gets it, as from the VIP (case 18).
#[inline(always)]
fn about_forwarded<I: Ip + Header>(frame: &mut Frame, origin: Origin<'_, I>) -> Result<Next, Verdict> {
    let Origin { ip, walk, around, transport: room, quoted_ip, reply, parcel, .. } = origin;
    let end = around.at + walk.length;
    if frame.length() < end {
        return Err(NOT_REPLY);
    }
    let message = frame.load_header::<IcmpHeader, _>(walk.transport, room).ok_or(NOT_REPLY)?;
    if walk.transport + size_of::<IcmpHeader>() as u32 > end || !kinds::<I>().is_error(message.kind) {
        return Err(NOT_REPLY);
    }
    let quoted = frame.load_header::<I, _>(walk.transport + QUOTE_AT, quoted_ip).ok_or(NOT_REPLY)?;
    let quote = Quote::read(frame, quoted, walk.transport, end).ok_or(NOT_REPLY)?;
    // A container complains of what came to it, to whom it came from.
    let [client_port, container_port] = quote.ports;
    let protocol = quote.protocol as u8;
    let (any_id, any) = lookup::backend_or_range(ip, around.vni, protocol, container_port).ok_or(NOT_REPLY)?;
    if !quoted.destination_is(&any.container) || !ip.destination_is(&quoted.source()) {
        return Err(NOT_REPLY);
    }
    check_gateway(frame, ip, any, around)?;
    *reply = ReplyKey::of(any, quoted.source(), protocol, [container_port, client_port]);
    let (backend_id, backend) = sender((any_id, any), around, reply)?;
    if ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ReplyTtl));
    }
    let ends = Ends { end: End::Destination, old: &backend.container, new: &backend.vip, port: backend.vip_port };
    error::translate::<I>(frame, walk.transport, &quote, &ends)?;
    maps::count_case(Case::ErrorFromContainer);
    rewrite::reply_at::<I, UdpHeader>(ip, None, backend);
    unwrap(frame, ip, &walk, around)?;
    parcel.oversized = 0;
    leave(parcel, backend_id, Reason::ErrorReplied)
}

/// Cuts off what is around the inner packet and behind it, and writes its header; where the transport header stands then.
#[inline(always)]
fn unwrap<I: Ip + Header>(frame: &mut Frame, ip: &mut I, walk: &Walk, around: &Around) -> Result<u32, Verdict> {
    let cut = around.at - IP_AT;
    decap::carry_ecn(ip, around.ecn as u8)?;
    frame.shrink_head(cut as usize).ok_or(Verdict::Drop(Reason::Internal))?;
    cold::fit(frame, walk.length)?;
    frame.store_header(IP_AT, ip).ok_or(Verdict::Drop(Reason::Truncated))?;
    Ok(walk.transport - cut)
}

#[inline(always)]
fn leave(parcel: &mut Parcel, backend_id: u32, reason: Reason) -> Result<Next, Verdict> {
    (parcel.backend_id, parcel.reason) = (backend_id, reason as u32);
    Ok(Next::ToClient)
}

/// Tells a container that its packet is larger than the way to the clients: from the gateway's address in the project.
#[inline(always)]
fn complain_inside<I: Ip + Header>(frame: &mut Frame) -> Result<Next, Verdict> {
    let internal = Verdict::Drop(Reason::Internal);
    let Scratch { ip, quoted_ip, around, parcel, .. } = maps::scratch().ok_or(internal)?;
    let backend = maps::backend(parcel.backend_id).ok_or(internal)?;
    let ip = frame.load_header::<I, _>(around.at, ip).ok_or(internal)?;
    let to_vip = frame.load_header::<I, _>(around.at, quoted_ip).ok_or(internal)?;
    to_vip.forward_to(&backend.vip, Delta::NONE);
    if !icmp::is_due(ip, to_vip) {
        return Err(Verdict::Drop(Reason::ErrorLimited));
    }
    frame.shrink_head((around.at - IP_AT) as usize).ok_or(internal)?;
    let complaint = Complaint::from_word(parcel.complaint);
    let length = icmp::quote(frame, ip, complaint, Some(&backend.gateway))?;
    *parcel = Parcel {
        hash: FlowHash(0),
        service_id: backend.service,
        length,
        traffic_class: 0,
        reason: Reason::TooBigSent as u32,
        oversized: 0,
        ..*parcel
    };
    Ok(Next::Deliver)
}

/// Sends what was unwrapped and translated to its client.
#[inline(always)]
fn to_client<I: Ip + Header>(frame: &mut Frame) -> Verdict {
    let internal = Verdict::Drop(Reason::Internal);
    let Some(Scratch { ip, parcel, .. }) = maps::scratch() else { return internal };
    let Some(ip) = frame.load_header::<I, _>(IP_AT, ip) else { return internal };
    let service = maps::backend(parcel.backend_id).and_then(|backend| maps::service(backend.service));
    let (Some(service), Some(reason)) = (service, Reason::from_word(parcel.reason)) else { return internal };
    if parcel.oversized != 0 {
        let taken = maps::hand_to_daemon(frame, RECORD_FRAGMENT_REPLY, parcel.oversized, None);
        return Verdict::Drop(if taken { Reason::FragmentedByDaemon } else { Reason::TooBig });
    }
    let tags = Tags { outer: service.vlan_outer, inner: service.vlan_inner };
    let verdict = emit::to_client_of(frame, ip, reason);
    let leaves = matches!(verdict, Verdict::Transmit(_) | Verdict::Redirect(_));
    if leaves && tags.any() && parse::push(frame, tags).is_none() {
        return Verdict::Drop(Reason::Headroom);
    }
    verdict
}
