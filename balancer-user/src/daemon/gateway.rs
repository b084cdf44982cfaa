//! Turns changes of config, network and time into changes of the maps.

use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;
use tracing::{debug, error, info};

use super::report;
use crate::{
    datapath::{Attached, Datapath},
    model::{Desired, NetworkView},
    network::Wanted,
    reconcile::{Reconciler, Wish},
    store::{Loaded, Store},
};

/// Everything the daemon knows and owns.
pub(super) struct Gateway {
    pub(super) store: Store,
    pub(super) loaded: Loaded,
    /// Why the config at the store's path is not the one in force.
    pub(super) config_error: Option<String>,
    pub(super) datapath: Datapath,
    pub(super) reconciler: Reconciler,
    pub(super) view: NetworkView,
    pub(super) attached: Vec<Attached>,
    /// Interfaces where an earlier daemon's program forwards until ours takes over.
    pub(super) standing: Vec<Attached>,
    /// Tells `network` which hosts to follow.
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) started: SystemTime,
}

impl Gateway {
    /// Reads the config again. One with a mistake changes nothing and is kept as `config_error`.
    pub(super) fn reload(&mut self, why: &'static str) {
        let begun = Instant::now();
        match self.store.load() {
            Ok(loaded) if loaded.digest == self.loaded.digest => {
                self.config_error = None;
                info!(why, generation = loaded.generation, "config is the same");
            }
            Ok(loaded) => self.apply(loaded, why, begun),
            Err(errors) => {
                error!(why, errors = errors.errors().len(), "config refused, the last one stays in force:\n{errors}");
                self.config_error = Some(errors.to_string());
            }
        }
    }

    fn apply(&mut self, loaded: Loaded, why: &'static str, begun: Instant) {
        if let Err(refusal) = needs_restart(&self.loaded.desired, &loaded.desired) {
            error!(why, refusal, "config refused, the last one stays in force");
            self.config_error = Some(refusal);
            return;
        }
        let before = std::mem::replace(&mut self.loaded, loaded);
        // Send even when nobody listens any more: `follow` notices that on its own.
        let _nobody = self.wanted.send(wanted(&self.loaded.desired));
        if report("apply the config", self.attach_new().and_then(|()| self.reconcile("config"))).is_none() {
            self.config_error = Some("the config is right but could not be applied; see the log".to_owned());
            self.loaded = before;
            return;
        }
        self.config_error = None;
        report("keep the config as the last good one", self.keep());
        info!(why, generation = self.loaded.generation, took_ms = begun.elapsed().as_millis(), "config in force");
    }

    /// Keeps the config in force for a start without a right one.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        self.loaded.keep(&self.loaded.desired.gateway.state_dir).context("keep the last good config")
    }

    /// Attaches to interfaces that are in the config and do not run this program yet. The first time that replaces the
    /// program of a daemon before this one.
    pub(super) fn attach_new(&mut self) -> anyhow::Result<()> {
        let (names, mode) = (&self.loaded.desired.gateway.interfaces, self.loaded.desired.gateway.xdp_mode);
        for name in names {
            if !self.attached.iter().any(|attached| attached.name == *name) {
                let attached = self.datapath.attach(name, mode).with_context(|| format!("attach to {name}"))?;
                info!(interface = attached.name, ifindex = attached.ifindex, mode = attached.mode.name(), "attached");
                self.attached.push(attached);
            }
        }
        for left in std::mem::take(&mut self.standing) {
            if !names.contains(&left.name) && self.datapath.detach_interface(&left.name)? {
                info!(interface = left.name, "detached: not in the config any more");
            }
        }
        Ok(())
    }

    /// Makes the maps say what config and network want.
    pub(super) fn reconcile(&mut self, why: &'static str) -> anyhow::Result<()> {
        let ports: Vec<u32> = self.attached.iter().chain(&self.standing).map(|attached| attached.ifindex).collect();
        let wish =
            Wish { desired: &self.loaded.desired, generation: self.loaded.generation, view: &self.view, ports: &ports };
        let changes = self.reconciler.reconcile(&wish, &mut self.datapath).context("reconcile the maps")?;
        if changes.is_unchanged() {
            debug!(why, "maps are as wanted");
        } else {
            info!(why, ?changes, "maps changed");
        }
        Ok(())
    }

    /// Routes or neighbours are not what they were.
    pub(super) fn network_changed(&mut self, view: NetworkView) {
        self.view = view;
        report("follow the network", self.reconcile("network"));
    }

    /// Compares everything with the kernel, in case an event was lost or somebody else wrote a map.
    pub(super) fn heal(&mut self) {
        report("compare the maps with the config", self.reconcile("timer"));
    }

    /// Closes transition windows, settles slots, forgets flows.
    pub(super) fn maintain(&mut self) {
        report("settle slots", self.reconciler.maintain(&mut self.datapath).context("maintain the tables"));
    }
}

/// The hosts that `network` has to know the way to.
pub(super) fn wanted(desired: &Desired) -> Wanted {
    Wanted { vteps: desired.hosts.iter().map(|host| host.vtep).collect() }
}

/// Settings that the maps or sockets were made with cannot change under way.
fn needs_restart(before: &Desired, after: &Desired) -> Result<(), String> {
    let (before, after) = (&before.gateway, &after.gateway);
    let changed = [
        ("pin_dir", before.pin_dir != after.pin_dir),
        ("flows_max", before.flows_max != after.flows_max),
        ("admin_socket", before.admin_socket != after.admin_socket),
        ("metrics_listen", before.metrics_listen != after.metrics_listen),
        ("state_dir", before.state_dir != after.state_dir),
        ("interfaces", before.interfaces.iter().any(|name| !after.interfaces.contains(name))),
    ];
    match changed.iter().find(|(_, changed)| *changed) {
        Some((key, _)) => Err(format!(
            "gateway.{key} cannot change while the daemon runs: put it back, or restart `balancer run` (forwarding goes on)"
        )),
        None => Ok(()),
    }
}
