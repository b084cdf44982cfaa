//! Turns an inner packet into the backend that sent it, found by (VNI, container address, port, protocol) without per-flow state (case 12).

use balancer_common::{
    conntrack::ReplyKey,
    id::BackendRef,
    service::{BACKEND_AMBIGUOUS, GATEWAY_REPLY_RANGES},
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        ip::{Ip, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP},
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
    },
};

use crate::{
    cold,
    frame::{Frame, Header, Link, Overlay, Packet},
    lookup, maps,
    value::{CAREFUL, Envelope, Reply, Sender, Tags},
};

/// Who sent the packet inside the envelope. What is not a reply is the kernel's VXLAN device's.
#[inline(always)]
pub fn run<O, I>(frame: &Frame, envelope: &Envelope) -> Result<Reply, Verdict>
where
    O: Ip + Header,
    I: Ip + Header,
{
    let Some(link) = frame.view::<Link<I>>(inner_offset::<O>()) else { return Err(CAREFUL) };
    if !link.ip.is_plain() {
        return Err(CAREFUL);
    }
    match link.ip.protocol() {
        PROTOCOL_TCP => sender::<O, I, TcpHeader>(frame, envelope).map(Reply::Tcp),
        PROTOCOL_UDP => sender::<O, I, UdpHeader>(frame, envelope).map(Reply::Udp),
        protocol if protocol == I::ICMP => Err(CAREFUL),
        _ => Err(Verdict::Pass(Reason::OverlayNotReply)),
    }
}

/// Where the inner Ethernet header stands.
const fn inner_offset<O>() -> usize {
    size_of::<Overlay<O>>() - size_of::<EthernetHeader>()
}

#[inline(always)]
fn sender<O, I, T>(frame: &Frame, envelope: &Envelope) -> Result<Sender, Verdict>
where
    O: Ip + Header,
    I: Ip + Header,
    T: Transport + Header,
{
    let not_reply = Verdict::Pass(Reason::OverlayNotReply);
    let overlay = frame.view::<Overlay<O>>(0).ok_or(not_reply)?;
    let packet = frame.view::<Packet<I, T>>(inner_offset::<O>()).ok_or(CAREFUL)?;
    let Some((backend_id, backend)) =
        lookup::backend(&packet.ip, envelope.vni, T::PROTOCOL, packet.transport.source_port())
    else {
        let has_ranges = maps::gateway().is_some_and(|gateway| gateway.flags & GATEWAY_REPLY_RANGES != 0);
        return Err(if has_ranges { CAREFUL } else { not_reply });
    };
    if packet.ip.destination_is(&backend.gateway) {
        return Err(Verdict::Pass(Reason::OverlayForGateway));
    }
    if packet.ethernet.macs.first_chunk::<6>() != backend.macs.last_chunk::<6>() {
        return Err(not_reply);
    }
    let (backend_id, backend) = if backend.flags & BACKEND_AMBIGUOUS == 0 {
        (backend_id, backend)
    } else {
        let unknown = Verdict::Drop(Reason::ReplyFlowUnknown);
        let id = cold::reply_flow::<O, I>(frame, backend_id, T::PROTOCOL).ok_or(unknown)?;
        (id, maps::backend(id).ok_or(unknown)?)
    };
    let (Some(host), Some(service)) = (maps::host(backend.host), maps::service(backend.service)) else {
        return Err(Verdict::Drop(Reason::Internal));
    };
    if !overlay.ip.source_is(&host.vtep) || host.family != O::FAMILY {
        return Err(Verdict::Drop(Reason::VtepMismatch));
    }
    let length = packet.ip.packet_length();
    if !packet.transport.fits(length.saturating_sub(size_of::<I>() as u32)) {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    if I::ICMP != PROTOCOL_ICMP && !packet.transport.has_checksum() {
        return Err(Verdict::Drop(Reason::UdpChecksumMissing));
    }
    if packet.ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ReplyTtl));
    }
    // It may be larger than the way to the clients.
    if length > u32::from(host.segment_mtu) {
        return Err(CAREFUL);
    }
    Ok(Sender {
        backend_id,
        backend,
        length,
        syn: packet.transport.is_syn(),
        segment_mtu: host.segment_mtu,
        tags: Tags { outer: service.vlan_outer, inner: service.vlan_inner },
    })
}

/// Which of the service ports that publish this container port the flow came through: the id of its backend entry, 0 when
/// it is not known.
#[inline(always)]
pub fn remembered(key: &ReplyKey) -> u32 {
    let Some(reference) = maps::reply_flow(key) else { return 0 };
    let id = reference & BackendRef::ID_MAX;
    let Some(backend) = maps::backend(id) else { return 0 };
    let same = backend.reference == reference && backend.vni == key.vni && backend.container == key.container;
    if same { id } else { 0 }
}

/// The same for a reply that stands in the frame's first buffer. The ports stand alike in TCP and UDP.
#[inline(always)]
pub fn remembered_plain<O: Ip + Header, I: Ip + Header>(frame: &Frame, any: u32, protocol: u8) -> u32 {
    let Some(packet) = frame.view::<Packet<I, UdpHeader>>(inner_offset::<O>()) else { return 0 };
    let Some(any) = maps::backend(any) else { return 0 };
    remembered(&ReplyKey::of(
        any,
        packet.ip.destination(),
        protocol,
        [packet.transport.source, packet.transport.destination],
    ))
}
