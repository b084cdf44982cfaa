//! Turns the keys of a port table that say which ports, how packets are delivered and what is hashed into what they mean together.

use super::super::{
    error::ErrorKind,
    path::KeyPath,
    report::{Finding, Report},
    schema::{AffinityWord, HashWord, ModeWord, PortTable},
    text::PortRange,
};
use crate::model::{HashFields, Mode};

/// What a port table says; none where that has been reported as wrong.
pub(crate) struct Way {
    /// The ports at the VIP; first and last are equal for one port.
    pub(crate) ports: Option<PortRange>,
    /// The containers' port; 0 for a range, whose packets keep theirs.
    pub(crate) container_port: Option<u16>,
    /// How packets are delivered.
    pub(crate) mode: Option<Mode>,
    /// What the flow hash covers.
    pub(crate) hash: Option<HashFields>,
}

impl PortRange {
    /// Whether it is more than one port.
    pub(crate) const fn is_range(self) -> bool {
        self.first != self.last
    }

    /// The key that it stands under.
    pub(crate) const fn key(self) -> &'static str {
        if self.is_range() { "range" } else { "port" }
    }

    /// As an error names it.
    pub(crate) fn shown(self) -> String {
        match (self.is_range(), self) {
            (false, Self { first, .. }) => first.to_string(),
            (true, Self::ANY) => "any".to_owned(),
            (true, Self { first, last }) => format!("{first}-{last}"),
        }
    }
}

/// Reads the table at `at`.
pub(crate) fn read(table: &PortTable, at: &KeyPath<'_>, report: &mut Report<'_>) -> Way {
    let ports = ports(table, at, report);
    let mode = table.mode.given().map(|word| match word {
        ModeWord::Nat => Mode::Nat,
        ModeWord::Dsr => Mode::Dsr,
    });
    Way { ports, container_port: container_port(table, (ports, mode), at, report), mode, hash: hash(table, at, report) }
}

fn ports(table: &PortTable, at: &KeyPath<'_>, report: &mut Report<'_>) -> Option<PortRange> {
    match (table.port.is_absent(), table.range.is_absent()) {
        (true, true) => {
            let finding =
                Finding::new(ErrorKind::MissingKey, "`port` is missing, and so is `range`: give one of the two");
            report.add(&at.key("port"), finding.allowed("an integer from 1 to 65535"));
            None
        }
        (false, false) => {
            let message = "`port` and `range` are both given: remove one of the two";
            report.add(&at.key("range"), Finding::new(ErrorKind::Conflict, message).at_key());
            None
        }
        (false, true) => table.port.given().map(|&port| PortRange { first: port, last: port }),
        (true, false) => table.range.text().copied(),
    }
}

fn container_port(
    table: &PortTable,
    (ports, mode): (Option<PortRange>, Option<Mode>),
    at: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> Option<u16> {
    let given = &table.container_port;
    let is_range = !table.range.is_absent() && table.port.is_absent();
    if given.is_absent() {
        return if is_range { Some(0) } else { ports.map(|ports| ports.first) };
    }
    let &port = given.given()?;
    let conflict = if is_range {
        Some(("packets for a range keep their port: remove `container_port`".to_owned(), None))
    } else {
        let kept = ports.filter(|ports| mode == Some(Mode::Dsr) && ports.first != port);
        kept.map(|ports| {
            let message = "with `mode` \"dsr\" packets keep their port: remove `container_port`, or use \"nat\"";
            (message.to_owned(), Some(ports.first.to_string()))
        })
    };
    let Some((message, allowed)) = conflict else { return Some(port) };
    let finding = Finding::new(ErrorKind::Conflict, message).value(port);
    report.add(
        &at.key("container_port"),
        match allowed {
            Some(allowed) => finding.allowed(allowed),
            None => finding,
        },
    );
    None
}

fn hash(table: &PortTable, at: &KeyPath<'_>, report: &mut Report<'_>) -> Option<HashFields> {
    match (table.hash.is_absent(), table.affinity.is_absent()) {
        (true, true) => Some(HashFields::FLOW),
        (true, false) => table.affinity.given().map(|word| match word {
            AffinityWord::Flow => HashFields::FLOW,
            AffinityWord::Client => HashFields::CLIENT,
        }),
        (false, false) => {
            let message = "`affinity` is the short form of `hash`, and both are given: remove one of the two";
            report.add(&at.key("affinity"), Finding::new(ErrorKind::Conflict, message).at_key());
            None
        }
        (false, true) => fields(table, &at.key("hash"), report),
    }
}

/// The fields that `hash` lists.
fn fields(table: &PortTable, at: &KeyPath<'_>, report: &mut Report<'_>) -> Option<HashFields> {
    let words = table.hash.given()?;
    let mut known: Vec<HashWord> = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        let &word = word.given()?;
        let name = name_of(word);
        let finding = if known.contains(&word) {
            Finding::new(ErrorKind::Duplicate, format!("\"{name}\" stands in the list already"))
        } else if word == HashWord::VipPort && table.range.is_absent() && words.len() > 1 {
            let message = "\"vip_port\" says nothing about a single port: remove it, or give a `range`";
            Finding::new(ErrorKind::Conflict, message).allowed("\"client_address\" or \"client_port\"")
        } else {
            known.push(word);
            continue;
        };
        report.add(&at.index(index), finding.value(format!("\"{name}\"")));
        return None;
    }
    let fields = HashFields {
        client_address: known.contains(&HashWord::ClientAddress),
        client_port: known.contains(&HashWord::ClientPort),
        vip_port: known.contains(&HashWord::VipPort),
    };
    if !fields.client_address && !fields.client_port {
        let message = "nothing of the client is hashed, so all its flows would go to one backend";
        let finding = Finding::new(ErrorKind::Conflict, message).value("[\"vip_port\"]");
        report.add(at, finding.allowed("\"client_address\", \"client_port\" or both, and \"vip_port\" beside them"));
        return None;
    }
    Some(fields)
}

const fn name_of(word: HashWord) -> &'static str {
    match word {
        HashWord::ClientAddress => "client_address",
        HashWord::ClientPort => "client_port",
        HashWord::VipPort => "vip_port",
    }
}
