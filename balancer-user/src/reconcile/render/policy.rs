//! Turns rates of the desired state into the entries of `POLICIES`, and finds each project's place there.

use std::collections::{BTreeMap, HashMap};

use balancer_common::{
    abi::{POLICIES_MAX, PROJECTS_MAX, Policy, SERVICES_MAX, Service},
    id::ServiceId,
};

use super::{Inputs, WantedPort, id::Pool};
use crate::reconcile::ReconcileError;

const SECOND_NS: u64 = 1_000_000_000;

/// Position of each project's budget, by VNI: what the service ports of that VNI name already, else a free one.
pub(super) fn projects(inputs: &Inputs<'_>) -> Result<HashMap<u32, u32>, ReconcileError> {
    let Inputs { desired, current, .. } = inputs;
    let mut known: HashMap<u32, u32> = HashMap::new();
    let mut claimed = vec![false; PROJECTS_MAX as usize];
    for (_, service) in &current.services {
        let place = service.project.checked_sub(SERVICES_MAX).and_then(|at| claimed.get_mut(at as usize));
        let Some(claimed) = place.filter(|claimed| !**claimed) else { continue };
        if let std::collections::hash_map::Entry::Vacant(free) = known.entry(service.vni) {
            free.insert(service.project);
            *claimed = true;
        }
    }
    let used = (0..PROJECTS_MAX).filter(|at| claimed[*at as usize]);
    let mut pool = Pool::new(PROJECTS_MAX, used);
    let mut placed = HashMap::new();
    for port in &desired.service_ports {
        let vni = desired.projects[port.project].vni.get();
        if placed.contains_key(&vni) {
            continue;
        }
        let position = match known.get(&vni) {
            Some(position) => *position,
            None => {
                let wanted = desired.projects.len();
                SERVICES_MAX
                    + pool.take().ok_or(ReconcileError::TooManyProjects { wanted, limit: PROJECTS_MAX as usize - 1 })?
            }
        };
        debug_assert!(position < POLICIES_MAX);
        placed.insert(vni, position);
    }
    Ok(placed)
}

/// Every policy: of service ports, with the ids of their lists of sources in the same order, of VIPs, and of projects.
pub(super) fn render(
    inputs: &Inputs<'_>,
    (ports, vips): (&[WantedPort], &[(ServiceId, Service)]),
    lists: &[u64],
    projects: &HashMap<u32, u32>,
) -> BTreeMap<u32, Policy> {
    let desired = inputs.desired;
    let of_ports = ports
        .iter()
        .zip(&desired.service_ports)
        .zip(lists)
        .map(|((wanted, port), list)| (wanted.id.0, Policy { sources: *list, ..rate(port.new_flows_per_second) }));
    let of_vips = vips.iter().map(|(id, _)| (id.0, rate(desired.gateway.icmp_errors_per_second)));
    let of_projects = desired
        .projects
        .iter()
        .filter_map(|project| Some((*projects.get(&project.vni.get())?, rate(project.new_flows_per_second))));
    of_ports.chain(of_vips).chain(of_projects).collect()
}

/// A second's worth may come at once, and one event always.
fn rate(per_second: u32) -> Policy {
    let interval_ns = SECOND_NS / u64::from(per_second.max(1));
    Policy { interval_ns, burst_ns: interval_ns.max(SECOND_NS), ..Policy::default() }
}
