//! The maps as `reconcile` sees them: read and written entry by entry, whether they live in the kernel or in a test.

use std::io;

use balancer_common::{
    abi::{Backend, ClientRoutes, Gateway, Host, Policy, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    index::Bucket,
    range::{RangeKey, ReplyRangeKey},
    source::SourceKey,
};

/// Which of the two indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// `SERVICE_INDEX`, `abi::SERVICE_BUCKETS` buckets.
    Services,
    /// `REPLY_INDEX`, `abi::REPLY_BUCKETS` buckets.
    Replies,
}

/// A map that is searched by longest prefix: `SOURCES`, `RANGES` or `REPLY_RANGES`, told apart by their keys.
pub trait Trie<K> {
    /// Every entry, in no order. Takes a system call or two for each.
    ///
    /// # Errors
    /// The kernel's.
    fn prefixes(&self) -> io::Result<Vec<(K, u32)>>;
    /// Adds an entry, or replaces the value of that very prefix at once.
    ///
    /// # Errors
    /// The kernel's; the map is full.
    fn put_prefix(&mut self, key: &K, value: u32) -> io::Result<()>;
    /// Removes an entry; it need not be there.
    ///
    /// # Errors
    /// The kernel's.
    fn remove_prefix(&mut self, key: &K) -> io::Result<()>;
}

/// Content of all maps. A write is visible to the datapath when the call returns.
pub trait Tables: Trie<SourceKey> + Trie<RangeKey> + Trie<ReplyRangeKey> {
    /// The one entry of `GATEWAY`.
    fn gateway(&self) -> Gateway;
    /// Replaces it.
    fn set_gateway(&mut self, value: &Gateway);

    /// Number of entries of `SERVICES`.
    fn services_len(&self) -> u32;
    /// A service port's entry; all zero is free.
    fn service(&self, id: u32) -> Service;
    /// Replaces it, but for the learnt VLAN tags when the VIP stays the same. Identity fields only while no index names it.
    fn set_service(&mut self, id: u32, value: &Service);

    /// The policies that are not all zero, which is free: of service ports by id, of projects from `abi::SERVICES_MAX` up to
    /// `abi::POLICIES_MAX`.
    fn policies(&self) -> Vec<(u32, Policy)>;
    /// Replaces it, but for what is spent of its budget.
    fn set_policy(&mut self, id: u32, value: &Policy);
    /// Makes all of it zero.
    fn free_policy(&mut self, id: u32);

    /// Number of entries of `BACKENDS`.
    fn backends_len(&self) -> u32;
    /// A backend's entry.
    fn backend(&self, id: u32) -> Backend;
    /// Replaces it: `active` is cleared first and written last.
    fn set_backend(&mut self, id: u32, value: &Backend);

    /// Number of entries of `HOSTS`.
    fn hosts_len(&self) -> u32;
    /// A host's entry.
    fn host(&self, id: u32) -> Host;
    /// Replaces it.
    fn set_host(&mut self, id: u32, value: &Host);

    /// `CLIENT_ROUTES` of a family: 0 IPv4, 1 IPv6.
    fn client_routes(&self, family: u32) -> ClientRoutes;
    /// Replaces them.
    fn set_client_routes(&mut self, family: u32, value: &ClientRoutes);

    /// A bucket.
    fn bucket(&self, index: Index, position: u32) -> Bucket;
    /// Replaces one 8-byte entry at once; 0 frees it.
    fn set_entry(&mut self, index: Index, bucket: u32, entry: usize, value: u64);
    /// Sets or clears the bucket's spill mark.
    fn set_spilled(&mut self, index: Index, bucket: u32, spilled: bool);

    /// The slots of a service port's table, none when there is no table in this class.
    ///
    /// # Errors
    /// The kernel's, when the table cannot be opened.
    fn table(&self, class: usize, service: u32) -> io::Result<Option<Vec<Slot>>>;
    /// Puts a new table in place of the old one at once (map of maps); when it returns no frame uses the old one.
    ///
    /// # Errors
    /// The kernel's, when a table cannot be made.
    fn put_table(&mut self, class: usize, service: u32, slots: &[Slot]) -> io::Result<()>;
    /// Removes a table; nothing may name it any more.
    ///
    /// # Errors
    /// The kernel's.
    fn drop_table(&mut self, class: usize, service: u32) -> io::Result<()>;

    /// Every remembered flow, of `EMBRYOS` and then `FLOWS`: one that grows up meanwhile is seen twice rather than not at all.
    ///
    /// # Errors
    /// The kernel's.
    fn flows(&self) -> io::Result<Vec<(FlowKey, FlowEntry)>>;
    /// Replaces the entry of a flow in whichever of the two tables remembers it; what neither remembers stays forgotten.
    ///
    /// # Errors
    /// The kernel's.
    fn set_flow(&mut self, key: &FlowKey, entry: &FlowEntry) -> io::Result<()>;
    /// Forgets a flow in both tables.
    ///
    /// # Errors
    /// The kernel's.
    fn forget_flow(&mut self, key: &FlowKey) -> io::Result<()>;
    /// Now, on the clock of [`FlowEntry::last_ns`] (CLOCK_MONOTONIC_COARSE).
    fn now_ns(&self) -> u64;

    /// Sets the counters of a service port to 0, before its id is used for another one.
    ///
    /// # Errors
    /// The kernel's.
    fn clear_service_counters(&mut self, id: u32) -> io::Result<()>;
    /// Sets the counters of a backend to 0 likewise.
    ///
    /// # Errors
    /// The kernel's.
    fn clear_backend_counters(&mut self, id: u32) -> io::Result<()>;
    /// Lets the datapath redirect to these interfaces and no others.
    ///
    /// # Errors
    /// The kernel's.
    fn set_ports(&mut self, ifindexes: &[u32]) -> io::Result<()>;
    /// Returns when no frame that began before the call is still on its way through the program.
    ///
    /// # Errors
    /// The kernel's.
    fn wait_for_readers(&mut self) -> io::Result<()>;
}
