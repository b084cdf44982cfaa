//! Turns desired states, one after the other, into what each service port is at the moment: table, backends, window (decisions 1 and 2).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use balancer_common::{
    abi::{Service, TABLE_SIZES},
    flow::FlowHash,
    id::Vni,
    service::{SERVICE_CLIENT_AFFINITY, SERVICE_HASH_NO_ADDRESS, SERVICE_HASH_VIP_PORT, mapped},
};
use balancer_user::model::{Desired, HashFields, HashSecret, Mode, Protocol, ServicePort};
use sha2::{Digest as _, Sha256};

use super::{
    budget::Budget,
    member::{self, Counters, Incarnation, Member},
    table::{self, Change, Slot},
};

/// What makes a service port the same one: VIP, protocol, first and last port, VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The VIP.
    pub vip: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its first port.
    pub first: u16,
    /// Its last port.
    pub last: u16,
    /// Its project's VNI.
    pub vni: u32,
}

/// A service port in use.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub key: PortKey,
    pub wanted: ServicePort,
    /// Key and fields of the flow hash, in the form that the hash itself takes.
    pub hash: Service,
    pub members: Vec<Member>,
    pub slots: Vec<Slot>,
    /// Unknown flows that do not begin are looked for at previous owners.
    pub window_open: bool,
    /// The VLAN tags that its clients came with last.
    pub tags: Vec<u8>,
    pub budget: Budget,
    pub counters: Counters,
}

impl PortKey {
    fn of(desired: &Desired, port: &ServicePort) -> Self {
        Self {
            vip: port.vip,
            protocol: port.protocol,
            first: port.port,
            last: port.port_last,
            vni: desired.projects[port.project].vni.get(),
        }
    }
}

impl Port {
    /// The backend that an incarnation names, while it is still this one.
    pub fn member(&self, incarnation: Option<Incarnation>) -> Option<&Member> {
        self.members.iter().find(|member| Some(member.incarnation) == incarnation)
    }

    /// The hash of a flow.
    pub fn flow_hash(&self, client: IpAddr, client_port: u16, vip_port: u16) -> FlowHash {
        let client = match client {
            IpAddr::V4(v4) => mapped(v4.octets()),
            IpAddr::V6(v6) => v6.octets(),
        };
        FlowHash::of(&self.hash, &client, client_port.to_be_bytes(), vip_port.to_be_bytes())
    }

    /// The slot of a hash.
    pub fn position(&self, hash: FlowHash) -> usize {
        hash.slot(self.wanted.table_class) as usize
    }

    /// The active backend of the lowest identity, for when tries in the table found none.
    pub fn refuge(&self) -> Option<&Member> {
        self.members.iter().filter(|member| member.is_active()).min_by_key(|member| member.identity(self.key.vni))
    }

    pub const fn is_range(&self) -> bool {
        self.key.first != self.key.last
    }

    /// Whether every packet of it takes the careful program.
    pub fn is_careful(&self) -> bool {
        self.is_range() || self.wanted.hash.vip_port || !self.wanted.hash.client_address
    }

    /// Whether new flows are hashed otherwise than before: no slot says anything of a flow any more.
    fn hashes_like(&self, other: &Self) -> bool {
        self.hash.hash_key == other.hash.hash_key && self.hash.flags == other.hash.flags
    }
}

/// All service ports of a desired state; those that were there before go on. Gives also which lives of backends go on as others.
pub(super) fn next(
    desired: &Desired,
    before: Vec<Port>,
    lives: &mut u64,
) -> (Vec<Port>, BTreeMap<Incarnation, Incarnation>) {
    let mut before: BTreeMap<PortKey, Port> = before.into_iter().map(|port| (port.key, port)).collect();
    let mut moved = BTreeMap::new();
    let mut ports: Vec<Port> = Vec::new();
    for wanted in &desired.service_ports {
        let key = PortKey::of(desired, wanted);
        let old = before.remove(&key);
        let known = old.as_ref().map_or(&[][..], |port| &port.members);
        let (members, continued) = member::next((desired, wanted), known, lives);
        let mut port = Port {
            key,
            wanted: wanted.clone(),
            hash: hash(&desired.gateway.hash_secret, wanted),
            members,
            slots: vec![],
            window_open: old.as_ref().is_some_and(|port| port.window_open),
            tags: old.as_ref().map_or_else(Vec::new, |port| port.tags.clone()),
            budget: Budget::per_second(wanted.new_flows_per_second)
                .after(old.as_ref().map_or_else(Budget::default, |port| port.budget)),
            counters: old.as_ref().map_or_else(Counters::default, |port| port.counters),
        };
        let owners = table::owners(&port.members, TABLE_SIZES[wanted.table_class] as usize, key.vni);
        port.slots = match &old {
            None => table::settled(&owners),
            Some(old) if !old.hashes_like(&port) => table::unknown(&owners),
            Some(old) => {
                let (window_open, members) = (old.window_open, &port.members);
                let change = Change { old: &old.slots, owners: &owners, window_open, members, moved: &continued };
                let (slots, opens) = change.run();
                port.window_open |= opens;
                slots
            }
        };
        moved.extend(continued);
        ports.push(port);
    }
    mark_ambiguous(&mut ports);
    (ports, moved)
}

