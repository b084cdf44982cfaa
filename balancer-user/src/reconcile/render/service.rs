//! Turns service ports and their VIPs into the entries of `SERVICES`.

use std::collections::{BTreeMap, HashMap};

use balancer_common::{
    abi::Service,
    id::ServiceId,
    service::{
        Address, SERVICE_CAREFUL, SERVICE_CLIENT_AFFINITY, SERVICE_DSR, SERVICE_HASH_NO_ADDRESS, SERVICE_HASH_VIP_PORT,
        SERVICE_RANGES, SERVICE_SOURCES,
    },
};
use sha2::{Digest as _, Sha256};

use super::{Inputs, WantedPort, address, id::Pool, range::is_range};
use crate::{
    model::{HashFields, HashSecret, Mode, ServicePort},
    reconcile::ReconcileError,
};

/// What makes two entries the same service port: VIP, protocol, first and last port, VNI.
type Identity = (Address, u8, [[u8; 2]; 2], u32);

/// Entries of the service ports in their order, without backends yet, and one for each VIP's address.
pub(super) struct Rendered {
    pub ports: Vec<WantedPort>,
    pub vips: Vec<(ServiceId, Service)>,
}

/// Renders them under the ids that they have; `projects` has the positions of the projects' budgets by VNI.
pub(super) fn render(inputs: &Inputs<'_>, projects: &HashMap<u32, u32>) -> Result<Rendered, ReconcileError> {
    let Inputs { desired, current, .. } = inputs;
    let placed = |entry: Service| Service { project: projects.get(&entry.vni).copied().unwrap_or(0), ..entry };
    let ports: Vec<Service> = desired.service_ports.iter().map(|port| placed(entry(inputs, port))).collect();
    let vips = vips(&ports);
    let known: HashMap<Identity, ServiceId> =
        current.services.iter().rev().map(|(id, service)| (identity(service), *id)).collect();
    let mut pool = Pool::new(current.services_len, current.services.iter().map(|(id, _)| id.0));
    let wanted = ports.len() + vips.len();
    let too_many = || ReconcileError::TooManyServices { wanted, limit: current.services_len as usize - 1 };
    let mut place = |entry: Service| match known.get(&identity(&entry)) {
        Some(id) => Ok((*id, entry)),
        None => pool.take().map(|id| (ServiceId(id), entry)).ok_or_else(too_many),
    };
    let vips = vips.into_iter().map(&mut place).collect::<Result<_, _>>()?;
    let ports = ports.into_iter().map(&mut place).collect::<Result<Vec<_>, _>>()?;
    let ports = ports.into_iter().map(|(id, entry)| WantedPort { id, entry, backends: Vec::new() }).collect();
    Ok(Rendered { ports, vips })
}

fn identity(service: &Service) -> Identity {
    (service.vip, service.protocol, [service.port, service.port_last], service.vni)
}

fn entry(inputs: &Inputs<'_>, port: &ServicePort) -> Service {
    let vip = address::bytes(port.vip);
    Service {
        vip,
        hash_key: hash_key(&inputs.desired.gateway.hash_secret, vip, port),
        vni: inputs.desired.projects[port.project].vni.get(),
        port: port.port.to_be_bytes(),
        protocol: port.protocol.number(),
        family: address::family(port.vip),
        table_class: port.table_class as u16,
        port_last: port.port_last.to_be_bytes(),
        flags: flags(port),
        ..Service::default()
    }
}

/// All flags but those of the window.
fn flags(port: &ServicePort) -> u32 {
    let HashFields { client_address, client_port, vip_port } = port.hash;
    let when = |holds: bool, flags: u32| if holds { flags } else { 0 };
    when(port.is_range(), SERVICE_CAREFUL)
        | when(!client_port, SERVICE_CLIENT_AFFINITY)
        | when(!client_address, SERVICE_HASH_NO_ADDRESS | SERVICE_CAREFUL)
        | when(vip_port, SERVICE_HASH_VIP_PORT | SERVICE_CAREFUL)
        | when(!port.sources.is_open(), SERVICE_SOURCES)
        | when(port.mode == Mode::Dsr, SERVICE_DSR)
}

/// The same on every gateway with the same secret, and useless for any other service port. Of a range the first port counts, so
/// that flows keep their slots when its end moves.
fn hash_key(secret: &HashSecret, vip: Address, port: &ServicePort) -> [u64; 2] {
    let mut digest = Sha256::new();
    digest.update(secret.0);
    digest.update(b"flow");
    digest.update(vip);
    digest.update([port.protocol.number()]);
    digest.update(port.port.to_be_bytes());
    let mut halves = digest.finalize();
    let (first, second) = halves.split_at_mut(8);
    [little_endian(first), little_endian(&second[..8])]
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A VIP that several projects publish ports of belongs, for ICMP, to the lowest VNI.
fn vips(ports: &[Service]) -> Vec<Service> {
    let mut vips: BTreeMap<Address, Service> = BTreeMap::new();
    for port in ports {
        let alone = Service { vip: port.vip, vni: port.vni, family: port.family, ..Service::default() };
        let known = vips.entry(port.vip).or_insert(alone);
        known.vni = known.vni.min(port.vni);
        if is_range(port) {
            known.flags |= SERVICE_RANGES;
        }
    }
    vips.into_values().collect()
}
