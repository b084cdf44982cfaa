//! Turns a desired state into a loaded and filled datapath of its own, in a network namespace of its own, that frames can be run through.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{ProgramFd, loaded_programs};
use balancer_common::verdict::Reason;
use balancer_user::{
    datapath::{Datapath, Options, detach},
    model::{Desired, NetworkView},
    reconcile::{Reconciler, Report, Upkeep, Wish},
};
use nix::sched::{CloneFlags, unshare};

use super::{
    clock::Clock,
    programs::{Input, Program, Programs},
    world,
};

/// A gateway without a daemon.
pub struct Gateway {
    /// What it should be doing; [`apply`](Gateway::apply) makes it so.
    pub desired: Desired,
    /// The kernel's routes as it is told.
    pub view: NetworkView,
    /// The maps.
    pub datapath: Datapath,
    /// What fills them.
    pub reconciler: Reconciler,
    /// Its interfaces.
    pub ports: Ports,
    /// The config's number.
    pub generation: u64,
    /// By how much the daemon's clock is ahead, ns.
    pub ahead_ns: u64,
    /// By how much budgets fill up more slowly than the config says; 1 unless a test says otherwise before the first change.
    pub slower: u64,
    programs: Programs,
    pin_dir: PathBuf,
}

/// Interface indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Towards the clients.
    pub public: u32,
    /// Towards the hosts.
    pub underlay: u32,
}

/// Frames counted by reason.
pub type Reasons = BTreeMap<&'static str, u64>;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP action.
    pub action: u32,
    /// The reason that was counted, by name.
    pub reason: &'static str,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

impl Gateway {
    /// The gateway of [`world::desired`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn start() -> Result<Self> {
        Self::with(|_| {})
    }

    /// The gateway of a changed [`world::desired`]. Moves the calling thread into a network namespace of its own.
    ///
    /// # Errors
    /// The kernel's.
    pub fn with(change: impl FnOnce(&mut Desired)) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace; these tests need root")?;
        let ports = Ports { public: interface("pub0")?, underlay: interface("und0")? };
        let pin_dir = next_pin_dir();
        let mut desired = world::desired(pin_dir.clone());
        change(&mut desired);
        let datapath = Datapath::open(&Options { pin_dir: pin_dir.clone(), flows_max: desired.gateway.flows_max })?;
        let mut programs = Programs::load()?;
        programs.test(&program_file(datapath.status()?.id)?)?;
        let view = world::view(ports.public, ports.underlay);
        let reconciler = Reconciler::new();
        let mut gateway = Self {
            desired,
            view,
            datapath,
            reconciler,
            ports,
            programs,
            generation: 1,
            ahead_ns: 0,
            slower: 1,
            pin_dir,
        };
        gateway.apply()?;
        Ok(gateway)
    }

    /// Makes the maps say what `desired` and `view` say now.
    ///
    /// # Errors
    /// The reconciler's.
    pub fn apply(&mut self) -> Result<Report> {
        let ports = [self.ports.public, self.ports.underlay];
        let wish = Wish { desired: &self.desired, generation: self.generation, view: &self.view, ports: &ports };
        let mut tables = Clock { datapath: &mut self.datapath, ahead_ns: self.ahead_ns, slower: self.slower };
        Ok(self.reconciler.reconcile(&wish, &mut tables)?)
    }

    /// What the daemon does every second.
    ///
    /// # Errors
    /// The reconciler's.
    pub fn maintain(&mut self) -> Result<Upkeep> {
        let mut tables = Clock { datapath: &mut self.datapath, ahead_ns: self.ahead_ns, slower: self.slower };
        Ok(self.reconciler.maintain(&mut tables)?)
    }

    /// What a daemon does that was stopped and started: everything it knows it reads from the pinned maps.
    ///
    /// # Errors
    /// The kernel's.
    pub fn restart(&mut self) -> Result<Report> {
        let options = Options { pin_dir: self.pin_dir.clone(), flows_max: self.desired.gateway.flows_max };
        self.datapath = Datapath::open(&options)?;
        self.programs.test(&program_file(self.datapath.status()?.id)?)?;
        self.reconciler = Reconciler::new();
        self.apply()
    }

    /// Where its maps are pinned.
    #[must_use]
    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// Runs a client's frame.
    ///
    /// # Errors
    /// The kernel's, or not exactly one reason was counted.
    pub fn from_client(&self, frame: &[u8]) -> Result<Outcome> {
        self.run(Input { frame, ingress: self.ports.public, linear: frame.len() })
    }

    /// Runs a host's frame.
    ///
    /// # Errors
    /// As [`from_client`](Gateway::from_client).
    pub fn from_host(&self, frame: &[u8]) -> Result<Outcome> {
        self.run(Input { frame, ingress: self.ports.underlay, linear: frame.len() })
    }

    /// Runs a frame, with 0xff in front of it.
    ///
    /// # Errors
    /// As [`from_client`](Gateway::from_client).
    pub fn run(&self, input: Input<'_>) -> Result<Outcome> {
        let before = self.reasons()?;
        self.run_after(input, &before).map(|(outcome, _)| outcome)
    }

    /// The same when the counters are known; gives them as they are afterwards.
    ///
    /// # Errors
    /// As [`run`](Gateway::run).
    pub fn run_after(&self, input: Input<'_>, before: &Reasons) -> Result<(Outcome, Reasons)> {
        let ran = self.programs.run(Program::Poison, input)?;
        let after = self.reasons()?;
        let mut counted = Vec::new();
        for (reason, count) in &after {
            let more = count - before.get(reason).copied().unwrap_or(0);
            counted.extend((0..more).map(|_| *reason));
        }
        ensure!(counted.len() == 1, "action {}: counted {counted:?}", ran.action);
        Ok((Outcome { action: ran.action, reason: counted[0], frame: ran.frame }, after))
    }

    /// Frames counted by reason.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reasons(&self) -> Result<Reasons> {
        Ok(self.datapath.reasons()?.into_iter().map(|(reason, count): (Reason, u64)| (reason.name(), count)).collect())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Err(error) = detach(&self.pin_dir) {
            eprintln!("{} stays behind: {error}", self.pin_dir.display());
        }
    }
}

/// A directory that no other test of this machine uses.
fn next_pin_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/sys/fs/bpf/frames-{}-{number}", std::process::id()))
}

/// Makes one end of a veth pair; its index.
fn interface(name: &str) -> Result<u32> {
    let peer = format!("{name}-peer");
    let mut command = Command::new("ip");
    let made = command.args(["link", "add", name, "type", "veth", "peer", "name", &peer]).output()?;
    ensure!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    let shown = Command::new("ip").args(["-o", "link", "show", "dev", name]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    shown.split(':').next().and_then(|index| index.trim().parse().ok()).with_context(|| format!("{name}: {shown}"))
}

/// The file of a loaded program.
///
/// # Errors
/// There is none, or the kernel's.
pub fn program_file(id: u32) -> Result<ProgramFd> {
    for program in loaded_programs() {
        // A program may go while its id is read.
        let Ok(program) = program else { continue };
        if program.id() == id {
            return Ok(program.fd()?);
        }
    }
    bail!("no program {id}")
}
