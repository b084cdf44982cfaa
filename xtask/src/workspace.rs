//! Turns the running process into the places of the workspace: its root, its target directory, its packages.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::process;

/// Directories of the workspace's packages.
pub const PACKAGES: [&str; 5] = ["balancer-common", "balancer-ebpf", "balancer-user", "xtask", "tests"];

/// The workspace's root: the parent of the package that cargo runs, or of the one that was compiled.
#[must_use]
pub fn root() -> PathBuf {
    let package =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// Cargo's target directory of this workspace, whatever environment or config say.
pub fn target_dir() -> Result<PathBuf> {
    let mut command = cargo("metadata");
    command.args(["--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&process::capture(&mut command)?)?;
    let dir = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(dir))
}

/// `cargo SUBCOMMAND` at the workspace's root, with the cargo that runs us.
#[must_use]
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(root());
    // Set for us by `cargo run`; a nested cargo that passes them on would make build scripts run again and again.
    for name in env::vars_os().map(|(name, _)| name) {
        let inner =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if inner {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_lies_below_the_root() {
        for package in PACKAGES {
            assert!(root().join(package).join("Cargo.toml").exists(), "{package}");
        }
    }
}
