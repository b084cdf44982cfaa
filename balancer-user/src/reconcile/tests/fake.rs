//! Turns the maps into vectors in memory, which send frames through the datapath's model between any two writes.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use balancer_common::{
    abi::{Backend, ClientRoutes, Gateway, Host, Policy, Service, Slot, TABLE_SIZES},
    conntrack::{FlowEntry, FlowKey, Signal},
    index::Bucket,
    range::{RangeKey, ReplyRangeKey},
    service::{Address, STATE_FREE},
    source::SourceKey,
};

use super::datapath;
use crate::model::tables::{Index, Tables, Trie};

/// What a flow's backend is to the outside: the container's address and port.
pub(super) type Home = (Address, [u8; 2]);

/// A crash in the middle of an apply, thrown by the write that it comes after.
pub(super) struct Crash;

#[derive(Clone)]
pub(super) struct Fake {
    pub gateway: Gateway,
    pub services: Vec<Service>,
    pub backends: Vec<Backend>,
    pub hosts: Vec<Host>,
    /// Those that are not zero.
    pub policies: BTreeMap<u32, Policy>,
    pub sources: BTreeMap<SourceKey, u32>,
    pub ranges: BTreeMap<RangeKey, u32>,
    pub reply_ranges: BTreeMap<ReplyRangeKey, u32>,
    pub client_routes: [ClientRoutes; 2],
    pub buckets: [HashMap<u32, Bucket>; 2],
    pub tables: BTreeMap<(usize, u32), Vec<Slot>>,
    pub flows: HashMap<FlowKey, FlowEntry>,
    pub embryos: HashMap<FlowKey, FlowEntry>,
    pub now_ns: u64,
    /// Writes so far, but for the ports, which nobody can read back.
    pub writes: usize,
    /// Crash after so many more writes.
    pub crash_after: Option<usize>,
    /// Flows that send a frame after every write, and where it has to arrive.
    pub watched: Vec<(FlowKey, Home)>,
    /// Said of the maps after every write; what it returns is a fault.
    pub watch: Option<fn(&Self) -> Option<String>>,
    pub faults: Vec<String>,
}

impl Fake {
    pub(super) fn new(services: usize, backends: usize, hosts: usize) -> Self {
        Self {
            gateway: Gateway::default(),
            services: vec![Service::default(); services],
            backends: vec![Backend::default(); backends],
            hosts: vec![Host::default(); hosts],
            policies: BTreeMap::new(),
            sources: BTreeMap::new(),
            ranges: BTreeMap::new(),
            reply_ranges: BTreeMap::new(),
            client_routes: [ClientRoutes::default(); 2],
            buckets: [HashMap::new(), HashMap::new()],
            tables: BTreeMap::new(),
            flows: HashMap::new(),
            embryos: HashMap::new(),
            now_ns: 1_000_000_000,
            writes: 0,
            crash_after: None,
            watched: Vec::new(),
            watch: None,
            faults: Vec::new(),
        }
    }

    /// Where a backend is, by reference.
    pub(super) fn home(&self, reference: u32) -> Home {
        let backend = &self.backends[(reference & 0xf_ffff) as usize];
        (backend.container, backend.port)
    }

    fn written(&mut self) {
        self.writes += 1;
        for (key, home) in std::mem::take(&mut self.watched) {
            let reached = datapath::forward(self, &key, Signal::Continues).map(|reference| self.home(reference));
            if reached != Some(home) {
                self.faults.push(format!("write {}: {key:?} belongs to {home:?}, went to {reached:?}", self.writes));
            }
            self.watched.push((key, home));
        }
        if let Some(fault) = self.watch.and_then(|watch| watch(self)) {
            self.faults.push(format!("write {}: {fault}", self.writes));
        }
        if let Some(left) = &mut self.crash_after {
            if *left == 0 {
                self.crash_after = None;
                std::panic::resume_unwind(Box::new(Crash));
            }
            *left -= 1;
        }
    }
}

fn number(index: Index) -> usize {
    match index {
        Index::Services => 0,
        Index::Replies => 1,
    }
}

macro_rules! trie {
    ($($key:ty, $map:ident;)*) => {$(
        impl Trie<$key> for Fake {
            fn prefixes(&self) -> io::Result<Vec<($key, u32)>> {
                Ok(self.$map.iter().map(|(key, value)| (*key, *value)).collect())
            }

            fn put_prefix(&mut self, key: &$key, value: u32) -> io::Result<()> {
                self.$map.insert(*key, value);
                self.written();
                Ok(())
            }

            fn remove_prefix(&mut self, key: &$key) -> io::Result<()> {
                self.$map.remove(key);
                self.written();
                Ok(())
            }
        }
    )*};
}

