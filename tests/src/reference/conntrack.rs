//! Turns a flow, its slot and what is remembered into the backend that it goes to (cases 9, 10, 11).

use std::net::IpAddr;

use balancer_common::flow::FlowHash;

use super::{
    Reference,
    member::{Incarnation, Member},
    table::Slot,
    world::{Port, PortKey},
};

/// A flow as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub client: IpAddr,
    pub client_port: u16,
    pub vip: IpAddr,
    pub vip_port: u16,
    pub protocol: u8,
}

/// What is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub home: Incarnation,
    /// FIN or RST was seen.
    pub closing: bool,
}

/// A flow as the container sees it, where its address and port alone do not say which service port it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReplyFlow {
    pub vni: u32,
    pub container: IpAddr,
    pub container_port: u16,
    pub client: IpAddr,
    pub client_port: u16,
    pub protocol: u8,
}

/// What a packet says about its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SYN alone.
    Opens,
    /// FIN or RST.
    Closes,
    /// Anything else.
    Continues,
}

/// Tries by another hash before the refuge.
const TRIES: u32 = 8;

impl Flow {
    /// Whether it is of this service port, as far as one can tell: a moved VIP has the flows of both projects.
    pub fn is_through(&self, key: &PortKey) -> bool {
        let ports = key.first..=key.last;
        self.vip == key.vip && self.protocol == key.protocol.number() && ports.contains(&self.vip_port)
    }
}

impl Signal {
    /// Of TCP flags.
    pub const fn of(flags: u8) -> Self {
        if flags & 0x05 != 0 {
            Self::Closes
        } else if flags & 0x12 == 0x02 {
            Self::Opens
        } else {
            Self::Continues
        }
    }
}

impl Reference {
    /// The backend of a packet of a flow; none when the client has to be told. Remembers what the slot alone would get wrong later.
    pub(super) fn choose(&mut self, at: usize, flow: Flow, (signal, hash): (Signal, FlowHash)) -> Option<Incarnation> {
        let port = &self.ports[at];
        let slot = port.slots[port.position(hash)];
        let owner = port.member(slot.owner);
        let plain = |owner: &&Member| owner.is_active() && !owner.exceptions && !owner.ambiguous;
        if let Some(owner) = owner.filter(|owner| !slot.transition && plain(owner)) {
            return Some(owner.incarnation);
        }
        let home = match self.known(at, &flow, signal) {
            Known::Home(home) => home,
            Known::Reset => return None,
            Known::No => self.place(at, flow, (signal, hash, slot))?,
        };
        let member = self.ports[at].member(Some(home))?;
        if member.ambiguous {
            let reply = ReplyFlow {
                vni: self.ports[at].key.vni,
                container: member.container,
                container_port: if member.port == 0 { flow.vip_port } else { member.port },
                client: flow.client,
                client_port: flow.client_port,
                protocol: flow.protocol,
            };
            // This memory costs as much as any other.
            if self.reply_flows.get(&reply) != Some(&home) && self.spend(at) {
                self.reply_flows.insert(reply, home);
            }
        }
        Some(home)
    }

    /// The same for an ICMP error about a packet of the flow: nothing is remembered or refreshed.
    pub(super) fn look(&self, at: usize, flow: &Flow, hash: FlowHash) -> Option<Incarnation> {
        let port = &self.ports[at];
        let slot = port.slots[port.position(hash)];
        let owner = port.member(slot.owner);
        let plain = owner.is_some_and(|owner| owner.is_active() && !owner.exceptions && !owner.ambiguous);
        if !slot.transition && plain {
            return slot.owner;
        }
        let known = self.flows.get(flow).or_else(|| self.embryos.get(flow));
        if let Some(home) = known.and_then(|entry| port.member(Some(entry.home))).filter(|home| home.keeps_flows()) {
            return Some(home.incarnation);
        }
        let previous = port.member(slot.previous).filter(|previous| previous.keeps_flows());
        match (previous, owner) {
            (Some(previous), _) if slot.transition && port.window_open => Some(previous.incarnation),
            (_, Some(owner)) if owner.is_active() => Some(owner.incarnation),
            _ => fallback(port, hash).map(|member| member.incarnation),
        }
    }

