//! Turns a config at a path into a gateway that forwards.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{
    Shared,
    gateway::{Gateway, wanted},
    lock,
    path_mtu::PathMtus,
    status,
};
use crate::{
    admin,
    datapath::{Datapath, Options, OuterError},
    metrics,
    model::{self, Desired, NetworkView},
    network::{self, Network},
    reconcile::Reconciler,
    store::{Loaded, Store},
};

/// How long the first frames wait for the hosts' MACs; after that they take the slow path.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
/// ICMP errors about outer packets that wait for the gateway's lock; more are lost, routers send them again.
const OUTER_ERRORS_MAX: usize = 64;

/// A gateway that forwards.
pub(super) struct Started {
    pub(super) gateway: Shared,
    pub(super) views: watch::Receiver<NetworkView>,
    pub(super) outer_errors: mpsc::Receiver<OuterError>,
}

/// Brings the gateway up: maps first, then everything they should say, the program last, so that no frame meets half a config.
pub(super) async fn run(store: Store, reload_requests: mpsc::Sender<()>) -> anyhow::Result<Started> {
    let (loaded, config_error) = load(&store)?;
    let gateway = &loaded.desired.gateway;
    info!(gateway = gateway.name, generation = loaded.generation, digest = loaded.digest, "starting");
    let datapath = Datapath::open(&Options { pin_dir: gateway.pin_dir.clone(), flows_max: gateway.flows_max })?;
    let (wanted_sender, wanted_receiver) = watch::channel(wanted(&loaded.desired));
    let (network, mut views) = Network::start(wanted_receiver).await.context("follow the kernel's routes")?;
    let view = first_view(&mut views, &loaded.desired).await;
    for name in &gateway.interfaces {
        warn_about_offloads(name).await?;
    }
    let (slow_path, standing) = (datapath.slow_path()?, datapath.attached()?);
    let mut gateway = Gateway {
        store,
        loaded,
        config_error,
        datapath,
        reconciler: Reconciler::new(),
        view,
        attached: Vec::new(),
        standing,
        wanted: wanted_sender,
        started: SystemTime::now(),
        path_mtus: PathMtus::default(),
        path_mtus_applied: None,
        slow_path: slow_path.counters(),
    };
    gateway.reconcile("start")?;
    gateway.attach_new()?;
    gateway.reconcile("attached")?;
    super::report("keep the config as the last good one", gateway.keep());
    let gateway = Arc::new(Mutex::new(gateway));
    let (outer_errors_sender, outer_errors) = mpsc::channel(OUTER_ERRORS_MAX);
    let running = Arc::clone(&gateway);
    let run_again = move |frame: &[u8], ifindex| lock(&running).datapath.run_live(frame, ifindex);
    tokio::spawn(async move {
        // The network task lives as long as its handle.
        let _network = network;
        let Err(ended) = slow_path.run(run_again, outer_errors_sender).await;
        error!(error = %ended, "the slow path ended: frames that the datapath cannot finish are lost");
        // Routes are followed all the same.
        std::future::pending::<()>().await;
    });
    serve(&gateway, reload_requests).await?;
    info!("ready");
    Ok(Started { gateway, views, outer_errors })
}

/// The config at the path, else the last good one.
fn load(store: &Store) -> anyhow::Result<(Loaded, Option<String>)> {
    let errors = match store.load() {
        Ok(loaded) => return Ok((loaded, None)),
        Err(errors) => errors,
    };
    let state_dir = std::path::Path::new(model::Gateway::DEFAULT_STATE_DIR);
    match Loaded::last_good(state_dir) {
        Ok(Some(loaded)) => {
            warn!(state_dir = %state_dir.display(), "config refused, starting with the last good one:\n{errors}");
            Ok((loaded, Some(errors.to_string())))
        }
        Ok(None) | Err(_) => bail!("the config has mistakes, and there is no last good one\n{errors}"),
    }
}

/// The network once every host's MAC is known, or as far as it is known in time.
async fn first_view(views: &mut watch::Receiver<NetworkView>, desired: &Desired) -> NetworkView {
    let complete = |view: &NetworkView| {
        let known =
            |host: &model::Host| view.hosts.get(&host.vtep).is_some_and(|next_hop| next_hop.destination_mac.is_some());
        desired.hosts.iter().all(known)
    };
    let in_time = matches!(timeout(RESOLVE_LIMIT, views.wait_for(complete)).await, Ok(Ok(_)));
    if !in_time {
        warn!("not every host's next hop is known yet; its frames take the slow path until it is");
    }
    views.borrow_and_update().clone()
}

/// Veth, tun and virtio hand over frames whose checksum nobody has finished (case 16); the datapath cannot see that.
async fn warn_about_offloads(name: &str) -> anyhow::Result<()> {
    let link = network::link_info(name).await.with_context(|| format!("gateway.interfaces: {name}"))?;
    if let Some(kind) = link.kind.as_deref().filter(|kind| matches!(*kind, "veth" | "tun" | "virtio_net")) {
        warn!(
            interface = name,
            kind,
            "frames from this kind of interface may carry unfinished checksums: run `ethtool -K DEV tx off` on the other end"
        );
    }
    Ok(())
}

async fn serve(gateway: &Shared, reload_requests: mpsc::Sender<()>) -> anyhow::Result<()> {
    let (socket, listen) = {
        let gateway = lock(gateway);
        let settings = &gateway.loaded.desired.gateway;
        (settings.admin_socket.clone(), settings.metrics_listen)
    };
    let source = {
        let gateway = Arc::clone(gateway);
        move || status::snapshot(&lock(&gateway))
    };
    let admin = admin::Server::bind(&socket).context("open the admin socket")?;
    tokio::spawn(admin.run(source.clone(), move || reload_requests.try_send(()).is_ok()));
    if let Some(address) = listen {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("gateway.metrics_listen: bind {address}"))?;
        info!(%address, "metrics");
        tokio::spawn(metrics::serve(listener, source));
    }
    Ok(())
}
