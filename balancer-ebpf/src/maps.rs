//! The maps of [`balancer_common::abi`] and the few ways the stages may use them.

use aya_ebpf::{
    bindings::{
        BPF_F_MMAPABLE, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibLookup, xdp_action,
    },
    btf_maps::{
        Array, ArrayOfMaps, DevMapHash, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, lpm_trie::Key,
    },
    helpers::{bpf_fib_lookup, bpf_ktime_get_coarse_ns},
    macros::btf_map,
    programs::XdpContext,
};
use balancer_common::{
    abi::{
        BACKENDS_MAX, Backend, ClientRoutes, Counters, EMBRYOS_MAX, FLOWS_MAX, FRAGMENTS_MAX, Gateway, HOSTS_MAX, Host,
        POLICIES_MAX, Policy, RANGES_MAX, REPLY_BUCKETS, SERVICE_BUCKETS, SERVICES_MAX, SLOW_PATH_BYTES, SOURCES_MAX,
        Service, Slot,
    },
    budget,
    case::{CASES_COUNT, Case},
    conntrack::{FlowEntry, FlowKey, ReplyKey},
    flow::FlowHash,
    fragment::{FragmentEntry, FragmentKey},
    id::IfIndex,
    index::Bucket,
    range::{PORT_BITS, RangeKey, ReplyRangeKey},
    record::{FRAME_MAX, RecordHead},
    service::{Address, FAMILY_IPV4, Handover},
    source::SourceKey,
    verdict::{REASONS_COUNT, Reason},
};

use crate::{frame::Frame, value::Scratch};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
/// Bytes of the length in front of an LPM trie's key.
const PREFIX_BYTES: usize = size_of::<u32>();

#[btf_map]
static GATEWAY: Array<Gateway, 1, MMAPABLE> = Array::new();
#[btf_map]
static SERVICE_INDEX: Array<Bucket, { SERVICE_BUCKETS as usize }, MMAPABLE> = Array::new();
#[btf_map]
static SERVICES: Array<Service, { SERVICES_MAX as usize }, MMAPABLE> = Array::new();
#[btf_map]
static TABLES_251: ArrayOfMaps<Array<Slot, 251, MMAPABLE>, { SERVICES_MAX as usize }> = ArrayOfMaps::new();
#[btf_map]
static TABLES_1021: ArrayOfMaps<Array<Slot, 1021, MMAPABLE>, { SERVICES_MAX as usize }> = ArrayOfMaps::new();
#[btf_map]
static TABLES_4093: ArrayOfMaps<Array<Slot, 4093, MMAPABLE>, { SERVICES_MAX as usize }> = ArrayOfMaps::new();
#[btf_map]
static TABLES_16381: ArrayOfMaps<Array<Slot, 16381, MMAPABLE>, { SERVICES_MAX as usize }> = ArrayOfMaps::new();
#[btf_map]
static TABLES_65537: ArrayOfMaps<Array<Slot, 65537, MMAPABLE>, { SERVICES_MAX as usize }> = ArrayOfMaps::new();
#[btf_map]
static POLICIES: Array<Policy, { POLICIES_MAX as usize }, MMAPABLE> = Array::new();
#[btf_map]
static SOURCES: LpmTrie<[u8; size_of::<SourceKey>() - PREFIX_BYTES], u32, { SOURCES_MAX as usize }> = LpmTrie::new();
#[btf_map]
static RANGES: LpmTrie<[u8; size_of::<RangeKey>() - PREFIX_BYTES], u32, { RANGES_MAX as usize }> = LpmTrie::new();
#[btf_map]
static REPLY_RANGES: LpmTrie<[u8; size_of::<ReplyRangeKey>() - PREFIX_BYTES], u32, { RANGES_MAX as usize }> =
    LpmTrie::new();
