//! Turns the desired state and the network's view into the wanted entry of every map, under ids that stay what they were.

mod address;
mod backend;
mod gateway;
mod host;
mod id;
mod policy;
mod range;
mod reply;
mod routes;
mod service;
mod sources;

use std::collections::BTreeMap;

use balancer_common::{
    abi::{Backend, ClientRoutes, Gateway, Host, Policy, Service},
    id::{BackendId, HostId, ServiceId},
    range::{RangeKey, ReplyRangeKey},
    service::{GATEWAY_REPLY_RANGES, STATE_ACTIVE},
};

pub(super) use self::{
    backend::identity,
    sources::{Lists, entries as source_entries},
};
use super::{ReconcileError, current::Current, index::Key};
use crate::model::{Desired, NetworkView};

/// What rendering needs to know.
pub(super) struct Inputs<'a> {
    pub desired: &'a Desired,
    pub generation: u64,
    pub view: &'a NetworkView,
    /// Where ids come from.
    pub current: &'a Current,
    /// Backend ids that are free but must not be used yet.
    pub withheld: &'a BTreeMap<BackendId, u64>,
}

/// The wanted content of the maps, but for the slots, which follow from it.
pub(super) struct Wanted {
    pub gateway: Gateway,
    pub client_routes: [ClientRoutes; 2],
    /// In the order of [`Desired::hosts`].
    pub hosts: Vec<(HostId, Host)>,
    /// In the order of [`Desired::service_ports`].
    pub ports: Vec<WantedPort>,
    /// A VIP's address alone.
    pub vips: Vec<(ServiceId, Service)>,
    /// Who answers under which key, one for each key.
    pub replies: Vec<(Key, BackendId)>,
    /// Budgets and lists of sources, by position.
    pub policies: BTreeMap<u32, Policy>,
    /// The lists of sources.
    pub lists: Lists,
    /// Service ports that are ranges.
    pub ranges: BTreeMap<RangeKey, u32>,
    /// Backends of such service ports.
    pub reply_ranges: BTreeMap<ReplyRangeKey, u32>,
}

impl Wanted {
    /// The entries of `SERVICES` that the index names: all but ranges.
    pub fn indexed(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        let ports = self.ports.iter().map(|port| (port.id, &port.entry)).filter(|(_, entry)| !range::is_range(entry));
        ports.chain(self.vips.iter().map(|(id, entry)| (*id, entry)))
    }
}

/// A service port's entry, without the flags of its window, and its backends in the order of the model.
pub(super) struct WantedPort {
    pub id: ServiceId,
    pub entry: Service,
    pub backends: Vec<WantedBackend>,
}

/// A backend's entry and its share.
pub(super) struct WantedBackend {
    pub entry: Backend,
    pub weight: u32,
}

/// Renders everything. The same inputs give the same content.
pub(super) fn run(inputs: &Inputs<'_>) -> Result<Wanted, ReconcileError> {
    let hosts = host::render(inputs)?;
    let projects = policy::projects(inputs)?;
    let service::Rendered { mut ports, vips } = service::render(inputs, &projects)?;
    backend::render(inputs, &hosts, &mut ports)?;
    let reply::Replies { index: replies, ranges: reply_ranges } = reply::render(&mut ports);
    for port in &mut ports {
        finish(port);
    }
    let (list_ids, lists) = sources::render(&inputs.desired.service_ports);
    let flags = if reply_ranges.is_empty() { 0 } else { GATEWAY_REPLY_RANGES };
    Ok(Wanted {
        gateway: Gateway { flags, ..gateway::render(inputs) },
        client_routes: [routes::render(&inputs.view.clients_ipv4), routes::render(&inputs.view.clients_ipv6)],
        hosts,
        policies: policy::render(inputs, (&ports, &vips), &list_ids, &projects),
        lists,
        ranges: range::render(&ports, &vips),
        reply_ranges,
        ports,
        vips,
        replies,
    })
}

/// What follows from state and flags: the fast path's word, and the refuge.
fn finish(port: &mut WantedPort) {
    for backend in &mut port.backends {
        let entry = &mut backend.entry;
        entry.active = if entry.state == STATE_ACTIVE && entry.flags == 0 { entry.reference } else { 0 };
    }
    let usable = port.backends.iter().map(|backend| &backend.entry).filter(|entry| entry.state == STATE_ACTIVE);
    port.entry.refuge = usable.min_by_key(|entry| identity(entry)).map_or(0, |entry| entry.reference);
}
