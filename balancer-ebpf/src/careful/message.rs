//! Turns an ICMP message to a VIP into an echo reply, or into the error that the container it is about can understand (case 18).

use balancer_common::{
    case::Case,
    conntrack::FlowKey,
    flow::FlowHash,
    fragment::FRAGMENT_ECHO,
    id::BackendRef,
    verdict::{Reason, Verdict},
    wire::{
        icmp::{IcmpHeader, kinds},
        ip::Ip,
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        quote::{End, QUOTE_AT, Quote},
        udp::UdpHeader,
    },
};

use super::{
    IP_AT, Next,
    client::{Described, backend_and_host, described},
};
use crate::{
    cold,
    frame::{Frame, Header, global},
    lookup, maps,
    stage::{
        error::{self, Ends},
        fragment, icmp, rewrite, select,
    },
    value::Parcel,
};

global! { |frame|
    fn careful_message_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, message::<Ipv4Header>) }
    fn careful_message_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, message::<Ipv6Header>) }
    fn careful_error_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, about_reply::<Ipv4Header>) }
    fn careful_error_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, about_reply::<Ipv6Header>) }
    fn careful_send_error_ipv4() -> u32 { described::<Ipv4Header>(&mut frame, send::<Ipv4Header>) }
    fn careful_send_error_ipv6() -> u32 { described::<Ipv6Header>(&mut frame, send::<Ipv6Header>) }
}

/// Position of a policy that nobody has: without a limit.
const NO_BUDGET: u32 = 0;

/// An echo request, or an error about a packet that came from a container.
#[inline(always)]
fn message<I: Ip + Header>(frame: &mut Frame, packet: Described<'_, I>) -> Result<Next, Verdict> {
    let walk = packet.walk;
    if walk.transport + size_of::<IcmpHeader>() as u32 > packet.end() {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    let truncated = Verdict::Drop(Reason::Truncated);
    let icmp = frame.load_header::<IcmpHeader, _>(walk.transport, &mut *packet.transport).ok_or(truncated)?;
    let kinds = kinds::<I>();
    if icmp.kind == kinds.echo_request {
        // The other fragments are answered only when this one was; no budget, no answer.
        if walk.is_fragment() {
            fragment::key(packet.ip, &walk, 0, packet.key);
            if !fragment::remember(packet.key, (0, FRAGMENT_ECHO, 0), [packet.vip.0, NO_BUDGET]) {
                return Err(Verdict::Drop(Reason::ErrorLimited));
            }
        }
        cold::fit(frame, walk.length)?;
        return Err(icmp::echo_of(frame, packet.ip, Some((walk.transport, icmp))));
    }
    if !kinds.is_error(icmp.kind) || walk.is_fragment() {
        return Err(Verdict::Pass(Reason::VipIcmp));
    }
    Ok(Next::Error)
}

/// Finds the container that sent the packet which an ICMP error is about.
#[inline(always)]
fn about_reply<I: Ip + Header>(frame: &mut Frame, packet: Described<'_, I>) -> Result<Next, Verdict> {
    let not_ours = Verdict::Pass(Reason::VipIcmp);
    let end = packet.end();
    let Described { ip, walk, vip, quoted_ip, quote, flow, parcel, .. } = packet;
    let quoted = frame.load_header::<I, _>(walk.transport + QUOTE_AT, quoted_ip).ok_or(not_ours)?;
    *quote = Quote::read(frame, quoted, walk.transport, end).ok_or(not_ours)?;
    let address = &vip.1.vip;
    if !quoted.source_is(address) {
        return Err(not_ours);
    }
    let ([vip_port, client_port], protocol) = (quote.ports, quote.protocol as u8);
    let (service_id, service) = lookup::at_vip(ip, vip, protocol, vip_port).ok_or(not_ours)?;
    *flow = FlowKey { client: quoted.destination(), vip: *address, client_port, vip_port, protocol, reserved: [0; 3] };
    let hash = FlowHash::of(service, &flow.client, client_port, vip_port);
    let selection = select::look(service, service_id, hash)?;
    let backend_id = if selection.settled {
        selection.slot.owner & BackendRef::ID_MAX
    } else {
        cold::conntrack_scratch(service_id, selection.slot, hash, None)?
    };
    *parcel = Parcel {
        hash,
        backend_id,
        service_id,
        length: walk.length,
        traffic_class: u32::from(ip.traffic_class()),
        reason: Reason::ErrorForwarded as u32,
        ..Parcel::FORWARDED
    };
    Ok(Next::SendError)
}

/// Translates an ICMP error for the container that was found: inside, and the address it goes to.
#[inline(always)]
fn send<I: Ip + Header>(frame: &mut Frame, packet: Described<'_, I>) -> Result<Next, Verdict> {
    let Described { ip, walk, vip, quote, parcel, .. } = packet;
    let (backend, host) = backend_and_host(parcel.backend_id)?;
    // An error is never answered with another one (RFC 1122 section 3.2.2).
    if ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ErrorLimited));
    }
    if walk.length > u32::from(host.inner_mtu) {
        return Err(Verdict::Drop(Reason::TooBig));
    }
    cold::fit(frame, walk.length)?;
    let ends = Ends { end: End::Source, old: &vip.1.vip, new: &backend.address, port: backend.port };
    error::translate::<I>(frame, walk.transport, quote, &ends)?;
    maps::count_case(Case::ErrorFromClient);
    rewrite::forward_at::<I, UdpHeader>(ip, None, backend);
    frame.store_header(IP_AT, ip).ok_or(Verdict::Drop(Reason::Truncated))?;
    Ok(Next::Deliver)
}
