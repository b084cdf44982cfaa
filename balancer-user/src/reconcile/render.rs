//! Turns the desired state and the network's view into the wanted entry of every map, under ids that stay what they were.

mod address;
mod backend;
mod gateway;
mod host;
mod id;
mod routes;
mod service;

use std::collections::BTreeMap;

use balancer_common::{
    abi::{Backend, ClientRoutes, Gateway, Host, Service},
    id::{BackendId, HostId, ServiceId},
    service::{BACKEND_AMBIGUOUS, STATE_ACTIVE},
};

pub(super) use self::backend::identity;
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
}

impl Wanted {
    /// All entries of `SERVICES`.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        let ports = self.ports.iter().map(|port| (port.id, &port.entry));
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
    let service::Rendered { mut ports, vips } = service::render(inputs)?;
    backend::render(inputs, &hosts, &mut ports)?;
    let replies = replies(&mut ports);
    for port in &mut ports {
        finish(port);
    }
    Ok(Wanted {
        gateway: gateway::render(inputs),
        client_routes: [routes::render(&inputs.view.clients_ipv4), routes::render(&inputs.view.clients_ipv6)],
        hosts,
        ports,
        vips,
        replies,
    })
}

/// Who is found under which reply key; backends that share one are marked ambiguous, and the lowest id stands for them.
fn replies(ports: &mut [WantedPort]) -> Vec<(Key, BackendId)> {
    let mut keys: Vec<(Key, BackendId, (usize, usize))> = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        for (position, backend) in port.backends.iter().enumerate() {
            keys.push((Key::of_reply(&backend.entry), super::current::id_of(&backend.entry), (at, position)));
        }
    }
    keys.sort_unstable();
    let mut replies = Vec::with_capacity(keys.len());
    for same in keys.chunk_by(|left, right| left.0 == right.0) {
        replies.push((same[0].0, same[0].1));
        if same.len() > 1 {
            for (_, _, (at, position)) in same {
                ports[*at].backends[*position].entry.flags |= BACKEND_AMBIGUOUS;
            }
        }
    }
    replies
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