trie! {
    SourceKey, sources;
    RangeKey, ranges;
    ReplyRangeKey, reply_ranges;
}

impl Tables for Fake {
    fn gateway(&self) -> Gateway {
        self.gateway
    }

    fn set_gateway(&mut self, value: &Gateway) {
        self.gateway = *value;
        self.written();
    }

    fn services_len(&self) -> u32 {
        self.services.len() as u32
    }

    fn service(&self, id: u32) -> Service {
        self.services[id as usize]
    }

    fn set_service(&mut self, id: u32, value: &Service) {
        let old = self.services[id as usize];
        let (vlan_outer, vlan_inner) = if old.vip == value.vip { (old.vlan_outer, old.vlan_inner) } else { (0, 0) };
        self.services[id as usize] = Service { vlan_outer, vlan_inner, ..*value };
        self.written();
    }

    fn policies(&self) -> Vec<(u32, Policy)> {
        self.policies.iter().map(|(id, policy)| (*id, *policy)).collect()
    }

    fn set_policy(&mut self, id: u32, value: &Policy) {
        let spent_until_ns = self.policies.get(&id).map_or(0, |policy| policy.spent_until_ns);
        self.policies.insert(id, Policy { spent_until_ns, ..*value });
        self.written();
    }

    fn free_policy(&mut self, id: u32) {
        self.policies.remove(&id);
        self.written();
    }

    fn backends_len(&self) -> u32 {
        self.backends.len() as u32
    }

    fn backend(&self, id: u32) -> Backend {
        self.backends[id as usize]
    }

    fn set_backend(&mut self, id: u32, value: &Backend) {
        let old = std::mem::replace(&mut self.backends[id as usize], *value);
        if old.reference != value.reference {
            let named = self.flows.values().chain(self.embryos.values()).any(|flow| flow.backend == value.reference);
            if named || old.state != STATE_FREE {
                self.faults.push(format!("id {id} was in use: {old:?} became {value:?}"));
            }
        }
        self.written();
    }

    fn hosts_len(&self) -> u32 {
        self.hosts.len() as u32
    }

    fn host(&self, id: u32) -> Host {
        self.hosts[id as usize]
    }

    fn set_host(&mut self, id: u32, value: &Host) {
        self.hosts[id as usize] = *value;
        self.written();
    }

    fn client_routes(&self, family: u32) -> ClientRoutes {
        self.client_routes[family as usize]
    }

    fn set_client_routes(&mut self, family: u32, value: &ClientRoutes) {
        self.client_routes[family as usize] = *value;
        self.written();
    }

    fn bucket(&self, index: Index, position: u32) -> Bucket {
        self.buckets[number(index)].get(&position).copied().unwrap_or_default()
    }

    fn set_entry(&mut self, index: Index, bucket: u32, entry: usize, value: u64) {
        self.buckets[number(index)].entry(bucket).or_default().entries[entry] = value;
        self.written();
    }

    fn set_spilled(&mut self, index: Index, bucket: u32, spilled: bool) {
        self.buckets[number(index)].entry(bucket).or_default().spilled = u64::from(spilled);
        self.written();
    }

    fn table(&self, class: usize, service: u32) -> io::Result<Option<Vec<Slot>>> {
        Ok(self.tables.get(&(class, service)).cloned())
    }

    fn put_table(&mut self, class: usize, service: u32, slots: &[Slot]) -> io::Result<()> {
        assert_eq!(slots.len(), TABLE_SIZES[class] as usize);
        self.tables.insert((class, service), slots.to_vec());
        self.written();
        Ok(())
    }

    fn drop_table(&mut self, class: usize, service: u32) -> io::Result<()> {
        if self.tables.remove(&(class, service)).is_none() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        self.written();
        Ok(())
    }

    fn flows(&self) -> io::Result<Vec<(FlowKey, FlowEntry)>> {
        Ok(self.embryos.iter().chain(&self.flows).map(|(key, entry)| (*key, *entry)).collect())
    }

    fn set_flow(&mut self, key: &FlowKey, entry: &FlowEntry) -> io::Result<()> {
        for table in [&mut self.embryos, &mut self.flows] {
            if let Some(known) = table.get_mut(key) {
                *known = *entry;
            }
        }
        Ok(())
    }

    fn forget_flow(&mut self, key: &FlowKey) -> io::Result<()> {
        self.flows.remove(key);
        self.embryos.remove(key);
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn clear_service_counters(&mut self, _id: u32) -> io::Result<()> {
        Ok(())
    }

    fn clear_backend_counters(&mut self, _id: u32) -> io::Result<()> {
        Ok(())
    }

    fn set_ports(&mut self, _ifindexes: &[u32]) -> io::Result<()> {
        Ok(())
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        Ok(())
    }
}
