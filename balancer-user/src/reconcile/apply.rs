//! Turns the differences into writes, in the order in which no frame ever meets something that is not ready for it.
//!
//! ```text
//! gateway, routes, ports -> hosts -> backends -> lists of sources -> policies, but for those that lose their list
//!   -> reply index, reply ranges -> for each service port: table, entry -> policies that lose their list -> ranges -> VIPs
//!   -> backends that begin to drain -> service index -> VIPs that lose their ranges -> flows of moved containers
//! service index, ranges, reply index, reply ranges -> (no frame in flight)
//!   -> tables, service entries, backends, policies, lists of sources -> (again) -> hosts -> generation
//! ```
//!
//! A list of sources is named by a policy only while it is whole, and a service port with `SERVICE_SOURCES` always has a
//! policy that names one. Of a range that changes, the new prefixes are all there before the first old one goes: a port that
//! it holds before and after is found at every moment, at the old service port or at the new one. The same holds for ports
//! that were in a range and get a service port of their own, and the other way round.

use std::collections::BTreeSet;

use balancer_common::{
    abi::{Backend, Gateway, Host, Policy, Service, TABLE_CLASSES},
    id::ServiceId,
    range::{RangeKey, ReplyRangeKey},
    service::{BACKEND_EXCEPTIONS, SERVICE_RANGES},
    source::SourceKey,
};

use super::{
    ReconcileError, Reconciler, Report, Wish,
    current::id_of,
    diff::Diff,
    error::Step as _,
    flows,
    index::{self, Key},
    render::Wanted,
};
use crate::model::tables::{Index, Tables};

mod port;
mod prefixes;

pub(super) use self::{port::window, prefixes::Known};

/// One run.
pub(super) struct Apply<'a, T> {
    memory: &'a mut Reconciler,
    tables: &'a mut T,
    diff: &'a Diff,
    report: Report,
    stale: Stale,
}

/// Prefixes that stand in the maps and are not wanted any more.
#[derive(Default)]
struct Stale {
    sources: Vec<SourceKey>,
    ranges: Vec<RangeKey>,
    reply_ranges: Vec<ReplyRangeKey>,
}

impl<'a, T: Tables> Apply<'a, T> {
    pub fn new(memory: &'a mut Reconciler, tables: &'a mut T, diff: &'a Diff) -> Self {
        Self { memory, tables, diff, report: Report::default(), stale: Stale::default() }
    }

    /// Writes what differs, and says what that was.
    pub fn run(mut self, wanted: &Wanted, wish: &Wish<'_>, full: bool) -> Result<Report, ReconcileError> {
        let entries = wanted.ports.iter().flat_map(|port| &port.backends).map(|backend| &backend.entry);
        self.memory.exceptions = entries.filter(|entry| entry.flags & BACKEND_EXCEPTIONS != 0).map(id_of).collect();
        let before = &self.diff.gateway_before;
        // What the flags lead to is there for as long as a frame may need it.
        let flags = before.flags | wanted.gateway.flags;
        self.gateway(&Gateway { generation: before.generation, flags, ..wanted.gateway });
        self.ways(wanted, wish.ports)?;
        self.hosts();
        self.backends()?;
        prefixes::add_sources(&mut self, &wanted.lists, full)?;
        self.policies();
        prefixes::add_reply_ranges(&mut self, &wanted.reply_ranges, full)?;
        for (key, id) in &wanted.replies {
            self.report.index_entries += index::put(self.tables, Index::Replies, key, id.0)?;
        }
        for port in &wanted.ports {
            port::run(&mut self, port, full)?;
        }
        self.lost_lists();
        prefixes::add_ranges(&mut self, &wanted.ranges, full)?;
        for (id, entry) in &wanted.vips {
            let before = self.diff.services_before.get(id).map_or(0, |before| before.flags & SERVICE_RANGES);
            self.vip(*id, &Service { flags: entry.flags | before, ..*entry })?;
        }
        for entry in &self.diff.backends_draining {
            self.change(entry);
        }
        for (id, entry) in wanted.indexed() {
            let key = Key::of_service(entry);
            self.report.index_entries += index::put(self.tables, Index::Services, &key, id.0)?;
        }
        for (id, entry) in &wanted.vips {
            if !port::is_written(&self.tables.service(id.0), entry) {
                self.tables.set_service(id.0, entry);
                self.report.services_changed += 1;
            }
        }
        self.report.flows_rebound += flows::rebind(self.tables, &self.diff.moved)?;
        self.unlink(wanted, full)?;
        self.free()?;
        self.gateway(&wanted.gateway);
        self.memory.known = Known::of(wanted);
        Ok(self.report)
    }

    fn gateway(&mut self, wanted: &Gateway) {
        if self.tables.gateway() != *wanted {
            self.tables.set_gateway(wanted);
            self.report.gateway_changed = true;
        }
    }

    /// Ways out of the gateway: routes to clients, and interfaces that may be redirected to.
    fn ways(&mut self, wanted: &Wanted, ports: &[u32]) -> Result<(), ReconcileError> {
        for (family, routes) in wanted.client_routes.iter().enumerate() {
            if self.diff.client_routes[family] {
                self.tables.set_client_routes(family as u32, routes);
                self.report.gateway_changed = true;
            }
        }
        let ports: BTreeSet<u32> = ports.iter().copied().collect();
        if self.memory.ports.as_ref() != Some(&ports) {
            let list: Vec<u32> = ports.iter().copied().collect();
            self.tables.set_ports(&list).step("name the interfaces to redirect to")?;
            self.memory.ports = Some(ports);
            self.report.gateway_changed = true;
        }
        Ok(())
    }

