//! Turns a list of backends into containers with weight and state, and says which of them a VIP's family cannot reach.

use std::collections::BTreeSet;

use super::{
    super::{
        error::ErrorKind,
        field::Field,
        path::KeyPath,
        report::{Finding, Report},
        schema::{BackendStateWord, BackendTable},
    },
    Family,
    containers::{Containers, Reach},
};
use crate::model::{Backend, BackendState};

/// The sound backends of one list.
pub(crate) struct Backends {
    chosen: Vec<Chosen>,
    /// How many the list holds, sound or not.
    pub(crate) count: usize,
}

struct Chosen {
    /// Position in the list.
    index: usize,
    /// Position of the container in the project.
    container: usize,
    weight: Option<u32>,
    state: Option<BackendState>,
}

impl Backends {
    /// Reads the list at `at`: every container exists and stands in it once.
    pub(crate) fn read(
        list: &Field<Vec<Field<BackendTable>>>,
        containers: &Containers,
        at: &KeyPath<'_>,
        report: &mut Report<'_>,
    ) -> Self {
        let mut seen = BTreeSet::new();
        let mut chosen = Vec::new();
        for (index, table) in list.elements().iter().enumerate() {
            let entry = at.index(index);
            let Some((table, name)) = table.given().and_then(|table| Some((table, &table.container.text()?.0))) else {
                continue;
            };
            let Some(container) = containers.names.find(name, &entry.key("container"), report) else { continue };
            if !seen.insert(container) {
                let finding =
                    Finding::new(ErrorKind::Duplicate, format!("container {name:?} stands in the list already"));
                report.add(&entry.key("container"), finding.value(format!("{name:?}")));
                continue;
            }
            chosen.push(Chosen {
                index,
                container,
                weight: table.weight.given().copied(),
                state: table.state.given().map(|state| state_of(*state)),
            });
        }
        Self { chosen, count: list.elements().len() }
    }

    /// Reports every backend that has no address of a family that the VIPs need; returns the families that are served.
    pub(crate) fn serve(
        &self,
        families: &BTreeSet<Family>,
        containers: &Containers,
        at: &KeyPath<'_>,
        report: &mut Report<'_>,
    ) -> BTreeSet<Family> {
        let mut served = BTreeSet::new();
        for chosen in &self.chosen {
            let Some(container) = containers.list.get(chosen.container) else { continue };
            for &family in families {
                match container.reach(family) {
                    Reach::At(_) => drop(served.insert(family)),
                    Reach::Unclear => {}
                    Reach::Never => {
                        let name = container.name.as_deref().unwrap_or_default();
                        let message = format!(
                            "container \"{name}\" has no {0} address, and the service has an {0} VIP",
                            family.name()
                        );
                        let finding = Finding::new(ErrorKind::Conflict, message).value(format!("{name:?}"));
                        report.add(
                            &at.index(chosen.index).key("container"),
                            finding.allowed(format!("containers with an {} address", family.name())),
                        );
                    }
                }
            }
        }
        served
    }

    /// The backends of a service port whose VIP is of `family`; those that are not sound have been reported and are left out.
    pub(crate) fn models(&self, family: Family, port: u16, containers: &Containers) -> Vec<Backend> {
        let model = |chosen: &Chosen| {
            let container = containers.list.get(chosen.container)?;
            let Reach::At(address) = container.reach(family) else { return None };
            Some(Backend {
                container: container.name.clone()?,
                host: container.host?,
                address,
                mac: container.mac?,
                port,
                weight: chosen.weight?,
                state: chosen.state?,
            })
        };
        self.chosen.iter().filter_map(model).collect()
    }
}

const fn state_of(word: BackendStateWord) -> BackendState {
    match word {
        BackendStateWord::Active => BackendState::Active,
        BackendStateWord::Draining => BackendState::Draining,
        BackendStateWord::Dead => BackendState::Dead,
    }
}
