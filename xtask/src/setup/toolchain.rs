//! Turns what the machine offers (a distribution with a recent Rust, or rustup) into a toolchain that builds eBPF programs.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{
    ebpf::{self, NIGHTLY, RUSTC_MIN, TOOLCHAIN_VARIABLE, Toolchain, Version},
    process,
};

/// Debian's compiler for the web browsers: recent in every release, with its own library source.
const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The toolchain together with its versions.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Where it is.
    pub(super) toolchain: Toolchain,
    /// Of its compiler and LLVM.
    pub(super) version: Version,
}

/// Takes the toolchain that is there; else installs the distribution's, where it is recent enough; else rustup's nightly.
pub(super) fn ensure() -> Result<Chosen> {
    if let Ok(toolchain) = Toolchain::choose() {
        let chosen = inspect(toolchain)?;
        process::note(&format!(
            "build: eBPF toolchain {} with LLVM {} is there",
            chosen.toolchain.name, chosen.version.llvm
        ));
        return Ok(chosen);
    }
    let wanted = std::env::var(TOOLCHAIN_VARIABLE).ok();
    match wanted.as_deref() {
        None => {
            if distribution_offers_compiler() {
                apt::install("build", &COMPILER_PACKAGES)?;
            } else {
                install_with_rustup(NIGHTLY)?;
            }
        }
        Some(ebpf::DEBIAN) => apt::install("build", &COMPILER_PACKAGES)?,
        Some(name) => install_with_rustup(name)?,
    }
    inspect(Toolchain::choose()?)
}

/// Clippy for BPF code, where its toolchain can have one. Without it `cargo xtask check` only compiles that code, and says so.
pub(super) fn ensure_clippy() {
    let Ok(toolchain) = Toolchain::choose() else { return };
    if has_clippy(&toolchain) {
        process::note("check: clippy for BPF code is there");
        return;
    }
    let installed = if toolchain.name == ebpf::DEBIAN {
        apt::install("check", &["rust-web-clippy"])
    } else {
        let mut command = Command::new("rustup");
        command.args(["component", "add", "clippy", "--toolchain", &toolchain.name]);
        process::step("check: add clippy for BPF code", command).map(drop)
    };
    if let Err(error) = installed {
        process::note(&format!("check: no clippy for BPF code: {error:#}"));
    }
}

/// Whether a toolchain has clippy.
#[must_use]
pub fn has_clippy(toolchain: &Toolchain) -> bool {
    ["cargo-clippy", "clippy-driver"].iter().all(|program| toolchain.sysroot.join("bin").join(program).exists())
}

fn inspect(toolchain: Toolchain) -> Result<Chosen> {
    let version =
        toolchain.version().with_context(|| format!("{}: rustc does not run", toolchain.sysroot.display()))?;
    Ok(Chosen { toolchain, version })
}

fn distribution_offers_compiler() -> bool {
    let offers = || apt::candidate("rustc-web").is_some_and(|version| is_recent(&version));
    // The release's own archive has an older one than its security archive: lists that were never fetched hide that.
    offers() || (process::find("apt-get").is_some() && apt::update().is_ok() && offers())
}

fn is_recent(package_version: &str) -> bool {
    let mut numbers = package_version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= RUSTC_MIN,
        _ => false,
    }
}

fn install_with_rustup(name: &str) -> Result<()> {
    let by_hand = format!("rustup toolchain install {name} --profile minimal --component rust-src");
    if process::find("rustup").is_none() {
        bail!(
            "no toolchain can build the eBPF programs: the distribution has no rustc-web {}.{} or later, and there is no rustup.\n\
             Install rustup (https://rustup.rs), then run: {by_hand}",
            RUSTC_MIN.0,
            RUSTC_MIN.1
        );
    }
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", name, "--profile", "minimal", "--component", "rust-src"]);
    process::step(&format!("build: install toolchain {name}"), command)
        .map(drop)
        .with_context(|| format!("run by hand: {by_hand}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_compiler_older_than_the_workspace_is_not_taken() {
        assert!(is_recent("1.96.0+dfsg1-1~deb12u2"));
        assert!(is_recent("2.0.0"));
        assert!(!is_recent("1.85.0+dfsg3-1~deb12u3"));
        assert!(!is_recent("unknown"));
    }
}