/// Backends whose replies look alike: same VNI, container and protocol, and a port in common.
fn mark_ambiguous(ports: &mut [Port]) {
    let replies = |port: &Port, member: &Member| {
        let (first, last) = if port.is_range() { (port.key.first, port.key.last) } else { (member.port, member.port) };
        (port.key.vni, member.container, port.key.protocol, first, last)
    };
    let all: Vec<_> = ports
        .iter()
        .filter(|port| port.wanted.mode == Mode::Nat)
        .flat_map(|port| port.members.iter().map(|member| replies(port, member)))
        .collect();
    for port in ports.iter_mut().filter(|port| port.wanted.mode == Mode::Nat) {
        let of: Vec<bool> = port
            .members
            .iter()
            .map(|member| {
                let (vni, container, protocol, first, last) = replies(port, member);
                let alike = |other: &&(u32, IpAddr, Protocol, u16, u16)| {
                    (other.0, other.1, other.2) == (vni, container, protocol) && other.3 <= last && first <= other.4
                };
                all.iter().filter(alike).count() > 1
            })
            .collect();
        for (member, ambiguous) in port.members.iter_mut().zip(of) {
            member.ambiguous = ambiguous;
        }
    }
}

/// VIPs, each with the lowest VNI of those that publish something there.
pub(super) fn vips(desired: &Desired) -> BTreeMap<IpAddr, Vni> {
    let mut vips = BTreeMap::new();
    for port in &desired.service_ports {
        let vni = desired.projects[port.project].vni;
        let known = vips.entry(port.vip).or_insert(vni);
        *known = vni.min(*known);
    }
    vips
}

/// Settles what nobody lives elsewhere on. `homes` is where remembered flows live: (service port, slot, backend). Gives the slots
/// that settled, whose flows need not be remembered any more.
pub(super) fn settle(port: &mut Port, homes: &[(usize, Incarnation)]) -> BTreeSet<usize> {
    let away: BTreeSet<usize> =
        homes.iter().filter(|(slot, home)| port.slots[*slot].owner != Some(*home)).map(|(slot, _)| *slot).collect();
    let busy: BTreeSet<Incarnation> = away.iter().filter_map(|slot| port.slots[*slot].owner).collect();
    let mut ended = BTreeSet::new();
    if !port.window_open {
        for (position, slot) in port.slots.iter_mut().enumerate() {
            slot.previous = slot.owner;
            if slot.transition && !away.contains(&position) {
                slot.transition = false;
                ended.insert(position);
            }
        }
    }
    for member in &mut port.members {
        member.exceptions &= busy.contains(&member.incarnation);
    }
    ended
}

fn hash(secret: &HashSecret, port: &ServicePort) -> Service {
    let HashFields { client_address, client_port, vip_port } = port.hash;
    let flag = |set, flag| if set { flag } else { 0 };
    let address = match port.vip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    };
    let digest = Sha256::new()
        .chain_update(secret.0)
        .chain_update(b"flow")
        .chain_update(address)
        .chain_update([port.protocol.number()])
        .chain_update(port.port.to_be_bytes())
        .finalize();
    let half = |at: usize| u64::from_le_bytes(*digest[at..].first_chunk().expect("32 bytes"));
    Service {
        family: if port.vip.is_ipv4() { 4 } else { 6 },
        hash_key: [half(0), half(8)],
        flags: flag(!client_port, SERVICE_CLIENT_AFFINITY)
            | flag(!client_address, SERVICE_HASH_NO_ADDRESS)
            | flag(vip_port, SERVICE_HASH_VIP_PORT),
        ..Service::default()
    }
}
