//! Turns the MSS option of a SYN or SYN-ACK into one whose segments fit the way with the encapsulation (case 17).

use balancer_common::{
    checksum::Delta,
    wire::{
        ip::Ip,
        tcp::{OPTION_END, OPTION_MSS, OPTION_MSS_LENGTH, OPTION_NOP, OPTIONS_MAX, TcpHeader},
    },
};

use crate::{
    frame::{Frame, Header, Packet},
    value::Mss,
};

/// Lowers the MSS to what an IP packet of `inner_mtu` bytes holds, where it is the first option, as nearly every stack sends it.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &mut Frame, inner_mtu: u16) -> Mss {
    let Some(packet) = frame.view::<Packet<I, TcpHeader>>(0) else { return Mss::Done };
    if packet.transport.length() <= size_of::<TcpHeader>() as u32 {
        return Mss::Done;
    }
    let Some(&first) = frame.view::<[u8; 2]>(options::<I>()) else { return Mss::Done };
    if first != [OPTION_MSS, OPTION_MSS_LENGTH] {
        return Mss::Elsewhere;
    }
    clamp::<I>(frame, 0, inner_mtu);
    Mss::Done
}

/// Where the options begin in the frame.
const fn options<I>() -> usize {
    size_of::<Packet<I, TcpHeader>>()
}

/// The same where it is not the first. Returns how many options it walked over.
///
/// A SYN without the option is left as it is: its sender keeps to the default of 536 (RFC 9293 section 3.7.1), which
/// fits. The position counts up one by one and options are entered where they begin, so that the verifier knows the
/// offset of every packet access.
#[inline(always)]
pub fn search<I: Ip + Header>(frame: &mut Frame, inner_mtu: u16) -> u32 {
    let Some(packet) = frame.view::<Packet<I, TcpHeader>>(0) else { return 0 };
    let length = packet.transport.length().saturating_sub(size_of::<TcpHeader>() as u32) as usize;
    let (mut begin, mut walked) = (0, 0);
    for position in 0..OPTIONS_MAX {
        if position >= length {
            break;
        }
        if position != begin {
            continue;
        }
        walked += 1;
        let Some(&[kind]) = frame.view::<[u8; 1]>(options::<I>() + position) else { break };
        if kind == OPTION_END {
            break;
        }
        if kind == OPTION_NOP {
            begin = position + 1;
            continue;
        }
        let Some(&[option_length]) = frame.view::<[u8; 1]>(options::<I>() + position + 1) else { break };
        if kind == OPTION_MSS && option_length == OPTION_MSS_LENGTH {
            clamp::<I>(frame, position, inner_mtu);
            break;
        }
        if option_length < 2 {
            break;
        }
        begin = position + option_length as usize;
    }
    walked
}

/// Clamps the option that begins at `position` among the options.
#[inline(always)]
fn clamp<I: Ip + Header>(frame: &mut Frame, position: usize, inner_mtu: u16) {
    let mss_max = inner_mtu.saturating_sub(I::MSS_OVERHEAD);
    let Some(value) = frame.view_mut::<[u8; 2]>(options::<I>() + position + 2) else { return };
    let old = *value;
    if u16::from_be_bytes(old) <= mss_max {
        return;
    }
    *value = mss_max.to_be_bytes();
    let delta = Delta::of_word(u16::from_ne_bytes(old), mss_max.to_be());
    // At an odd position the bytes belong to two words, and the delta's bytes change places.
    let delta = if position.is_multiple_of(2) { delta } else { Delta(delta.0.swap_bytes()) };
    let Some(packet) = frame.view_mut::<Packet<I, TcpHeader>>(0) else { return };
    let checksum = u16::from_ne_bytes(packet.transport.checksum);
    packet.transport.checksum = delta.apply(checksum).to_ne_bytes();
}
