//! The values that stages hand to each other. Stages do not know each other; what passes between them is all here.

use balancer_common::{
    abi::{Backend, Host, Service, Slot},
    conntrack::{FlowKey, ReplyKey},
    flow::FlowHash,
    fragment::FragmentKey,
    range::{RangeKey, ReplyRangeKey},
    service::Address,
    source::SourceKey,
    verdict::{Reason, Verdict},
    wire::{quote::Quote, walk::Walk},
};

/// More than the fast program does.
pub const CAREFUL: Verdict = Verdict::Careful(Reason::CarefulMissing);

/// The VLAN tags a frame came with; words of [`VlanTag`](balancer_common::wire::vlan::VlanTag), 0 for none.
#[derive(Clone, Copy)]
pub struct Tags {
    pub outer: u32,
    pub inner: u32,
}

impl Tags {
    pub const NONE: Self = Self { outer: 0, inner: 0 };

    #[inline(always)]
    pub fn any(self) -> bool {
        self.outer != 0
    }
}

/// What a packet is to the gateway.
pub enum Class {
    /// For a TCP service port.
    Tcp(Request),
    /// For a UDP service port.
    Udp(Request),
    /// VXLAN for this gateway.
    Overlay,
    /// ICMP echo request for a VIP; bytes of the IP packet.
    Echo(u32),
    /// For a service port, but its TTL or hop limit ends here; bytes of the IP packet.
    Expired(u32),
}

/// A client's packet for a service port.
pub struct Request {
    pub service: &'static Service,
    pub service_id: u32,
    /// Bytes of the IP packet.
    pub length: u32,
    /// Whether the segment carries the options of a SYN.
    pub syn: bool,
    pub traffic_class: u8,
}

/// What a slot says of a flow.
pub struct Selection {
    pub slot: Slot,
    pub hash: FlowHash,
    /// Whether the owner takes the flow without a look at the conntrack.
    pub settled: bool,
    /// The owner.
    pub backend: &'static Backend,
}

/// The backend a flow goes to.
#[derive(Clone, Copy)]
pub struct Choice {
    pub backend_id: u32,
    pub backend: &'static Backend,
    pub hash: FlowHash,
}

/// A rewritten packet and what carries it to its backend's host.
pub struct Carriage {
    pub service_id: u32,
    pub choice: Choice,
    pub host: &'static Host,
    /// Bytes of the IP packet.
    pub length: u32,
    /// Ethertype of the packet.
    pub ethertype: [u8; 2],
    pub traffic_class: u8,
    /// Folded sum of the IP packet, for the outer checksum of an IPv6 underlay; 0 over IPv4.
    pub packet_sum: u16,
}

/// What the headers around an inner frame say.
pub struct Envelope {
    pub vni: u32,
    /// Ethertype of the inner frame.
    pub ethertype: [u8; 2],
    /// ECN field of the outer header.
    pub ecn: u8,
}

/// What is around an inner packet that the careful program looks at.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Around {
    /// Source of the outer packet.
    pub source: Address,
    /// Where the inner IP header stands.
    pub at: u32,
    pub vni: u32,
    /// ECN field of the outer header.
    pub ecn: u32,
    /// `FAMILY_*` of the outer packet.
    pub family: u32,
}

/// What the steps of the careful program have decided so far about a frame.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Parcel {
    /// Hash of the flow.
    pub hash: FlowHash,
    /// Whom it goes to, or comes from.
    pub backend_id: u32,
    /// The service port.
    pub service_id: u32,
    /// Bytes of the IP packet.
    pub length: u32,
    /// Of the packet as it came.
    pub traffic_class: u32,
    /// What it is counted under when it leaves: a [`Reason`].
    pub reason: u32,
    /// Not 0 when it is larger than the path, and has to leave as fragments.
    pub oversized: u32,
    /// What the client has to be told, as a word of `stage::icmp::Complaint`.
    pub complaint: u32,
    /// Named padding.
    pub reserved: u32,
}

impl Parcel {
    /// Forwarded, fits, and nothing is wrong with it.
    pub const FORWARDED: Self = Self {
        hash: FlowHash(0),
        backend_id: 0,
        service_id: 0,
        length: 0,
        traffic_class: 0,
        reason: Reason::Forwarded as u32,
        oversized: 0,
        complaint: 0,
        reserved: 0,
    };
}

/// Room off the stack, where words need not be aligned and 512 bytes are soon gone; this CPU's own.
#[repr(C, align(8))]
pub struct Scratch {
    pub ip: [u8; 40],
    pub quoted_ip: [u8; 40],
    pub transport: [u8; 24],
    pub flow: FlowKey,
    pub fragment: FragmentKey,
    /// What the packet's headers say.
    pub walk: Walk,
    /// What is around a reply.
    pub around: Around,
    /// What an ICMP error quotes.
    pub quote: Quote,
    /// What was decided.
    pub parcel: Parcel,
    /// A reply flow that is looked for.
    pub reply: ReplyKey,
    pub source: SourceKey,
    pub range: RangeKey,
    pub reply_range: ReplyRangeKey,
}

/// A backend's reply.
pub enum Reply {
    Tcp(Sender),
    Udp(Sender),
}

/// Who sent a reply.
pub struct Sender {
    pub backend_id: u32,
    pub backend: &'static Backend,
    /// Bytes of the inner IP packet.
    pub length: u32,
    /// Whether the segment carries the options of a SYN.
    pub syn: bool,
    /// Largest inner IP packet that fits the way, both ways.
    pub segment_mtu: u16,
    /// The tags that clients of this service port come with.
    pub tags: Tags,
}

/// Whether a SYN's MSS has been seen to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mss {
    /// It fits, or there is none.
    Done,
    /// It is not the first option.
    Elsewhere,
}
