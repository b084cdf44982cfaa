//! Turns a project's container tables into containers whose names, MACs and addresses are theirs alone.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    super::{
        error::ErrorKind,
        path::KeyPath,
        report::{Finding, Report},
        schema::{ContainerTable, ProjectTable},
        text::is_usable,
    },
    Family,
    hosts::{Hosts, USABLE},
    names::Names,
};

/// A container as far as it is sound.
pub(crate) struct Container {
    /// Its name.
    pub(crate) name: Option<String>,
    /// Position of its host.
    pub(crate) host: Option<usize>,
    /// Its MAC.
    pub(crate) mac: Option<[u8; 6]>,
    addresses: Vec<IpAddr>,
    complete: bool,
}

/// What is known of a container's address of a family.
pub(crate) enum Reach {
    /// It has this one.
    At(IpAddr),
    /// It has none.
    Never,
    /// The config is too broken to say.
    Unclear,
}

impl Container {
    /// Its address of a family.
    pub(crate) fn reach(&self, family: Family) -> Reach {
        match self.addresses.iter().find(|address| Family::of(**address) == family) {
            Some(address) => Reach::At(*address),
            None if self.complete => Reach::Never,
            None => Reach::Unclear,
        }
    }
}

/// The containers of a project.
pub(crate) struct Containers {
    /// In the order of the list.
    pub(crate) list: Vec<Container>,
    /// Their names.
    pub(crate) names: Names,
}

/// What may not be used twice within a project, with the words for who uses it.
struct Taken {
    networks: Option<Vec<IpNet>>,
    addresses: BTreeMap<IpAddr, String>,
    macs: BTreeMap<[u8; 6], String>,
}

/// All containers of the project at `project`; `gateway_mac` is the gateway's in its network.
pub(crate) fn validate(
    table: &ProjectTable,
    gateway_mac: Option<[u8; 6]>,
    hosts: &Hosts,
    project: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> Containers {
    let gateway = "the gateway".to_owned();
    let own =
        [table.gateway_ipv4.text().map(|&v4| IpAddr::V4(v4)), table.gateway_ipv6.text().map(|&v6| IpAddr::V6(v6))];
    let mut taken = Taken {
        networks: sound_networks(table),
        addresses: own.into_iter().flatten().map(|address| (address, gateway.clone())).collect(),
        macs: gateway_mac.into_iter().map(|mac| (mac, gateway.clone())).collect(),
    };
    let mut containers = Containers { list: Vec::new(), names: Names::new("container of this project") };
    if table.containers.is_broken() {
        containers.names.add_hole();
    }
    let list = project.key("containers");
    for (index, container) in table.containers.elements().iter().enumerate() {
        let entry = list.index(index);
        let Some(container) = container.given() else {
            containers.names.add_hole();
            containers.list.push(Container {
                name: None,
                host: None,
                mac: None,
                addresses: Vec::new(),
                complete: false,
            });
            continue;
        };
        containers.names.add(&container.name, &entry, index, report);
        let container = one(container, &mut taken, hosts, &entry, report);
        containers.list.push(container);
    }
    containers
}

/// The project's networks when all of them are sound: only then can an address be outside.
pub(crate) fn sound_networks(table: &ProjectTable) -> Option<Vec<IpNet>> {
    let networks = table.networks.given()?;
    networks.iter().map(|network| network.text().copied()).collect()
}

/// Networks as an error shows them.
pub(crate) fn shown_networks(networks: &[IpNet]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn one(
    table: &ContainerTable,
    taken: &mut Taken,
    hosts: &Hosts,
    entry: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> Container {
    let name = table.name.text().map(|name| name.0.clone());
    let shown = name.as_deref().map_or_else(|| "another container".to_owned(), |name| format!("container \"{name}\""));
    let host = table.host.text().and_then(|host| hosts.names.find(&host.0, &entry.key("host"), report));
    let mac = table.mac.text().map(|mac| mac.0);
    if let Some(mac) = mac {
        match taken.macs.get(&mac) {
            Some(owner) => report.add(
                &entry.key("mac"),
                Finding::new(ErrorKind::Duplicate, format!("the MAC is that of {owner} already")),
            ),
            None => drop(taken.macs.insert(mac, shown.clone())),
        }
    }
    let list = entry.key("addresses");
    let mut container =
        Container { name, host, mac, addresses: Vec::new(), complete: table.addresses.given().is_some() };
    for (index, address) in table.addresses.elements().iter().enumerate() {
        let Some(&address) = address.text() else {
            container.complete = false;
            continue;
        };
        if let Some(finding) = misplaced(address, &container, taken) {
            // It may have been meant to be of the other family.
            container.complete = false;
            report.add(&list.index(index), finding.value(address));
        } else {
            taken.addresses.insert(address, shown.clone());
        }
        container.addresses.push(address);
    }
    container
}

/// Why a container cannot have this address.
fn misplaced(address: IpAddr, container: &Container, taken: &Taken) -> Option<Finding> {
    if !is_usable(address) {
        return Some(
            Finding::new(ErrorKind::BadValue, format!("{address} cannot be a container's address")).allowed(USABLE),
        );
    }
    let family = Family::of(address);
    if container.addresses.iter().any(|other| Family::of(*other) == family) {
        let message = format!("{address} is a second {} address of the container", family.name());
        return Some(Finding::new(ErrorKind::Conflict, message).allowed("one IPv4 and one IPv6 address"));
    }
    if let Some(networks) =
        taken.networks.as_ref().filter(|networks| !networks.iter().any(|network| network.contains(&address)))
    {
        let message = format!("{address} is outside the project's networks");
        return Some(Finding::new(ErrorKind::Conflict, message).allowed(shown_networks(networks)));
    }
    let owner = taken.addresses.get(&address)?;
    Some(Finding::new(ErrorKind::Duplicate, format!("{address} is the address of {owner} already")))
}
