//! What is remembered of a fragmented packet: where its first fragment went, so that the others follow.

use crate::service::Address;

/// What fragments of one packet have in common (RFC 791 section 3.2, RFC 8200 section 4.5), and where they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification: 16 bits of IPv4, 32 of IPv6.
    pub identification: u32,
    /// VNI of a reply's packet, 0 for a client's.
    pub vni: u32,
    /// IP protocol number of what is fragmented.
    pub protocol: u8,
    /// Named padding.
    pub reserved: [u8; 7],
}

/// Where the first fragment went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentEntry {
    /// A [`BackendRef`](crate::id::BackendRef) word; 0 for an echo request.
    pub backend: u32,
    /// A `FRAGMENT_*` kind.
    pub kind: u32,
    /// The flow's hash, so that all fragments have one outer port.
    pub hash: u64,
    /// Until when it holds, `bpf_ktime_get_coarse_ns`.
    pub until_ns: u64,
}

const _: () = {
    assert!(size_of::<FragmentKey>() == 48);
    assert!(size_of::<FragmentEntry>() == 24);
};

/// From a client to a backend.
pub const FRAGMENT_FORWARD: u32 = 1;
/// From a backend to a client.
pub const FRAGMENT_REPLY: u32 = 2;
/// Of an ICMP echo request to a VIP, which the gateway answers fragment by fragment.
pub const FRAGMENT_ECHO: u32 = 3;

/// How long the fragments of a packet are expected, ns: as long as Linux waits for them (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_LIFE_NS: u64 = 30_000_000_000;
