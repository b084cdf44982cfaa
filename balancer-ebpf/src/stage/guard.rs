//! Turns a client's address into whether a service port lets it in, before any state is looked at or made (LPM, longest prefix first).

use balancer_common::{
    service::{SERVICE_CAREFUL, SERVICE_SOURCES},
    source::SOURCE_ALLOW,
    verdict::{Reason, Verdict},
    wire::ip::Ip,
};

use crate::{
    frame::{Frame, Header, Link},
    maps,
    value::CAREFUL,
};

/// Of a packet in the frame's first buffer. What the fast program cannot hash goes on in the careful one, which asks again.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &Frame, service_id: u32) -> Result<(), Verdict> {
    let Some(link) = frame.view::<Link<I>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    let Some(service) = maps::service(service_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    if service.flags & SERVICE_CAREFUL != 0 {
        return Err(CAREFUL);
    }
    source(&link.ip, service_id, service.flags)
}

/// Of any packet.
#[inline(always)]
pub fn source<I: Ip>(ip: &I, service_id: u32, flags: u32) -> Result<(), Verdict> {
    if flags & SERVICE_SOURCES == 0 {
        return Ok(());
    }
    let Some(policy) = maps::policy(service_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    // A list always says what holds for everybody else; one that is not there lets nobody in.
    match maps::source(policy.sources, ip.source()) {
        Some(SOURCE_ALLOW) => Ok(()),
        Some(_) | None => Err(Verdict::Drop(Reason::SourceDenied)),
    }
}
