//! Turns a rewritten packet into a VXLAN packet for its backend's host (RFC 7348).

use balancer_common::{
    abi::Host,
    checksum::{fold, fold_few, sum},
    service::FAMILY_IPV4,
    verdict::{Reason, Verdict},
    wire::{
        ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader},
        ip::{Ip, PROTOCOL_UDP, TTL_ORIGINATED},
        ipv4::{DONT_FRAGMENT, Ipv4Header, VERSION_IHL_PLAIN},
        ipv6::Ipv6Header,
        transport::Transport,
        udp::UdpHeader,
        vxlan::VxlanHeader,
    },
};

use crate::{
    cold,
    frame::{Frame, Header, Overlay, Packet},
    maps,
    value::Carriage,
};

/// Puts the outer headers in front; the frame's own Ethernet header becomes the inner one.
#[inline(always)]
pub fn run(frame: &mut Frame, carriage: &Carriage) -> Result<(), Verdict> {
    let filled =
        if carriage.host.family == FAMILY_IPV4 { over_ipv4(frame, carriage) } else { over_ipv6(frame, carriage) };
    filled.ok_or(Verdict::Drop(Reason::Headroom))
}

/// Bytes added in front of the inner Ethernet frame.
const fn growth<O>() -> usize {
    size_of::<Overlay<O>>() - size_of::<EthernetHeader>()
}

/// UDP length for an inner IP packet of `length` bytes.
#[inline(always)]
fn udp_length(length: u32) -> u16 {
    length as u16 + (size_of::<UdpHeader>() + size_of::<VxlanHeader>() + size_of::<EthernetHeader>()) as u16
}

/// The outer checksum of UDP is 0: IPv4 allows it and RFC 7348 section 5 recommends it.
#[inline(always)]
fn over_ipv4(frame: &mut Frame, carriage: &Carriage) -> Option<()> {
    let (choice, host) = (&carriage.choice, carriage.host);
    frame.grow_head(growth::<Ipv4Header>())?;
    let overlay = frame.view_mut::<Overlay<Ipv4Header>>(0)?;
    let length = udp_length(carriage.length);
    overlay.ethernet.write(&host.next_hop.macs, ETHERTYPE_IPV4);
    overlay.ip = ipv4(host, carriage.traffic_class, length + size_of::<Ipv4Header>() as u16);
    overlay.udp = UdpHeader {
        source: choice.hash.outer_port(),
        destination: vxlan_port()?,
        length: length.to_be_bytes(),
        checksum: [0; 2],
    };
    overlay.vxlan = VxlanHeader::with(choice.backend.vni_field);
    overlay.inner.write(&choice.backend.macs, carriage.ethertype);
    Some(())
}

#[inline(always)]
fn ipv4(host: &Host, traffic_class: u8, total_length: u16) -> Ipv4Header {
    let (s, d) = (&host.source, &host.vtep);
    let mut header = Ipv4Header {
        version_ihl: VERSION_IHL_PLAIN,
        tos: traffic_class,
        total_length: total_length.to_be_bytes(),
        identification: [0; 2],
        fragment: DONT_FRAGMENT,
        ttl: TTL_ORIGINATED,
        protocol: PROTOCOL_UDP,
        checksum: [0; 2],
        source: [s[12], s[13], s[14], s[15]],
        destination: [d[12], d[13], d[14], d[15]],
    };
    // The rest of the header's words are in the host's entry.
    let changing = u32::from(u16::from_ne_bytes([header.version_ihl, traffic_class])) + u32::from(total_length.to_be());
    header.checksum = (!fold_few(changing + u32::from(host.outer_sum))).to_ne_bytes();
    header
}

/// Over IPv6 the outer checksum is mandatory.
#[inline(always)]
fn over_ipv6(frame: &mut Frame, carriage: &Carriage) -> Option<()> {
    let (choice, host) = (&carriage.choice, carriage.host);
    frame.grow_head(growth::<Ipv6Header>())?;
    let overlay = frame.view_mut::<Overlay<Ipv6Header>>(0)?;
    let length = udp_length(carriage.length);
    overlay.ethernet.write(&host.next_hop.macs, ETHERTYPE_IPV6);
    overlay.ip.write_udp(&host.source, &host.vtep, carriage.traffic_class, length);
    let (source, destination) = (choice.hash.outer_port(), vxlan_port()?);
    overlay.vxlan = VxlanHeader::with(choice.backend.vni_field);
    overlay.inner.write(&choice.backend.macs, carriage.ethertype);
    // The length stands in the header and in the pseudo-header.
    let headers = sum(&source)
        + sum(&destination)
        + 2 * u64::from(length.to_be())
        + sum(&overlay.vxlan.flags)
        + sum(&overlay.vxlan.vni_field)
        + sum(&overlay.inner.macs)
        + sum(&overlay.inner.ethertype);
    let checksum = !fold(u64::from(host.outer_sum) + headers + u64::from(carriage.packet_sum));
    let checksum = if checksum == 0 { [0xff; 2] } else { checksum.to_ne_bytes() };
    overlay.udp = UdpHeader { source, destination, length: length.to_be_bytes(), checksum };
    Some(())
}

#[inline(always)]
fn vxlan_port() -> Option<[u8; 2]> {
    Some(maps::gateway()?.vxlan_port)
}

/// Folded sum of the whole inner IP packet, where the outer checksum needs it (IPv6 underlay).
///
/// The payload is not read: header and transport part each sum to a constant when their own checksums are right, an IPv4
/// header to 0 and the transport part to the complement of its pseudo-header (local checksum offload, Linux
/// Documentation/networking/checksum-offloads.rst). Only UDP without a checksum has to be summed.
#[inline(always)]
pub fn packet_sum<I, T>(frame: &Frame, host: &Host, length: u32) -> Result<u16, Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    if host.family == FAMILY_IPV4 {
        return Ok(0);
    }
    let truncated = Verdict::Drop(Reason::Truncated);
    let Some(packet) = frame.view::<Packet<I, T>>(0) else { return Err(truncated) };
    let payload = (length as u16).wrapping_sub(size_of::<I>() as u16);
    let header = packet.ip.header_sum();
    if packet.transport.has_checksum() {
        let pseudo = fold(packet.ip.pseudo_sum(T::PROTOCOL, payload));
        return Ok(fold(header + u64::from(!pseudo)));
    }
    let header = fold(header);
    let offset = (size_of::<Packet<I, T>>() - size_of::<T>()) as u32;
    let Some(transport) = cold::sum(frame, offset, u32::from(payload)) else { return Err(truncated) };
    Ok(fold(u64::from(header) + u64::from(transport)))
}