#[btf_map]
static BACKENDS: Array<Backend, { BACKENDS_MAX as usize }, MMAPABLE> = Array::new();
#[btf_map]
static REPLY_INDEX: Array<Bucket, { REPLY_BUCKETS as usize }, MMAPABLE> = Array::new();
#[btf_map]
static HOSTS: Array<Host, { HOSTS_MAX as usize }, MMAPABLE> = Array::new();
#[btf_map]
static CLIENT_ROUTES: Array<ClientRoutes, 2, MMAPABLE> = Array::new();
#[btf_map]
static PORTS: DevMapHash<64> = DevMapHash::new();
#[btf_map]
static REASONS: PerCpuArray<u64, { REASONS_COUNT as usize }> = PerCpuArray::new();
#[btf_map]
static SERVICE_COUNTERS: PerCpuArray<Counters, { SERVICES_MAX as usize }> = PerCpuArray::new();
#[btf_map]
static BACKEND_COUNTERS: PerCpuArray<Counters, { BACKENDS_MAX as usize }> = PerCpuArray::new();
#[btf_map]
static FLOWS: LruHashMap<FlowKey, FlowEntry, { FLOWS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static EMBRYOS: LruHashMap<FlowKey, FlowEntry, { EMBRYOS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static REPLY_FLOWS: LruHashMap<ReplyKey, u32, { FLOWS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry, { FRAGMENTS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static CASES: PerCpuArray<u64, { CASES_COUNT as usize }> = PerCpuArray::new();
#[btf_map]
static HANDOVER: PerCpuArray<Handover, 1> = PerCpuArray::new();
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
static CAREFUL: ProgramArray<1> = ProgramArray::new();
#[btf_map]
static SLOW_PATH: RingBuf<Record, { SLOW_PATH_BYTES as usize }> = RingBuf::new();

/// The helpers that only GPL programs may call (ring buffer, FIB lookup) need a compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// What the gateway is.
#[inline(always)]
pub fn gateway() -> Option<&'static Gateway> {
    lasting(GATEWAY.get_ptr(0))
}

/// A bucket of the index over service ports.
#[inline(always)]
pub fn service_bucket(position: u32) -> Option<&'static Bucket> {
    lasting(SERVICE_INDEX.get_ptr(position))
}

/// A bucket of the index over replies.
#[inline(always)]
pub fn reply_bucket(position: u32) -> Option<&'static Bucket> {
    lasting(REPLY_INDEX.get_ptr(position))
}

/// A service port.
#[inline(always)]
pub fn service(id: u32) -> Option<&'static Service> {
    lasting(SERVICES.get_ptr(id))
}

/// Remembers the VLAN tags that clients of a service port come with.
#[inline(always)]
pub fn learn_tags(id: u32, outer: u32, inner: u32) {
    if let Some(service) = SERVICES.get_ptr_mut(id) {
        // SAFETY: a map value lives as long as the map; both fields are written by the datapath only, and a race between
        // CPUs leaves one of two tags that were both seen.
        unsafe {
            (*service).vlan_outer = outer;
            (*service).vlan_inner = inner;
        }
    }
}

/// The slot of a flow in its service port's table. One arm for each class, because only an inner map of constant size is
/// read without a call.
#[inline(always)]
pub fn slot(class: u32, service: u32, hash: FlowHash) -> Option<Slot> {
    match class {
        0 => TABLES_251.get_value(service, &hash.slot(0)).copied(),
        1 => TABLES_1021.get_value(service, &hash.slot(1)).copied(),
        2 => TABLES_4093.get_value(service, &hash.slot(2)).copied(),
        3 => TABLES_16381.get_value(service, &hash.slot(3)).copied(),
        _ => TABLES_65537.get_value(service, &hash.slot(4)).copied(),
    }
}

/// A backend.
#[inline(always)]
pub fn backend(id: u32) -> Option<&'static Backend> {
    lasting(BACKENDS.get_ptr(id))
}

/// A container host.
#[inline(always)]
pub fn host(id: u32) -> Option<&'static Host> {
    lasting(HOSTS.get_ptr(id))
}

