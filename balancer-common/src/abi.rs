//! The contract between the daemon and the eBPF programs: every map with its key, value and capacity, and the version of all that.

pub use crate::service::{Backend, ClientRoutes, Counters, Gateway, Host, NextHop, Policy, RoutePrefix, Service, Slot};

/// Counts up with every change of a map's name, key, value or meaning. Maps of another version are never reused.
pub const ABI_VERSION: u32 = 2;

/// `GATEWAY`: array of 1 [`Gateway`].
pub const MAP_GATEWAY: &str = "GATEWAY";
/// `SERVICE_INDEX`: array of [`SERVICE_BUCKETS`] [`Bucket`](crate::index::Bucket); key [`service_ipv4`](crate::index::service_ipv4) and its twin, value a `ServiceId`.
pub const MAP_SERVICE_INDEX: &str = "SERVICE_INDEX";
/// `SERVICES`: array of [`SERVICES_MAX`] [`Service`] by `ServiceId`.
pub const MAP_SERVICES: &str = "SERVICES";
/// `TABLES_<n>`, one for each of [`TABLE_SIZES`]: array of maps by `ServiceId`, each an array of n [`Slot`].
pub const MAP_TABLES: [&str; TABLE_CLASSES] =
    ["TABLES_251", "TABLES_1021", "TABLES_4093", "TABLES_16381", "TABLES_65537"];
/// `POLICIES`: array of [`POLICIES_MAX`] [`Policy`]: those of service ports by `ServiceId`, of projects from [`SERVICES_MAX`] on.
pub const MAP_POLICIES: &str = "POLICIES";
/// `SOURCES`: LPM trie, [`SourceKey`](crate::source::SourceKey) to a `SOURCE_*` word: who may use a service port.
pub const MAP_SOURCES: &str = "SOURCES";
/// `RANGES`: LPM trie, [`RangeKey`](crate::range::RangeKey) to a `ServiceId`: service ports that are a range of ports.
pub const MAP_RANGES: &str = "RANGES";
/// `REPLY_RANGES`: LPM trie, [`ReplyRangeKey`](crate::range::ReplyRangeKey) to a `BackendId`: backends of such service ports.
pub const MAP_REPLY_RANGES: &str = "REPLY_RANGES";
/// `BACKENDS`: array of [`BACKENDS_MAX`] [`Backend`] by `BackendId`.
pub const MAP_BACKENDS: &str = "BACKENDS";
/// `REPLY_INDEX`: array of [`REPLY_BUCKETS`] [`Bucket`](crate::index::Bucket); key [`reply_ipv4`](crate::index::reply_ipv4) and its twin, value a `BackendId`.
pub const MAP_REPLY_INDEX: &str = "REPLY_INDEX";
/// `HOSTS`: array of [`HOSTS_MAX`] [`Host`] by `HostId`.
pub const MAP_HOSTS: &str = "HOSTS";
/// `CLIENT_ROUTES`: array of 2 [`ClientRoutes`], IPv4 then IPv6.
pub const MAP_CLIENT_ROUTES: &str = "CLIENT_ROUTES";
/// `PORTS`: device map, hashed by interface index: where a frame may be redirected.
pub const MAP_PORTS: &str = "PORTS";
/// `REASONS`: per-CPU array of `u64` by [`Reason`](crate::verdict::Reason).
pub const MAP_REASONS: &str = "REASONS";
/// `SERVICE_COUNTERS`: per-CPU array of [`Counters`] by `ServiceId`.
pub const MAP_SERVICE_COUNTERS: &str = "SERVICE_COUNTERS";
/// `BACKEND_COUNTERS`: per-CPU array of [`Counters`] by `BackendId`.
pub const MAP_BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
/// `FLOWS`: LRU hash, [`FlowKey`](crate::conntrack::FlowKey) to [`FlowEntry`](crate::conntrack::FlowEntry): flows that live elsewhere than a settled slot says.
pub const MAP_FLOWS: &str = "FLOWS";
/// `EMBRYOS`: the same for flows of which only a SYN was seen, so that a flood of them evicts nothing but itself.
pub const MAP_EMBRYOS: &str = "EMBRYOS";
/// `REPLY_FLOWS`: LRU hash, [`ReplyKey`](crate::conntrack::ReplyKey) to a `BackendRef` word, for container ports that several service ports publish.
pub const MAP_REPLY_FLOWS: &str = "REPLY_FLOWS";
/// `FRAGMENTS`: LRU hash, [`FragmentKey`](crate::fragment::FragmentKey) to [`FragmentEntry`](crate::fragment::FragmentEntry): where the first fragment of a packet went.
pub const MAP_FRAGMENTS: &str = "FRAGMENTS";
/// `CASES`: per-CPU array of `u64` by [`Case`](crate::case::Case).
pub const MAP_CASES: &str = "CASES";
/// `HANDOVER`: per-CPU array of 1 [`Handover`](crate::service::Handover): what the fast program tells the careful one.
pub const MAP_HANDOVER: &str = "HANDOVER";
/// `CAREFUL`: program array of 1: the careful program that belongs to this load of the fast one. Each load has its own.
pub const MAP_CAREFUL: &str = "CAREFUL";
/// `SLOW_PATH`: ring buffer of [`record`](crate::record)s: frames that only the daemon can finish.
pub const MAP_SLOW_PATH: &str = "SLOW_PATH";

/// Most service ports (a VIP's address counts as one more).
pub const SERVICES_MAX: u32 = 32_768;
/// Most backends, counted per service port.
pub const BACKENDS_MAX: u32 = 131_072;
/// Most container hosts.
pub const HOSTS_MAX: u32 = 4_096;
/// Most flows that are remembered; the least recently used goes first.
pub const FLOWS_MAX: u32 = 262_144;
/// Most flows of which only a SYN was seen.
pub const EMBRYOS_MAX: u32 = 65_536;
/// Buckets of the index over service ports; a power of two.
pub const SERVICE_BUCKETS: u32 = 16_384;
/// Buckets of the index over replies; a power of two.
pub const REPLY_BUCKETS: u32 = 65_536;
/// Most projects; each has a budget in `POLICIES`.
pub const PROJECTS_MAX: u32 = 16_384;
/// Entries of `POLICIES`.
pub const POLICIES_MAX: u32 = SERVICES_MAX + PROJECTS_MAX;
/// Most prefixes in all source lists together.
pub const SOURCES_MAX: u32 = 262_144;
/// Most prefixes that port ranges come to; one range takes at most [`PREFIXES_MAX`](crate::range::PREFIXES_MAX).
pub const RANGES_MAX: u32 = 131_072;
/// Most fragmented packets that are followed at once; the least recently used goes first.
pub const FRAGMENTS_MAX: u32 = 16_384;
/// Largest inner IP packet that is forwarded, bytes: what the outer checksum of an IPv6 underlay can be summed over.
pub const INNER_MTU_MAX: u16 = 9_216;
/// Bytes of the slow path's ring buffer.
pub const SLOW_PATH_BYTES: u32 = 1 << 22;

/// Number of classes of table.
pub const TABLE_CLASSES: usize = 5;
/// Slots of a table by class: primes, so that every skip of Maglev visits every slot.
pub const TABLE_SIZES: [u32; TABLE_CLASSES] = [251, 1_021, 4_093, 16_381, 65_537];
