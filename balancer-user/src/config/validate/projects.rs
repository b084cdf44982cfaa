//! Turns the project tables into projects with unique names and VNIs, and their service ports.

use std::{collections::BTreeMap, net::IpAddr};

use balancer_common::{abi, id::Vni};

use super::{
    super::{
        error::ErrorKind,
        path::KeyPath,
        report::{Finding, Report},
        schema::ProjectTable,
        text::is_usable,
    },
    Family, Merged, containers,
    hosts::USABLE,
    limit,
    names::Names,
    services::{self, Basis, Published, Underlay},
};
use crate::model::{Project, ServicePort};

/// All projects and what they publish.
pub(crate) struct Projects {
    /// In the order of the files.
    pub(crate) models: Vec<Project>,
    /// In the order of the files.
    pub(crate) service_ports: Vec<ServicePort>,
}

/// All projects of all files.
pub(crate) fn validate(merged: &Merged<'_>, underlay: &Underlay<'_>, report: &mut Report<'_>) -> Projects {
    let mut models = Vec::new();
    let mut names = Names::new("project");
    let mut vnis = BTreeMap::new();
    let mut published = Published::default();
    let mut position = 0;
    for (source, file) in merged.files().iter().enumerate() {
        let root = KeyPath::root(source);
        let list = root.key("projects");
        for (index, table) in file.table.projects.elements().iter().enumerate() {
            let entry = list.index(index);
            if let Some(table) = table.given() {
                names.add(&table.name, &entry, position, report);
                unique_vni(table, &mut vnis, &entry, report);
                published.enter(position, table);
                models.extend(one(table, underlay, &mut published, &entry, report));
            }
            position += 1;
        }
    }
    let counts = published.counts();
    // Of each kind, id 0 is nobody's.
    let findings = [
        limit(position, abi::PROJECTS_MAX - 1, ("projects", "PROJECTS_MAX")),
        limit(
            counts.services,
            abi::SERVICES_MAX - 1,
            ("service ports, one more counted for each VIP,", "SERVICES_MAX"),
        ),
        limit(counts.backends, abi::BACKENDS_MAX - 1, ("backends, counted for each service port,", "BACKENDS_MAX")),
        limit(counts.ranges, abi::RANGES_MAX, ("prefixes of port ranges, counted for each VIP,", "RANGES_MAX")),
        limit(
            counts.reply_ranges,
            abi::RANGES_MAX,
            ("prefixes of port ranges, counted for each backend of each service port,", "RANGES_MAX"),
        ),
        limit(
            counts.sources,
            abi::SOURCES_MAX,
            ("prefixes in lists of sources, one more counted for each list,", "SOURCES_MAX"),
        ),
    ];
    let projects = KeyPath::root(0);
    findings.into_iter().flatten().for_each(|finding| report.add(&projects.key("projects"), finding));
    Projects { models, service_ports: published.service_ports }
}

fn unique_vni(table: &ProjectTable, vnis: &mut BTreeMap<u32, String>, entry: &KeyPath<'_>, report: &mut Report<'_>) {
    let Some(&vni) = table.vni.given() else { return };
    if let Some(owner) = vnis.get(&vni) {
        report.add(
            &entry.key("vni"),
            Finding::new(ErrorKind::Duplicate, format!("VNI {vni} is {owner}'s already")).value(vni),
        );
        return;
    }
    let owner = table.name.text().map_or_else(|| entry.to_string(), |name| format!("project \"{}\"", name.0));
    vnis.insert(vni, owner);
}

fn one(
    table: &ProjectTable,
    underlay: &Underlay<'_>,
    published: &mut Published,
    entry: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> Option<Project> {
    let vni = table.vni.given().copied().and_then(Vni::new);
    let mac =
        if table.gateway_mac.is_absent() { vni.map(default_mac) } else { table.gateway_mac.text().map(|mac| mac.0) };
    gateway_addresses(table, entry, report);
    let containers = containers::validate(table, mac, underlay.hosts, entry, report);
    let families = services::validate(table, &Basis { containers: &containers, underlay }, published, entry, report);
    for family in families {
        let (key, absent) = match family {
            Family::Ipv4 => ("gateway_ipv4", table.gateway_ipv4.is_absent()),
            Family::Ipv6 => ("gateway_ipv6", table.gateway_ipv6.is_absent()),
        };
        if absent {
            let message = format!("`{key}` is missing, and backends of this project serve {} VIPs", family.name());
            report.add(
                &entry.key(key),
                Finding::new(ErrorKind::MissingKey, message).allowed("a free address of the project's networks"),
            );
        }
    }
    Some(Project {
        name: table.name.text()?.0.clone(),
        vni: vni?,
        networks: containers::sound_networks(table)?,
        gateway_ipv4: table.gateway_ipv4.text().copied(),
        gateway_ipv6: table.gateway_ipv6.text().copied(),
        gateway_mac: mac?,
        new_flows_per_second: *table.new_flows_per_second.given()?,
    })
}

/// 02:bb:00 (locally administered) and the VNI's three bytes.
fn default_mac(vni: Vni) -> [u8; 6] {
    let [_, high, middle, low] = vni.get().to_be_bytes();
    [0x02, 0xbb, 0x00, high, middle, low]
}

fn gateway_addresses(table: &ProjectTable, entry: &KeyPath<'_>, report: &mut Report<'_>) {
    let networks = containers::sound_networks(table);
    let v4 = table.gateway_ipv4.text().map(|&v4| ("gateway_ipv4", IpAddr::V4(v4)));
    let v6 = table.gateway_ipv6.text().map(|&v6| ("gateway_ipv6", IpAddr::V6(v6)));
    for (key, address) in [v4, v6].into_iter().flatten() {
        if !is_usable(address) {
            let finding = Finding::new(ErrorKind::BadValue, format!("{address} cannot be the gateway's address"));
            report.add(&entry.key(key), finding.value(address).allowed(USABLE));
        } else if let Some(networks) =
            networks.as_ref().filter(|networks| !networks.iter().any(|network| network.contains(&address)))
        {
            let finding = Finding::new(ErrorKind::Conflict, format!("{address} is outside the project's networks"));
            report.add(&entry.key(key), finding.value(address).allowed(containers::shown_networks(networks)));
        }
    }
}
