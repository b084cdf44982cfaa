//! The datapath cases: what each of them asks, where it has no meaning, and by which counters an operator sees it.

use balancer_common::{
    case::Case as Counted,
    verdict::Reason::{self, *},
};

use super::{Cell, Mode};

/// A row of the table.
#[derive(Debug)]
pub struct Case {
    /// Its number.
    pub number: u8,
    /// What it asks, in short.
    pub title: &'static str,
    /// The reasons that frames of it are counted under. Its [`Counted`] cases are found by number.
    pub reasons: &'static [Reason],
    /// Why mode `dsr` is no case of its own here; none when it is.
    pub no_dsr: Option<&'static str>,
}

impl Case {
    /// Whether somebody has to prove it in this cell.
    #[must_use]
    pub fn applies(&self, cell: Cell) -> bool {
        cell.mode == Mode::Nat || self.no_dsr.is_none()
    }

    /// The names of its counters: reasons, then cases.
    #[must_use]
    pub fn counters(&self) -> Vec<&'static str> {
        let reasons = self.reasons.iter().map(|reason| reason.name());
        let cases = Counted::ALL.iter().filter(|case| case.number() == self.number).map(|case| case.name());
        reasons.chain(cases).collect()
    }
}

const NO_SERVICE_PORT: &str = "decided without a service port, and only those have a mode";
const BEFORE_MODE: &str = "decided before the mode is looked at";
const REPLIES: &str = "about replies, which do not come through the gateway";
const WHOLE_PROGRAM: &str = "about the program as a whole, not about a service port";

const fn case(number: u8, title: &'static str, reasons: &'static [Reason], no_dsr: Option<&'static str>) -> Case {
    Case { number, title, reasons, no_dsr }
}

/// All of them, in order.
pub const CASES: [Case; 25] = [
    case(
        1,
        "what is for no VIP and no reply passes untouched",
        &[NotOurs, VipPortClosed, VipIcmp],
        Some(NO_SERVICE_PORT),
    ),
    case(2, "echo to a VIP is answered, to others passed", &[EchoAnswered], Some(NO_SERVICE_PORT)),
    case(3, "one or two VLAN tags: taken off, put on again", &[], Some(BEFORE_MODE)),
    case(
        4,
        "lengths come from the IP header: padding is cut, too short is dropped",
        &[Truncated, Malformed],
        Some(BEFORE_MODE),
    ),
    case(5, "frames in several buffers, headers across them", &[], Some(BEFORE_MODE)),
    case(6, "Maglev by weight, the same on every gateway", &[Forwarded], Some(BEFORE_MODE)),
    case(
        7,
        "tables are swapped whole; without backends clients are told",
        &[ResetSent, UnreachableSent, NoBackend],
        Some(BEFORE_MODE),
    ),
    case(8, "no reuse of an id ever crosses flows or projects", &[BackendStale, VniMismatch], Some(BEFORE_MODE)),
    case(9, "active, draining, dead; affinity and hash fields by choice", &[ResetSent], Some(BEFORE_MODE)),
    case(10, "flows are remembered only when needed, and a flood hurts only its own VIP", &[], Some(BEFORE_MODE)),
    case(11, "unknown flows on a changed slot go to the owner before", &[], Some(BEFORE_MODE)),
    case(
        12,
        "nat translates both ways, dsr leaves the VIP; single ports and ranges",
        &[Forwarded, Replied, ReplyFlowUnknown],
        None,
    ),
    case(13, "TTL counts down, and its end is told", &[TimeExceededSent, ReplyTtl], None),
    case(14, "checksums stay right; UDP without one only over IPv4", &[UdpChecksumMissing], None),
    case(15, "outer header: source port by flow, DF, ECN, checksum, MACs", &[EcnInvalid], None),
    case(16, "no unfinished checksum is sent on", &[], Some(BEFORE_MODE)),
    case(
        17,
        "MSS fits; what is too big is told or fragmented",
        &[TooBigSent, FragmentedByDaemon, TooBig, ErrorLimited],
        None,
    ),
    case(18, "ICMP errors reach whom they concern, translated", &[ErrorForwarded, ErrorReplied, OuterError], None),
    case(19, "fragments follow their first one, in any order", &[FragmentHeld, FragmentUnknown], None),
    case(20, "IP options and extension headers", &[HeadersTooLong, SourceRouted], None),
    case(
        21,
        "next hops and MACs are the kernel's, followed within a second",
        &[SlowPath, HostUnresolved, ClientUnresolved, NoRoute, PortUnknown],
        Some(BEFORE_MODE),
    ),
    case(22, "what is for the gateway itself is the kernel's", &[OverlayForGateway, OverlayNotReply], Some(REPLIES)),
    case(23, "projects with the same addresses stay apart", &[VtepMismatch, VniMismatch], Some(REPLIES)),
    case(24, "native where the driver can, generic elsewhere, and says which", &[Headroom], Some(WHOLE_PROGRAM)),
    case(25, "daemon's death, restart and upgrade lose nothing", &[CarefulMissing], Some(WHOLE_PROGRAM)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_numbered_in_order_and_every_counted_case_has_a_row() {
        for (position, case) in CASES.iter().enumerate() {
            assert_eq!(usize::from(case.number), position + 1);
        }
        let counters: Vec<_> = CASES.iter().flat_map(Case::counters).collect();
        for counted in Counted::ALL {
            assert!(counters.contains(&counted.name()), "{counted:?}");
        }
    }

    #[test]
    fn every_reason_but_an_internal_fault_belongs_to_a_case() {
        let listed: Vec<_> = CASES.iter().flat_map(|case| case.reasons).collect();
        for reason in Reason::ALL.iter().filter(|reason| !matches!(reason, Internal | SourceDenied)) {
            assert!(listed.contains(&reason), "{reason:?}");
        }
    }
}
