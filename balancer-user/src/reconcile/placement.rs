//! Turns what was rendered and filled into ids, shares and digests for status and metrics.

use std::collections::HashMap;

use balancer_common::id::{BackendId, BackendRef, ServiceId};

use super::{render::Wanted, table::Memo};

/// Where everything of a desired state stands in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// In the order of [`Desired::service_ports`](crate::model::Desired::service_ports).
    pub service_ports: Vec<ServicePlacement>,
}

/// One service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlacement {
    /// Its entry.
    pub id: ServiceId,
    /// Over the owner of every slot by address, port and VNI: two gateways that agree on the table show the same number.
    pub digest: u64,
    /// Slots of the table.
    pub slots: u32,
    /// In the order of [`ServicePort::backends`](crate::model::ServicePort::backends).
    pub backends: Vec<BackendPlacement>,
}

/// One backend of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendPlacement {
    /// Its entry.
    pub id: BackendId,
    /// Its entry and generation, as slots and flows name it.
    pub reference: BackendRef,
    /// How many slots it owns; 0 while it drains.
    pub slots: u32,
}

impl Placement {
    /// Of what was applied.
    pub(super) fn of(wanted: &Wanted, memo: &HashMap<ServiceId, Memo>) -> Self {
        let unfilled = Memo::default();
        let service_ports = wanted.ports.iter().map(|port| {
            let memo = memo.get(&port.id).unwrap_or(&unfilled);
            let share = |reference: u32| {
                memo.shares.binary_search_by_key(&reference, |share| share.0).map_or(0, |at| memo.shares[at].1)
            };
            let backends = port.backends.iter().filter_map(|backend| {
                let reference = BackendRef::from_word(backend.entry.reference)?;
                Some(BackendPlacement { id: reference.id(), reference, slots: share(reference.word()) })
            });
            ServicePlacement {
                id: port.id,
                digest: memo.digest,
                slots: memo.shares.iter().map(|share| share.1).sum(),
                backends: backends.collect(),
            }
        });
        Self { service_ports: service_ports.collect() }
    }
}
