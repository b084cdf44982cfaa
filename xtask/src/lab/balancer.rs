//! Runs the `balancer` daemon in a lab's gateway: turns config text into a ready daemon, and its answers into values.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Lab, Ns,
    config::Paths,
    namespace::{checked, tail},
    service::Service,
};

/// A daemon in the namespace `gw`. Dropping it kills it; the lab removes its pins.
#[derive(Debug)]
pub struct Balancer {
    binary: PathBuf,
    config: PathBuf,
    admin_socket: PathBuf,
    gateway: Ns,
    service: Service,
}

impl Lab {
    /// Starts the daemon of [`find_binary`] and waits until it is ready.
    ///
    /// # Errors
    /// When there is no binary, or the daemon ends or is not ready in time; with the end of its log.
    pub fn start_balancer(&self, config: &str) -> Result<Balancer> {
        Balancer::start(self, &find_binary()?, config)
    }

    /// Where the daemon's config file is.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.data_dir().join("config").join("balancer.toml")
    }

    /// The text of a config for a real gateway with the lab's own pin directory, state directory and admin socket.
    ///
    /// # Errors
    /// When it has no `[gateway]` table.
    pub fn with_own_paths(&self, text: &str) -> Result<String> {
        Paths::new(self).insert(text).context("the config has no line `[gateway]`")
    }
}

impl Balancer {
    /// How long the daemon may take to become ready, and to follow a change.
    pub const READY_LIMIT: Duration = Duration::from_secs(20);
    /// How long it may take to stop.
    const STOP_LIMIT: Duration = Duration::from_secs(10);

    /// Starts `binary` with this config and waits until it is ready.
    ///
    /// # Errors
    /// When the daemon ends or is not ready in time; with the end of its log.
    pub fn start(lab: &Lab, binary: &Path, config: &str) -> Result<Self> {
        let (path, gateway) = (lab.config_path(), lab.ns("gw"));
        let paths = Paths::new(lab);
        for directory in [path.parent().context("the config has a directory")?, &paths.state_dir] {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        replace_file(&path, config)?;
        let service = launch(&gateway, binary, &path)?;
        let mut balancer =
            Self { binary: binary.into(), config: path, admin_socket: paths.admin_socket, gateway, service };
        balancer.wait_ready()?;
        Ok(balancer)
    }

    /// Starts the daemon again after [`Balancer::kill`] or [`Balancer::terminate`], with the config file as it is.
    ///
    /// # Errors
    /// Those of [`Balancer::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.service = launch(&self.gateway, &self.binary, &self.config)?;
        self.wait_ready()
    }

    /// Kills the daemon with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.service.signal(Signal::SIGKILL)?;
        self.service.wait(Self::STOP_LIMIT)?;
        Ok(())
    }

    /// Stops the daemon with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time, or not with status 0; with the end of its log.
    pub fn terminate(&mut self) -> Result<()> {
        self.service.signal(Signal::SIGTERM)?;
        let status = self.service.wait(Self::STOP_LIMIT)?;
        if !status.success() {
            bail!("the daemon stopped with {status}\n{}", tail(&self.log()));
        }
        Ok(())
    }

    /// Asks the daemon to read its config again (SIGHUP).
    ///
    /// # Errors
    /// When it has ended.
    pub fn reload(&self) -> Result<()> {
        self.service.signal(Signal::SIGHUP)
    }

    /// Replaces the config file at once, as an editor or a deployment does; the daemon is expected to notice.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn rewrite_config(&self, text: &str) -> Result<()> {
        replace_file(&self.config, text)
    }

    /// What `balancer status --json` says.
    ///
    /// # Errors
    /// When the daemon does not answer, or not with JSON.
    pub fn status(&self) -> Result<Value> {
        let mut command = self.gateway.command(&self.binary);
        command.args(["status", "--json", "--admin-socket"]).arg(&self.admin_socket);
        serde_json::from_slice(&checked(&mut command)?.stdout).context("the status is not JSON")
    }

    /// Waits until the status is as wanted, and returns it.
    ///
    /// # Errors
    /// When it is not within [`Balancer::READY_LIMIT`]; with the last status and the end of the log.
    pub fn wait_status(&self, wanted: &str, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Self::READY_LIMIT;
        loop {
            let status = self.status()?;
            if is_wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("status never says: {wanted}\n{status:#}\n{}", tail(&self.log()));
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn metrics(&self) -> Result<String> {
        self.gateway.text([
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "5",
            "http://127.0.0.1:9100/metrics",
        ])
    }

    /// Runs another subcommand on the config file: `check`, `detach`. Returns what it printed, whether it succeeded or not.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn subcommand(&self, name: &str) -> Result<Output> {
        let mut command = self.gateway.command(&self.binary);
        command.arg(name).arg("--config").arg(&self.config);
        command.output().with_context(|| format!("start {command:?}"))
    }

    /// What the daemon logged, over all its restarts.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// The command line that asks this daemon for its status, for people.
    #[must_use]
    pub fn status_command(&self) -> String {
        format!("{} status --admin-socket {}", self.binary.display(), self.admin_socket.display())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Self::READY_LIMIT;
        loop {
            if !self.service.alive()? {
                bail!("the daemon ended instead of becoming ready\n{}", tail(&self.log()));
            }
            let Err(error) = self.status() else { return Ok(()) };
            if Instant::now() > deadline {
                bail!("the daemon is not ready after {:?}: {error:#}\n{}", Self::READY_LIMIT, tail(&self.log()));
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// The daemon to test: `$BALANCER_BIN`, else the one built beside the running program.
///
/// # Errors
/// When there is none; with what to run.
pub fn find_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BALANCER_BIN") {
        return Ok(path.into());
    }
    let program = std::env::current_exe().context("find the running program")?;
    // target/debug/xtask, or target/debug/deps/<test>.
    let beside = program.ancestors().skip(1).take(2).map(|directory| directory.join("balancer"));
    let profiles = program
        .ancestors()
        .skip(2)
        .take(2)
        .flat_map(|target| ["release", "debug"].map(|profile| target.join(profile).join("balancer")));
    let found = beside.chain(profiles).find(|path| path.is_file());
    found.context("no balancer binary: run `cargo build --package balancer-user`, or set BALANCER_BIN")
}

fn launch(gateway: &Ns, binary: &Path, config: &Path) -> Result<Service> {
    let mut command = gateway.command(binary);
    command.arg("run").arg("--config").arg(config);
    gateway.spawn("balancer", command)
}

/// A rename, so that the daemon never reads half a file.
fn replace_file(path: &Path, text: &str) -> Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, text).with_context(|| format!("write {}", next.display()))?;
    fs::rename(&next, path).with_context(|| format!("replace {}", path.display()))
}