/// Routes to clients; 0 for IPv4, 1 for IPv6.
#[inline(always)]
pub fn client_routes(family: u32) -> Option<&'static ClientRoutes> {
    lasting(CLIENT_ROUTES.get_ptr(family))
}

#[inline(always)]
fn lasting<T>(pointer: Option<*const T>) -> Option<&'static T> {
    // SAFETY: array entries are preallocated and live as long as the program that uses the map; the daemon replaces
    // words of them whole, and identity fields only while no index or slot names the entry.
    pointer.map(|pointer| unsafe { &*pointer })
}

/// Counts a frame's end.
#[inline(always)]
pub fn count_reason(reason: Reason) {
    if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: the entry is this CPU's own, and XDP programs do not preempt each other on one CPU.
        unsafe { *counter += 1 };
    }
}

/// Counts a frame from a client to a backend.
#[inline(always)]
pub fn count_forward(service: u32, backend: u32, bytes: u32) {
    add_forward(SERVICE_COUNTERS.get_ptr_mut(service), bytes);
    add_forward(BACKEND_COUNTERS.get_ptr_mut(backend), bytes);
}

/// Counts a frame from a backend to a client.
#[inline(always)]
pub fn count_reply(service: u32, backend: u32, bytes: u32) {
    add_reply(SERVICE_COUNTERS.get_ptr_mut(service), bytes);
    add_reply(BACKEND_COUNTERS.get_ptr_mut(backend), bytes);
}

#[inline(always)]
fn add_forward(counters: Option<*mut Counters>, bytes: u32) {
    if let Some(counters) = counters {
        // SAFETY: as in `count_reason`.
        unsafe {
            (*counters).forward_packets += 1;
            (*counters).forward_bytes += u64::from(bytes);
        }
    }
}

#[inline(always)]
fn add_reply(counters: Option<*mut Counters>, bytes: u32) {
    if let Some(counters) = counters {
        // SAFETY: as in `count_reason`.
        unsafe {
            (*counters).reply_packets += 1;
            (*counters).reply_bytes += u64::from(bytes);
        }
    }
}

/// Counts what was special about a frame.
#[inline(always)]
pub fn count_case(case: Case) {
    if let Some(counter) = CASES.get_ptr_mut(case as u32) {
        // SAFETY: as in `count_reason`.
        unsafe { *counter += 1 };
    }
}

/// What a service port, a VIP or a project may cost.
#[inline(always)]
pub fn policy(position: u32) -> Option<&'static Policy> {
    lasting(POLICIES.get_ptr(position))
}

/// Spends one event of a budget; false when there is none left. CPUs that race spend one event together.
#[inline(always)]
pub fn spend(position: u32, now_ns: u64) -> bool {
    let Some(policy) = POLICIES.get_ptr_mut(position) else { return false };
    // SAFETY: a map value lives as long as the map; the word is the datapath's to write, and whole on every CPU.
    unsafe {
        if (*policy).interval_ns == 0 {
            return true;
        }
        let spent = (*policy).spent_until_ns;
        let Some(until) = budget::spend(spent, now_ns, (*policy).interval_ns, (*policy).burst_ns) else { return false };
        (*policy).spent_until_ns = until;
    }
    true
}

/// Spends one event of each of two budgets, for something to remember; false when one is spent.
#[inline(always)]
pub fn afford([first, second]: [u32; 2], now_ns: u64) -> bool {
    let affordable = spend(first, now_ns) && spend(second, now_ns);
    if !affordable {
        count_case(Case::FlowStateless);
    }
    affordable
}

/// What a list of sources says of a client: a `SOURCE_*` word.
#[inline(always)]
pub fn source(list: u64, client: Address) -> Option<u32> {
    let key = &mut scratch()?.source;
    *key = SourceKey { prefix_bits: SourceKey::ADDRESS_BITS, list: list.to_ne_bytes(), address: client };
    // SAFETY: both are the same bytes, prefix length first, and `Key` is packed.
    SOURCES.get(unsafe { &*(&raw const *key).cast() }).copied()
}

