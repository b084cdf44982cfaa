//! Turns a list of what is wanted (to build, to run the lab, to check) into a machine that has it, step by step.

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::process;

pub mod apt;
mod cargo_tools;
pub mod lab_python;
mod lab_tools;
mod toolchain;

pub use toolchain::has_clippy;

/// What a machine may be set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The eBPF toolchain and bpf-linker.
    Build,
    /// What `cargo xtask run` and `cargo xtask test` drive: namespaces, servers, clients, capture.
    Lab,
    /// What `cargo xtask check` runs: cargo-deny, clippy for BPF code.
    Check,
    /// What the fuzz targets of `cargo xtask test --long` need: cargo-fuzz and a C++ compiler.
    Fuzz,
}

impl Part {
    /// Every part, in the order in which they build on each other.
    pub const ALL: [Self; 4] = [Self::Build, Self::Lab, Self::Check, Self::Fuzz];
}

/// Installs what is missing for each part; what is there is skipped. The error says what to run by hand.
pub fn run(parts: &[Part]) -> Result<()> {
    for part in parts {
        match part {
            Part::Build => {
                let chosen = toolchain::ensure()?;
                cargo_tools::ensure_bpf_linker(&chosen)?;
            }
            Part::Lab => {
                lab_tools::ensure()?;
                lab_python::ensure()?;
            }
            Part::Check => {
                toolchain::ensure_clippy();
                cargo_tools::ensure_cargo_deny()?;
            }
            Part::Fuzz => cargo_tools::ensure_cargo_fuzz()?,
        }
    }
    Ok(())
}

/// Mounts the BPF file system where maps and links are pinned, when it is not there.
pub fn ensure_bpffs() -> Result<()> {
    const PLACE: &str = "/sys/fs/bpf";
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    if is_mounted(&mounts, PLACE) {
        return Ok(());
    }
    let mut mount = process::as_root("mount")?;
    mount.args(["-t", "bpf", "bpf", PLACE]);
    if let Err(error) = process::step(&format!("mount the BPF file system at {PLACE}"), mount) {
        bail!("{error:#}\nrun by hand: mount -t bpf bpf {PLACE}");
    }
    Ok(())
}

fn is_mounted(mounts: &str, place: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(place) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpffs_counts_only_at_its_place_and_of_its_kind() {
        assert!(is_mounted("sysfs /sys sysfs rw 0 0\nnone /sys/fs/bpf bpf rw 0 0\n", "/sys/fs/bpf"));
        assert!(!is_mounted("none /sys/fs/bpf tmpfs rw 0 0\n", "/sys/fs/bpf"));
        assert!(!is_mounted("none /run/bpf bpf rw 0 0\n", "/sys/fs/bpf"));
    }
}
