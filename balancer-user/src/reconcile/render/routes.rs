//! Turns the routes to the clients of one family into the entry of `CLIENT_ROUTES`.

use balancer_common::{
    abi::{ClientRoutes, NextHop, RoutePrefix},
    service::{CLIENT_ROUTE_EXCEPTIONS, mapped},
};
use ipnet::IpNet;

use super::address;
use crate::model;

/// The entry; without a default route every client is looked up in the kernel.
pub(super) fn render(routes: &model::ClientRoutes) -> ClientRoutes {
    let mut entry =
        ClientRoutes { default: routes.default.as_ref().map_or_else(NextHop::default, next_hop), ..Default::default() };
    if routes.ask_kernel || routes.exceptions.len() > CLIENT_ROUTE_EXCEPTIONS {
        entry.exceptions_count = CLIENT_ROUTE_EXCEPTIONS as u32 + 1;
        return entry;
    }
    entry.exceptions_count = routes.exceptions.len() as u32;
    for (place, network) in entry.exceptions.iter_mut().zip(&routes.exceptions) {
        *place = prefix(network);
    }
    entry
}

/// Resolved only with the neighbour's MAC.
pub(super) fn next_hop(hop: &model::NextHop) -> NextHop {
    let mut macs = [0; 12];
    if let Some(destination) = hop.destination_mac {
        macs[..6].copy_from_slice(&destination);
    }
    macs[6..].copy_from_slice(&hop.source_mac);
    NextHop { macs, ifindex: hop.ifindex, resolved: u32::from(hop.destination_mac.is_some()), mtu: hop.mtu }
}

/// An IPv4 prefix is one of the IPv4-mapped addresses, so the upper 96 bits count in its mask.
fn prefix(network: &IpNet) -> RoutePrefix {
    let mask = match network {
        IpNet::V4(v4) => {
            let mut mask = mapped(v4.netmask().octets());
            mask[..12].fill(0xff);
            mask
        }
        IpNet::V6(v6) => v6.netmask().octets(),
    };
    RoutePrefix { address: address::bytes(network.network()), mask }
}