/// The service port whose range of ports holds this one.
#[inline(always)]
pub fn range(vip: u32, protocol: u8, port: [u8; 2]) -> Option<u32> {
    let key = &mut scratch()?.range;
    *key = RangeKey::of(vip, protocol, port, PORT_BITS);
    // SAFETY: as in `source`.
    RANGES.get(unsafe { &*(&raw const *key).cast::<Key<_>>() }).copied()
}

/// The backend of this container whose range of ports holds this one.
#[inline(always)]
pub fn reply_range(vni: u32, container: Address, protocol: u8, port: [u8; 2]) -> Option<u32> {
    let key = &mut scratch()?.reply_range;
    *key = ReplyRangeKey::of(vni, container, protocol, port, PORT_BITS);
    // SAFETY: as in `source`.
    REPLY_RANGES.get(unsafe { &*(&raw const *key).cast::<Key<_>>() }).copied()
}

/// Where the first fragment of a packet went.
#[inline(always)]
pub fn fragment(key: &FragmentKey) -> Option<FragmentEntry> {
    // SAFETY: as in `flow`; the entry is copied at once.
    FRAGMENTS.get_ptr(key).map(|pointer| unsafe { *pointer })
}

/// Remembers where the first fragment of a packet went.
#[inline(always)]
pub fn remember_fragment(key: &FragmentKey, entry: &FragmentEntry) {
    // As in `remember_flow`.
    let _unremembered = FRAGMENTS.insert(key, entry, 0);
}

/// This CPU's room. One frame at a time uses it.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the entry is this CPU's own, XDP programs do not preempt each other on one CPU, and every function that asks
    // for it uses parts that none of its callers still looks at.
    SCRATCH.get_ptr_mut(0).map(|pointer| unsafe { &mut *pointer })
}

/// Tells the careful program what this one took off the frame.
#[inline(always)]
pub fn hand_over(handover: Handover) {
    if let Some(pointer) = HANDOVER.get_ptr_mut(0) {
        // SAFETY: as in `scratch`.
        unsafe { *pointer = handover };
    }
}

/// What the fast program took off the frame.
#[inline(always)]
pub fn handed_over() -> Handover {
    // SAFETY: as in `scratch`.
    HANDOVER.get_ptr(0).map_or(Handover::default(), |pointer| unsafe { *pointer })
}

/// Goes on in the careful program; comes back when there is none.
#[inline(always)]
pub fn go_careful(context: &XdpContext) {
    // SAFETY: nothing is left to drop.
    unsafe { CAREFUL.tail_call(context, 0) };
}

/// Names the interface to redirect to; false when the daemon is not attached there.
#[inline(always)]
pub fn redirect(port: IfIndex) -> bool {
    PORTS.redirect(port.0, u64::from(xdp_action::XDP_DROP)).is_ok()
}

/// Coarse monotonic time, nanoseconds; half the price of the exact one.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and only reads the clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Which of the two tables of flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FlowTable {
    /// Flows with more than a SYN.
    Flows,
    /// Flows of which only a SYN was seen.
    Embryos,
}

/// What is remembered of a flow.
#[inline(always)]
pub fn flow(table: FlowTable, key: &FlowKey) -> Option<&'static mut FlowEntry> {
    let pointer = match table {
        FlowTable::Flows => FLOWS.get_ptr_mut(key),
        FlowTable::Embryos => EMBRYOS.get_ptr_mut(key),
    };
    // SAFETY: an LRU entry's memory stays mapped while the program runs (RCU). It may be recycled for another key by
    // another CPU; whoever uses the backend it names checks generation, service port and VNI first.
    pointer.map(|pointer| unsafe { &mut *pointer })
}

/// Remembers a flow; a full table forgets the least recently used one.
#[inline(always)]
pub fn remember_flow(table: FlowTable, key: &FlowKey, entry: &FlowEntry) {
    // An insert fails only when the table's memory is exhausted on this CPU; the flow is then placed by hash alone.
    let _unremembered = match table {
        FlowTable::Flows => FLOWS.insert(key, entry, 0),
        FlowTable::Embryos => EMBRYOS.insert(key, entry, 0),
    };
}

