//! Turns the `balancer-ebpf` package into an object file outside any other build, for reading and disassembling.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    ebpf::{Build, Toolchain},
    process, workspace,
};

/// Builds and prints the object's path and size.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::choose()?;
    process::note(&format!("eBPF programs with toolchain {} ({})", toolchain.name, toolchain.sysroot.display()));
    let object = object(&toolchain)?;
    let bytes = fs::metadata(&object).with_context(|| object.display().to_string())?.len();
    process::print(&format!("{} ({bytes} bytes)", object.display()));
    Ok(())
}

/// The nested build of this workspace, in the directory that `balancer-user/build.rs` uses too.
pub fn build() -> Result<Build> {
    Ok(Build {
        workspace: workspace::root(),
        target_dir: workspace::target_dir()?.join("ebpf"),
        arch: std::env::consts::ARCH.to_owned(),
    })
}

fn object(toolchain: &Toolchain) -> Result<PathBuf> {
    let build = build()?;
    fs::create_dir_all(&build.target_dir)?;
    let object = build.target_dir.join("balancer-ebpf.o");
    let said = build.object(toolchain, "balancer-ebpf", &object)?;
    eprint!("{said}");
    Ok(object)
}
