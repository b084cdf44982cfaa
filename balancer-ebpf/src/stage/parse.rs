//! Turns the first bytes of a frame into an ethertype, with up to two VLAN tags taken off.

use balancer_common::{
    case::Case,
    verdict::{Reason, Verdict},
    wire::{ethernet::EthernetHeader, vlan::VlanTag},
};

use crate::{frame::Frame, maps, value::Tags};

/// Ethertype of what follows, and the tags that stood before it.
#[inline(always)]
pub fn run(frame: &mut Frame) -> Option<([u8; 2], Tags)> {
    let ethertype = frame.view::<EthernetHeader>(0)?.ethertype;
    if VlanTag::begins_with(ethertype) { untag(frame) } else { Some((ethertype, Tags::NONE)) }
}

/// Bytes of the two MACs.
const MACS: usize = 12;
/// Bytes of a tag.
const TAG: usize = size_of::<VlanTag>();

#[inline(always)]
fn untag(frame: &mut Frame) -> Option<([u8; 2], Tags)> {
    maps::count_case(Case::VlanTagged);
    let macs = *frame.view::<[u8; MACS]>(0)?;
    let outer = *frame.view::<VlanTag>(MACS)?;
    let second = *frame.view::<VlanTag>(MACS + TAG)?;
    if !VlanTag::begins_with(second.tpid) {
        frame.shrink_head(TAG)?;
        frame.view_mut::<EthernetHeader>(0)?.macs = macs;
        return Some((second.tpid, Tags { outer: outer.word(), inner: 0 }));
    }
    let ethertype = *frame.view::<[u8; 2]>(MACS + 2 * TAG)?;
    frame.shrink_head(2 * TAG)?;
    frame.view_mut::<EthernetHeader>(0)?.macs = macs;
    Some((ethertype, Tags { outer: outer.word(), inner: second.word() }))
}

/// Puts the tags back on a frame that is not ours, or that goes back the way it came; forwarded frames go without.
#[inline(always)]
pub fn restore(frame: &mut Frame, tags: Tags, verdict: Verdict) -> Verdict {
    let back = match verdict {
        Verdict::Pass(_) => true,
        Verdict::Transmit(reason) => !is_carried(reason),
        Verdict::Drop(_) | Verdict::Redirect(_) | Verdict::Careful(_) => false,
    };
    if back && push(frame, tags).is_none() { Verdict::Drop(Reason::Headroom) } else { verdict }
}

/// Whether a frame was made for another network than the one it came from: under no tags, or those of its service port.
#[inline(always)]
const fn is_carried(reason: Reason) -> bool {
    matches!(reason, Reason::Forwarded | Reason::Replied | Reason::ErrorForwarded | Reason::ErrorReplied)
}

/// Puts tags in front of an untagged frame's ethertype.
#[inline(always)]
pub fn push(frame: &mut Frame, tags: Tags) -> Option<()> {
    let macs = *frame.view::<[u8; MACS]>(0)?;
    if tags.inner == 0 {
        frame.grow_head(TAG)?;
    } else {
        frame.grow_head(2 * TAG)?;
        *frame.view_mut::<VlanTag>(MACS + TAG)? = VlanTag::from_word(tags.inner);
    }
    *frame.view_mut::<[u8; MACS]>(0)? = macs;
    *frame.view_mut::<VlanTag>(MACS)? = VlanTag::from_word(tags.outer);
    Some(())
}
