//! Turns an IP packet into what it is to the gateway: a client's packet for a service port, an overlay packet, an echo request, or not ours.

use balancer_common::{
    abi::{SERVICE_BUCKETS, Service},
    verdict::{Reason, Verdict},
    wire::{
        icmp::{ICMP, ICMPV6, IcmpHeader},
        ip::{Ip, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP},
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
    },
};

use crate::{
    frame::{Frame, Header, Link, Packet},
    maps,
    value::{Class, Request},
};

/// Decides what the packet behind the Ethernet header is.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &Frame) -> Result<Class, Verdict> {
    let Some(link) = frame.view::<Link<I>>(0) else { return Err(Verdict::Pass(Reason::NotOurs)) };
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
    let Some(packet) = frame.view::<Packet<I, T>>(0) else { return Err(cut_short(frame, ip)) };
    let Some((service_id, service)) = find(ip, T::PROTOCOL, packet.transport.destination_port()) else {
        return Err(unmatched(ip));
    };
    let length = ip.packet_length();
    if !packet.transport.fits(length.wrapping_sub(size_of::<I>() as u32)) {
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

/// The service port of this destination. The entry's own key is compared before it is believed.
#[inline(always)]
fn find<I: Ip>(ip: &I, protocol: u8, port: [u8; 2]) -> Option<(u32, &'static Service)> {
    let place = ip.service_place(protocol, port);
    let bucket = maps::service_bucket(place.bucket(SERVICE_BUCKETS))?;
    if let Some(id) = bucket.find(place) {
        let service = maps::service(id)?;
        if is_for(ip, protocol, port, service) {
            return Some((id, service));
        }
    }
    if bucket.spilled == 0 {
        return None;
    }
    let id = maps::service_bucket(place.next_bucket(SERVICE_BUCKETS))?.find(place)?;
    let service = maps::service(id)?;
    is_for(ip, protocol, port, service).then_some((id, service))
}

#[inline(always)]
fn is_for<I: Ip>(ip: &I, protocol: u8, port: [u8; 2], service: &Service) -> bool {
    let ours = u32::from_ne_bytes([port[0], port[1], protocol, I::FAMILY]);
    let theirs = u32::from_ne_bytes([service.port[0], service.port[1], service.protocol, service.family]);
    ours == theirs && ip.destination_is(&service.vip)
}

#[inline(always)]
fn is_vip<I: Ip>(ip: &I) -> bool {
    find(ip, 0, [0; 2]).is_some()
}

#[inline(always)]
fn unmatched<I: Ip>(ip: &I) -> Verdict {
    Verdict::Pass(if is_vip(ip) { Reason::VipPortClosed } else { Reason::NotOurs })
}

/// The transport header is not where it would be: a fragment, options or extension headers. Case 1 comes first: only a VIP's packet is judged.
#[inline(always)]
fn hidden<I: Ip>(ip: &I) -> Verdict {
    if !is_vip(ip) {
        return Verdict::Pass(Reason::NotOurs);
    }
    Verdict::Drop(if ip.is_fragment() { Reason::Fragment } else { Reason::IpOptions })
}

#[inline(always)]
fn cut_short<I: Ip>(frame: &Frame, ip: &I) -> Verdict {
    if !is_vip(ip) {
        return Verdict::Pass(Reason::NotOurs);
    }
    Verdict::Drop(if frame.length() > frame.first_buffer() { Reason::HeadersSplit } else { Reason::Truncated })
}

#[inline(always)]
fn is_overlay<I: Ip + Header>(frame: &Frame) -> bool {
    let (Some(packet), Some(gateway)) = (frame.view::<Packet<I, UdpHeader>>(0), maps::gateway()) else { return false };
    packet.transport.destination == gateway.vxlan_port && packet.ip.is_for_vtep(gateway)
}

#[inline(always)]
fn icmp<I: Ip + Header>(frame: &Frame, ip: &I) -> Result<Class, Verdict> {
    if !is_vip(ip) {
        return Err(Verdict::Pass(Reason::NotOurs));
    }
    let Some(packet) = frame.view::<Packet<I, IcmpHeader>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    let kinds = if I::ICMP == PROTOCOL_ICMP { ICMP } else { ICMPV6 };
    if packet.transport.kind != kinds.echo_request {
        return Err(Verdict::Pass(Reason::VipIcmp));
    }
    let length = ip.packet_length();
    if length < (size_of::<I>() + size_of::<IcmpHeader>()) as u32 {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    Ok(Class::Echo(length))
}
