//! Turns what stands in the maps and what is wanted there into the entries to write, sorted by when they may be written.

use std::collections::{BTreeMap, HashMap};

use balancer_common::{
    abi::{Backend, Gateway, Host, Policy, Service},
    id::{HostId, ServiceId},
    service::STATE_DRAINING,
};

use super::{
    current::{BackendKey, Current, backend_key},
    render::Wanted,
};

/// What differs. Slots are compared table by table while they are applied, as all of them at once could be gigabytes.
pub(super) struct Diff {
    pub gateway_before: Gateway,
    pub client_routes: [bool; 2],
    pub hosts_added: Vec<(HostId, Host)>,
    pub hosts_changed: Vec<(HostId, Host)>,
    pub hosts_removed: Vec<HostId>,
    pub backends_added: Vec<Backend>,
    pub backends_changed: Vec<Backend>,
    /// Those that begin to drain: an owner of settled slots must not, so their tables come first.
    pub backends_draining: Vec<Backend>,
    pub backends_removed: Vec<Backend>,
    /// Old reference to new one, where a container keeps serving a service port under another entry.
    pub moved: BTreeMap<u32, u32>,
    /// Entries of wanted service ports and VIPs as they stand.
    pub services_before: HashMap<ServiceId, Service>,
    pub services_removed: Vec<(ServiceId, Service)>,
    /// Wanted policies that differ from what stands, beside that.
    pub policies_changed: Vec<(u32, Policy, Policy)>,
    pub policies_removed: Vec<u32>,
}

impl Diff {
    /// Compares entry by entry.
    pub fn of(current: &Current, wanted: &Wanted) -> Self {
        let mut diff = Self {
            gateway_before: current.gateway,
            client_routes: [0, 1].map(|family| current.client_routes[family] != wanted.client_routes[family]),
            hosts_added: Vec::new(),
            hosts_changed: Vec::new(),
            hosts_removed: Vec::new(),
            backends_added: Vec::new(),
            backends_changed: Vec::new(),
            backends_draining: Vec::new(),
            backends_removed: Vec::new(),
            moved: BTreeMap::new(),
            services_before: HashMap::new(),
            services_removed: Vec::new(),
            policies_changed: Vec::new(),
            policies_removed: Vec::new(),
        };
        diff.hosts(current, wanted);
        diff.backends(current, wanted);
        diff.services(current, wanted);
        diff.policies(current, wanted);
        diff.moved(wanted);
        diff
    }

    fn hosts(&mut self, current: &Current, wanted: &Wanted) {
        let mut before: BTreeMap<HostId, Host> = current.hosts.iter().copied().collect();
        let wanted: BTreeMap<HostId, Host> = wanted.hosts.iter().copied().collect();
        for (id, host) in wanted {
            match before.remove(&id) {
                None => self.hosts_added.push((id, host)),
                Some(known) if known != host => self.hosts_changed.push((id, host)),
                Some(_) => {}
            }
        }
        self.hosts_removed.extend(before.into_keys());
    }

    fn backends(&mut self, current: &Current, wanted: &Wanted) {
        let mut before: HashMap<u32, &Backend> =
            current.backends.iter().map(|entry| (entry.reference, entry)).collect();
        for entry in wanted.ports.iter().flat_map(|port| &port.backends).map(|backend| backend.entry) {
            match before.remove(&entry.reference) {
                None => self.backends_added.push(entry),
                Some(known) if *known == entry => {}
                Some(known) if entry.state == STATE_DRAINING && known.state != STATE_DRAINING => {
                    self.backends_draining.push(entry);
                }
                Some(_) => self.backends_changed.push(entry),
            }
        }
        self.backends_removed.extend(before.into_values());
        self.backends_removed.sort_unstable_by_key(|entry| entry.reference);
    }

    fn services(&mut self, current: &Current, wanted: &Wanted) {
        let mut before: BTreeMap<ServiceId, Service> = current.services.iter().copied().collect();
        let wanted = wanted.ports.iter().map(|port| port.id).chain(wanted.vips.iter().map(|(id, _)| *id));
        for id in wanted {
            self.services_before.extend(before.remove_entry(&id));
        }
        self.services_removed.extend(before);
    }

    fn policies(&mut self, current: &Current, wanted: &Wanted) {
        let mut before: BTreeMap<u32, Policy> = current.policies.iter().copied().collect();
        for (id, policy) in &wanted.policies {
            let known = before.remove(id).unwrap_or_default();
            if known != *policy {
                self.policies_changed.push((*id, known, *policy));
            }
        }
        self.policies_removed.extend(before.into_keys());
    }

    fn moved(&mut self, wanted: &Wanted) {
        let gone: HashMap<BackendKey, Vec<u32>> =
            self.backends_removed.iter().fold(HashMap::new(), |mut gone, entry| {
                gone.entry(backend_key(entry)).or_default().push(entry.reference);
                gone
            });
        if gone.is_empty() {
            return;
        }
        for entry in wanted.ports.iter().flat_map(|port| &port.backends).map(|backend| &backend.entry) {
            for old in gone.get(&backend_key(entry)).into_iter().flatten() {
                self.moved.insert(*old, entry.reference);
            }
        }
    }
}
