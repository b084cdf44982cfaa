//! Turns a project's service tables into service ports: one for every port at every VIP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use balancer_common::{
    abi::{self, TABLE_SIZES},
    range,
};

use super::{
    super::{
        error::ErrorKind,
        path::KeyPath,
        report::{Finding, Report},
        schema::{PortTable, ProjectTable, ProtocolWord, ServiceTable},
        text::is_usable,
    },
    Family,
    backends::Backends,
    containers::Containers,
    hosts::{Hosts, USABLE},
    names::Names,
    ports::{self, Way},
    sources::SourceLists,
    taken::Taken,
};
use crate::model::{Mode, Protocol, ServicePort, Sources};

/// What lies below the projects.
pub(crate) struct Underlay<'a> {
    /// The gateway's VTEP addresses.
    pub(crate) gateway: Vec<IpAddr>,
    /// The hosts.
    pub(crate) hosts: &'a Hosts,
}

/// What all projects so far publish.
#[derive(Default)]
pub(crate) struct Published {
    /// Sound service ports.
    pub(crate) service_ports: Vec<ServicePort>,
    owners: BTreeMap<IpAddr, Owner>,
    told: BTreeSet<(IpAddr, usize)>,
    taken: Taken,
    sources: SourceLists,
    current: Owner,
    counts: Counts,
}

/// What all of it takes in the datapath's maps.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Service ports, and one more for each VIP.
    pub(crate) services: usize,
    /// Backends, counted for each service port.
    pub(crate) backends: usize,
    /// Prefixes that ranges of ports come to.
    pub(crate) ranges: usize,
    /// The same for each backend whose replies are translated.
    pub(crate) reply_ranges: usize,
    /// Prefixes of sources, and what holds for the others of each list.
    pub(crate) sources: usize,
}

/// A project that owns a VIP.
#[derive(Clone, Default)]
struct Owner {
    position: usize,
    name: String,
}

/// Slots that each backend gets in a table of default size.
const SLOTS_PER_BACKEND: usize = 100;
/// Smallest table that nobody has to ask for: another size moves flows, so the first forty backends come without one.
const TABLE_SIZE_DEFAULT_MIN: u32 = 4_093;

impl Published {
    /// What follows belongs to the project at `position`.
    pub(crate) fn enter(&mut self, position: usize, table: &ProjectTable) {
        let name =
            table.name.text().map_or_else(|| "another project".to_owned(), |name| format!("project \"{}\"", name.0));
        self.current = Owner { position, name };
    }

    /// Entries in the datapath's maps.
    pub(crate) fn counts(&self) -> Counts {
        let services = self.counts.services + self.owners.len();
        Counts { services, sources: self.sources.entries_count, ..self.counts }
    }

    /// Counts one service port.
    fn count(&mut self, offer: &Offer<'_>) {
        self.counts.services += 1;
        self.counts.backends += offer.backends.count;
        if let Some(ports) = offer.way.ports.filter(|ports| ports.is_range()) {
            let prefixes = range::prefixes(ports.first, ports.last).count();
            self.counts.ranges += prefixes;
            if offer.way.mode == Some(Mode::Nat) {
                self.counts.reply_ranges += prefixes * offer.backends.count;
            }
        }
    }

    /// Whether the datapath has no room for more anyway, so that nothing more need be kept.
    fn full(&self) -> bool {
        let Counts { services, backends, .. } = self.counts;
        services >= abi::SERVICES_MAX as usize || backends >= abi::BACKENDS_MAX as usize
    }
}

/// What services are built on.
pub(crate) struct Basis<'a> {
    /// The project's containers.
    pub(crate) containers: &'a Containers,
    /// What lies below all projects.
    pub(crate) underlay: &'a Underlay<'a>,
}

