//! Turns a change of mind of an operator, a host or the daemon into another desired state, view or process.

use std::sync::Arc;

use balancer_tests::frames::world::{HOST_MAC, Shape, UNLIMITED, backend, container_mac, service_port};
use balancer_user::model::{
    Backend, BackendState, Desired, HashFields, Mode, NetworkView, Protocol, ServicePort, Sources,
};

use super::random::Random;

/// A service port, whether it exists or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub shape: Shape,
    /// Whose VIP it was at first.
    pub vip: usize,
    /// Which of [`KINDS`].
    pub kind: usize,
}

/// What service ports there may be: protocol, first and last port, how packets are delivered. A container's port 8080 is published
/// by three of them.
const KINDS: [(Protocol, u16, u16, Mode); 12] = [
    (Protocol::Tcp, 80, 80, Mode::Nat),
    (Protocol::Tcp, 81, 81, Mode::Nat),
    (Protocol::Tcp, 443, 443, Mode::Nat),
    (Protocol::Udp, 53, 53, Mode::Nat),
    (Protocol::Udp, 54, 54, Mode::Nat),
    (Protocol::Udp, 443, 443, Mode::Nat),
    (Protocol::Tcp, 53, 53, Mode::Dsr),
    (Protocol::Udp, 123, 123, Mode::Dsr),
    (Protocol::Tcp, 8000, 8100, Mode::Nat),
    (Protocol::Udp, 5000, 5006, Mode::Nat),
    (Protocol::Udp, 0, 65_535, Mode::Nat),
    (Protocol::Tcp, 0, 65_535, Mode::Dsr),
];
/// What may go into the flow hash.
const HASHES: [[bool; 3]; 6] = [
    [true, true, false],
    [true, false, false],
    [true, true, true],
    [false, true, false],
    [false, false, true],
    [true, false, true],
];
/// Rates: hardly any, some, more than a story needs.
const RATES: [u32; 4] = [1, 5, 40, UNLIMITED];
/// Containers of one project behind one VIP.
const CONTAINERS: u8 = 6;

/// One change. What it speaks of may be gone already; then it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    AddPort(Spot),
    RemovePort(Spot),
    /// The service port belongs to the other project from now on, with the containers of the same addresses there.
    OtherProject(Spot),
    /// The same for everything at the VIP.
    OtherProjectVip(Spot),
    AddBackend(Spot, u8),
    RemoveBackend(Spot, u8),
    State(Spot, u8, BackendState),
    Weight(Spot, u8, u32),
    /// The container moves to the other host, over the other underlay.
    OtherHost(Spot, u8),
    /// Which of [`HASHES`].
    Hash(Spot, usize),
    /// Which of four lists.
    Sources(Spot, usize),
    FlowRate(Spot, u32),
    ProjectRate(usize, u32),
    ErrorRate(u32),
    TableClass(Spot, usize),
    /// A host's MAC is lost, or found again.
    HostMac(usize),
    /// The path to a host takes this much.
    HostMtu(usize, u16),
    /// The underlay says that a host's path takes this much, or nothing any more.
    HostLearnt(usize, Option<u16>),
    /// The default route of clients is lost, or found again.
    ClientRoute(bool),
    /// Nothing but another generation.
    Reload,
    Restart,
    Maintain,
    /// All that is alive has sent something since the last change, and maintenance.
    WindowsEnd,
}

impl Spot {
    pub fn is(&self, port: &ServicePort) -> bool {
        let (protocol, first, last, _) = KINDS[self.kind];
        let ours = (self.shape.vip(self.vip), protocol, first, last);
        (port.vip, port.protocol, port.port, port.port_last) == ours
    }

    fn change(&self, desired: &mut Desired, change: impl FnOnce(&mut ServicePort)) {
        if let Some(port) = self.find(desired) {
            change(port);
        }
    }

    fn change_backend(&self, (number, desired): (u8, &mut Desired), change: impl Fn(&mut Backend)) {
        let address = self.shape.container(number);
        self.change(desired, |port| {
            port.backends.iter_mut().filter(|backend| backend.address == address).for_each(change);
        });
    }

    fn find<'a>(&self, desired: &'a mut Desired) -> Option<&'a mut ServicePort> {
        desired.service_ports.iter_mut().find(|port| self.is(port))
    }
}

