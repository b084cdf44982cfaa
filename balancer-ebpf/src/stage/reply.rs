//! Turns an inner packet into the backend that sent it, found by (VNI, container address, port, protocol) without per-flow state (case 12).

use balancer_common::{
    abi::{Backend, REPLY_BUCKETS},
    conntrack::ReplyKey,
    id::BackendRef,
    index::Place,
    service::{BACKEND_AMBIGUOUS, STATE_FREE},
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        ip::{Ip, PROTOCOL_TCP, PROTOCOL_UDP},
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
    },
};

use crate::{
    cold,
    frame::{Frame, Header, Link, Overlay, Packet},
    maps,
    value::{Envelope, Reply, Sender, Tags},
};

/// Who sent the packet inside the envelope. What is not a reply is the kernel's VXLAN device's.
#[inline(always)]
pub fn run<O, I>(frame: &Frame, envelope: &Envelope) -> Result<Reply, Verdict>
where
    O: Ip + Header,
    I: Ip + Header,
{
    let Some(link) = frame.view::<Link<I>>(inner_offset::<O>()) else {
        return Err(Verdict::Pass(Reason::OverlayNotReply));
    };
    if !link.ip.is_plain() {
        return Err(Verdict::Pass(Reason::OverlayNotReply));
    }
    match link.ip.protocol() {
        PROTOCOL_TCP => sender::<O, I, TcpHeader>(frame, envelope).map(Reply::Tcp),
        PROTOCOL_UDP => sender::<O, I, UdpHeader>(frame, envelope).map(Reply::Udp),
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
    let packet = frame.view::<Packet<I, T>>(inner_offset::<O>()).ok_or(not_reply)?;
    let (backend_id, backend) = find::<I, T>(packet, envelope.vni).ok_or(not_reply)?;
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
    if !packet.transport.fits(length.wrapping_sub(size_of::<I>() as u32)) {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    if packet.ip.ttl() <= 1 {
        return Err(Verdict::Drop(Reason::ReplyTtl));
    }
    Ok(Sender {
        backend_id,
        backend,
        length,
        syn: packet.transport.is_syn(),
        inner_mtu: host.inner_mtu,
        tags: Tags { outer: service.vlan_outer, inner: service.vlan_inner },
    })
}

#[inline(always)]
fn find<I: Ip, T: Transport>(packet: &Packet<I, T>, vni: u32) -> Option<(u32, &'static Backend)> {
    let port = packet.transport.source_port();
    let place = packet.ip.reply_place(vni, T::PROTOCOL, port);
    let bucket = maps::reply_bucket(place.bucket(REPLY_BUCKETS))?;
    if let Some(id) = bucket.find(place) {
        let backend = maps::backend(id)?;
        if is_from::<I, T>(packet, vni, backend) {
            return Some((id, backend));
        }
    }
    if bucket.spilled == 0 {
        return None;
    }
    spilled::<I, T>(packet, vni, place)
}

#[inline(always)]
fn spilled<I: Ip, T: Transport>(packet: &Packet<I, T>, vni: u32, place: Place) -> Option<(u32, &'static Backend)> {
    let id = maps::reply_bucket(place.next_bucket(REPLY_BUCKETS))?.find(place)?;
    let backend = maps::backend(id)?;
    is_from::<I, T>(packet, vni, backend).then_some((id, backend))
}

#[inline(always)]
fn is_from<I: Ip, T: Transport>(packet: &Packet<I, T>, vni: u32, backend: &Backend) -> bool {
    let port = packet.transport.source_port();
    let ours = u32::from_ne_bytes([port[0], port[1], T::PROTOCOL, I::FAMILY]);
    let theirs = u32::from_ne_bytes([backend.port[0], backend.port[1], backend.protocol, backend.family]);
    ours == theirs && backend.vni == vni && packet.ip.source_is(&backend.address) && backend.state != STATE_FREE
}

/// Which of the service ports that publish this container port the flow came through: the id of its backend entry, 0 when
/// it is not known. The ports stand alike in TCP and UDP.
#[inline(always)]
pub fn remembered<O: Ip + Header, I: Ip + Header>(frame: &Frame, any: u32, protocol: u8) -> u32 {
    let Some(packet) = frame.view::<Packet<I, UdpHeader>>(inner_offset::<O>()) else { return 0 };
    let Some(any) = maps::backend(any) else { return 0 };
    let key = ReplyKey {
        container: any.address,
        client: packet.ip.destination(),
        vni: any.vni,
        container_port: any.port,
        client_port: packet.transport.destination_port(),
        protocol,
        reserved: [0; 7],
    };
    let Some(reference) = maps::reply_flow(&key) else { return 0 };
    let id = reference & BackendRef::ID_MAX;
    let Some(backend) = maps::backend(id) else { return 0 };
    let same = backend.reference == reference && backend.vni == any.vni && packet.ip.source_is(&backend.address);
    if same { id } else { 0 }
}
