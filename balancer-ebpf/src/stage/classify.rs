//! Turns an IP packet into what it is to the gateway: a client's packet for a service port, an overlay packet, an echo request, or not ours.

use balancer_common::{
    service::SERVICE_RANGES,
    verdict::{Reason, Verdict},
    wire::{
        icmp::{IcmpHeader, kinds},
        ip::{Ip, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP},
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
    },
};

use crate::{
    frame::{Frame, Header, Link, Packet},
    lookup, maps,
    value::{CAREFUL, Class, Request},
};

/// Decides what the packet behind the Ethernet header is.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &Frame) -> Result<Class, Verdict> {
    let Some(link) = frame.view::<Link<I>>(0) else {
        return Err(if frame.is_split() { CAREFUL } else { Verdict::Pass(Reason::NotOurs) });
    };
    if !link.ip.is_plain() {
        return Err(hidden(&link.ip));
    }
    match link.ip.protocol() {
        PROTOCOL_TCP => request::<I, TcpHeader>(frame, &link.ip),
        PROTOCOL_UDP if is_overlay::<I>(frame) => Ok(Class::Overlay),
        PROTOCOL_UDP => request::<I, UdpHeader>(frame, &link.ip),
        protocol if protocol == I::ICMP => icmp::<I>(frame, &link.ip),
        _ => Err(unmatched(&link.ip)),
    }
}

#[inline(always)]
fn request<I: Ip + Header, T: Transport + Header>(frame: &Frame, ip: &I) -> Result<Class, Verdict> {
    let Some(packet) = frame.view::<Packet<I, T>>(0) else { return Err(hidden(ip)) };
    let Some((service_id, service)) = lookup::service(ip, T::PROTOCOL, packet.transport.destination_port()) else {
        return Err(unmatched(ip));
    };
    let length = ip.packet_length();
    if !packet.transport.fits(length.saturating_sub(size_of::<I>() as u32)) {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    if I::ICMP != PROTOCOL_ICMP && !packet.transport.has_checksum() {
        return Err(Verdict::Drop(Reason::UdpChecksumMissing));
    }
    if ip.ttl() <= 1 {
        return Ok(Class::Expired(length));
    }
    let request =
        Request { service_id, service, syn: packet.transport.is_syn(), length, traffic_class: ip.traffic_class() };
    Ok(if T::PROTOCOL == PROTOCOL_TCP { Class::Tcp(request) } else { Class::Udp(request) })
}

/// No service port has exactly this port; a range of ports may.
#[inline(always)]
fn unmatched<I: Ip>(ip: &I) -> Verdict {
    match lookup::vip(ip) {
        None => Verdict::Pass(Reason::NotOurs),
        Some((_, vip)) if vip.flags & SERVICE_RANGES != 0 => CAREFUL,
        Some(_) => Verdict::Pass(Reason::VipPortClosed),
    }
}

/// The transport header is not where it would be: a fragment, options, extension headers, or several buffers. Case 1 comes
/// first: only a VIP's packet is looked at any further.
#[inline(always)]
fn hidden<I: Ip>(ip: &I) -> Verdict {
    if lookup::vip(ip).is_some() { CAREFUL } else { Verdict::Pass(Reason::NotOurs) }
}

#[inline(always)]
fn is_overlay<I: Ip + Header>(frame: &Frame) -> bool {
    let (Some(packet), Some(gateway)) = (frame.view::<Packet<I, UdpHeader>>(0), maps::gateway()) else { return false };
    packet.transport.destination == gateway.vxlan_port && packet.ip.is_for_vtep(gateway)
}

/// Echo requests are answered; errors may be about packets of ours.
#[inline(always)]
fn icmp<I: Ip + Header>(frame: &Frame, ip: &I) -> Result<Class, Verdict> {
    let kinds = kinds::<I>();
    if lookup::vip(ip).is_none() {
        let to_vtep = maps::gateway().is_some_and(|gateway| ip.is_for_vtep(gateway));
        return Err(if to_vtep { CAREFUL } else { Verdict::Pass(Reason::NotOurs) });
    }
    let Some(packet) = frame.view::<Packet<I, IcmpHeader>>(0) else { return Err(CAREFUL) };
    if packet.transport.kind != kinds.echo_request {
        let is_error = kinds.is_error(packet.transport.kind);
        return Err(if is_error { CAREFUL } else { Verdict::Pass(Reason::VipIcmp) });
    }
    let length = ip.packet_length();
    if length < (size_of::<I>() + size_of::<IcmpHeader>()) as u32 {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    Ok(Class::Echo(length))
}
