//! Turns service ports that are ranges of ports into the entries of `RANGES`.

use std::collections::{BTreeMap, HashMap};

use balancer_common::{
    abi::Service,
    id::ServiceId,
    range::{RangeKey, prefixes},
    service::Address,
};

use super::WantedPort;

/// Whether a service port is found by range, not by the index.
pub(in crate::reconcile) fn is_range(entry: &Service) -> bool {
    entry.port != entry.port_last
}

/// Every prefix of every range, under the id of its VIP's address alone. No prefix stands for two: ranges of one VIP and
/// protocol do not overlap, but for all ports, which are the prefix of no bits.
pub(super) fn render(ports: &[WantedPort], vips: &[(ServiceId, Service)]) -> BTreeMap<RangeKey, u32> {
    let id_of: HashMap<Address, ServiceId> = vips.iter().map(|(id, entry)| (entry.vip, *id)).collect();
    let mut ranges = BTreeMap::new();
    for port in ports.iter().filter(|port| is_range(&port.entry)) {
        let entry = &port.entry;
        let Some(vip) = id_of.get(&entry.vip) else { continue };
        for (first, bits) in prefixes(u16::from_be_bytes(entry.port), u16::from_be_bytes(entry.port_last)) {
            ranges.insert(RangeKey::of(vip.0, entry.protocol, first.to_be_bytes(), bits), port.id.0);
        }
    }
    ranges
}
