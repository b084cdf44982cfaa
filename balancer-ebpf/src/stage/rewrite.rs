//! Turns a client's packet into one for the container (`nat` mode), and a container's reply into one from the VIP.

use balancer_common::{
    abi::{Backend, Host},
    checksum::Delta,
    verdict::{Reason, Verdict},
    wire::{ip::Ip, transport::Transport},
};

use crate::{
    frame::{Frame, Header, Packet},
    value::{CAREFUL, Choice, Request, Sender},
};

/// Destination and port become the container's; the client's address stays.
#[inline(always)]
pub fn forward<I, T>(frame: &mut Frame, request: &Request, choice: &Choice, host: &Host) -> Result<(), Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    let backend = choice.backend;
    if request.length > u32::from(host.inner_mtu) {
        return Err(CAREFUL);
    }
    let Some(packet) = frame.view_mut::<Packet<I, T>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    packet.ip.forward_to(&backend.address, Delta(backend.l3_delta));
    packet.transport.forward_to(backend.port, Delta(backend.l4_delta));
    Ok(())
}

/// Source and port become the VIP's: the inverse, constant for each backend.
#[inline(always)]
pub fn reply<I, T>(frame: &mut Frame, sender: &Sender) -> Result<(), Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    let backend = sender.backend;
    let Some(packet) = frame.view_mut::<Packet<I, T>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    packet.ip.reply_from(&backend.vip, Delta(backend.l3_delta).inverse());
    packet.transport.reply_from(backend.vip_port, Delta(backend.l4_delta).inverse());
    Ok(())
}

/// The same as [`forward`] for headers at any offset, which the caller has read and writes back. Later fragments have no transport
/// header.
#[inline(always)]
pub fn forward_at<I: Ip, T: Transport>(ip: &mut I, transport: Option<&mut T>, backend: &Backend) {
    ip.forward_to(&backend.address, Delta(backend.l3_delta));
    if let Some(transport) = transport {
        let port = if backend.port == [0; 2] { transport.destination_port() } else { backend.port };
        transport.forward_to(port, Delta(backend.l4_delta));
    }
}

/// The same as [`reply`] likewise.
#[inline(always)]
pub fn reply_at<I: Ip, T: Transport>(ip: &mut I, transport: Option<&mut T>, backend: &Backend) {
    ip.reply_from(&backend.vip, Delta(backend.l3_delta).inverse());
    if let Some(transport) = transport {
        let port = if backend.vip_port == [0; 2] { transport.source_port() } else { backend.vip_port };
        transport.reply_from(port, Delta(backend.l4_delta).inverse());
    }
}