/// A random change.
pub fn any(random: &mut Random) -> Change {
    let spot = Spot { shape: random.pick(&Shape::ALL), vip: random.below(2), kind: random.below(KINDS.len()) };
    let number = 1 + random.below(usize::from(CONTAINERS)) as u8;
    let host = random.below(2);
    match random.below(60) {
        0..=4 => Change::AddPort(spot),
        5 => Change::RemovePort(spot),
        6 | 7 => Change::OtherProject(spot),
        8 => Change::OtherProjectVip(spot),
        9..=19 => Change::AddBackend(spot, number),
        20..=22 => Change::RemoveBackend(spot, number),
        23..=25 => Change::State(spot, number, BackendState::Dead),
        26..=28 => Change::State(spot, number, BackendState::Draining),
        29..=34 => Change::State(spot, number, BackendState::Active),
        35 => Change::Weight(spot, number, 1 + random.below(4) as u32),
        36 | 37 => Change::OtherHost(spot, number),
        38..=40 => Change::Hash(spot, random.below(HASHES.len())),
        41 | 42 => Change::TableClass(spot, random.below(2)),
        43 => Change::HostMac(host),
        44 => Change::HostMtu(host, random.pick(&[1500, 1400, 1280])),
        45 => Change::HostLearnt(host, random.pick(&[None, Some(1300), Some(1450)])),
        46 => Change::ClientRoute(random.flip()),
        47 => Change::Reload,
        48 | 49 => Change::Restart,
        50 | 51 => Change::Maintain,
        52 | 53 => Change::WindowsEnd,
        54 | 55 => Change::Sources(spot, random.below(4)),
        56 | 57 => Change::FlowRate(spot, random.pick(&RATES)),
        58 => Change::ProjectRate(random.below(2), random.pick(&RATES)),
        _ => Change::ErrorRate(random.pick(&RATES)),
    }
}

/// What a story begins with: service ports of all kinds, with backends.
pub fn first(random: &mut Random) -> Vec<Change> {
    let mut changes = Vec::new();
    for shape in Shape::ALL {
        for vip in 0..2 {
            for kind in 0..KINDS.len() {
                let spot = Spot { shape, vip, kind };
                if random.one_in(3) {
                    changes.push(Change::AddPort(spot));
                }
                changes.extend((0..random.below(4)).map(|_| Change::AddBackend(spot, 1 + random.below(4) as u8)));
            }
        }
    }
    changes
}

impl Change {
    /// Makes it so; only the desired state and the view.
    pub fn make(self, desired: &mut Desired, view: &mut NetworkView) {
        match self {
            Self::AddPort(spot) => add_port(spot, desired),
            Self::RemovePort(spot) => desired.service_ports.retain(|port| !spot.is(port)),
            Self::OtherProject(spot) => spot.change(desired, other_project),
            Self::OtherProjectVip(spot) => {
                let vip = spot.shape.vip(spot.vip);
                desired.service_ports.iter_mut().filter(|port| port.vip == vip).for_each(other_project);
            }
            Self::AddBackend(spot, number) => add_backend((spot, number), desired),
            Self::RemoveBackend(spot, number) => spot.change(desired, |port| {
                port.backends.retain(|backend| backend.address != spot.shape.container(number));
            }),
            Self::State(spot, number, state) => spot.change_backend((number, desired), |backend| backend.state = state),
            Self::Weight(spot, number, weight) => {
                spot.change_backend((number, desired), |backend| backend.weight = weight);
            }
            Self::OtherHost(spot, number) => other_host((spot, number), desired),
            Self::Hash(spot, fields) => spot.change(desired, |port| hash(HASHES[fields], port)),
            Self::Sources(spot, list) => spot.change(desired, |port| port.sources = Arc::new(sources(list))),
            Self::FlowRate(spot, rate) => spot.change(desired, |port| port.new_flows_per_second = rate),
            Self::ProjectRate(project, rate) => desired.projects[project].new_flows_per_second = rate,
            Self::ErrorRate(rate) => desired.gateway.icmp_errors_per_second = rate,
            Self::HostLearnt(host, mtu) => {
                let vtep = desired.hosts[host].vtep;
                view.path_mtus.remove(&vtep);
                view.path_mtus.extend(mtu.map(|mtu| (vtep, mtu)));
            }
            Self::TableClass(spot, class) => spot.change(desired, |port| port.table_class = class),
            Self::HostMac(host) => {
                if let Some(hop) = view.hosts.get_mut(&desired.hosts[host].vtep) {
                    hop.destination_mac = hop.destination_mac.xor(Some(HOST_MAC));
                }
            }
            Self::HostMtu(host, mtu) => {
                if let Some(hop) = view.hosts.get_mut(&desired.hosts[host].vtep) {
                    hop.mtu = u32::from(mtu);
                }
            }
            Self::ClientRoute(ipv4) => {
                let routes = if ipv4 { &mut view.clients_ipv4 } else { &mut view.clients_ipv6 };
                routes.ask_kernel = !routes.ask_kernel;
            }
            Self::Reload | Self::Restart | Self::Maintain | Self::WindowsEnd => {}
        }
    }
}

