//! A frame's way through the gateway: the order of the stages, and nothing else.
//!
//! ```text
//! parse -> classify -+-> select (conntrack) -> rewrite -> encap -> emit     a client's frame
//!                    +-> decap -> reply -> rewrite -> emit                 a backend's reply
//!                    +-> icmp, reset                                       what the gateway answers itself
//!                    +-> careful.rs                                        headers that are not where they usually are
//!                    +-> pass                                              everything else, untouched
//! ```

use balancer_common::{
    service::{Handover, SERVICE_CAREFUL, SERVICE_SOURCES},
    verdict::{Reason, Verdict},
    wire::{
        ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
        ip::{Ip, PROTOCOL_TCP},
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        tcp::TcpHeader,
        transport::Transport,
        udp::UdpHeader,
    },
};

use crate::{
    cold,
    frame::{Frame, Header, Link},
    maps,
    stage::{
        classify, decap, emit, encap,
        icmp::{self, Complaint},
        mss, parse, reply, rewrite, select,
    },
    value::{Carriage, Class, Envelope, Mss, Reply, Request, Sender, Tags},
};

/// Runs the stages. VLAN tags are off while they run and back on when the frame leaves by the way it came.
#[inline(always)]
pub fn run(frame: &mut Frame) -> Verdict {
    let Some((ethertype, tags)) = parse::run(frame) else { return Verdict::Pass(Reason::NotOurs) };
    let carriage = match ethertype {
        ETHERTYPE_IPV4 => network::<Ipv4Header>(frame, tags),
        ETHERTYPE_IPV6 => network::<Ipv6Header>(frame, tags),
        _ => Err(Verdict::Pass(Reason::NotOurs)),
    };
    let verdict = match carriage {
        Ok(carriage) => to_host(frame, &carriage),
        Err(verdict) => verdict,
    };
    if let Verdict::Careful(_) = verdict {
        maps::hand_over(Handover { vlan_outer: tags.outer, vlan_inner: tags.inner });
        return verdict;
    }
    if tags.any() { parse::restore(frame, tags, verdict) } else { verdict }
}

#[inline(always)]
fn to_host(frame: &mut Frame, carriage: &Carriage) -> Verdict {
    match encap::run(frame, carriage) {
        Ok(()) => emit::to_host(frame, carriage),
        Err(verdict) => verdict,
    }
}

/// A client's packet goes on to a host; everything else ends here with a verdict.
#[inline(always)]
fn network<I: Ip + Header>(frame: &mut Frame, tags: Tags) -> Result<Carriage, Verdict> {
    match classify::run::<I>(frame)? {
        Class::Tcp(request) => forward::<I, TcpHeader>(frame, &request, tags),
        Class::Udp(request) => forward::<I, UdpHeader>(frame, &request, tags),
        Class::Overlay => Err(overlay::<I>(frame)),
        Class::Echo(length) => {
            cold::fit(frame, length)?;
            Err(icmp::echo::<I>(frame))
        }
        Class::Expired(length) => {
            cold::fit(frame, length)?;
            Err(cold::icmp_error::<I>(frame, Complaint::Expired))
        }
    }
}

/// From the client towards a backend.
#[inline(always)]
fn forward<I, T>(frame: &mut Frame, request: &Request, tags: Tags) -> Result<Carriage, Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    cold::fit(frame, request.length)?;
    if request.service.flags & (SERVICE_CAREFUL | SERVICE_SOURCES) != 0 {
        cold::guard::<I>(frame, request.service_id)?;
    }
    let selection = select::run::<I, T>(frame, request, tags)?;
    let choice = if selection.settled {
        select::owner(&selection)
    } else {
        match cold::conntrack::<I, T>(frame, request.service_id, selection.slot, selection.hash) {
            Ok(backend_id) => select::at(backend_id, selection.hash)?,
            Err(Verdict::Drop(Reason::NoBackend)) => return Err(refuse::<I, T>(frame)),
            Err(verdict) => return Err(verdict),
        }
    };
    let host = select::host(&choice)?;
    rewrite::forward::<I, T>(frame, request, &choice, host)?;
    if request.syn && mss::run::<I>(frame, host.segment_mtu) == Mss::Elsewhere {
        cold::mss::<I>(frame, size_of::<Link<I>>() as u32, host.segment_mtu);
    }
    Ok(Carriage {
        service_id: request.service_id,
        choice,
        host,
        length: request.length,
        ethertype: I::ETHERTYPE,
        traffic_class: request.traffic_class,
        packet_sum: encap::packet_sum::<I, T>(frame, host, request.length)?,
    })
}

/// Without a backend the client is told at once.
#[inline(always)]
fn refuse<I: Ip + Header, T: Transport>(frame: &mut Frame) -> Verdict {
    if T::PROTOCOL == PROTOCOL_TCP {
        cold::reset::<I>(frame, size_of::<Link<I>>() as u32)
    } else {
        cold::icmp_error::<I>(frame, Complaint::NoBackend)
    }
}

/// From a container host, inside VXLAN.
#[inline(always)]
fn overlay<O: Ip + Header>(frame: &mut Frame) -> Verdict {
    let envelope = match decap::open::<O>(frame) {
        Ok(envelope) => envelope,
        Err(verdict) => return verdict,
    };
    let (Ok(verdict) | Err(verdict)) = match envelope.ethertype {
        ETHERTYPE_IPV4 => inner::<O, Ipv4Header>(frame, &envelope),
        ETHERTYPE_IPV6 => inner::<O, Ipv6Header>(frame, &envelope),
        _ => Err(Verdict::Pass(Reason::OverlayNotReply)),
    };
    verdict
}

#[inline(always)]
fn inner<O, I>(frame: &mut Frame, envelope: &Envelope) -> Result<Verdict, Verdict>
where
    O: Ip + Header,
    I: Ip + Header,
{
    match reply::run::<O, I>(frame, envelope)? {
        Reply::Tcp(sender) => back::<O, I, TcpHeader>(frame, envelope, &sender),
        Reply::Udp(sender) => back::<O, I, UdpHeader>(frame, envelope, &sender),
    }
}

/// From a backend to its client.
#[inline(always)]
fn back<O, I, T>(frame: &mut Frame, envelope: &Envelope, sender: &Sender) -> Result<Verdict, Verdict>
where
    O: Ip + Header,
    I: Ip + Header,
    T: Transport + Header,
{
    decap::run::<O, I>(frame, envelope)?;
    cold::fit(frame, sender.length)?;
    rewrite::reply::<I, T>(frame, sender)?;
    if sender.syn && mss::run::<I>(frame, sender.segment_mtu) == Mss::Elsewhere {
        cold::mss::<I>(frame, size_of::<Link<I>>() as u32, sender.segment_mtu);
    }
    let verdict = emit::to_client::<I>(frame, sender)?;
    if sender.tags.any() {
        parse::push(frame, sender.tags).ok_or(Verdict::Drop(Reason::Headroom))?;
    }
    Ok(verdict)
}