/// All services of the project at `project`; returns the families in which its containers serve.
pub(crate) fn validate(
    table: &ProjectTable,
    basis: &Basis<'_>,
    published: &mut Published,
    project: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> BTreeSet<Family> {
    let mut names = Names::new("service");
    let mut served = BTreeSet::new();
    let list = project.key("services");
    for (index, service) in table.services.elements().iter().enumerate() {
        let Some(service) = service.given() else { continue };
        let entry = list.index(index);
        names.add(&service.name, &entry, index, report);
        served.extend(one(service, basis, published, &entry, report));
    }
    served
}

/// Every port of a service at every VIP; returns the families that its backends serve.
fn one(
    service: &ServiceTable,
    &Basis { containers, underlay }: &Basis<'_>,
    published: &mut Published,
    entry: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> BTreeSet<Family> {
    let vips = vips(service, underlay, published, &entry.key("vips"), report);
    let families: BTreeSet<Family> = vips.iter().copied().map(Family::of).collect();
    let shared_at = entry.key("backends");
    let shared = Backends::read(&service.backends, containers, &shared_at, report);
    let sources = published.sources.of_service(service, entry, report);
    let mut served = BTreeSet::new();
    let mut shared_used = false;
    let list = entry.key("ports");
    for (index, port) in service.ports.elements().iter().enumerate() {
        let Some(port) = port.given() else { continue };
        let at = list.index(index);
        let own_at = at.key("backends");
        let own = (!port.backends.is_absent()).then(|| Backends::read(&port.backends, containers, &own_at, report));
        match &own {
            Some(own) => served.extend(own.serve(&families, containers, &own_at, report)),
            None => shared_used = true,
        }
        let offer = Offer {
            service,
            port,
            way: ports::read(port, &at, report),
            sources: published.sources.of_port((service, sources.as_ref()), port, &at, report),
            vips: &vips,
            backends: own.as_ref().unwrap_or(&shared),
        };
        publish(&offer, containers, published, &at, report);
    }
    if shared_used {
        served.extend(shared.serve(&families, containers, &shared_at, report));
    }
    served
}

/// The VIPs of a service that are this project's to use.
fn vips(
    service: &ServiceTable,
    underlay: &Underlay<'_>,
    published: &mut Published,
    at: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> Vec<IpAddr> {
    let mut vips = Vec::new();
    for (index, vip) in service.vips.elements().iter().enumerate() {
        let Some(&vip) = vip.text() else { continue };
        let finding = if !is_usable(vip) {
            Some(Finding::new(ErrorKind::BadValue, format!("{vip} cannot be a VIP")).allowed(USABLE))
        } else if vips.contains(&vip) {
            Some(Finding::new(ErrorKind::Duplicate, format!("{vip} stands in the list already")))
        } else {
            taken_by(vip, underlay).map(|owner| {
                Finding::new(
                    ErrorKind::Conflict,
                    format!("{vip} is the VTEP of {owner}: a VIP needs an address of its own"),
                )
            })
        };
        if let Some(finding) = finding {
            report.add(&at.index(index), finding.value(vip));
            continue;
        }
        let owner = published.owners.entry(vip).or_insert_with(|| published.current.clone());
        if owner.position == published.current.position {
            vips.push(vip);
        } else if published.told.insert((vip, published.current.position)) {
            let message = format!("{vip} belongs to {} already: a VIP has one project", owner.name);
            report.add(&at.index(index), Finding::new(ErrorKind::Duplicate, message).value(vip));
        }
    }
    vips
}

fn taken_by(vip: IpAddr, underlay: &Underlay<'_>) -> Option<String> {
    if underlay.gateway.contains(&vip) {
        return Some("the gateway".to_owned());
    }
    underlay.hosts.vteps.get(&vip).map(|host| format!("host \"{host}\""))
}

/// One port of a service, with the VIPs and the backends that hold for it.
struct Offer<'a> {
    service: &'a ServiceTable,
    port: &'a PortTable,
    way: Way,
    sources: Option<Arc<Sources>>,
    vips: &'a [IpAddr],
    backends: &'a Backends,
}

/// Makes a service port at each VIP; a port that is taken is reported once, however many VIPs it is taken at.
fn publish(
    offer: &Offer<'_>,
    containers: &Containers,
    published: &mut Published,
    at: &KeyPath<'_>,
    report: &mut Report<'_>,
) {
    let table_class = table_class(offer.port, offer.backends.count, at, report);
    let (Some(ports), Some(&word)) = (offer.way.ports, offer.port.protocol.given()) else { return };
    let protocol = protocol_of(word);
    let service = offer.service.name.text().map(|name| name.0.as_str()).unwrap_or_default();
    let mut told = false;
    for &vip in offer.vips {
        published.count(offer);
        if published.full() {
            continue;
        }
        if let Err(finding) = published.taken.take((vip, protocol, ports), service) {
            if !told {
                report.add(&at.key(ports.key()), finding);
            }
            told = true;
            continue;
        }
        let project = published.current.position;
        published.service_ports.extend((|| {
            Some(ServicePort {
                project,
                service: service.to_owned(),
                vip,
                protocol,
                port: ports.first,
                port_last: ports.last,
                mode: offer.way.mode?,
                table_class: table_class?,
                hash: offer.way.hash?,
                sources: offer.sources.clone()?,
                new_flows_per_second: *offer.port.new_flows_per_second.given()?,
                backends: offer.backends.models(Family::of(vip), offer.way.container_port?, containers),
            })
        })());
    }
}

const fn protocol_of(word: ProtocolWord) -> Protocol {
    match word {
        ProtocolWord::Tcp => Protocol::Tcp,
        ProtocolWord::Udp => Protocol::Udp,
    }
}

/// The class that `table_size` names, else the smallest with room for the backends.
fn table_class(port: &PortTable, backends: usize, at: &KeyPath<'_>, report: &mut Report<'_>) -> Option<usize> {
    let holds = |size: u32, slots: usize| usize::try_from(size).is_ok_and(|size| size >= slots);
    if port.table_size.is_absent() {
        let roomy = |size: u32| size >= TABLE_SIZE_DEFAULT_MIN && holds(size, backends * SLOTS_PER_BACKEND);
        let class = TABLE_SIZES.iter().position(|&size| roomy(size));
        return Some(class.unwrap_or(TABLE_SIZES.len() - 1));
    }
    let &size = port.table_size.given()?;
    if !holds(size, backends) {
        let message = format!("a table of {size} slots has none for some of the {backends} backends");
        report.add(
            &at.key("table_size"),
            Finding::new(ErrorKind::Conflict, message).value(size).allowed(format!("at least {backends}")),
        );
    }
    TABLE_SIZES.iter().position(|&class| class == size)
}
