//! Turns a configuration, a history and a frame into what the gateway must do with it: the papers as plain code that the loaded program is compared with.
//!
//! Nothing here is fast, clever or shared with the program but the flow hash, the filling of a table and the names of verdicts.
//! Where the papers leave something open, the rule stands here as a sentence beside the code.

mod answer;
mod budget;
mod bytes;
mod carry;
mod client;
mod conntrack;
mod fragment;
mod member;
mod packet;
mod quote;
mod reply;
mod table;
mod world;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use balancer_common::{
    record::RECORD_OUTER_ERROR,
    verdict::{Reason, Verdict},
};
use balancer_user::model::{Desired, NetworkView};

use self::{
    budget::Budget,
    conntrack::{Entry, Flow, ReplyFlow},
    fragment::{FragmentKey, Remembered},
    member::Incarnation,
    packet::{Fixed, Link, bare},
    world::Port,
};
pub use self::{member::Counters, world::PortKey};

/// A gateway that exists only on paper.
#[derive(Debug)]
pub struct Reference {
    desired: Desired,
    view: NetworkView,
    /// Interfaces that frames may leave by.
    interfaces: Vec<u32>,
    ports: Vec<Port>,
    vips: BTreeMap<IpAddr, Vip>,
    /// Budgets of projects, by VNI.
    projects: BTreeMap<u32, Budget>,
    flows: HashMap<Flow, Entry>,
    embryos: HashMap<Flow, Entry>,
    reply_flows: HashMap<ReplyFlow, Incarnation>,
    fragments: HashMap<FragmentKey, Remembered>,
    lives: u64,
}

/// A VIP's address.
#[derive(Clone, Copy, Debug)]
struct Vip {
    /// The lowest VNI of those that publish something there.
    vni: u32,
    /// Of ICMP errors that the gateway makes.
    errors: Budget,
}

/// What must become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Action and reason.
    pub verdict: Verdict,
    /// The frame as it leaves or passes; nothing when it is dropped.
    pub frame: Vec<u8>,
    /// What the daemon gets.
    pub record: Option<Record>,
}

/// A frame for the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// A `RECORD_*` kind.
    pub kind: u32,
    /// The largest inner packet, where the kind says so.
    pub inner_mtu: u32,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A frame that comes in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// All of it.
    pub frame: &'a [u8],
    /// How many of its bytes lie in the first buffer: at least 128, or all.
    pub first_buffer: usize,
    /// The interface.
    pub ingress: u32,
}

/// A frame on its way through the model.
#[derive(Clone, Copy, Debug)]
struct Packet<'a> {
    arrival: Arrival<'a>,
    link: Link<'a>,
    fixed: Fixed,
    /// From the IP header on, padding included.
    bytes: &'a [u8],
}

impl Packet<'_> {
    /// Whether so many bytes from the IP header on lie in the first buffer, where the fast program looks. Which program decides shows
    /// only in which of several things that are wrong is named.
    fn is_in_view(&self, bytes: usize) -> bool {
        let first = self.arrival.first_buffer + self.bytes.len();
        bytes <= self.bytes.len() && bytes + self.arrival.frame.len() <= first
    }
}

/// A frame that leaves or goes to the daemon; otherwise what else becomes of it.
type Sent = Result<Prediction, Verdict>;

impl Reference {
    /// A gateway that was just started with this configuration; `interfaces` are those that the program is attached to.
    #[must_use]
    pub fn new(desired: &Desired, view: &NetworkView, interfaces: &[u32]) -> Self {
        let mut reference = Self {
            desired: desired.clone(),
            view: view.clone(),
            interfaces: interfaces.to_vec(),
            ports: vec![],
            vips: BTreeMap::new(),
            projects: BTreeMap::new(),
            flows: HashMap::new(),
            embryos: HashMap::new(),
            reply_flows: HashMap::new(),
            fragments: HashMap::new(),
            lives: 0,
        };
        reference.configure(desired, view);
        reference
    }

    /// Another configuration, the same one again, or other routes.
    pub fn configure(&mut self, desired: &Desired, view: &NetworkView) {
        let (ports, moved) = world::next(desired, std::mem::take(&mut self.ports), &mut self.lives);
        self.ports = ports;
        for entry in self.flows.values_mut().chain(self.embryos.values_mut()) {
            entry.home = moved.get(&entry.home).copied().unwrap_or(entry.home);
        }
        let errors = Budget::per_second(desired.gateway.icmp_errors_per_second);
        let vips = world::vips(desired).into_iter().map(|(address, vni)| {
            let known = self.vips.get(&address).filter(|known| known.vni == vni.get());
            let before = known.map_or_else(Budget::default, |vip| vip.errors);
            (address, Vip { vni: vni.get(), errors: errors.after(before) })
        });
        self.vips = vips.collect();
        let used = |vni: u32| self.ports.iter().any(|port| port.key.vni == vni);
        let projects = desired.projects.iter().filter(|project| used(project.vni.get())).map(|project| {
            let before = self.projects.get(&project.vni.get()).copied().unwrap_or_default();
            (project.vni.get(), Budget::per_second(project.new_flows_per_second).after(before))
        });
        self.projects = projects.collect();
        (self.desired, self.view) = (desired.clone(), view.clone());
    }

