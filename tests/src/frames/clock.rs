//! Turns the maps into maps whose clock a test sets forward, and whose budgets fill up so slowly that a test sees them stand still.

use std::io;

use balancer_common::{
    abi::{Backend, ClientRoutes, Gateway, Host, Policy, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    index::Bucket,
};
use balancer_user::{
    datapath::Datapath,
    model::tables::{Index, Tables, Trie},
};

/// The maps of a datapath, a while later. Remembered flows are as young as they are: their packets kept coming meanwhile.
pub struct Clock<'a> {
    /// The maps.
    pub datapath: &'a mut Datapath,
    /// By how much the clock is ahead of the machine's, ns.
    pub ahead_ns: u64,
    /// By how much budgets fill up more slowly than the config says.
    pub slower: u64,
}

impl Tables for Clock<'_> {
    fn now_ns(&self) -> u64 {
        self.datapath.now_ns() + self.ahead_ns
    }

    fn flows(&self) -> io::Result<Vec<(FlowKey, FlowEntry)>> {
        let later = |entry: FlowEntry| FlowEntry { last_ns: entry.last_ns + self.ahead_ns, ..entry };
        Ok(self.datapath.flows()?.into_iter().map(|(key, entry)| (key, later(entry))).collect())
    }

    fn set_flow(&mut self, key: &FlowKey, entry: &FlowEntry) -> io::Result<()> {
        let last_ns = entry.last_ns.saturating_sub(self.ahead_ns);
        self.datapath.set_flow(key, &FlowEntry { last_ns, ..*entry })
    }

    fn gateway(&self) -> Gateway {
        self.datapath.gateway()
    }

    fn set_gateway(&mut self, value: &Gateway) {
        self.datapath.set_gateway(value);
    }

    fn services_len(&self) -> u32 {
        self.datapath.services_len()
    }

    fn service(&self, id: u32) -> Service {
        self.datapath.service(id)
    }

    fn set_service(&mut self, id: u32, value: &Service) {
        self.datapath.set_service(id, value);
    }

    fn backends_len(&self) -> u32 {
        self.datapath.backends_len()
    }

    fn backend(&self, id: u32) -> Backend {
        self.datapath.backend(id)
    }

    fn set_backend(&mut self, id: u32, value: &Backend) {
        self.datapath.set_backend(id, value);
    }

    fn hosts_len(&self) -> u32 {
        self.datapath.hosts_len()
    }

    fn host(&self, id: u32) -> Host {
        self.datapath.host(id)
    }

    fn set_host(&mut self, id: u32, value: &Host) {
        self.datapath.set_host(id, value);
    }

    fn client_routes(&self, family: u32) -> ClientRoutes {
        self.datapath.client_routes(family)
    }

    fn set_client_routes(&mut self, family: u32, value: &ClientRoutes) {
        self.datapath.set_client_routes(family, value);
    }

    fn bucket(&self, index: Index, position: u32) -> Bucket {
        self.datapath.bucket(index, position)
    }

    fn set_entry(&mut self, index: Index, bucket: u32, entry: usize, value: u64) {
        self.datapath.set_entry(index, bucket, entry, value);
    }

    fn set_spilled(&mut self, index: Index, bucket: u32, spilled: bool) {
        self.datapath.set_spilled(index, bucket, spilled);
    }

    fn table(&self, class: usize, service: u32) -> io::Result<Option<Vec<Slot>>> {
        self.datapath.table(class, service)
    }

    fn put_table(&mut self, class: usize, service: u32, slots: &[Slot]) -> io::Result<()> {
        self.datapath.put_table(class, service, slots)
    }

    fn drop_table(&mut self, class: usize, service: u32) -> io::Result<()> {
        self.datapath.drop_table(class, service)
    }

    fn forget_flow(&mut self, key: &FlowKey) -> io::Result<()> {
        self.datapath.forget_flow(key)
    }

    fn clear_service_counters(&mut self, id: u32) -> io::Result<()> {
        self.datapath.clear_service_counters(id)
    }

    fn clear_backend_counters(&mut self, id: u32) -> io::Result<()> {
        self.datapath.clear_backend_counters(id)
    }

    fn set_ports(&mut self, ifindexes: &[u32]) -> io::Result<()> {
        self.datapath.set_ports(ifindexes)
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        self.datapath.wait_for_readers()
    }

    fn policies(&self) -> Vec<(u32, Policy)> {
        let said = |policy: Policy| Policy {
            interval_ns: policy.interval_ns / self.slower,
            burst_ns: policy.burst_ns / self.slower,
            ..policy
        };
        self.datapath.policies().into_iter().map(|(id, policy)| (id, said(policy))).collect()
    }

    /// A budget that is given another rate begins anew: how much of an old rate the time since then has given back cannot be told.
    fn set_policy(&mut self, id: u32, value: &Policy) {
        let known = self.policies().into_iter().find(|(known, _)| *known == id);
        if self.slower != 1 && known.is_some_and(|(_, known)| known.interval_ns != value.interval_ns) {
            self.datapath.free_policy(id);
        }
        let (interval_ns, burst_ns) = (value.interval_ns * self.slower, value.burst_ns * self.slower);
        self.datapath.set_policy(id, &Policy { interval_ns, burst_ns, ..*value });
    }

    fn free_policy(&mut self, id: u32) {
        self.datapath.free_policy(id);
    }
}

impl<K> Trie<K> for Clock<'_>
where
    Datapath: Trie<K>,
{
    fn prefixes(&self) -> io::Result<Vec<(K, u32)>> {
        self.datapath.prefixes()
    }

    fn put_prefix(&mut self, key: &K, value: u32) -> io::Result<()> {
        self.datapath.put_prefix(key, value)
    }

    fn remove_prefix(&mut self, key: &K) -> io::Result<()> {
        self.datapath.remove_prefix(key)
    }
}
