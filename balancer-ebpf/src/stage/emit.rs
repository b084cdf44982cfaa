//! Turns a finished frame into the way it leaves by: the interface it came in by, another one, or the daemon's slow path.

use balancer_common::{
    abi::ClientRoutes,
    id::IfIndex,
    record::RECORD_SEND,
    service::{Address, CLIENT_ROUTE_EXCEPTIONS, FAMILY_IPV4},
    verdict::{Reason, Verdict},
    wire::{ethernet::EthernetHeader, ip::Ip},
};

use crate::{
    cold,
    frame::{Frame, Header, Link},
    maps::{self, Route},
    value::{Carriage, Sender},
};

/// Towards the backend's host.
#[inline(always)]
pub fn to_host(frame: &Frame, carriage: &Carriage) -> Verdict {
    maps::count_forward(carriage.service_id, carriage.choice.backend_id, carriage.length);
    by(frame, carriage, Reason::Forwarded)
}

/// The same, under another reason.
#[inline(always)]
pub fn by(frame: &Frame, carriage: &Carriage, reason: Reason) -> Verdict {
    let next_hop = &carriage.host.next_hop;
    if next_hop.resolved == 0 {
        return cold::through_daemon(frame, Reason::HostUnresolved);
    }
    leave(frame, IfIndex(next_hop.ifindex), reason)
}

/// Towards the client, by the default route or as the kernel's routes say.
#[inline(always)]
pub fn to_client<I: Ip + Header>(frame: &mut Frame, sender: &Sender) -> Result<Verdict, Verdict> {
    maps::count_reply(sender.backend.service, sender.backend_id, sender.length);
    let position = u32::from(I::FAMILY != FAMILY_IPV4);
    let Some(routes) = maps::client_routes(position) else { return Err(Verdict::Drop(Reason::Internal)) };
    let Some(link) = frame.view_mut::<Link<I>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    if routes.default.resolved == 0 || is_exception(&link.ip, routes) {
        return Ok(cold::to_client_by_kernel::<I>(frame));
    }
    link.ethernet.write(&routes.default.macs, I::ETHERTYPE);
    Ok(leave(frame, IfIndex(routes.default.ifindex), Reason::Replied))
}

/// The same for a packet whose IP header was read already, and need not lie in the frame's first buffer.
#[inline(always)]
pub fn to_client_of<I: Ip + Header>(frame: &mut Frame, ip: &I, reason: Reason) -> Verdict {
    let Some(routes) = maps::client_routes(u32::from(I::FAMILY != FAMILY_IPV4)) else {
        return Verdict::Drop(Reason::Internal);
    };
    if routes.default.resolved == 0 || is_exception(ip, routes) {
        return cold::to_client_by_kernel::<I>(frame);
    }
    let Some(ethernet) = frame.view_mut::<EthernetHeader>(0) else { return Verdict::Drop(Reason::Truncated) };
    ethernet.write(&routes.default.macs, I::ETHERTYPE);
    leave(frame, IfIndex(routes.default.ifindex), reason)
}

/// Largest IP packet that the way to the clients takes, as far as it is known.
#[inline(always)]
pub fn client_mtu<I: Ip>() -> u16 {
    let routes = maps::client_routes(u32::from(I::FAMILY != FAMILY_IPV4));
    let mtu = routes.map_or(0, |routes| routes.default.mtu);
    if mtu == 0 || mtu > u32::from(u16::MAX) { u16::MAX } else { mtu as u16 }
}

/// Whether the client's route may be another than the default.
#[inline(always)]
fn is_exception<I: Ip>(ip: &I, routes: &ClientRoutes) -> bool {
    if routes.exceptions_count as usize > CLIENT_ROUTE_EXCEPTIONS {
        return true;
    }
    for (position, prefix) in routes.exceptions.iter().enumerate() {
        if position >= routes.exceptions_count as usize {
            return false;
        }
        if ip.destination_in(&prefix.address, &prefix.mask) {
            return true;
        }
    }
    false
}

/// Asks the kernel's routes for the client.
#[inline(always)]
pub fn by_kernel<I: Ip + Header>(frame: &mut Frame) -> Verdict {
    let truncated = Verdict::Drop(Reason::Truncated);
    let Some(link) = frame.view::<Link<I>>(0) else { return truncated };
    let ends = Ends { source: link.ip.source(), destination: link.ip.destination() };
    match maps::route(frame, I::FAMILY, &ends.source, &ends.destination) {
        Route::Known { port, macs } => {
            let Some(link) = frame.view_mut::<Link<I>>(0) else { return truncated };
            link.ethernet.write(&macs, I::ETHERTYPE);
            leave(frame, port, Reason::Replied)
        }
        Route::AskStack => {
            let Some(link) = frame.view_mut::<Link<I>>(0) else { return truncated };
            link.ethernet.ethertype = I::ETHERTYPE;
            cold::through_daemon(frame, Reason::ClientUnresolved)
        }
        Route::None => Verdict::Drop(Reason::NoRoute),
    }
}

/// Two addresses on the stack, aligned for it.
#[repr(align(8))]
struct Ends {
    source: Address,
    destination: Address,
}

#[inline(always)]
fn leave(frame: &Frame, port: IfIndex, reason: Reason) -> Verdict {
    if port.0 == frame.ingress() {
        Verdict::Transmit(reason)
    } else if maps::redirect(port) {
        Verdict::Redirect(reason)
    } else {
        Verdict::Drop(Reason::PortUnknown)
    }
}

/// The host's stack resolves the neighbour and sends the frame (case 21); the frame itself ends here.
#[inline(always)]
pub fn through_daemon(frame: &Frame, otherwise: u32) -> Verdict {
    if maps::hand_to_daemon(frame, RECORD_SEND, 0, None) {
        Verdict::Drop(Reason::SlowPath)
    } else {
        Verdict::Drop(Reason::from_word(otherwise).unwrap_or(Reason::Internal))
    }
}
