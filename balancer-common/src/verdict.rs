//! What a stage decides about a frame, and why: every frame that is not simply forwarded is counted under one of these names.

/// What happens to the frame.
///
/// Tag and reason are one word each, at the same place in every variant, and together they are aligned to 8: the compiler
/// then keeps a `Result` of it in registers, or writes both words at once without misaligning the BPF stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32, align(8))]
pub enum Verdict {
    /// Hand it to the host's network stack.
    Pass(Reason),
    /// End of its way.
    Drop(Reason),
    /// Out of the interface it came in by.
    Transmit(Reason),
    /// Out of another interface, which the program has already named to the kernel.
    Redirect(Reason),
    /// More than the fast program can do: the careful one decides. The reason is counted when that one cannot be reached.
    Careful(Reason),
}

impl Verdict {
    /// The verdict as the one word that a global BPF function can return.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        let kind = match self {
            Self::Pass(_) => 0,
            Self::Drop(_) => 1,
            Self::Transmit(_) => 2,
            Self::Redirect(_) => 3,
            Self::Careful(_) => 4,
        };
        kind << 16 | self.reason() as u32
    }

    /// Back from [`word`](Verdict::word); what no verdict is becomes a drop.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        let Some(reason) = Reason::from_word(word & 0xffff) else { return Self::Drop(Reason::Internal) };
        match word >> 16 {
            0 => Self::Pass(reason),
            2 => Self::Transmit(reason),
            3 => Self::Redirect(reason),
            4 => Self::Careful(reason),
            _ => Self::Drop(reason),
        }
    }

    /// Why.
    #[must_use]
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason)
            | Self::Drop(reason)
            | Self::Transmit(reason)
            | Self::Redirect(reason)
            | Self::Careful(reason) => reason,
        }
    }
}

/// What kind of end a reason is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Balanced to a backend or back to a client.
    Forwarded,
    /// Answered by the gateway itself.
    Answered,
    /// Given to the host's network stack.
    Passed,
    /// Dropped.
    Dropped,
}

