//! Turns hosts and the way to them into the entries of `HOSTS`.

use std::{collections::HashMap, net::IpAddr};

use balancer_common::{
    abi::{Host, INNER_MTU_MAX, NextHop},
    id::HostId,
    service::Address,
    wire::{ipv4, ipv6},
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
    let outer = OuterMtu {
        config: host.mtu.map(u32::from),
        route: hop.map(|hop| hop.mtu),
        learnt: inputs.view.path_mtus.get(&host.vtep).copied().map(u32::from),
    };
    let inner_mtu = outer.inner(overhead, before.map(|before| before.inner_mtu));
    let clients =
        [&inputs.view.clients_ipv4, &inputs.view.clients_ipv6].into_iter().filter_map(|routes| routes.default);
    let client_mtu = clients.map(|hop| u16::try_from(hop.mtu).unwrap_or(u16::MAX)).min();
    let (own, vtep) = (source.map_or([0; 16], address::bytes), address::bytes(host.vtep));
    Host {
        next_hop: hop.map_or_else(NextHop::default, routes::next_hop),
        inner_mtu,
        family: address::family(host.vtep),
        reserved: 0,
        source: own,
        vtep,
        outer_sum: if host.vtep.is_ipv4() { ipv4::outer_sum(&own, &vtep) } else { ipv6::outer_sum(&own, &vtep) },
        // Replies leave by the way to the clients, and nothing tells a container of a packet that is too big for that.
        segment_mtu: client_mtu.map_or(inner_mtu, |client_mtu| client_mtu.min(inner_mtu)),
    }
}

/// Who says what of the largest outer packet that a host gets.
#[derive(Clone, Copy)]
struct OuterMtu {
    config: Option<u32>,
    route: Option<u32>,
    learnt: Option<u32>,
}

impl OuterMtu {
    /// The largest inner packet: the least that anybody says, at most what the datapath forwards. Without a route and a word
    /// of the config what held before stays.
    fn inner(self, overhead: u32, before: Option<u16>) -> u16 {
        let Self { config, route, learnt } = self;
        let inner = |outer: u32| {
            u16::try_from(outer.saturating_sub(overhead)).map_or(INNER_MTU_MAX, |inner| inner.min(INNER_MTU_MAX))
        };
        let known = config.into_iter().chain(route).min().map(inner);
        let known = known.or(before).unwrap_or_else(|| inner(MTU_UNKNOWN));
        learnt.map(inner).into_iter().fold(known, u16::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_that_anybody_says_holds() {
        // (config, route, learnt, before, inner)
        let table = [
            (None, None, None, None, 1450),
            (None, None, None, Some(1200), 1200),
            (None, None, Some(1400), None, 1350),
            (None, None, Some(1400), Some(1200), 1200),
            (None, Some(1600), None, Some(1200), 1550),
            (Some(1500), Some(1600), None, None, 1450),
            (Some(1600), Some(1500), None, None, 1450),
            (Some(1600), None, None, Some(1200), 1550),
            (Some(1600), Some(1600), Some(1400), None, 1350),
            (Some(1300), Some(1600), Some(1400), None, 1250),
            (None, Some(65_536), None, None, INNER_MTU_MAX),
            (None, Some(40), None, None, 0),
        ];
        for (config, route, learnt, before, expected) in table {
            let said = OuterMtu { config, route, learnt };
            assert_eq!(said.inner(ENCAPSULATION_IPV4, before), expected, "{config:?} {route:?} {learnt:?} {before:?}");
        }
        let said = OuterMtu { config: None, route: Some(1500), learnt: None };
        assert_eq!(said.inner(ENCAPSULATION_IPV6, None), 1430);
    }
}
