//! Turns facts into the view that the rest of the daemon sees, and into the neighbours that it needs resolved; no I/O.

use std::collections::BTreeSet;

use super::{
    facts::{Facts, FamilyRoutes, NeighbourKey, Way},
    routes,
};
use crate::model::{ClientRoutes, NetworkView, NextHop};

/// The view, and the neighbours it needs.
pub(super) fn view(facts: &Facts) -> (NetworkView, BTreeSet<NeighbourKey>) {
    let mut needed = BTreeSet::new();
    let mut hosts = std::collections::BTreeMap::new();
    for (vtep, way) in &facts.hosts {
        if let Some(next_hop) = next_hop(facts, *way, &mut needed) {
            hosts.insert(*vtep, next_hop);
        }
    }
    let clients_ipv4 = client_routes(facts, &facts.ipv4, &mut needed);
    let clients_ipv6 = client_routes(facts, &facts.ipv6, &mut needed);
    (NetworkView { hosts, clients_ipv4, clients_ipv6, ..NetworkView::default() }, needed)
}

fn client_routes(facts: &Facts, family: &FamilyRoutes, needed: &mut BTreeSet<NeighbourKey>) -> ClientRoutes {
    let selection = routes::select(family, |ifindex| facts.links.get(&ifindex).is_some_and(|link| link.up));
    ClientRoutes {
        default: selection.default.and_then(|way| next_hop(facts, way, needed)),
        exceptions: selection.exceptions,
        ask_kernel: selection.ask_kernel,
    }
}

/// None when the interface is not known: it has come or gone between two reads, and its event brings the next one.
fn next_hop(facts: &Facts, way: Way, needed: &mut BTreeSet<NeighbourKey>) -> Option<NextHop> {
    let link = facts.links.get(&way.ifindex)?;
    let mtu = way.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
    let Some(source_mac) = link.mac else {
        // Without Ethernet addresses there is no MAC to wait for; the datapath leaves such frames to the kernel.
        return Some(NextHop { ifindex: way.ifindex, source_mac: [0; 6], destination_mac: None, mtu });
    };
    needed.insert(way.neighbour_key());
    let destination_mac = facts.neighbours.get(&way.neighbour_key()).and_then(|neighbour| neighbour.usable_mac());
    Some(NextHop { ifindex: way.ifindex, source_mac, destination_mac, mtu })
}

#[cfg(test)]
mod tests;
