//! Turns a test's wish for a datapath of its own into a pin directory and a network namespace that end with the test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sched::{CloneFlags, unshare};

use crate::datapath::{Datapath, Options, detach};

/// A pin directory that is removed, with its links, when the test ends.
pub struct PinDir(PathBuf);

impl PinDir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/sys/fs/bpf/test-{}-{number}", std::process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn options(&self) -> Options {
        Options { pin_dir: self.0.clone(), flows_max: 4096 }
    }

    pub fn maps(&self) -> Datapath {
        Datapath::open_maps(&self.options()).unwrap()
    }

    pub fn open(&self) -> Datapath {
        Datapath::open(&self.options()).unwrap()
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        detach(&self.0).unwrap();
    }
}

/// Moves the test's own thread into a new network namespace with the veth pair near - far, up; both end with the thread.
pub fn enter_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
    add_veth();
}

/// Makes the pair near - far.
pub fn add_veth() {
    ip("link add near type veth peer name far");
    for interface in ["near", "far"] {
        // No duplicate address detection: addresses must work at once.
        std::fs::write(format!("/proc/thread-self/net/../../sys/net/ipv6/conf/{interface}/accept_dad"), "0").ok();
        ip(&format!("link set {interface} up"));
    }
}

/// Runs `ip` in the thread's namespace.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
