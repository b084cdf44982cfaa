//! Turns the backends of a service port, as they are and as they are wanted, into the backends as they will be (cases 8, 9).

use std::{collections::BTreeMap, net::IpAddr};

use balancer_user::model::{Backend, BackendState, Desired, Mode, ServicePort};

use super::bytes::octets;

/// One life of a backend entry; the next one of the same container is another, and no flow may take it for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Incarnation(pub u64);

/// A backend.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Which life.
    pub incarnation: Incarnation,
    /// Address of the container.
    pub container: IpAddr,
    /// Destination port of what it gets; 0 where the packet's port stays.
    pub port: u16,
    /// Where it is and how it is reached; another way is another life.
    pub way: Way,
    /// What it takes.
    pub state: BackendState,
    /// Share of new flows.
    pub weight: u32,
    /// Was dead: its flows may live elsewhere.
    pub exceptions: bool,
    /// Several service ports publish its port.
    pub ambiguous: bool,
    /// What went through it.
    pub counters: Counters,
}

/// How a container is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// VTEP of its host.
    pub vtep: IpAddr,
    /// Its MAC.
    pub mac: [u8; 6],
    /// MAC of the gateway in its network.
    pub gateway_mac: [u8; 6],
    /// The gateway's own address there, of the container's family.
    pub gateway: Option<IpAddr>,
    /// Whether the VIP stays in the packet.
    pub dsr: bool,
}

/// Packets and IP bytes, from clients and to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets from clients.
    pub forward_packets: u64,
    /// Their IP bytes.
    pub forward_bytes: u64,
    /// Packets to clients.
    pub reply_packets: u64,
    /// Their IP bytes.
    pub reply_bytes: u64,
}

impl Member {
    /// What all gateways know it by: address, port and VNI.
    pub fn identity(&self, vni: u32) -> [u8; 22] {
        let mapped = match self.container {
            IpAddr::V4(v4) => octets(v4.to_ipv6_mapped().into()),
            IpAddr::V6(v6) => octets(v6.into()),
        };
        let bytes = [&mapped[..], &self.port.to_be_bytes(), &vni.to_be_bytes()].concat();
        *bytes.first_chunk().expect("16 + 2 + 4 bytes")
    }

    pub fn keeps_flows(&self) -> bool {
        matches!(self.state, BackendState::Active | BackendState::Draining)
    }

    pub fn is_draining(&self) -> bool {
        self.state == BackendState::Draining
    }

    pub fn is_active(&self) -> bool {
        self.state == BackendState::Active
    }

    fn is_dead(&self) -> bool {
        self.state == BackendState::Dead
    }
}

/// The backends of a service port as they will be, and which old lives they continue.
pub(super) fn next(
    (desired, port): (&Desired, &ServicePort),
    old: &[Member],
    lives: &mut u64,
) -> (Vec<Member>, BTreeMap<Incarnation, Incarnation>) {
    let mut moved = BTreeMap::new();
    let members = port.backends.iter().map(|backend| {
        let way = way(desired, port, backend);
        let entry_port = if port.is_range() {
            0
        } else if port.mode == Mode::Dsr {
            port.port
        } else {
            backend.port
        };
        let before = old.iter().find(|member| (member.container, member.port) == (backend.address, entry_port));
        let same = before.filter(|member| member.way == way);
        let incarnation = same.map_or_else(
            || {
                *lives += 1;
                Incarnation(*lives)
            },
            |member| member.incarnation,
        );
        if let Some(before) = before.filter(|before| before.incarnation != incarnation) {
            moved.insert(before.incarnation, incarnation);
        }
        Member {
            incarnation,
            container: backend.address,
            port: entry_port,
            way,
            state: backend.state,
            weight: backend.weight,
            exceptions: backend.state == BackendState::Active
                && before.is_some_and(|member| member.is_dead() || member.exceptions),
            ambiguous: false,
            counters: same.map_or_else(Counters::default, |member| member.counters),
        }
    });
    let members = members.collect();
    (members, moved)
}

fn way(desired: &Desired, port: &ServicePort, backend: &Backend) -> Way {
    let project = &desired.projects[port.project];
    Way {
        vtep: desired.hosts[backend.host].vtep,
        mac: backend.mac,
        gateway_mac: project.gateway_mac,
        gateway: if backend.address.is_ipv4() {
            project.gateway_ipv4.map(IpAddr::V4)
        } else {
            project.gateway_ipv6.map(IpAddr::V6)
        },
        dsr: port.mode == Mode::Dsr,
    }
}
