//! What the datapath hands to the daemon through the ring `SLOW_PATH`: a frame, what has to be done with it, and what for.

use crate::fragment::FragmentKey;

/// Bytes of a frame that a record holds: the largest inner packet with every header around it.
pub const FRAME_MAX: u32 = 9_344;

/// The head of a record; the frame's [`FRAME_MAX`] bytes follow, of which `length` hold something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct RecordHead {
    /// Bytes of the frame.
    pub length: u32,
    /// A `RECORD_*` kind.
    pub kind: u32,
    /// Interface that the frame came in by.
    pub ifindex: u32,
    /// Of [`RECORD_FRAGMENT`]: the largest inner IP packet; of [`RECORD_FRAGMENT_REPLY`]: the largest IP packet.
    pub inner_mtu: u32,
    /// Of [`RECORD_HOLD`]: what the frame waits for.
    pub key: FragmentKey,
}

const _: () = assert!(size_of::<RecordHead>() == 64);

/// A finished frame whose next hop only the host's stack can resolve: send its IP packet.
pub const RECORD_SEND: u32 = 0;
/// A finished VXLAN frame whose inner IPv4 packet is too big and may be fragmented: send it as fragments, each in VXLAN.
pub const RECORD_FRAGMENT: u32 = 1;
/// A finished frame to a client whose IPv4 packet is too big for the way there and may be fragmented: send it as fragments.
pub const RECORD_FRAGMENT_REPLY: u32 = 4;
/// A frame as it came, a fragment whose first one was not seen yet: run it through the program again once `FRAGMENTS` knows `key`.
pub const RECORD_HOLD: u32 = 2;
/// A frame as it came, an ICMP error about a packet between VTEPs: lower the path MTU of the host it tells of. It was passed to the stack too.
pub const RECORD_OUTER_ERROR: u32 = 3;
