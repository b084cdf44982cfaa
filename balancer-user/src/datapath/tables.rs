//! Turns the reads and writes of `reconcile` into reads and writes of the kernel's maps, in an order that the datapath can bear.

use std::{collections::HashMap, io, mem::offset_of};

use aya::{
    maps::{MapError, PerCpuValues},
    util::nr_cpus,
};
use balancer_common::{
    abi::{Backend, ClientRoutes, Counters, Gateway, Host, NextHop, Policy, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    index::{BUCKET_ENTRIES, Bucket},
    service::STATE_FREE,
};

use super::{
    Datapath,
    error::io_error,
    maps::{self, CountersByCpu, Flows},
    mmap::{Guard, Raw, Region, monotonic_coarse_ns},
};
use crate::model::tables::{Index, Tables};

/// While a backend's entry changes, no slot matches it and its flows take the way of the exceptions.
const BACKEND_GUARD: Guard = Guard {
    word: word_of(offset_of!(Backend, active)),
    closed: |word| with_half(word, offset_of!(Backend, active), 0),
};

/// While a host's entry changes, its way is not resolved and frames take the slow path.
const HOST_GUARD: Guard = Guard { word: word_of(RESOLVED), closed: |word| with_half(word, RESOLVED, 0) };
const RESOLVED: usize = offset_of!(Host, next_hop) + offset_of!(NextHop, resolved);

/// While routes to clients change, every client is looked up in the kernel; any count above the maximum says so.
const ROUTES_GUARD: Guard = Guard {
    word: word_of(offset_of!(ClientRoutes, exceptions_count)),
    closed: |word| with_half(word, offset_of!(ClientRoutes, exceptions_count), u32::MAX),
};

/// The words of a policy that are the daemon's to write.
const POLICY_WORDS: usize = word_of(offset_of!(Policy, spent_until_ns));
const _: () = assert!(POLICY_WORDS == 3 && word_of(offset_of!(Policy, burst_ns)) == 2);

/// Position of [`Bucket::spilled`].
const SPILLED_WORD: usize = word_of(offset_of!(Bucket, spilled));
const _: () = assert!(SPILLED_WORD == BUCKET_ENTRIES);

/// How many steps an iteration over flows takes at most, for each entry that fits: the kernel begins anew when the entry
/// it stands on is evicted.
const FLOW_STEPS: u32 = 2;

/// `BPF_EXIST` of include/uapi/linux/bpf.h.
const EXISTING_ONLY: u64 = 2;

impl Tables for Datapath {
    fn gateway(&self) -> Gateway {
        self.maps.gateway.read(0)
    }

    fn set_gateway(&mut self, value: &Gateway) {
        self.maps.gateway.write(0, value, None);
    }

    fn services_len(&self) -> u32 {
        self.maps.services.len()
    }

    fn service(&self, id: u32) -> Service {
        self.maps.services.read(id)
    }

    fn set_service(&mut self, id: u32, value: &Service) {
        let old = self.service(id);
        let mut value = *value;
        if (old.vip, old.protocol, old.port) == (value.vip, value.protocol, value.port) {
            // A frame that teaches other tags in this moment teaches them again when its successor differs.
            (value.vlan_outer, value.vlan_inner) = (old.vlan_outer, old.vlan_inner);
        }
        self.maps.services.write(id, &value, None);
    }

    fn policies(&self) -> Vec<(u32, Policy)> {
        (0..).zip(self.maps.policies.read_all()).filter(|(_, policy)| *policy != Policy::default()).collect()
    }

    fn set_policy(&mut self, id: u32, value: &Policy) {
        let words: [u64; POLICY_WORDS] = [value.sources, value.interval_ns, value.burst_ns];
        for (word, bits) in words.into_iter().enumerate() {
            self.maps.policies.set_word(id, word, bits);
        }
    }

    fn free_policy(&mut self, id: u32) {
        self.maps.policies.write(id, &Policy::default(), None);
    }

    fn backends_len(&self) -> u32 {
        self.maps.backends.len()
    }

    fn backend(&self, id: u32) -> Backend {
        self.maps.backends.read(id)
    }

    fn set_backend(&mut self, id: u32, value: &Backend) {
        if value.state == STATE_FREE {
            // Nothing may believe the rest from here on.
            self.maps.backends.set_word(id, BACKEND_GUARD.word, 0);
        }
        self.maps.backends.write(id, value, Some(BACKEND_GUARD));
    }

    fn hosts_len(&self) -> u32 {
        self.maps.hosts.len()
    }

    fn host(&self, id: u32) -> Host {
        self.maps.hosts.read(id)
    }

    fn set_host(&mut self, id: u32, value: &Host) {
        self.maps.hosts.write(id, value, Some(HOST_GUARD));
    }

    fn client_routes(&self, family: u32) -> ClientRoutes {
        self.maps.client_routes.read(family)
    }

    fn set_client_routes(&mut self, family: u32, value: &ClientRoutes) {
        self.maps.client_routes.write(family, value, Some(ROUTES_GUARD));
    }

    fn bucket(&self, index: Index, position: u32) -> Bucket {
        self.index(index).read(position)
    }

    fn set_entry(&mut self, index: Index, bucket: u32, entry: usize, value: u64) {
        assert!(entry < BUCKET_ENTRIES, "a bucket has {BUCKET_ENTRIES} entries");
        self.index(index).set_word(bucket, entry, value);
    }

    fn set_spilled(&mut self, index: Index, bucket: u32, spilled: bool) {
        self.index(index).set_word(bucket, SPILLED_WORD, u64::from(spilled));
    }

    fn table(&self, class: usize, service: u32) -> io::Result<Option<Vec<Slot>>> {
        self.maps.tables[class].read(service).map_err(|error| io_error(&error))
    }

    fn put_table(&mut self, class: usize, service: u32, slots: &[Slot]) -> io::Result<()> {
        let tables = &mut self.maps.tables[class];
        if slots.len() != tables.size() as usize {
            let text = format!("{} slots for a table of {}", slots.len(), tables.size());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        tables.put(service, slots).map_err(|error| io_error(&error))
    }

    fn drop_table(&mut self, class: usize, service: u32) -> io::Result<()> {
        self.maps.tables[class].remove(service).map_err(|error| io_error(&error))
    }

    fn flows(&self) -> io::Result<Vec<(FlowKey, FlowEntry)>> {
        let mut found = HashMap::new();
        // A flow that grows up meanwhile stands in both: the grown one is written last.
        collect(&self.maps.embryos, balancer_common::abi::EMBRYOS_MAX, &mut found)?;
        collect(&self.maps.flows, self.options.flows_max, &mut found)?;
        Ok(found.into_iter().collect())
    }

    fn set_flow(&mut self, key: &FlowKey, entry: &FlowEntry) -> io::Result<()> {
        replace(&mut self.maps.flows, key, entry)?;
        replace(&mut self.maps.embryos, key, entry)
    }

    fn forget_flow(&mut self, key: &FlowKey) -> io::Result<()> {
        forget(&mut self.maps.flows, key)?;
        forget(&mut self.maps.embryos, key)
    }

    fn now_ns(&self) -> u64 {
        monotonic_coarse_ns()
    }

    fn clear_service_counters(&mut self, id: u32) -> io::Result<()> {
        clear(&mut self.maps.service_counters, id)
    }

    fn clear_backend_counters(&mut self, id: u32) -> io::Result<()> {
        clear(&mut self.maps.backend_counters, id)
    }

    fn set_ports(&mut self, ifindexes: &[u32]) -> io::Result<()> {
        let ports = &mut self.maps.ports;
        let present = ports.keys().collect::<Result<Vec<_>, _>>().map_err(|error| io_error(&error))?;
        for port in present.iter().filter(|port| !ifindexes.contains(port)) {
            or_absent(ports.remove(*port))?;
        }
        for port in ifindexes.iter().filter(|port| !present.contains(port)) {
            ports.insert(*port, *port, None, 0).map_err(|error| io_error(&error))?;
        }
        Ok(())
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        let class = self.maps.tables.iter().position(maps::Tables::is_filled).unwrap_or(0);
        self.maps.tables[class].wait_for_readers().map_err(|error| io_error(&error))
    }
}

impl Datapath {
    const fn index(&self, index: Index) -> &Region<Bucket> {
        match index {
            Index::Services => &self.maps.service_index,
            Index::Replies => &self.maps.reply_index,
        }
    }
}

fn collect(flows: &Flows, entries_max: u32, found: &mut HashMap<FlowKey, FlowEntry>) -> io::Result<()> {
    for flow in flows.iter().take((entries_max * FLOW_STEPS) as usize) {
        let (Raw(key), Raw(entry)) = flow.map_err(|error| io_error(&error))?;
        found.insert(key, entry);
    }
    Ok(())
}

fn replace(flows: &mut Flows, key: &FlowKey, entry: &FlowEntry) -> io::Result<()> {
    or_absent(flows.insert(Raw(*key), Raw(*entry), EXISTING_ONLY))
}

fn forget(flows: &mut Flows, key: &FlowKey) -> io::Result<()> {
    or_absent(flows.remove(&Raw(*key)))
}

fn clear(counters: &mut CountersByCpu, id: u32) -> io::Result<()> {
    let cpus = nr_cpus().map_err(|(path, error)| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    let zero = PerCpuValues::try_from(vec![Raw(Counters::default()); cpus])?;
    counters.set(id, zero, 0).map_err(|error| io_error(&error))
}

/// What is not there any more needs no change; the kernel itself removes what is used least, and interfaces that go.
pub(super) fn or_absent(result: Result<(), MapError>) -> io::Result<()> {
    match result.map_err(|error| io_error(&error)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The word that a byte of an entry is in.
const fn word_of(offset: usize) -> usize {
    offset / size_of::<u64>()
}

/// A word with the u32 at `offset` of the entry replaced, the other half left alone.
const fn with_half(word: u64, offset: usize, half: u32) -> u64 {
    let mut bytes = word.to_ne_bytes();
    let at = offset % size_of::<u64>();
    let half = half.to_ne_bytes();
    let mut byte = 0;
    while byte < half.len() {
        bytes[at + byte] = half[byte];
        byte += 1;
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_close_their_own_field_and_no_other() {
        let word = u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((BACKEND_GUARD.closed)(word).to_ne_bytes(), [0, 0, 0, 0, 5, 6, 7, 8]);
        assert_eq!((HOST_GUARD.closed)(word).to_ne_bytes(), [0, 0, 0, 0, 5, 6, 7, 8]);
        assert_eq!((ROUTES_GUARD.closed)(word).to_ne_bytes(), [0xff, 0xff, 0xff, 0xff, 5, 6, 7, 8]);
        assert_eq!(with_half(word, 12, 0).to_ne_bytes(), [1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!((BACKEND_GUARD.word, HOST_GUARD.word, ROUTES_GUARD.word), (0, 2, 3));
    }
}