    fn hosts(&mut self) {
        for (id, host) in self.diff.hosts_added.iter().chain(&self.diff.hosts_changed) {
            self.tables.set_host(id.0, host);
        }
        self.report.hosts_added += self.diff.hosts_added.len();
        self.report.hosts_changed += self.diff.hosts_changed.len();
    }

    fn backends(&mut self) -> Result<(), ReconcileError> {
        for entry in &self.diff.backends_added {
            self.tables.clear_backend_counters(id_of(entry).0).step("clear a backend's counters")?;
            self.tables.set_backend(id_of(entry).0, entry);
            self.report.backends_added += 1;
        }
        for entry in &self.diff.backends_changed {
            self.change(entry);
        }
        Ok(())
    }

    /// Writes the policies that differ. Those that lose their list keep it until the service port's flag is gone.
    fn policies(&mut self) {
        for (id, before, wanted) in &self.diff.policies_changed {
            let sources = if loses_list(before, wanted) { before.sources } else { wanted.sources };
            let policy = Policy { sources, ..*wanted };
            if policy != *before {
                self.tables.set_policy(*id, &policy);
            }
        }
        self.report.policies_changed += self.diff.policies_changed.len();
    }

    fn lost_lists(&mut self) {
        for (id, _, wanted) in
            self.diff.policies_changed.iter().filter(|(_, before, wanted)| loses_list(before, wanted))
        {
            self.tables.set_policy(*id, wanted);
        }
    }

    fn change(&mut self, entry: &Backend) {
        self.tables.set_backend(id_of(entry).0, entry);
        self.report.backends_changed += 1;
    }

    /// A VIP's address alone has no table.
    fn vip(&mut self, id: ServiceId, wanted: &Service) -> Result<(), ReconcileError> {
        match self.diff.services_before.get(&id) {
            None => {
                self.tables.clear_service_counters(id.0).step("clear a service port's counters")?;
                self.tables.set_service(id.0, wanted);
                self.report.services_added += 1;
            }
            Some(before) if !port::is_written(before, wanted) => {
                self.tables.set_service(id.0, wanted);
                self.report.services_changed += 1;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Takes what is not wanted any more out of indexes and ranges, so that no new frame finds it.
    fn unlink(&mut self, wanted: &Wanted, full: bool) -> Result<(), ReconcileError> {
        self.report.range_entries += self.stale.ranges.len() + self.stale.reply_ranges.len();
        prefixes::remove(self.tables, &self.stale.ranges)?;
        prefixes::remove(self.tables, &self.stale.reply_ranges)?;
        let mut written = 0;
        for (id, entry) in &self.diff.services_removed {
            written += index::remove(self.tables, Index::Services, &Key::of_service(entry), id.0);
        }
        for entry in &self.diff.backends_removed {
            for key in [Key::of_reply(entry), Key::of_container(entry)] {
                written += index::remove(self.tables, Index::Replies, &key, id_of(entry).0);
            }
        }
        if full {
            let services: BTreeSet<u32> = wanted.indexed().map(|(id, _)| id.0).collect();
            written += index::remove_strays(self.tables, Index::Services, |id| services.contains(&id));
            let replies: BTreeSet<u32> = wanted.replies.iter().map(|(_, id)| id.0).collect();
            written += index::remove_strays(self.tables, Index::Replies, |id| replies.contains(&id));
        }
        self.report.index_entries += written;
        Ok(())
    }

    /// Frees the entries that nothing leads to.
    fn free(&mut self) -> Result<(), ReconcileError> {
        let diff = self.diff;
        let is_nothing_led_to = self.stale.sources.is_empty() && diff.policies_removed.is_empty();
        if is_nothing_led_to
            && diff.services_removed.is_empty()
            && diff.backends_removed.is_empty()
            && diff.hosts_removed.is_empty()
        {
            return Ok(());
        }
        self.tables.wait_for_readers().step("wait for frames in flight")?;
        for (id, _) in &diff.services_removed {
            self.drop_tables(*id, None)?;
            self.tables.set_service(id.0, &Service::default());
            self.memory.memo.remove(id);
            self.memory.unsettled.remove(id);
            self.report.services_removed += 1;
        }
        for entry in &diff.backends_removed {
            let id = id_of(entry);
            self.tables.set_backend(id.0, &freed(entry));
            self.memory.quarantine.insert(id, self.tables.now_ns());
            self.report.backends_removed += 1;
        }
        for id in &diff.policies_removed {
            self.tables.free_policy(*id);
            self.report.policies_changed += 1;
        }
        prefixes::remove(self.tables, &self.stale.sources)?;
        self.report.source_entries += self.stale.sources.len();
        if diff.hosts_removed.is_empty() {
            return Ok(());
        }
        // A remembered flow may have led to a backend of the host until just now.
        self.tables.wait_for_readers().step("wait for frames in flight")?;
        for id in &diff.hosts_removed {
            self.tables.set_host(id.0, &Host::default());
            self.report.hosts_removed += 1;
        }
        Ok(())
    }

    /// Drops the tables of a service port in all classes but the one in use.
    fn drop_tables(&mut self, id: ServiceId, but: Option<usize>) -> Result<(), ReconcileError> {
        for class in (0..TABLE_CLASSES).filter(|class| Some(*class) != but) {
            if self.tables.table(class, id.0).step("read a table")?.is_some() {
                self.tables.drop_table(class, id.0).step("drop a table")?;
            }
        }
        Ok(())
    }
}

const fn loses_list(before: &Policy, wanted: &Policy) -> bool {
    before.sources != 0 && wanted.sources == 0
}

/// What stays in a freed entry: the reference, so that the next user of the id takes the next generation.
fn freed(entry: &Backend) -> Backend {
    Backend { reference: entry.reference, ..Backend::default() }
}