    fn known(&mut self, at: usize, flow: &Flow, signal: Signal) -> Known {
        let grown = self.flows.contains_key(flow);
        let table = if grown { &mut self.flows } else { &mut self.embryos };
        let Some(entry) = table.get_mut(flow) else { return Known::No };
        // A SYN binds a closing flow anew, and no other (RFC 9293 section 3.6.1).
        if entry.closing && signal == Signal::Opens {
            table.remove(flow);
            return Known::No;
        }
        let home = self.ports[at].member(Some(entry.home));
        if !home.is_some_and(Member::keeps_flows) {
            table.remove(flow);
            let dead = home.is_some() && flow.protocol == 6 && signal != Signal::Opens;
            return if dead { Known::Reset } else { Known::No };
        }
        entry.closing |= signal == Signal::Closes;
        let entry = *entry;
        if !grown && signal != Signal::Opens {
            self.embryos.remove(flow);
            self.flows.insert(*flow, entry);
        }
        Known::Home(entry.home)
    }

    /// Chooses for a flow that is not known.
    fn place(&mut self, at: usize, flow: Flow, (signal, hash, slot): (Signal, FlowHash, Slot)) -> Option<Incarnation> {
        let port = &self.ports[at];
        let opens = signal == Signal::Opens;
        let in_doubt = slot.transition && port.window_open;
        let previous =
            port.member(slot.previous).filter(|member| member.keeps_flows()).map(|member| member.incarnation);
        if let Some(previous) = previous.filter(|_| in_doubt && !opens) {
            self.remember(at, flow, (previous, signal));
            return Some(previous);
        }
        let owner = port.member(slot.owner);
        if let Some(owner) = owner.filter(|owner| owner.is_active()).map(|owner| owner.incarnation) {
            if in_doubt && opens && !self.remember(at, flow, (owner, signal)) {
                // Its next packets will not be known either, and then go where unknown flows go.
                return previous.or(Some(owner));
            }
            return Some(owner);
        }
        // A dead backend's connections end at once, so that their clients reconnect (case 9).
        if owner.is_some_and(|owner| !owner.keeps_flows()) && flow.protocol == 6 && !opens {
            return None;
        }
        let other = fallback(port, hash)?.incarnation;
        self.remember(at, flow, (other, signal));
        Some(other)
    }

    /// Whether the budgets of service port and project had room for it.
    fn remember(&mut self, at: usize, flow: Flow, (home, signal): (Incarnation, Signal)) -> bool {
        if !self.spend(at) {
            return false;
        }
        let table = if signal == Signal::Opens { &mut self.embryos } else { &mut self.flows };
        table.insert(flow, Entry { home, closing: signal == Signal::Closes });
        true
    }

    /// Takes one event of the service port's budget, and if it had one, of its project's; whether both had.
    pub(super) fn spend(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        let Some(project) = self.projects.get_mut(&port.key.vni) else { return false };
        if !port.budget.has_one() {
            return false;
        }
        port.budget.spend();
        if !project.has_one() {
            return false;
        }
        project.spend();
        true
    }
}

enum Known {
    /// It lives here.
    Home(Incarnation),
    /// Its backend died: the client should reconnect.
    Reset,
    /// Nothing that still holds.
    No,
}

/// Some other active backend: tries by other hashes in the same table, then the refuge.
fn fallback(port: &Port, hash: FlowHash) -> Option<&Member> {
    let tries = (0..TRIES).map(|attempt| port.slots[port.position(hash.again(attempt))].owner);
    let mut active = tries.filter_map(|owner| port.member(owner)).filter(|member| member.is_active());
    active.next().or_else(|| port.refuge())
}
