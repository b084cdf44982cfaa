//! Turns the prefixes that are allowed and denied into who may use a service port; equal lists become one.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::super::{
    error::ErrorKind,
    field::Field,
    path::KeyPath,
    report::{Finding, Report},
    schema::{PortTable, ServiceTable},
    text::Text,
};
use crate::model::Sources;

/// A list of prefixes as it stands in a table.
type Prefixes = Field<Vec<Field<Text<IpNet>>>>;

/// Every list of the config, each once.
#[derive(Default)]
pub(crate) struct SourceLists {
    known: HashSet<Arc<Sources>>,
    /// Entries that they take in the datapath's map.
    pub(crate) entries_count: usize,
}

impl SourceLists {
    /// What the service at `at` says for those of its ports that say nothing.
    pub(crate) fn of_service(
        &mut self,
        table: &ServiceTable,
        at: &KeyPath<'_>,
        report: &mut Report<'_>,
    ) -> Option<Arc<Sources>> {
        let lists = [(ALLOW, &table.allow_sources, true), (DENY, &table.deny_sources, true)];
        self.read(lists, at, report)
    }

    /// What holds for the port at `at`: each of its own lists stands in place of the service's.
    pub(crate) fn of_port(
        &mut self,
        (service, shared): (&ServiceTable, Option<&Arc<Sources>>),
        port: &PortTable,
        at: &KeyPath<'_>,
        report: &mut Report<'_>,
    ) -> Option<Arc<Sources>> {
        match (port.allow_sources.is_absent(), port.deny_sources.is_absent()) {
            (true, true) => shared.cloned(),
            (false, false) => {
                self.read([(ALLOW, &port.allow_sources, true), (DENY, &port.deny_sources, true)], at, report)
            }
            // The service's own list comes first, so that what contradicts it is the port's.
            (false, true) => {
                self.read([(DENY, &service.deny_sources, false), (ALLOW, &port.allow_sources, true)], at, report)
            }
            (true, false) => {
                self.read([(ALLOW, &service.allow_sources, false), (DENY, &port.deny_sources, true)], at, report)
            }
        }
    }

    /// Reads two lists in the order given; mistakes are reported in those that are the table's own.
    fn read(
        &mut self,
        lists: [(&'static str, &Prefixes, bool); 2],
        at: &KeyPath<'_>,
        report: &mut Report<'_>,
    ) -> Option<Arc<Sources>> {
        let mut found: BTreeMap<IpNet, &'static str> = BTreeMap::new();
        let mut sound = true;
        for (name, prefixes, own) in lists {
            let list = at.key(name);
            sound &= !prefixes.is_broken();
            for (index, prefix) in prefixes.elements().iter().enumerate() {
                let Some(&prefix) = prefix.text() else {
                    sound = false;
                    continue;
                };
                let Some(other) = found.get(&prefix) else {
                    found.insert(prefix, name);
                    continue;
                };
                sound = false;
                if own {
                    report.add(&list.index(index), twice(prefix, name, other));
                }
            }
        }
        let of = |wanted: &str| found.iter().filter(|(_, name)| **name == wanted).map(|(prefix, _)| *prefix).collect();
        let sources = Sources { allow: of(ALLOW), deny: of(DENY) };
        sound.then(|| self.shared(sources))
    }

    fn shared(&mut self, sources: Sources) -> Arc<Sources> {
        if let Some(known) = self.known.get(&sources) {
            return Arc::clone(known);
        }
        if !sources.is_open() {
            self.entries_count += sources.entries_count();
        }
        let sources = Arc::new(sources);
        self.known.insert(Arc::clone(&sources));
        sources
    }
}

const ALLOW: &str = "allow_sources";
const DENY: &str = "deny_sources";

fn twice(prefix: IpNet, name: &str, other: &str) -> Finding {
    let finding = if name == other {
        Finding::new(ErrorKind::Duplicate, format!("{prefix} stands in the list already"))
    } else {
        let message = format!("{prefix} stands in `{other}` too: keep it in one of the two");
        Finding::new(ErrorKind::Conflict, message)
    };
    finding.value(format!("\"{prefix}\""))
}
