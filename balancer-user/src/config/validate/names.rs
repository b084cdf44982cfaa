//! Turns the names of one kind of entry into positions, and tells a reference to nothing from one to an entry that was misspelt.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    error::ErrorKind,
    field::Field,
    nearest::nearest,
    path::KeyPath,
    report::{Finding, Report},
    text::{Name, Text},
};

/// What the entries of one list go by.
pub(crate) struct Names {
    kind: &'static str,
    known: BTreeMap<String, (usize, String)>,
    wrong: BTreeSet<String>,
    nameless: bool,
}

impl Names {
    /// No names yet; `kind` is the word for an entry.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, known: BTreeMap::new(), wrong: BTreeSet::new(), nameless: false }
    }

    /// Takes the name of the entry at `entry`, or reports that it is taken.
    pub(crate) fn add(
        &mut self,
        name: &Field<Text<Name>>,
        entry: &KeyPath<'_>,
        position: usize,
        report: &mut Report<'_>,
    ) {
        let at = entry.key("name");
        let Some(Name(name)) = name.text() else {
            if let Some(text) = report.text_at(&at) {
                self.wrong.insert(text.to_owned());
            } else {
                self.nameless = true;
            }
            return;
        };
        if let Some((_, first)) = self.known.get(name) {
            let message = format!("\"{name}\" is the name of {first} already");
            report.add(&at, Finding::new(ErrorKind::Duplicate, message).value(format!("{name:?}")));
            return;
        }
        self.known.insert(name.clone(), (position, entry.to_string()));
    }

    /// Says that an entry's name cannot be known, so that nothing is said of references that might mean it.
    pub(crate) fn add_hole(&mut self) {
        self.nameless = true;
    }

    /// The position of the entry that `name` at `at` means; a name that nothing goes by is reported.
    pub(crate) fn find(&self, name: &str, at: &KeyPath<'_>, report: &mut Report<'_>) -> Option<usize> {
        if let Some((position, _)) = self.known.get(name) {
            return Some(*position);
        }
        // A name that is no name may have been meant to be this one: its mend decides, and it is reported already.
        if self.nameless || nearest(name, self.wrong.iter().map(String::as_str)).is_some() {
            return None;
        }
        let guess = nearest(name, self.known.keys().map(String::as_str));
        let mend = guess.map(|guess| format!("; did you mean \"{guess}\"?")).unwrap_or_default();
        let finding = Finding::new(ErrorKind::UnknownReference, format!("no {} goes by {name:?}{mend}", self.kind));
        report.add(at, finding.value(format!("{name:?}")).allowed(self.listed()));
        None
    }

    fn listed(&self) -> String {
        const SHOWN_MAX: usize = 8;
        if self.known.is_empty() {
            return format!("there is no {} yet", self.kind);
        }
        let mut words: Vec<String> = self.known.keys().take(SHOWN_MAX).map(|name| format!("{name:?}")).collect();
        if self.known.len() > SHOWN_MAX {
            words.push(format!("{} more", self.known.len() - SHOWN_MAX));
        }
        words.join(", ")
    }
}