fn hash(fields: [bool; 3], port: &mut ServicePort) {
    let [client_address, client_port, vip_port] = fields;
    // Only a range has ports to tell apart.
    let vip_port = vip_port && port.is_range();
    let client_port = client_port || !(client_address || vip_port);
    port.hash = HashFields { client_address, client_port, vip_port };
}

/// Lists of sources: everybody, some, all but some, and one within the other.
fn sources(list: usize) -> Sources {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect();
    let some = parse(&["198.51.100.0/29", "2001:db8:c::/125"]);
    let few = parse(&["198.51.100.4/31", "2001:db8:c::4/127"]);
    match list {
        0 => Sources::default(),
        1 => Sources { allow: some, deny: vec![] },
        2 => Sources { allow: vec![], deny: some },
        _ => Sources { allow: some, deny: few },
    }
}

/// The project that the VIP's service ports belong to now, if it has any.
fn project_of(spot: Spot, desired: &Desired) -> usize {
    let vip = spot.shape.vip(spot.vip);
    desired.service_ports.iter().find(|port| port.vip == vip).map_or(spot.vip, |port| port.project)
}

fn add_port(spot: Spot, desired: &mut Desired) {
    if spot.find(desired).is_none() {
        let project = project_of(spot, desired);
        let (protocol, first, last, mode) = KINDS[spot.kind];
        let mut port = service_port(spot.shape, project, (protocol, first), vec![]);
        (port.vip, port.port_last, port.mode) = (spot.shape.vip(spot.vip), last, mode);
        desired.service_ports.push(port);
    }
}

fn other_project(port: &mut ServicePort) {
    port.project = 1 - port.project;
    for backend in &mut port.backends {
        backend.mac = container_mac(port.project, backend.address);
    }
}

/// TCP 80 and TCP 443 publish the same port of a container, so that its replies are ambiguous.
fn add_backend((spot, number): (Spot, u8), desired: &mut Desired) {
    let address = spot.shape.container(number);
    let host = |port: &ServicePort| {
        port.backends.iter().find(|backend| backend.address == address).map(|backend| backend.host)
    };
    let Some(project) = spot.find(desired).map(|port| port.project) else { return };
    let known = desired.service_ports.iter().filter(|port| port.project == project).find_map(host);
    let Some(port) = spot.find(desired) else { return };
    let container_port = match (port.mode, port.port) {
        (Mode::Dsr, same) => same,
        (Mode::Nat, 443) => 8080,
        (Mode::Nat, other) => other.wrapping_add(8000),
    };
    let mut added = backend(spot.shape, project, (number, container_port));
    added.host = known.unwrap_or(added.host);
    if !port.backends.iter().any(|backend| backend.address == address) {
        port.backends.push(added);
    }
}

fn other_host((spot, number): (Spot, u8), desired: &mut Desired) {
    let Some(project) = spot.find(desired).map(|port| port.project) else { return };
    let address = spot.shape.container(number);
    let backends = desired.service_ports.iter_mut().filter(|port| port.project == project);
    for backend in backends.flat_map(|port| &mut port.backends).filter(|backend| backend.address == address) {
        backend.host = 1 - backend.host;
    }
}
