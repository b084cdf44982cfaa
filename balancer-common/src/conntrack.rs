//! The conntrack's keys, entries and state transitions: only flows that a settled slot cannot place are in it.

use crate::service::{Address, Backend};

/// A flow as the client sees it: the 5-tuple, network order. Keys are built on the BPF stack, hence their alignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Client's address.
    pub client: Address,
    /// The VIP.
    pub vip: Address,
    /// Port at the VIP. Not in the packet's order: copied together, port and address would be one misaligned store.
    pub vip_port: [u8; 2],
    /// Client's port.
    pub client_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Named padding.
    pub reserved: [u8; 3],
}

/// Where a flow lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// A [`BackendRef`](crate::id::BackendRef) word.
    pub backend: u32,
    /// A `FLOW_*` state.
    pub state: u32,
    /// When the last frame from the client passed, `bpf_ktime_get_coarse_ns`.
    pub last_ns: u64,
}

/// A reply flow, from the container's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct ReplyKey {
    /// Container's address.
    pub container: Address,
    /// Client's address.
    pub client: Address,
    /// VNI of the project.
    pub vni: u32,
    /// Container's port, network order.
    pub container_port: [u8; 2],
    /// Client's port, network order.
    pub client_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Named padding.
    pub reserved: [u8; 7],
}

impl ReplyKey {
    /// A reply flow from the container's side: any of its backend entries, the client's address mapped when IPv4, ports in network order.
    #[must_use]
    #[inline(always)]
    pub const fn of(any: &Backend, client: Address, protocol: u8, [container_port, client_port]: [[u8; 2]; 2]) -> Self {
        let (container, vni) = (any.container, any.vni);
        Self { container, client, vni, container_port, client_port, protocol, reserved: [0; 7] }
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<FlowEntry>() == 16);
    assert!(size_of::<ReplyKey>() == 48);
};

/// Frames in both senses are expected.
pub const FLOW_OPEN: u32 = 1;
/// FIN or RST was seen: a SYN may bind the flow anew, and it is forgotten soon.
pub const FLOW_CLOSING: u32 = 2;

/// What of a TCP header's flags matters to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SYN without ACK: a flow begins.
    Opens,
    /// FIN or RST: it ends.
    Closes,
    /// Anything else, and every UDP datagram.
    Continues,
}

/// TCP flags, RFC 9293 section 3.1.
pub const TCP_FIN: u8 = 0x01;
/// See [`TCP_FIN`].
pub const TCP_SYN: u8 = 0x02;
/// See [`TCP_FIN`].
pub const TCP_RST: u8 = 0x04;
/// See [`TCP_FIN`].
pub const TCP_ACK: u8 = 0x10;

impl Signal {
    /// Of a TCP segment's flags.
    #[must_use]
    #[inline(always)]
    pub const fn of_tcp(flags: u8) -> Self {
        if flags & (TCP_FIN | TCP_RST) != 0 {
            Self::Closes
        } else if flags & (TCP_SYN | TCP_ACK) == TCP_SYN {
            Self::Opens
        } else {
            Self::Continues
        }
    }
}

/// State of a flow in `state` after `signal`. A closing flow stays closing until a SYN opens it anew.
#[must_use]
#[inline(always)]
pub const fn next_state(state: u32, signal: Signal) -> u32 {
    match signal {
        Signal::Opens => FLOW_OPEN,
        Signal::Closes => FLOW_CLOSING,
        Signal::Continues => state,
    }
}

/// Whether a SYN on a flow in `state` may choose a backend anew: only when the old flow was ending (RFC 9293 section 3.6.1).
#[must_use]
#[inline(always)]
pub const fn may_rebind(state: u32, signal: Signal) -> bool {
    matches!(signal, Signal::Opens) && state == FLOW_CLOSING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_signals() {
        let table = [
            (TCP_SYN, Signal::Opens),
            (TCP_SYN | TCP_ACK, Signal::Continues),
            (TCP_ACK, Signal::Continues),
            (TCP_FIN | TCP_ACK, Signal::Closes),
            (TCP_RST, Signal::Closes),
            (TCP_SYN | TCP_RST, Signal::Closes),
            (TCP_SYN | TCP_FIN, Signal::Closes),
            (0, Signal::Continues),
        ];
        for (flags, signal) in table {
            assert_eq!(Signal::of_tcp(flags), signal, "{flags:#x}");
        }
    }

    #[test]
    fn a_syn_rebinds_only_a_closing_flow() {
        let table = [
            (FLOW_OPEN, Signal::Opens, false, FLOW_OPEN),
            (FLOW_OPEN, Signal::Continues, false, FLOW_OPEN),
            (FLOW_OPEN, Signal::Closes, false, FLOW_CLOSING),
            (FLOW_CLOSING, Signal::Opens, true, FLOW_OPEN),
            (FLOW_CLOSING, Signal::Continues, false, FLOW_CLOSING),
            (FLOW_CLOSING, Signal::Closes, false, FLOW_CLOSING),
        ];
        for (state, signal, rebind, next) in table {
            assert_eq!((may_rebind(state, signal), next_state(state, signal)), (rebind, next), "{state} {signal:?}");
        }
    }
}
