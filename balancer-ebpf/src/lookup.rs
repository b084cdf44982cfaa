//! Turns the ends of a packet into the entries they name: service ports by VIP, backends by container. The entry's own key
//! is compared before it is believed.

use balancer_common::{
    abi::{Backend, REPLY_BUCKETS, SERVICE_BUCKETS, Service},
    index::Place,
    service::{GATEWAY_REPLY_RANGES, SERVICE_RANGES, STATE_FREE},
    wire::ip::Ip,
};

use crate::maps;

/// A service port and its id.
pub type Found = (u32, &'static Service);

/// The service port of one port at the packet's destination.
#[inline(always)]
pub fn service<I: Ip>(ip: &I, protocol: u8, port: [u8; 2]) -> Option<Found> {
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

/// The entry of the destination's address alone, when it is a VIP.
#[inline(always)]
pub fn vip<I: Ip>(ip: &I) -> Option<Found> {
    service(ip, 0, [0; 2])
}

/// The service port at a VIP: the one of exactly this port, else the narrowest range that holds it.
#[inline(always)]
pub fn at_vip<I: Ip>(ip: &I, (vip_id, vip): Found, protocol: u8, port: [u8; 2]) -> Option<Found> {
    if let Some(found) = service(ip, protocol, port) {
        return Some(found);
    }
    if vip.flags & SERVICE_RANGES == 0 {
        return None;
    }
    let id = maps::range(vip_id, protocol, port)?;
    let service = maps::service(id)?;
    let is_ours = service.protocol == protocol && service.family == I::FAMILY && ip.destination_is(&service.vip);
    (is_ours && holds(service, port)).then_some((id, service))
}

/// Whether a port lies within a service port's range.
#[inline(always)]
fn holds(service: &Service, port: [u8; 2]) -> bool {
    let number = u16::from_be_bytes;
    (number(service.port)..=number(service.port_last)).contains(&number(port))
}

/// The backend that the packet's source is, in the project of this VNI, when it publishes this port.
#[inline(always)]
pub fn backend<I: Ip>(ip: &I, vni: u32, protocol: u8, port: [u8; 2]) -> Option<(u32, &'static Backend)> {
    let place = ip.reply_place(vni, protocol, port);
    let bucket = maps::reply_bucket(place.bucket(REPLY_BUCKETS))?;
    if let Some(id) = bucket.find(place) {
        let backend = maps::backend(id)?;
        if is_from(ip, vni, (protocol, port), backend) {
            return Some((id, backend));
        }
    }
    if bucket.spilled == 0 {
        return None;
    }
    spilled(ip, vni, (protocol, port), place)
}

#[inline(always)]
fn spilled<I: Ip>(ip: &I, vni: u32, key: (u8, [u8; 2]), place: Place) -> Option<(u32, &'static Backend)> {
    let id = maps::reply_bucket(place.next_bucket(REPLY_BUCKETS))?.find(place)?;
    let backend = maps::backend(id)?;
    is_from(ip, vni, key, backend).then_some((id, backend))
}

/// Protocol 0 asks for any backend of the container.
#[inline(always)]
fn is_from<I: Ip>(ip: &I, vni: u32, (protocol, port): (u8, [u8; 2]), backend: &Backend) -> bool {
    let ours = u32::from_ne_bytes([port[0], port[1], protocol, I::FAMILY]);
    let theirs = u32::from_ne_bytes([backend.port[0], backend.port[1], backend.protocol, backend.family]);
    let is_key = ours == theirs || protocol == 0 && backend.family == I::FAMILY;
    is_key && backend.vni == vni && ip.source_is(&backend.container) && backend.state != STATE_FREE
}

/// The same, or a backend whose range of ports holds this one.
#[inline(always)]
pub fn backend_or_range<I: Ip>(ip: &I, vni: u32, protocol: u8, port: [u8; 2]) -> Option<(u32, &'static Backend)> {
    if let Some(found) = backend(ip, vni, protocol, port) {
        return Some(found);
    }
    if maps::gateway()?.flags & GATEWAY_REPLY_RANGES == 0 {
        return None;
    }
    let id = maps::reply_range(vni, ip.source(), protocol, port)?;
    let backend = maps::backend(id)?;
    let is_ours = is_from(ip, vni, (0, port), backend) && backend.protocol == protocol;
    (is_ours && holds(maps::service(backend.service)?, port)).then_some((id, backend))
}

/// Any backend that the packet's source is, whatever port.
#[inline(always)]
pub fn container<I: Ip>(ip: &I, vni: u32) -> Option<&'static Backend> {
    backend(ip, vni, 0, [0; 2]).map(|(_, backend)| backend)
}
