//! Turns a config file into a forwarding gateway and keeps it so: the one place where all parts meet.

mod gateway;
mod path_mtu;
mod start;
mod status;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info};

use self::gateway::Gateway;
use crate::{
    datapath::OuterError,
    model::NetworkView,
    store::{Store, Watch},
};

/// How often windows close and slots settle.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How often everything is compared with the kernel although nothing seems to have changed.
const HEAL_EVERY: Duration = Duration::from_secs(30);

/// The gateway as the tasks share it. A lock is never held across an await.
type Shared = Arc<Mutex<Gateway>>;

/// Runs the daemon until SIGTERM or SIGINT. The datapath stays as it is.
///
/// # Errors
/// What keeps the gateway from starting; each says what to do about it.
pub fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the daemon's runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: &Path) -> anyhow::Result<ExitCode> {
    // Signals first: one that comes while the gateway starts must not end it half-way.
    let mut signals = Signals::new()?;
    let store = Store::new(config);
    let changes = store.watch().context("watch the config")?;
    let (reload_requests, requests) = mpsc::channel(1);
    let started = start::run(store, reload_requests).await?;
    let sources = Sources { changes, requests, views: started.views, outer_errors: started.outer_errors };
    follow(&started.gateway, &mut signals, sources).await
}

/// Where changes come from.
struct Sources {
    changes: Watch,
    requests: mpsc::Receiver<()>,
    views: watch::Receiver<NetworkView>,
    outer_errors: mpsc::Receiver<OuterError>,
}

/// Every change, one after the other, until a signal to stop.
async fn follow(gateway: &Shared, signals: &mut Signals, mut sources: Sources) -> anyhow::Result<ExitCode> {
    let (mut maintain, mut heal) = (interval(MAINTAIN_EVERY), interval(HEAL_EVERY));
    maintain.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => return stopped("SIGTERM"),
            _ = signals.interrupt.recv() => return stopped("SIGINT"),
            _ = signals.hangup.recv() => lock(gateway).reload("SIGHUP"),
            () = sources.changes.changed() => lock(gateway).reload("config changed"),
            Some(()) = sources.requests.recv() => lock(gateway).reload("admin request"),
            changed = sources.views.changed() => {
                changed.context("following the kernel's routes ended")?;
                let view = sources.views.borrow_and_update().clone();
                lock(gateway).network_changed(view);
            }
            Some(error) = sources.outer_errors.recv() => lock(gateway).outer_error(&error),
            _ = maintain.tick() => lock(gateway).maintain(),
            _ = heal.tick() => lock(gateway).heal(),
        }
    }
}

fn stopped(signal: &'static str) -> anyhow::Result<ExitCode> {
    info!(signal, "stopping; the datapath keeps forwarding");
    Ok(ExitCode::SUCCESS)
}

/// A panic in a holder leaves data that the next reconcile repairs, so a poisoned lock is taken all the same.
fn lock(gateway: &Shared) -> MutexGuard<'_, Gateway> {
    gateway.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals the daemon lives by.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

/// Logs what a step that must not end the daemon could not do.
fn report<T>(what: &'static str, result: anyhow::Result<T>) -> Option<T> {
    result.map_err(|failure| error!(error = format!("{failure:#}"), "{what}")).ok()
}