/// Forgets a flow.
#[inline(always)]
pub fn forget_flow(table: FlowTable, key: &FlowKey) {
    // Removing what is not there is no fault.
    let _absent = match table {
        FlowTable::Flows => FLOWS.remove(key),
        FlowTable::Embryos => EMBRYOS.remove(key),
    };
}

/// Which backend entry translates this reply flow.
#[inline(always)]
pub fn reply_flow(key: &ReplyKey) -> Option<u32> {
    // SAFETY: as in `flow`; the word is copied at once.
    REPLY_FLOWS.get_ptr(key).map(|pointer| unsafe { *pointer })
}

/// Remembers which backend entry translates this reply flow.
#[inline(always)]
pub fn remember_reply_flow(key: &ReplyKey, reference: u32) {
    // As in `remember_flow`.
    let _unremembered = REPLY_FLOWS.insert(key, reference, 0);
}

/// A frame on its way to the daemon.
#[repr(C)]
pub struct Record {
    head: RecordHead,
    bytes: [u8; FRAME_MAX as usize],
}

/// Hands the frame as it is now to the daemon; false when it is too long or nobody makes room.
#[inline(always)]
pub fn hand_to_daemon(frame: &Frame, kind: u32, inner_mtu: u32, key: Option<&FragmentKey>) -> bool {
    let length = frame.length();
    if length == 0 || length > FRAME_MAX {
        return false;
    }
    let Some(mut record) = SLOW_PATH.reserve(0) else { return false };
    let slow: *mut Record = record.as_mut_ptr();
    // SAFETY: the record is `Record` bytes of reserved ring buffer memory.
    let copied = unsafe {
        let ifindex = frame.ingress();
        let key = key.copied().unwrap_or_default();
        (*slow).head = RecordHead { length, kind, ifindex, inner_mtu, key };
        frame.load_head(length, (&raw mut (*slow).bytes).cast())
    };
    if copied.is_none() {
        record.discard(0);
        return false;
    }
    record.submit(0);
    true
}

/// What the kernel's routes say of an address.
pub enum Route {
    /// Leave by this interface with these MACs (destination, source).
    Known { port: IfIndex, macs: [u8; 12] },
    /// There may be a route, but only the host's stack can use it: the neighbour's MAC is not known yet.
    AskStack,
    /// There is none.
    None,
}

/// Asks the kernel (`bpf_fib_lookup`) for the way from `source` to `destination`, mapped when IPv4.
///
/// The kernel refuses to answer where the ingress interface has forwarding off; the frame then goes through the daemon,
/// whose socket needs no forwarding.
#[inline(always)]
pub fn route(frame: &Frame, family: u8, source: &Address, destination: &Address) -> Route {
    // SAFETY: all zero is a valid `bpf_fib_lookup`.
    let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
    lookup.ifindex = frame.ingress();
    if family == FAMILY_IPV4 {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_3.ipv4_src = word(source, 12);
        lookup.__bindgen_anon_4.ipv4_dst = word(destination, 12);
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_3.ipv6_src = [word(source, 0), word(source, 4), word(source, 8), word(source, 12)];
        lookup.__bindgen_anon_4.ipv6_dst =
            [word(destination, 0), word(destination, 4), word(destination, 8), word(destination, 12)];
    }
    // SAFETY: context and struct are valid for the call.
    let status = unsafe { bpf_fib_lookup(frame.raw().cast(), &raw mut lookup, size_of::<FibLookup>() as i32, 0) };
    match status as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => {
            let (d, s) = (lookup.dmac, lookup.smac);
            let macs = [d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5]];
            Route::Known { port: IfIndex(lookup.ifindex), macs }
        }
        BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FWD_DISABLED => Route::AskStack,
        _ => Route::None,
    }
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[inline(always)]
fn word(address: &Address, at: usize) -> u32 {
    u32::from_ne_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]])
}