impl Outcome {
    /// The word of metrics and CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Passed => "passed",
            Self::Dropped => "dropped",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident, $name:literal, $outcome:ident, $meaning:literal;)*) => {
        /// Why a frame ended as it did; the position in the `REASONS` map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the map.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason at a position of the map.
            #[must_use]
            #[inline(always)]
            pub const fn from_word(word: u32) -> Option<Self> {
                match word {
                    $(word if word == Self::$variant as u32 => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The label in metrics and CLI.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What kind of end it is.
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)* }
            }

            /// What it means and what to do about it, for an operator.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    Forwarded, "forwarded", Forwarded, "Encapsulated and sent to a backend's host.";
    Replied, "replied", Forwarded, "A backend's reply, translated back and sent to its client.";
    ErrorForwarded, "error_forwarded", Forwarded, "An ICMP error from the client's side about a backend's packet: translated and sent to that backend.";
    ErrorReplied, "error_replied", Forwarded, "An ICMP error from a backend about a client's packet: translated and sent to that client.";
    SlowPath, "slow_path", Forwarded, "Given to the daemon, which sends it through the host's stack because the next hop's MAC is not known yet.";
    FragmentedByDaemon, "fragmented_by_daemon", Forwarded, "Larger than the path and without DF: given to the daemon, which sends it as fragments.";
    FragmentHeld, "fragment_held", Forwarded, "A fragment that came before its first one: given to the daemon, which holds it until the first is seen.";
    EchoAnswered, "echo_answered", Answered, "ICMP echo to a VIP, answered by the gateway.";
    ResetSent, "reset_sent", Answered, "TCP to a service port without a usable backend, or to a dead backend: answered with RST.";
    UnreachableSent, "unreachable_sent", Answered, "UDP to a service port without a usable backend: answered with ICMP port unreachable.";
    TimeExceededSent, "time_exceeded_sent", Answered, "TTL or hop limit ended at the gateway: answered with ICMP time exceeded.";
    TooBigSent, "too_big_sent", Answered, "Larger than the path and not to be fragmented: answered with ICMP fragmentation needed or packet too big, and the MTU that fits.";
    NotOurs, "not_ours", Passed, "Not for a VIP and not a reply: left to the host.";
    VipPortClosed, "vip_port_closed", Passed, "For a VIP's address but no service port has this protocol and port: left to the host.";
    VipIcmp, "vip_icmp", Passed, "ICMP to a VIP that is neither an echo nor an error about a packet of ours: left to the host.";
    OverlayNotReply, "overlay_not_reply", Passed, "VXLAN to this gateway that is no reply of a backend: left to the kernel's VXLAN device.";
    OverlayForGateway, "overlay_for_gateway", Passed, "VXLAN whose inner destination is the gateway's own address in the project: left to the kernel's VXLAN device.";
    OuterError, "outer_error", Passed, "ICMP says that a packet of ours to a host was too big for the underlay: left to the host, and the daemon lowers that host's path MTU.";
    Truncated, "truncated", Dropped, "The IP length says more than the frame holds.";
    Malformed, "malformed", Dropped, "A header contradicts itself (IPv4 header length, TCP data offset, UDP length, a first fragment without its transport header).";
    HeadersTooLong, "headers_too_long", Dropped, "More IPv6 extension headers in front of the transport header than any sender needs (RFC 8504 section 5.3).";
    SourceRouted, "source_routed", Dropped, "The sender chose the route (IPv4 LSRR or SSRR, IPv6 routing header with segments left): never followed (RFC 7126, RFC 5095).";
    FragmentUnknown, "fragment_unknown", Dropped, "A fragment whose first one was not seen, and the daemon takes no more to hold.";
    SourceDenied, "source_denied", Dropped, "The service port's list of sources does not let this client in.";
    UdpChecksumMissing, "udp_checksum_missing", Dropped, "UDP over IPv6 with checksum 0 (RFC 8200 section 8.1).";
    NoBackend, "no_backend", Dropped, "No backend is usable and no answer could be made (a RST for a RST is never sent).";
    BackendStale, "backend_stale", Dropped, "A slot, flow or reply names a backend whose entry is another by now; ends by itself after a table change.";
    VniMismatch, "vni_mismatch", Dropped, "Backend and service port disagree about the project: never delivered.";
    TooBig, "too_big", Dropped, "Larger than the path allows, and nobody may be told: an ICMP error, or the daemon takes no more to fragment.";
    ErrorLimited, "error_limited", Dropped, "An ICMP error was due, but the VIP's budget for them is spent, or its sender cannot be answered (RFC 1122 section 3.2.2).";
    VtepMismatch, "vtep_mismatch", Dropped, "A reply of a backend that did not come from its host's VTEP.";
    ReplyTtl, "reply_ttl", Dropped, "A backend's reply whose TTL or hop limit ended at the gateway.";
    ReplyFlowUnknown, "reply_flow_unknown", Dropped, "A reply from a container port that several service ports publish, of a flow that is not remembered.";
    EcnInvalid, "ecn_invalid", Dropped, "Congestion marked outside, but the inner packet cannot carry the mark (RFC 6040 section 4.2).";
    NoRoute, "no_route", Dropped, "The kernel has no route to the client.";
    HostUnresolved, "host_unresolved", Dropped, "No route or MAC towards the backend's host, and the slow path is full or not running.";
    ClientUnresolved, "client_unresolved", Dropped, "No MAC towards the client's next hop, and the slow path is full or not running.";
    PortUnknown, "port_unknown", Dropped, "The route leaves by an interface that the balancer is not attached to: add it to gateway.interfaces.";
    Headroom, "headroom", Dropped, "The driver leaves too little room in front of the frame for the outer headers.";
    CarefulMissing, "careful_missing", Dropped, "The careful program is not there: the daemon's pins were removed under it; restart the daemon.";
    Internal, "internal", Dropped, "An entry that must exist was missing: a fault of the balancer, please report.";
}

/// Entries of the `REASONS` map.
pub const REASONS_COUNT: u32 = Reason::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_word_that_is_no_verdict_drops() {
        assert_eq!(Verdict::from_word(u32::MAX), Verdict::Drop(Reason::Internal));
        assert_eq!(Reason::from_word(REASONS_COUNT), None);
    }

    #[test]
    fn names_are_unique_and_positions_are_dense() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert_eq!(Reason::from_word(position as u32), Some(*reason));
            for verdict in [
                Verdict::Pass(*reason),
                Verdict::Drop(*reason),
                Verdict::Transmit(*reason),
                Verdict::Redirect(*reason),
                Verdict::Careful(*reason),
            ] {
                assert_eq!(Verdict::from_word(verdict.word()), verdict);
            }
        }
    }
}
