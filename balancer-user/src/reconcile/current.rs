//! Turns the tables into what stands in them now: the entries in use, and the generations that free ids remember.

use balancer_common::{
    abi::{Backend, Host, Policy, Service},
    id::{BackendId, BackendRef, HostId, ServiceId},
    service::{Address, STATE_FREE},
};

use crate::model::tables::Tables;

/// Entries in use, by rising id, and what free ones remember.
pub(super) struct Current {
    pub services: Vec<(ServiceId, Service)>,
    pub services_len: u32,
    /// Those that are not zero, what is spent of them aside.
    pub policies: Vec<(u32, Policy)>,
    /// Sorted by service port, container address and port.
    pub backends: Vec<Backend>,
    /// The last reference of each backend id, 0 when it was never used.
    pub references: Vec<u32>,
    pub hosts: Vec<(HostId, Host)>,
    pub hosts_len: u32,
    pub gateway: balancer_common::abi::Gateway,
    pub client_routes: [balancer_common::abi::ClientRoutes; 2],
    freed: Vec<BackendId>,
}

impl Current {
    /// Reads everything but slots and flows.
    pub fn read(tables: &impl Tables) -> Self {
        let (services_len, hosts_len) = (tables.services_len(), tables.hosts_len());
        let mut current = Self {
            services: (1..services_len)
                .map(|id| (ServiceId(id), tables.service(id)))
                .filter(|(_, service)| service.family != 0)
                .collect(),
            services_len,
            policies: tables.policies().into_iter().map(|(id, policy)| (id, unspent(policy))).collect(),
            backends: Vec::new(),
            references: vec![0; tables.backends_len() as usize],
            hosts: (1..hosts_len)
                .map(|id| (HostId(id), tables.host(id)))
                .filter(|(_, host)| host.family != 0)
                .collect(),
            hosts_len,
            gateway: tables.gateway(),
            client_routes: [tables.client_routes(0), tables.client_routes(1)],
            freed: Vec::new(),
        };
        for id in 1..tables.backends_len() {
            let entry = tables.backend(id);
            current.references[id as usize] = entry.reference;
            if entry.state != STATE_FREE {
                current.backends.push(entry);
            } else if entry.reference != 0 {
                current.freed.push(BackendId(id));
            }
        }
        current.backends.sort_unstable_by_key(backend_key);
        current
    }

    /// The entries for one container of one service port; more than one while it moves.
    pub fn backends_at(&self, key: &BackendKey) -> &[Backend] {
        let from = self.backends.partition_point(|entry| backend_key(entry) < *key);
        let count = self.backends[from..].iter().take_while(|entry| backend_key(entry) == *key).count();
        &self.backends[from..from + count]
    }

    /// Free ids that some flow may still name.
    pub fn freed_backends(&self) -> impl Iterator<Item = BackendId> {
        self.freed.iter().copied()
    }
}

/// What a policy says but for what the datapath spent of it.
const fn unspent(policy: Policy) -> Policy {
    Policy { spent_until_ns: 0, ..policy }
}

/// Service port, container address and port.
pub(super) type BackendKey = (u32, Address, [u8; 2]);

/// What makes two entries the same container of the same service port.
pub(super) fn backend_key(entry: &Backend) -> BackendKey {
    (entry.service, entry.container, entry.port)
}

/// The id of an entry in use, from its own reference.
pub(super) fn id_of(entry: &Backend) -> BackendId {
    BackendId(entry.reference & BackendRef::ID_MAX)
}
