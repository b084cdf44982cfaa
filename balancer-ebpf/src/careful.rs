//! The way of a frame whose headers are not where the pipeline looks: fragments, options, extension headers, several buffers, port
//! ranges, ICMP errors, and packets larger than the path. The same decisions by the same stages, read at any offset.
//!
//! ```text
//! walk -> classify -+-> guard -> select (conntrack) -> size -> rewrite -> encap -> emit     a client's packet or first fragment
//!                   +-> fragment -> rewrite -> encap -> emit                                a later fragment, or held by the daemon
//!                   +-> error -> encap -> emit                                              an ICMP error from the client's side
//!                   +-> icmp, reset                                                         what the gateway answers itself
//! overlay -> walk --+-> reply, fragment or error -> decap -> rewrite -> emit                from a container
//! ```

mod client;
mod message;
mod overlay;

use balancer_common::{
    case::Case,
    record::RECORD_OUTER_ERROR,
    service::FAMILY_IPV4,
    verdict::{Reason, Verdict},
    wire::{
        ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader},
        icmp::{IcmpHeader, kinds},
        ip::{Ip, PROTOCOL_UDP},
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        quote::{QUOTE_AT, Quote},
        udp::UdpHeader,
        walk::{WALK_EXTENSIONS, WALK_OPTIONS, Walk},
    },
};

use crate::{
    cold,
    frame::{Frame, Header, global},
    maps,
    stage::{icmp::Complaint, parse},
    value::Tags,
};

/// Where the IP header stands: tags are off.
const IP_AT: u32 = size_of::<EthernetHeader>() as u32;

/// Decides anew from the first header on. VLAN tags are off while it does and back on when the frame leaves by the way it came.
#[inline(always)]
pub fn run(frame: &mut Frame) -> Verdict {
    maps::count_case(Case::Careful);
    let tags = tags();
    let Some(ethertype) = frame.view::<EthernetHeader>(0).map(|ethernet| ethernet.ethertype) else {
        return Verdict::Pass(Reason::NotOurs);
    };
    let verdict = match ethertype {
        ETHERTYPE_IPV4 => network::<Ipv4Header>(frame),
        ETHERTYPE_IPV6 => network::<Ipv6Header>(frame),
        _ => Verdict::Pass(Reason::NotOurs),
    };
    if tags.any() { parse::restore(frame, tags, verdict) } else { verdict }
}

/// The VLAN tags that the frame came with.
#[inline(always)]
fn tags() -> Tags {
    let handover = maps::handed_over();
    Tags { outer: handover.vlan_outer, inner: handover.vlan_inner }
}

/// Which of the hard headers were on the way to the transport header.
#[inline(always)]
fn count(walk: &Walk) {
    if walk.flags & WALK_OPTIONS != 0 {
        maps::count_case(Case::IpOptions);
    }
    if walk.flags & WALK_EXTENSIONS != 0 {
        maps::count_case(Case::ExtensionHeaders);
    }
}

/// One step after the other, each a global function that leaves what it found in this CPU's room and says what comes next: together
/// they need no more stack than the largest.
#[inline(always)]
fn network<I: Ip>(frame: &mut Frame) -> Verdict {
    let (context, is_ipv4) = (frame.raw(), I::FAMILY == FAMILY_IPV4);
    let mut next = if is_ipv4 { careful_look_ipv4(context) } else { careful_look_ipv6(context) };
    if next == Next::OverlayIpv4.word() {
        return overlay::network::<Ipv4Header>(frame);
    }
    if next == Next::OverlayIpv6.word() {
        return overlay::network::<Ipv6Header>(frame);
    }
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::Tcp), true) => client::careful_tcp_ipv4(context),
        (Some(Next::Tcp), false) => client::careful_tcp_ipv6(context),
        (Some(Next::Udp), true) => client::careful_udp_ipv4(context),
        (Some(Next::Udp), false) => client::careful_udp_ipv6(context),
        (Some(Next::Message), true) => message::careful_message_ipv4(context),
        (Some(Next::Message), false) => message::careful_message_ipv6(context),
        (Some(Next::Later), true) => client::careful_later_ipv4(context),
        (Some(Next::Later), false) => client::careful_later_ipv6(context),
        (_, _) => next,
    };
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::Send), true) => client::careful_send_ipv4(context),
        (Some(Next::Send), false) => client::careful_send_ipv6(context),
        (_, _) => next,
    };
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::Error), true) => message::careful_error_ipv4(context),
        (Some(Next::Error), false) => message::careful_error_ipv6(context),
        (_, _) => next,
    };
    next = match (Next::of(next), is_ipv4) {
        (Some(Next::SendError), true) => message::careful_send_error_ipv4(context),
        (Some(Next::SendError), false) => message::careful_send_error_ipv6(context),
        (_, _) => next,
    };
    if next == Next::Deliver.word() {
        return Verdict::from_word(client::careful_deliver(context));
    }
    if next == Next::Complain.word()
        && let Some(scratch) = maps::scratch()
    {
        return cold::icmp_error::<I>(frame, Complaint::from_word(scratch.parcel.complaint));
    }
    Verdict::from_word(next)
}

