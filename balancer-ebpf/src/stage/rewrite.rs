//! Turns a client's packet into one for the container (`nat` mode), and a container's reply into one from the VIP.

use balancer_common::{
    abi::Host,
    checksum::Delta,
    verdict::{Reason, Verdict},
    wire::{ip::Ip, transport::Transport},
};

use crate::{
    frame::{Frame, Header, Packet},
    value::{Choice, Request, Sender},
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
        return Err(Verdict::Drop(Reason::TooBig));
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
