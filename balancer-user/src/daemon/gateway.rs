//! Turns changes of config, network and time into changes of the maps.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;
use tracing::{debug, error, info};

use super::{
    path_mtu::{self, PathMtus},
    report,
};
use crate::{
    datapath::{Attached, Datapath, OuterError, SlowPathCounters},
    model::{Desired, NetworkView},
    network::Wanted,
    reconcile::{Reconciler, Wish},
    store::{Loaded, Store},
};

/// How often errors of the underlay may change the maps.
const PATH_MTUS_EVERY: Duration = Duration::from_secs(1);

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
    /// What the underlay says of the way to hosts.
    pub(super) path_mtus: PathMtus,
    /// When that came into the maps the last time.
    pub(super) path_mtus_applied: Option<Instant>,
    pub(super) slow_path: SlowPathCounters,
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
        self.path_mtus.keep_only(&self.loaded.desired.hosts);
        self.view.path_mtus = self.path_mtus.known();
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
        self.view = NetworkView { path_mtus: self.path_mtus.known(), ..view };
        report("follow the network", self.reconcile("network"));
    }

    /// The underlay says that a packet to a host was too big.
    pub(super) fn outer_error(&mut self, error: &OuterError) {
        let Some(host) = path_mtu::host_of(error, &self.loaded.desired) else {
            debug!(?error, "an ICMP error is not about a packet to a host of the config");
            return;
        };
        let (before, now) = (path_mtu::before(host, &self.view), Instant::now());
        let lowered = self.path_mtus.lower(host.vtep, error.mtu, before, now);
        // Errors cost their sender little: more of them wait for the next second.
        let waits = self.path_mtus_applied.is_some_and(|applied| now.duration_since(applied) < PATH_MTUS_EVERY);
        if lowered && !waits {
            self.apply_path_mtus(now);
        }
    }

    fn apply_path_mtus(&mut self, now: Instant) {
        let known = self.path_mtus.known();
        if known == self.view.path_mtus {
            return;
        }
        let before = std::mem::replace(&mut self.view.path_mtus, known);
        for host in &self.loaded.desired.hosts {
            let learnt = self.view.path_mtus.get(&host.vtep);
            if learnt != before.get(&host.vtep) {
                let mtu = learnt.map(|mtu| u32::from(*mtu)).or_else(|| path_mtu::before(host, &self.view));
                info!(host = host.name, mtu, learnt = learnt.is_some(), "the path MTU to a host changed");
            }
        }
        self.path_mtus_applied = Some(now);
        report("follow the path MTUs", self.reconcile("path MTU"));
    }

    /// Compares everything with the kernel, in case an event was lost or somebody else wrote a map.
    pub(super) fn heal(&mut self) {
        report("compare the maps with the config", self.reconcile("timer"));
    }

    /// Closes transition windows, settles slots, forgets flows and path MTUs.
    pub(super) fn maintain(&mut self) {
        let now = Instant::now();
        self.path_mtus.expire(now);
        self.apply_path_mtus(now);
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
