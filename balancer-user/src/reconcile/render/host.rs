//! Turns hosts and the way to them into the entries of `HOSTS`.

use std::{collections::HashMap, net::IpAddr};

use balancer_common::{
    abi::{Host, NextHop},
    id::HostId,
    service::Address,
};

use super::{Inputs, address, id::Pool, routes};
use crate::{model, reconcile::ReconcileError};

/// Outer Ethernet, IPv4, UDP and VXLAN headers less the outer Ethernet, plus the inner Ethernet: what the packet inside loses.
const ENCAPSULATION_IPV4: u32 = 50;
/// The same with an outer IPv6 header.
const ENCAPSULATION_IPV6: u32 = 70;
/// MTU of a host to which no route was ever seen.
const MTU_UNKNOWN: u32 = 1500;

/// One entry for each of [`Desired::hosts`](crate::model::Desired::hosts); a host is known by its VTEP.
pub(super) fn render(inputs: &Inputs<'_>) -> Result<Vec<(HostId, Host)>, ReconcileError> {
    let Inputs { desired, current, .. } = inputs;
    let known: HashMap<Address, (HostId, &Host)> =
        current.hosts.iter().rev().map(|(id, host)| (host.vtep, (*id, host))).collect();
    let mut pool = Pool::new(current.hosts_len, current.hosts.iter().map(|(id, _)| id.0));
    let too_many =
        || ReconcileError::TooManyHosts { wanted: desired.hosts.len(), limit: current.hosts_len as usize - 1 };
    let mut rendered: HashMap<Address, (HostId, Host)> = HashMap::new();
    let mut hosts = Vec::with_capacity(desired.hosts.len());
    for host in &desired.hosts {
        let vtep = address::bytes(host.vtep);
        let before = known.get(&vtep);
        let done = match rendered.get(&vtep) {
            Some(done) => *done,
            None => {
                let id = match before {
                    Some((id, _)) => *id,
                    None => HostId(pool.take().ok_or_else(too_many)?),
                };
                (id, entry(inputs, host, before.map(|(_, entry)| *entry)))
            }
        };
        rendered.insert(vtep, done);
        hosts.push(done);
    }
    Ok(hosts)
}

fn entry(inputs: &Inputs<'_>, host: &model::Host, before: Option<&Host>) -> Host {
    let gateway = &inputs.desired.gateway;
    let (source, overhead) = match host.vtep {
        IpAddr::V4(_) => (gateway.vtep_ipv4.map(IpAddr::V4), ENCAPSULATION_IPV4),
        IpAddr::V6(_) => (gateway.vtep_ipv6.map(IpAddr::V6), ENCAPSULATION_IPV6),
    };
    let hop = inputs.view.hosts.get(&host.vtep);
    let route_mtu = hop.map(|hop| hop.mtu);
    let outer_mtu = match (host.mtu.map(u32::from), route_mtu) {
        (Some(said), Some(route)) => Some(said.min(route)),
        (Some(said), None) => Some(said),
        (None, route) => route,
    };
    let inner_mtu = match (outer_mtu, before) {
        (Some(mtu), _) => inner(mtu, overhead),
        (None, Some(before)) => before.inner_mtu,
        (None, None) => inner(MTU_UNKNOWN, overhead),
    };
    Host {
        next_hop: hop.map_or_else(NextHop::default, routes::next_hop),
        inner_mtu,
        family: address::family(host.vtep),
        reserved: 0,
        source: source.map_or([0; 16], address::bytes),
        vtep: address::bytes(host.vtep),
    }
}

/// The outer packet's own length is 16 bits, whatever the interface says.
fn inner(outer_mtu: u32, overhead: u32) -> u16 {
    let limit = u32::from(u16::MAX) - ENCAPSULATION_IPV6;
    u16::try_from(outer_mtu.saturating_sub(overhead).min(limit)).unwrap_or(u16::MAX)
}
