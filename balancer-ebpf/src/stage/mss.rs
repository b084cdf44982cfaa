//! Turns the MSS option of a SYN or SYN-ACK into one whose segments fit the way with the encapsulation (case 17).

use balancer_common::{
    case::Case,
    checksum::Delta,
    wire::{
        bytes::{Bytes, BytesMut as _, carried},
        ip::Ip,
        tcp::{OPTION_END, OPTION_MSS, OPTION_MSS_LENGTH, OPTION_NOP, OPTIONS_MAX, TcpHeader},
    },
};

use crate::{
    frame::{Frame, Header, Packet},
    maps,
    value::Mss,
};

/// Lowers the MSS to what an IP packet of `inner_mtu` bytes holds, where it is the first option, as nearly every stack sends it.
#[inline(always)]
pub fn run<I: Ip + Header>(frame: &mut Frame, inner_mtu: u16) -> Mss {
    let Some(packet) = frame.view::<Packet<I, TcpHeader>>(0) else { return Mss::Done };
    if packet.transport.length() <= size_of::<TcpHeader>() as u32 {
        return Mss::Done;
    }
    // Options in another buffer are looked for there.
    let Some(&[kind, length, ..]) = frame.view::<[u8; OPTION_MSS_LENGTH as usize]>(options::<I>()) else {
        return Mss::Elsewhere;
    };
    if [kind, length] != [OPTION_MSS, OPTION_MSS_LENGTH] {
        return Mss::Elsewhere;
    }
    clamp_first::<I>(frame, inner_mtu);
    Mss::Done
}

/// Where the options begin in the frame.
const fn options<I>() -> usize {
    size_of::<Packet<I, TcpHeader>>()
}

#[inline(always)]
fn clamp_first<I: Ip + Header>(frame: &mut Frame, inner_mtu: u16) {
    let mss_max = inner_mtu.saturating_sub(I::MSS_OVERHEAD);
    let Some(value) = frame.view_mut::<[u8; 2]>(options::<I>() + 2) else { return };
    let old = *value;
    if u16::from_be_bytes(old) <= mss_max {
        return;
    }
    *value = mss_max.to_be_bytes();
    maps::count_case(Case::MssClamped);
    let delta = lowered(old, mss_max, true);
    let Some(packet) = frame.view_mut::<Packet<I, TcpHeader>>(0) else { return };
    let checksum = u16::from_ne_bytes(packet.transport.checksum);
    packet.transport.checksum = delta.apply(checksum).to_ne_bytes();
}

/// What another MSS does to the checksum. At an odd position its bytes belong to two words, and the delta's bytes change places.
#[inline(always)]
fn lowered(old: [u8; 2], mss_max: u16, even: bool) -> Delta {
    let delta = Delta::of_word(u16::from_ne_bytes(old), mss_max.to_be());
    if even { delta } else { Delta(delta.0.swap_bytes()) }
}

/// The same for the segment at `transport`, wherever its option stands and in however many buffers.
///
/// A SYN without the option is left as it is: its sender keeps to the default of 536 (RFC 9293 section 3.7.1), which fits.
/// Says whether it changed anything.
#[inline(always)]
pub fn search<I: Ip>(frame: &mut Frame, transport: u32, inner_mtu: u16) -> bool {
    let Some(scratch) = maps::scratch() else { return false };
    let Some(tcp) = frame.load_header::<TcpHeader, _>(transport, &mut scratch.transport) else { return false };
    let before = tcp.checksum;
    clamp::<I>(frame, transport, tcp, inner_mtu);
    tcp.checksum != before && frame.store_header(transport, tcp).is_some()
}

#[inline(always)]
fn clamp<I: Ip>(frame: &mut Frame, transport: u32, tcp: &mut TcpHeader, inner_mtu: u16) {
    const FIXED: u32 = size_of::<TcpHeader>() as u32;
    let length = tcp.length().saturating_sub(FIXED);
    let mss_max = inner_mtu.saturating_sub(I::MSS_OVERHEAD);
    let mut position = 0;
    for _ in 0..OPTIONS_MAX {
        // Nothing that ends within the header begins here; what stands behind it is payload.
        if position + u32::from(OPTION_MSS_LENGTH) > length {
            break;
        }
        let at = transport + FIXED + position;
        let Some([kind]) = Bytes::load(frame, at) else { break };
        if kind == OPTION_END {
            break;
        }
        if kind == OPTION_NOP {
            position = carried(position + 1, OPTIONS_MASK);
            continue;
        }
        let Some([option_length]) = Bytes::load(frame, at + 1) else { break };
        if kind == OPTION_MSS && option_length == OPTION_MSS_LENGTH {
            let Some(old) = Bytes::load::<2>(frame, at + 2) else { break };
            if u16::from_be_bytes(old) > mss_max && frame.store(at + 2, &mss_max.to_be_bytes()).is_some() {
                maps::count_case(Case::MssClamped);
                let delta = lowered(old, mss_max, position.is_multiple_of(2));
                tcp.checksum = delta.apply(u16::from_ne_bytes(tcp.checksum)).to_ne_bytes();
            }
            break;
        }
        if option_length < 2 {
            break;
        }
        position = carried(position + u32::from(option_length), OPTIONS_MASK);
    }
}

/// Every position that is looked at among the options.
const OPTIONS_MASK: u32 = 0x1ff;
