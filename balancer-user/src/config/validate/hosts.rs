//! Turns the host tables into hosts with unique names and VTEPs.

use std::{collections::BTreeMap, net::IpAddr};

use balancer_common::abi;

use super::{
    super::{
        error::ErrorKind,
        path::KeyPath,
        report::{Finding, Report},
        schema::HostTable,
        text::is_usable,
    },
    Family, Merged, limit,
    names::Names,
};
use crate::model::Host;

/// What the rest of the config may know of the hosts.
pub(crate) struct Hosts {
    /// Every sound host, in order.
    pub(crate) models: Vec<Host>,
    /// Their names.
    pub(crate) names: Names,
    /// VTEPs and the names of their hosts.
    pub(crate) vteps: BTreeMap<IpAddr, String>,
}

/// What may be a VTEP or a container's address, in words.
pub(crate) const USABLE: &str = "a unicast address that is neither loopback nor link-local";

impl Hosts {
    /// The first VTEP of a family, with its host's name.
    pub(crate) fn first_of(&self, family: Family) -> Option<(&IpAddr, &String)> {
        self.vteps.iter().find(|(vtep, _)| Family::of(**vtep) == family)
    }
}

/// All hosts of all files.
pub(crate) fn validate(merged: &Merged<'_>, report: &mut Report<'_>) -> Hosts {
    let mut hosts = Hosts { models: Vec::new(), names: Names::new("host"), vteps: BTreeMap::new() };
    let mut position = 0;
    for (source, file) in merged.files().iter().enumerate() {
        let root = KeyPath::root(source);
        let list = root.key("hosts");
        if file.table.hosts.is_broken() {
            hosts.names.add_hole();
        }
        for (index, host) in file.table.hosts.elements().iter().enumerate() {
            match host.given().map(|table| hosts.add(table, &list.index(index), position, report)) {
                Some(model) => hosts.models.extend(model),
                None => hosts.names.add_hole(),
            }
            position += 1;
        }
    }
    // Id 0 is nobody's.
    if let Some(finding) = limit(position, abi::HOSTS_MAX - 1, ("hosts", "HOSTS_MAX")) {
        report.add(&KeyPath::root(0).key("hosts"), finding);
    }
    hosts
}

impl Hosts {
    fn add(
        &mut self,
        table: &HostTable,
        entry: &KeyPath<'_>,
        position: usize,
        report: &mut Report<'_>,
    ) -> Option<Host> {
        self.names.add(&table.name, entry, position, report);
        let vtep = *table.vtep.text()?;
        let shown_name = table.name.text().map_or("?", |name| name.0.as_str());
        let at = entry.key("vtep");
        if !is_usable(vtep) {
            report.add(
                &at,
                Finding::new(ErrorKind::BadValue, format!("{vtep} cannot be a host's VTEP"))
                    .value(vtep)
                    .allowed(USABLE),
            );
        } else if let Some(other) = self.vteps.get(&vtep) {
            report.add(
                &at,
                Finding::new(ErrorKind::Duplicate, format!("{vtep} is the VTEP of host \"{other}\" already"))
                    .value(vtep),
            );
        } else {
            self.vteps.insert(vtep, shown_name.to_owned());
        }
        Some(Host { name: table.name.text()?.0.clone(), vtep, mtu: table.mtu.given().copied() })
    }
}
