//! Turns the tables of all files into the desired state, reporting every rule of the config that they break.

mod backends;
mod containers;
mod gateway;
mod hosts;
mod names;
mod ports;
mod projects;
mod services;
mod sources;
mod taken;

use std::net::IpAddr;

use serde_json::Value;

use super::{
    Source,
    document::Document,
    error::ErrorKind,
    path::KeyPath,
    report::{Finding, Report},
    schema::ConfigTable,
    shape, walk,
};
use crate::model::Desired;

/// The tables of all files, in the order of the files.
pub(crate) struct Merged<'a> {
    files: Vec<FileTables<'a>>,
}

/// What one file says.
pub(crate) struct FileTables<'a> {
    /// Where it came from.
    pub(crate) source: &'a Source,
    /// As plain values with defaults filled in; `null` where an error was reported.
    pub(crate) value: Value,
    /// The same, in types.
    pub(crate) table: ConfigTable,
}

impl<'a> Merged<'a> {
    /// Walks every document that could be read; what is wrong with its shape is reported and leaves a hole.
    pub(crate) fn read(documents: &'a [Document<'a>], report: &mut Report<'_>) -> Self {
        let readable = documents.iter().enumerate().filter(|(_, document)| document.sound);
        let files = readable.filter_map(|(position, document)| {
            let value = walk::walk(&document.root, shape::of_config(), position, report);
            match serde_path_to_error::deserialize(&value) {
                Ok(table) => Some(FileTables { source: document.source, value, table }),
                Err(error) => {
                    // Cannot happen while shape and tables come from one schema; said rather than hidden if it does.
                    let message = format!("the config passed its schema but not its types at `{}`", error.path());
                    report.add(&KeyPath::root(position), Finding::new(ErrorKind::BadValue, message));
                    None
                }
            }
        });
        Self { files: files.collect() }
    }

    /// Every file that could be read.
    pub(crate) fn files(&self) -> &[FileTables<'a>] {
        &self.files
    }

    /// The `generation` key, when a file has it.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.files.iter().find_map(|file| file.table.generation.given().copied())
    }
}

/// The desired state of files that could all be read; `None` after at least one error was reported.
pub(crate) fn validate(merged: &Merged<'_>, hostname: &str, report: &mut Report<'_>) -> Option<Desired> {
    one_generation(merged, report);
    let hosts = hosts::validate(merged, report);
    let gateway = gateway::validate(merged, hostname, &hosts, report);
    let underlay = services::Underlay { gateway: gateway.vteps, hosts: &hosts };
    let projects = projects::validate(merged, &underlay, report);
    if merged.files.is_empty() || report.count() > 0 {
        return None;
    }
    Some(Desired {
        gateway: gateway.model?,
        hosts: hosts.models,
        projects: projects.models,
        service_ports: projects.service_ports,
    })
}

fn one_generation(merged: &Merged<'_>, report: &mut Report<'_>) {
    let given = merged.files.iter().enumerate().filter(|(_, file)| !file.table.generation.is_absent());
    for (position, _) in given.skip(1) {
        let message = "`generation` stands in more than one file: keep one";
        report.add(&KeyPath::root(position).key("generation"), Finding::new(ErrorKind::Duplicate, message));
    }
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// An address's.
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// Says that there is more of something than the datapath has room for; `name` is the limit's.
fn limit(count: usize, max: u32, (what, name): (&str, &str)) -> Option<Finding> {
    let over = u32::try_from(count).map_or(true, |count| count > max);
    over.then(|| {
        Finding::new(ErrorKind::Limit, format!("{count} {what} are more than the datapath has room for"))
            .allowed(format!("at most {max}, {name}"))
    })
}
