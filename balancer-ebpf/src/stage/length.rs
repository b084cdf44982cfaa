//! Turns a frame with padding behind the IP packet into one without (case 4), and refuses one that holds less than its IP length.

use balancer_common::{case::Case, wire::ethernet::EthernetHeader};

use crate::{frame::Frame, maps};

/// Whether the frame is neither longer nor shorter than one Ethernet header and an IP packet of `length` bytes. A frame in
/// several buffers is not, as far as this can see.
#[inline(always)]
pub fn fits(frame: &Frame, length: u32) -> bool {
    frame.first_buffer() == expected(length)
}

/// Whether the frame holds an Ethernet header and an IP packet of `length` bytes, in however many buffers.
#[inline(always)]
pub fn holds(frame: &Frame, length: u32) -> bool {
    frame.length() >= expected(length)
}

/// Cuts off what stands behind the IP packet; false when the frame holds less.
#[inline(always)]
pub fn fit(frame: &mut Frame, length: u32) -> bool {
    if frame.length() > expected(length) {
        maps::count_case(Case::PaddingCut);
    }
    holds(frame, length) && frame.cut_tail(expected(length)).is_some()
}

#[inline(always)]
fn expected(length: u32) -> u32 {
    length + size_of::<EthernetHeader>() as u32
}