    /// What the daemon does every second. `windows_end`: every flow that is alive has shown itself since the last change.
    pub fn maintain(&mut self, windows_end: bool) {
        for port in &mut self.ports {
            port.window_open &= !windows_end;
            let mut homes = Vec::new();
            for (flow, entry) in self.flows.iter().chain(&self.embryos) {
                if flow.is_through(&port.key) && port.member(Some(entry.home)).is_some() {
                    let hash = port.flow_hash(flow.client, flow.client_port, flow.vip_port);
                    homes.push((port.position(hash), entry.home));
                }
            }
            let ended = world::settle(port, &homes);
            for table in [&mut self.flows, &mut self.embryos] {
                table.retain(|flow, entry| {
                    let hash = port.flow_hash(flow.client, flow.client_port, flow.vip_port);
                    let here = flow.is_through(&port.key) && port.member(Some(entry.home)).is_some();
                    !(here && ended.contains(&port.position(hash)))
                });
            }
        }
    }

    /// What must become of a frame that comes in now.
    pub fn frame(&mut self, arrival: Arrival<'_>) -> Prediction {
        self.run(arrival).unwrap_or_else(|verdict| {
            let passes = matches!(verdict, Verdict::Pass(_));
            Prediction { verdict, frame: if passes { arrival.frame.to_vec() } else { vec![] }, record: None }
        })
    }

    /// Every service port with its counters and those of its backends, by container address and port.
    pub fn counters(&self) -> impl Iterator<Item = (PortKey, Counters, Vec<(IpAddr, Counters)>)> {
        self.ports.iter().map(|port| {
            let members = port.members.iter().map(|member| (member.container, member.counters));
            (port.key, port.counters, members.collect())
        })
    }

    /// Case 1: what is not for a VIP and not VXLAN for us passes, whatever it holds.
    fn run(&mut self, arrival: Arrival<'_>) -> Sent {
        let not_ours = Verdict::Pass(Reason::NotOurs);
        let link = Link::of(arrival.frame).ok_or(not_ours)?;
        let fixed = Fixed::of(link.rest, link.ipv4).ok_or(not_ours)?;
        let packet = Packet { arrival, link, fixed, bytes: link.rest };
        if self.vips.contains_key(&fixed.destination) {
            return self.client_frame(&packet);
        }
        if !fixed.plain || self.vtep(fixed.ipv4) != Some(fixed.destination) {
            return Err(not_ours);
        }
        match fixed.protocol {
            17 if self.is_vxlan(packet.bytes, bare(fixed.ipv4)) => self.host_frame(&packet),
            1 | 58 if self.is_outer_error(&packet) => {
                let frame = [link.macs, packet::ethertype(fixed.ipv4), packet.bytes].concat();
                let record = Some(Record { kind: RECORD_OUTER_ERROR, inner_mtu: 0, frame });
                Ok(Prediction { verdict: Verdict::Pass(Reason::OuterError), frame: arrival.frame.to_vec(), record })
            }
            _ => Err(not_ours),
        }
    }

    /// The gateway's VTEP address of a family.
    fn vtep(&self, ipv4: bool) -> Option<IpAddr> {
        let gateway = &self.desired.gateway;
        if ipv4 { gateway.vtep_ipv4.map(IpAddr::V4) } else { gateway.vtep_ipv6.map(IpAddr::V6) }
    }

    /// Whether a UDP header stands there whose destination is VXLAN's port.
    fn is_vxlan(&self, bytes: &[u8], udp: usize) -> bool {
        bytes.len() >= udp + 8 && bytes::word(bytes, udp + 2) == self.desired.gateway.vxlan_port
    }

    /// The service port of an address and port: an exact one first, then the narrowest range, which holds no other's half.
    fn find(&self, vip: IpAddr, protocol: u8, port: u16) -> Option<usize> {
        let is_for =
            |at: &&PortKey| at.vip == vip && at.protocol.number() == protocol && (at.first..=at.last).contains(&port);
        let keys = self.ports.iter().map(|port| &port.key).enumerate().filter(|(_, key)| is_for(key));
        keys.min_by_key(|(_, key)| key.last - key.first).map(|(position, _)| position)
    }
}
