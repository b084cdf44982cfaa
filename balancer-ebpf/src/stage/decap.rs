//! Turns a VXLAN packet for this gateway into what its headers say, and later into the inner frame alone.

use balancer_common::{
    verdict::{Reason, Verdict},
    wire::{
        ethernet::EthernetHeader,
        ip::{ECN_CE, ECN_ECT_0, ECN_ECT_1, ECN_MASK, ECN_NOT_ECT, Ip},
    },
};

use crate::{
    frame::{Frame, Header, Link, Overlay},
    value::Envelope,
};

/// Reads the outer headers. Nothing is changed yet: what is no reply goes to the kernel's VXLAN device as it came.
#[inline(always)]
pub fn open<O: Ip + Header>(frame: &Frame) -> Result<Envelope, Verdict> {
    let not_reply = Verdict::Pass(Reason::OverlayNotReply);
    let Some(overlay) = frame.view::<Overlay<O>>(0) else {
        return Err(if frame.is_split() { Verdict::Careful(Reason::CarefulMissing) } else { not_reply });
    };
    let vni = overlay.vxlan.vni();
    if vni == 0 {
        return Err(not_reply);
    }
    Ok(Envelope { vni, ethertype: overlay.inner.ethertype, ecn: overlay.ip.traffic_class() & ECN_MASK })
}

/// Cuts the outer headers off. The ECN field of both headers becomes the inner one's (RFC 6040 section 4.2, figure 4).
#[inline(always)]
pub fn run<O: Ip + Header, I: Ip + Header>(frame: &mut Frame, envelope: &Envelope) -> Result<(), Verdict> {
    let Some(()) = frame.shrink_head(size_of::<Overlay<O>>() - size_of::<EthernetHeader>()) else {
        return Err(Verdict::Drop(Reason::Internal));
    };
    if envelope.ecn & ECN_ECT_1 == 0 {
        return Ok(());
    }
    let Some(link) = frame.view_mut::<Link<I>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    carry_ecn(&mut link.ip, envelope.ecn)
}

/// The ECN field of the outer header, where it says more than the inner one's.
#[inline(always)]
pub fn carry_ecn<I: Ip>(ip: &mut I, outer: u8) -> Result<(), Verdict> {
    match (ip.traffic_class() & ECN_MASK, outer) {
        (ECN_NOT_ECT, ECN_CE) => Err(Verdict::Drop(Reason::EcnInvalid)),
        (ECN_ECT_0 | ECN_ECT_1, ECN_CE) => {
            ip.set_ecn(ECN_CE);
            Ok(())
        }
        (ECN_ECT_0, ECN_ECT_1) => {
            ip.set_ecn(ECN_ECT_1);
            Ok(())
        }
        _ => Ok(()),
    }
}
