//! One namespace of a lab: turns programs and closures into programs and closures that run inside it.

use std::{
    ffi::OsStr,
    fs::File,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::service::Service;

/// A network namespace. Mounts are the machine's, so pins below `/sys/fs/bpf` are visible inside
/// (`ip netns exec` would mount another `/sys`).
#[derive(Clone, Debug)]
pub struct Ns {
    role: String,
    path: PathBuf,
    data: PathBuf,
}

impl Ns {
    /// How long [`Ns::run`] lets a program run.
    pub const RUN_LIMIT: Duration = Duration::from_secs(60);

    pub(super) fn new(id: &str, role: &str, data: PathBuf) -> Self {
        Self { role: role.into(), path: PathBuf::from(format!("/run/netns/{id}-{role}")), data }
    }

    /// What the namespace is in the lab: `client`, `gw`, `red-web-1`.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The start of a command line that runs the rest inside, for people.
    #[must_use]
    pub fn enter(&self) -> String {
        format!("nsenter --net={}", self.path.display())
    }

    /// A command that runs `program` inside. Its process id is the program's, because `nsenter` replaces itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path.display())).arg(program);
        command
    }

    /// Runs a program to its end, for at most [`Ns::RUN_LIMIT`].
    ///
    /// # Errors
    /// When it cannot start or fails; with what it printed.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Result<Output> {
        self.run_for(Self::RUN_LIMIT, words)
    }

    /// Runs a program to its end, for at most `limit`.
    ///
    /// # Errors
    /// When it cannot start, fails or runs longer; with what it printed.
    pub fn run_for<S: AsRef<OsStr>>(&self, limit: Duration, words: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut command = self.command("timeout");
        command.arg("--kill-after=1").arg(format!("{:.3}", limit.as_secs_f64())).args(words);
        checked(&mut command).with_context(|| format!("in the namespace {}", self.role))
    }

    /// What a program prints, as text; otherwise like [`Ns::run`].
    ///
    /// # Errors
    /// Those of [`Ns::run`].
    pub fn text<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.run(words)?.stdout).into_owned())
    }

    /// Starts a long-lived program made with [`Ns::command`]; its output goes to `<role>-<name>.log` in the lab's directory.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Service> {
        Service::start(name, command, &self.data.join(format!("{}-{name}.log", self.role)))
    }

    /// Runs a closure on a thread inside. Sockets it opens stay in the namespace, whoever uses them later.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When the closure panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = File::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
            match entered.join() {
                Ok(result) => result.with_context(|| format!("enter the namespace {}", self.role)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot start or fails; with the command line and what it printed.
pub fn checked(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?}: {}\n{}\n{}", output.status, tail(&stdout), tail(&stderr));
    }
    Ok(output)
}

/// The last lines of a text, enough for an error message.
#[must_use]
pub fn tail(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
