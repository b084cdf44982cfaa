//! Turns the pins of one directory into handles of the maps: memory for the arrays, typed handles for the rest.

use std::path::Path;

use aya::maps::{
    Array, ArrayOfMaps, HashMap, IterableMap as _, Map, MapData, MapError, PerCpuArray, lpm_trie::LpmTrie,
    xdp::DevMapHash,
};
use balancer_common::{
    abi::{self, Backend, ClientRoutes, Counters, Gateway, Host, Policy, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    index::Bucket,
    range::{RangeKey, ReplyRangeKey},
    source::SourceKey,
};
use tracing::warn;

use super::{
    Options,
    error::DatapathError,
    mmap::{Plain, Raw, Region},
    pins,
    tries::TrieKey,
};

/// A table of flows.
pub type Flows = HashMap<MapData, Raw<FlowKey>, Raw<FlowEntry>>;
/// Counters by id.
pub type CountersByCpu = PerCpuArray<MapData, Raw<Counters>>;

/// A map that is searched by longest prefix.
pub type Prefixes<K> = LpmTrie<MapData, <K as TrieKey>::Data, u32>;

/// All maps that the daemon reads or writes, but the slow path's ring.
pub struct Maps {
    pub gateway: Region<Gateway>,
    pub service_index: Region<Bucket>,
    pub reply_index: Region<Bucket>,
    pub services: Region<Service>,
    pub policies: Region<Policy>,
    pub sources: Prefixes<SourceKey>,
    pub ranges: Prefixes<RangeKey>,
    pub reply_ranges: Prefixes<ReplyRangeKey>,
    pub backends: Region<Backend>,
    pub hosts: Region<Host>,
    pub client_routes: Region<ClientRoutes>,
    pub tables: [Tables; abi::TABLE_CLASSES],
    pub ports: DevMapHash<MapData>,
    pub reasons: PerCpuArray<MapData, u64>,
    pub cases: PerCpuArray<MapData, u64>,
    pub service_counters: CountersByCpu,
    pub backend_counters: CountersByCpu,
    pub flows: Flows,
    pub embryos: Flows,
}

impl Maps {
    /// Opens all maps of a directory.
    ///
    /// # Errors
    /// [`DatapathError`], the kernel's.
    pub fn open(options: &Options) -> Result<Self, DatapathError> {
        let pins = Pins { directory: &options.pin_dir };
        let maps = Self {
            gateway: pins.region(abi::MAP_GATEWAY, 1)?,
            service_index: pins.region(abi::MAP_SERVICE_INDEX, abi::SERVICE_BUCKETS)?,
            reply_index: pins.region(abi::MAP_REPLY_INDEX, abi::REPLY_BUCKETS)?,
            services: pins.region(abi::MAP_SERVICES, abi::SERVICES_MAX)?,
            policies: pins.region(abi::MAP_POLICIES, abi::POLICIES_MAX)?,
            sources: pins.typed(abi::MAP_SOURCES)?,
            ranges: pins.typed(abi::MAP_RANGES)?,
            reply_ranges: pins.typed(abi::MAP_REPLY_RANGES)?,
            backends: pins.region(abi::MAP_BACKENDS, abi::BACKENDS_MAX)?,
            hosts: pins.region(abi::MAP_HOSTS, abi::HOSTS_MAX)?,
            client_routes: pins.region(abi::MAP_CLIENT_ROUTES, 2)?,
            tables: [pins.tables(0)?, pins.tables(1)?, pins.tables(2)?, pins.tables(3)?, pins.tables(4)?],
            ports: pins.typed(abi::MAP_PORTS)?,
            reasons: pins.typed(abi::MAP_REASONS)?,
            cases: pins.typed(abi::MAP_CASES)?,
            service_counters: pins.typed(abi::MAP_SERVICE_COUNTERS)?,
            backend_counters: pins.typed(abi::MAP_BACKEND_COUNTERS)?,
            flows: pins.typed(abi::MAP_FLOWS)?,
            embryos: pins.typed(abi::MAP_EMBRYOS)?,
        };
        let flows_max = pins::open(&options.pin_dir, abi::MAP_FLOWS)?
            .info()
            .map_err(|error| DatapathError::of("asking for the size of FLOWS", &error))?
            .max_entries();
        if flows_max != options.flows_max {
            warn!(
                flows_max,
                wanted = options.flows_max,
                "the conntrack keeps its size: another one takes effect after `balancer detach` and a new start"
            );
        }
        Ok(maps)
    }
}

/// The tables of one class, by service port.
pub struct Tables {
    outer: ArrayOfMaps<MapData, MapData>,
    /// The same map, to remove from: aya's `ArrayOfMaps` cannot, but removing by key is one system call for every kind of map.
    removal: HashMap<MapData, u32, u32>,
    size: u32,
    /// A service port whose table was put by this process and not removed since.
    present: Option<u32>,
}

/// `BPF_F_MMAPABLE` of include/uapi/linux/bpf.h. An inner map must have the flags of its template (`bpf_map_meta_equal`).
const MMAPABLE: u32 = 1 << 10;

impl Tables {
    /// Slots of each table.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// A table's slots; none when there is no table. Opens the table for the duration of the call: descriptors of ten
    /// thousand tables would not fit the usual limit.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, service: u32) -> Result<Option<Vec<Slot>>, MapError> {
        let inner = match self.outer.get(&service, 0) {
            Ok(inner) => inner,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Region::map(inner.fd(), self.size)?.read_all()))
    }

    /// Makes a table and puts it in place of the old one; the kernel returns when no program uses the old one
    /// (`maybe_wait_bpf_programs` of kernel/bpf/syscall.c), which takes milliseconds.
    ///
    /// # Errors
    /// The kernel's.
    pub fn put(&mut self, service: u32, slots: &[Slot]) -> Result<(), MapError> {
        let inner = self.make(slots)?;
        self.outer.set(service, inner.map(), 0)?;
        self.present = Some(service);
        Ok(())
    }

    /// Makes a table that no service port has yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(&self, slots: &[Slot]) -> Result<Array<MapData, Raw<Slot>>, MapError> {
        let inner: Array<MapData, Raw<Slot>> = Array::create(self.size, MMAPABLE)?;
        let memory: Region<Slot> = Region::map(inner.map().fd(), self.size)?;
        memory.fill(slots);
        Ok(inner)
    }

    /// Removes a table, likewise; it need not be there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&mut self, service: u32) -> Result<(), MapError> {
        self.present = self.present.filter(|present| *present != service);
        match self.removal.remove(&service) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Whether [`wait_for_readers`](Tables::wait_for_readers) knows a table to put again, which is half the wait.
    pub const fn is_filled(&self) -> bool {
        self.present.is_some()
    }

    /// Waits until every frame that began before has ended: puts a table where it already is, or one that nothing names
    /// where there is none, because the kernel then waits for all readers of the outer map.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait_for_readers(&mut self) -> Result<(), MapError> {
        let position = self.present.unwrap_or(self.outer.len() - 1);
        match self.outer.get(&position, 0) {
            Ok(inner) => self.outer.set(position, &inner, 0),
            Err(MapError::KeyNotFound) => {
                self.put(position, &[])?;
                self.remove(position)
            }
            Err(error) => Err(error),
        }
    }
}

struct Pins<'a> {
    directory: &'a Path,
}

impl Pins<'_> {
    fn region<T: Plain>(&self, name: &str, len: u32) -> Result<Region<T>, DatapathError> {
        let map = pins::open(self.directory, name)?;
        Region::map(map.fd(), len).map_err(|error| DatapathError::of(format!("memory-mapping the map {name}"), &error))
    }

    fn typed<M>(&self, name: &str) -> Result<M, DatapathError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        Map::from_map_data(pins::open(self.directory, name)?)
            .and_then(M::try_from)
            .map_err(|error| DatapathError::of(format!("using the map {name}"), &error))
    }

    fn tables(&self, class: usize) -> Result<Tables, DatapathError> {
        let name = abi::MAP_TABLES[class];
        let removal = HashMap::try_from(Map::HashMap(pins::open(self.directory, name)?))
            .map_err(|error: MapError| DatapathError::of(format!("using the map {name}"), &error))?;
        Ok(Tables { outer: self.typed(name)?, removal, size: abi::TABLE_SIZES[class], present: None })
    }
}
