//! Turns containers behind service ports into the entries of `BACKENDS`, each under the id and generation it already has.

use balancer_common::{
    abi::{Backend, Host},
    checksum::Delta,
    id::{BackendId, BackendRef, HostId},
    service::{Address, BACKEND_EXCEPTIONS, FAMILY_IPV4, SERVICE_DSR, STATE_ACTIVE, STATE_DEAD, STATE_DRAINING},
};

use super::{Inputs, WantedBackend, WantedPort, address, id::Pool, range::is_range};
use crate::{
    model::{self, BackendState, Project},
    reconcile::{
        ReconcileError,
        current::{backend_key, id_of},
    },
};

/// What tells a backend from all others on every gateway: container address, port, VNI. No name, id or MAC is in it.
pub(in crate::reconcile) type Identity = [u8; 22];

/// The identity of an entry; its order is the order of candidates in every table.
pub(in crate::reconcile) fn identity(entry: &Backend) -> Identity {
    let mut identity = [0; 22];
    identity[..16].copy_from_slice(&entry.container);
    identity[16..18].copy_from_slice(&entry.port);
    identity[18..].copy_from_slice(&entry.vni.to_be_bytes());
    identity
}

/// Adds the backends to their service ports.
pub(super) fn render(
    inputs: &Inputs<'_>,
    hosts: &[(HostId, Host)],
    ports: &mut [WantedPort],
) -> Result<(), ReconcileError> {
    let Inputs { desired, current, withheld, .. } = inputs;
    let used = current.backends.iter().map(|entry| id_of(entry).0).chain(withheld.keys().map(|id| id.0));
    let mut pool = Pool::new(current.references.len() as u32, used);
    let too_many = || ReconcileError::TooManyBackends {
        wanted: desired.service_ports.iter().map(|port| port.backends.len()).sum(),
        limit: current.references.len() - 1,
        withheld: withheld.len(),
    };
    for (port, wanted) in desired.service_ports.iter().zip(ports) {
        let project = &desired.projects[port.project];
        wanted.backends.reserve_exact(port.backends.len());
        for backend in &port.backends {
            let mut entry = body(wanted, project, hosts[backend.host].0, backend);
            let before = current.backends_at(&backend_key(&entry));
            entry.flags = exceptions(&entry, before);
            entry.reference = match before.iter().find(|known| is_same(known, &entry)) {
                Some(known) => known.reference,
                None => {
                    let id = pool.take().ok_or_else(too_many)?;
                    next_reference(BackendId(id), current.references[id as usize])
                }
            };
            wanted.backends.push(WantedBackend { entry, weight: backend.weight });
        }
    }
    Ok(())
}

/// Everything but reference, flags and what follows from them.
fn body(port: &WantedPort, project: &Project, host: HostId, backend: &model::Backend) -> Backend {
    let service = &port.entry;
    let container = address::bytes(backend.address);
    let is_dsr = service.flags & SERVICE_DSR != 0;
    let target = if is_dsr { service.vip } else { container };
    // Behind a range packets keep their port, whatever it is.
    let (vip_port, target_port) = match (is_range(service), is_dsr) {
        (true, _) => ([0; 2], [0; 2]),
        (false, true) => (service.port, service.port),
        (false, false) => (service.port, backend.port.to_be_bytes()),
    };
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&backend.mac);
    macs[6..].copy_from_slice(&project.gateway_mac);
    let (vip_bytes, target_bytes) = (plain(&service.vip, service.family), plain(&target, service.family));
    let old = [vip_bytes, &vip_port].concat();
    let new = [target_bytes, &target_port].concat();
    let is_ipv4 = service.family == FAMILY_IPV4;
    Backend {
        state: match backend.state {
            BackendState::Active => STATE_ACTIVE,
            BackendState::Draining => STATE_DRAINING,
            BackendState::Dead => STATE_DEAD,
        },
        service: port.id.0,
        host: host.0,
        address: target,
        macs,
        vni_field: (service.vni << 8).to_be_bytes(),
        port: target_port,
        l4_delta: if is_dsr { 0 } else { Delta::of(&old, &new).0 },
        l3_delta: if is_ipv4 && !is_dsr { Delta::of(vip_bytes, target_bytes).0 } else { 0 },
        protocol: service.protocol,
        family: service.family,
        vip: service.vip,
        gateway: gateway_address(project, is_ipv4),
        vni: service.vni,
        vip_port,
        container,
        ..Backend::default()
    }
}

/// The bytes of an address as they stand in a packet.
fn plain(address: &Address, family: u8) -> &[u8] {
    if family == FAMILY_IPV4 { &address[12..] } else { address }
}

fn gateway_address(project: &Project, is_ipv4: bool) -> Address {
    let address = if is_ipv4 { project.gateway_ipv4.map(Into::into) } else { project.gateway_ipv6.map(Into::into) };
    address.map_or([0; 16], address::bytes)
}

/// A backend that comes back from the dead has flows elsewhere that must stay there: upkeep finds out when they are gone.
/// A container that moved takes this with it to its new entry.
fn exceptions(entry: &Backend, before: &[Backend]) -> u32 {
    let was_away = |known: &Backend| known.state == STATE_DEAD || known.flags & BACKEND_EXCEPTIONS != 0;
    if entry.state == STATE_ACTIVE && before.iter().any(was_away) { BACKEND_EXCEPTIONS } else { 0 }
}

/// Whether two entries differ in nothing but state, flags and reference.
fn is_same(known: &Backend, entry: &Backend) -> bool {
    let known = Backend { active: 0, state: entry.state, flags: entry.flags, reference: entry.reference, ..*known };
    known == *entry
}

/// The generation after the one that the free entry remembers.
fn next_reference(id: BackendId, last: u32) -> u32 {
    let last = BackendRef::from_word(last).map_or(0, BackendRef::generation);
    let generation = if last >= BackendRef::GENERATION_MAX { 1 } else { last + 1 };
    BackendRef::new(id, generation)
        .expect("the map has at most ID_MAX entries and the generation is in 1..=1023")
        .word()
}
