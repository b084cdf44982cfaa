//! Turns a VXLAN packet for this gateway into what its headers say, and later into the inner frame alone.

use balancer_common::{
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        ip::{ECN_MASK, Ip},
    },
};

use crate::{
    frame::{Frame, Header, Link, Overlay},
    value::Envelope,
};

/// Reads the outer headers. Nothing is changed yet: what is no reply goes to the kernel's VXLAN device as it came.
#[inline(always)]
pub fn open<O: Ip + Header>(frame: &Frame) -> Result<Envelope, Verdict> {
    let Some(overlay) = frame.view::<Overlay<O>>(0) else { return Err(Verdict::Pass(Reason::OverlayNotReply)) };
    let vni = overlay.vxlan.vni();
    if vni == 0 {
        return Err(Verdict::Pass(Reason::OverlayNotReply));
    }
    Ok(Envelope { vni, ethertype: overlay.inner.ethertype, ecn: overlay.ip.traffic_class() & ECN_MASK })
}

/// Congestion experienced (RFC 3168).
const CONGESTED: u8 = 0b11;

/// Cuts the outer headers off. A congestion mark on the outside moves inside (RFC 6040 section 4.2).
#[inline(always)]
pub fn run<O: Ip + Header, I: Ip + Header>(frame: &mut Frame, envelope: &Envelope) -> Result<(), Verdict> {
    let Some(()) = frame.shrink_head(size_of::<Overlay<O>>() - size_of::<EthernetHeader>()) else {
        return Err(Verdict::Drop(Reason::Internal));
    };
    if envelope.ecn != CONGESTED {
        return Ok(());
    }
    let Some(link) = frame.view_mut::<Link<I>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    if link.ip.traffic_class() & ECN_MASK == 0 {
        return Err(Verdict::Drop(Reason::EcnInvalid));
    }
    link.ip.set_congestion();
    Ok(())
}
