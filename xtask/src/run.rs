//! Turns `cargo xtask run` into the demo: the lab of `examples/demo.toml`, real requests through it, and who answered them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};

use crate::{
    lab::{Balancer, Lab, Topology},
    process,
    setup::{self, Part},
    workspace,
};

mod table;
mod traffic;

use self::traffic::Answers;

/// How the demo runs.
#[derive(Args, Debug)]
pub struct Options {
    /// Prove the traffic, clean up and exit with a status, instead of staying up.
    #[arg(long)]
    once: bool,
}

/// Installs what is missing, builds, brings the demo up, sends requests, and stays up until Ctrl-C.
///
/// # Errors
/// When a step fails; with `--once` also when the traffic is not as the config says.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&[Part::Build, Part::Lab])?;
    setup::ensure_bpffs()?;
    let binary = build()?;
    if !nix::unistd::geteuid().is_root() {
        return run_as_root(options);
    }
    show(options, &binary)
}

/// The lab from its first namespace to its last.
fn show(options: &Options, binary: &Path) -> Result<()> {
    let clock = Clock::start();
    let lab = Lab::build(Topology::demo())?;
    clock.say(&format!(
        "lab {} is up: a client, a gateway, two container hosts, two projects with the same addresses",
        lab.id()
    ));
    let example = workspace::root().join("examples/demo.toml");
    let text = fs::read_to_string(&example).with_context(|| format!("read {}", example.display()))?;
    let balancer = Balancer::start(&lab, binary, &lab.with_own_paths(&text)?)?;
    clock.say("balancer runs on examples/demo.toml (a copy whose pins, state and admin socket are the lab's own)");

    // From here on Ctrl-C waits until somebody asks. Before, it ends the process and the lab's guardian cleans up;
    // the daemon is already running, and the threads of the servers inherit this.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("block the signals")?;
    let servers = lab.start_name_servers()?;
    clock.say("every container answers with its name");

    let answers = traffic::send(&lab.ns("client"))?;
    clock.say("requests sent");
    process::print(&format!("\nWho answered\n{}", table::answers(&answers)));
    let status = balancer.status()?;
    process::print(&format!("What the gateway counted\n{}", table::counters(&status)));
    if options.once {
        answers.iter().try_for_each(Answers::check)?;
        table::check_counters(&status)?;
        clock.say("proved: every backend answered, by its weight, and each project only for itself");
    } else {
        process::print(&commands(&lab, &balancer));
        signals.wait().context("wait for Ctrl-C")?;
        eprintln!();
        clock.say("stopping");
    }
    drop((servers, balancer, lab));
    clock.say("everything is removed");
    Ok(())
}

/// Builds the daemon; the path of the binary.
fn build() -> Result<PathBuf> {
    let mut command = workspace::cargo("build");
    command.args(["--release", "--package", "balancer-user", "--bin", "balancer"]);
    process::step("build the daemon (release)", command)?;
    Ok(workspace::target_dir()?.join("release/balancer"))
}

/// Namespaces need root; the build above must not be root's, or its files would be.
fn run_as_root(options: &Options) -> Result<()> {
    let program = std::env::current_exe().context("find the running program")?;
    let mut command = process::as_root(&program.to_string_lossy())?;
    command.arg("run").args(options.once.then_some("--once"));
    process::note("namespaces need root: going on with sudo");
    let status = command.status().with_context(|| format!("start `{}`", process::show(&command)))?;
    anyhow::ensure!(status.success(), "the demo ended with {status}");
    Ok(())
}

fn commands(lab: &Lab, balancer: &Balancer) -> String {
    let [client, gateway, fabric] = ["client", "gw", "fabric"].map(|role| lab.ns(role).enter());
    let (config, log) = (lab.config_path(), lab.data_dir().join("gw-balancer.log"));
    let status = balancer.status_command();
    format!(
        "Play with it, as root in another terminal\n\
         \x20 {client} curl http://203.0.113.10/\n\
         \x20 {client} curl 'http://[2001:db8:f::20]/'\n\
         \x20 {client} hey -n 2000 -disable-keepalive http://203.0.113.10/\n\
         \x20 {status}\n\
         \x20 {status} --json\n\
         \x20 {gateway} curl http://127.0.0.1:9100/metrics\n\
         \x20 {fabric} tcpdump -ni gw0 udp port 4789\n\
         \x20 edit {} and see the daemon follow: tail -f {}\n\
         Ctrl-C stops it and removes everything.",
        config.display(),
        log.display()
    )
}

/// Says what happened, and when.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn say(&self, text: &str) {
        process::note(&format!("[{:>6}] {text}", process::seconds(self.0.elapsed())));
    }
}