/// What comes next.
#[derive(Clone, Copy)]
enum Next {
    /// From a client: find the backend of a TCP segment.
    Tcp,
    /// Of a UDP datagram.
    Udp,
    /// An ICMP message.
    Message,
    /// A fragment behind the first.
    Later,
    /// VXLAN around an IPv4 packet.
    OverlayIpv4,
    /// VXLAN around an IPv6 packet.
    OverlayIpv6,
    /// The backend is known: translate.
    Send,
    /// An ICMP error about a container's packet: find the container.
    Error,
    /// The container is known: translate.
    SendError,
    /// It is translated: encapsulate and send to the host.
    Deliver,
    /// Tell the client what is wrong.
    Complain,
    /// Tell the container what is wrong with its packet.
    ComplainInside,
    /// It is translated and unwrapped: send to the client.
    ToClient,
}

impl Next {
    /// No verdict's word has this bit.
    const BIT: u32 = 1 << 31;
    const ALL: [Self; 13] = [
        Self::Tcp,
        Self::Udp,
        Self::Message,
        Self::Later,
        Self::OverlayIpv4,
        Self::OverlayIpv6,
        Self::Send,
        Self::Error,
        Self::SendError,
        Self::Deliver,
        Self::Complain,
        Self::ComplainInside,
        Self::ToClient,
    ];

    #[inline(always)]
    const fn word(self) -> u32 {
        Self::BIT | self as u32
    }

    /// None for a verdict's word.
    #[inline(always)]
    fn of(word: u32) -> Option<Self> {
        let mut position = 0;
        while position < Self::ALL.len() {
            if Self::ALL[position].word() == word {
                return Some(Self::ALL[position]);
            }
            position += 1;
        }
        None
    }

    /// The word of a step's end.
    #[inline(always)]
    fn or_verdict(result: Result<Self, Verdict>) -> u32 {
        match result {
            Ok(next) => next.word(),
            Err(verdict) => verdict.word(),
        }
    }
}

global! { |frame|
    fn careful_look_ipv4() -> u32 { Next::or_verdict(classify::<Ipv4Header>(&mut frame)) }
    fn careful_look_ipv6() -> u32 { Next::or_verdict(classify::<Ipv6Header>(&mut frame)) }
}

/// To a VTEP of ours, or to a VIP, or not ours.
#[inline(always)]
fn classify<I: Ip + Header>(frame: &mut Frame) -> Result<Next, Verdict> {
    let not_ours = Verdict::Pass(Reason::NotOurs);
    let (Some(scratch), Some(gateway)) = (maps::scratch(), maps::gateway()) else {
        return Err(Verdict::Drop(Reason::Internal));
    };
    let ip = frame.load_header::<I, _>(IP_AT, &mut scratch.ip).ok_or(not_ours)?;
    if !ip.is_for_vtep(gateway) {
        return client::look(frame, ip, &mut scratch.walk);
    }
    if !ip.is_plain() {
        return Err(not_ours);
    }
    match ip.protocol() {
        PROTOCOL_UDP => {
            let at = IP_AT + size_of::<I>() as u32;
            let udp = frame.load_header::<UdpHeader, _>(at, &mut scratch.transport).ok_or(not_ours)?;
            if udp.destination == gateway.vxlan_port { overlay::look(frame, ip) } else { Err(not_ours) }
        }
        protocol if protocol == I::ICMP => Err(outer_error::<I>(frame, gateway.vxlan_port)),
        _ => Err(not_ours),
    }
}

/// ICMP that says that a packet of ours to a host is too big for the underlay: the daemon learns that host's path MTU, and the stack
/// gets the frame as well.
#[inline(always)]
fn outer_error<I: Ip + Header>(frame: &Frame, vxlan_port: [u8; 2]) -> Verdict {
    let not_ours = Verdict::Pass(Reason::NotOurs);
    let Some(scratch) = maps::scratch() else { return Verdict::Drop(Reason::Internal) };
    let icmp_at = IP_AT + size_of::<I>() as u32;
    let Some(icmp) = frame.load_header::<IcmpHeader, _>(icmp_at, &mut scratch.transport) else { return not_ours };
    if (icmp.kind, icmp.code) != kinds::<I>().too_big {
        return not_ours;
    }
    let Some(quoted) = frame.load_header::<I, _>(icmp_at + QUOTE_AT, &mut scratch.quoted_ip) else { return not_ours };
    let is_ours = maps::gateway().is_some_and(|gateway| quoted.source_is_vtep(gateway));
    let Some(quote) = Quote::read(frame, quoted, icmp_at, frame.length()) else { return not_ours };
    if !is_ours || quote.protocol != u32::from(PROTOCOL_UDP) || quote.ports[1] != vxlan_port {
        return not_ours;
    }
    // Without the daemon the stack still learns it.
    let _told = maps::hand_to_daemon(frame, RECORD_OUTER_ERROR, 0, None);
    Verdict::Pass(Reason::OuterError)
}
