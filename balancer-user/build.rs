//! Turns the `balancer-ebpf` package into `OUT_DIR/balancer-ebpf`, the object that the datapath embeds.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/ebpf.rs"]
mod ebpf;

use ebpf::{Build, Error, TOOLCHAIN_VARIABLE, Toolchain};

fn main() -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    watch(workspace);
    match build(workspace) {
        Ok(said) => {
            // Silence means a clean build: progress lines are cargo's own, warnings are ours to show.
            if said.contains("warning:") {
                said.lines().for_each(|line| println!("cargo::warning={line}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build(workspace: &Path) -> Result<String, Error> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH for build scripts");
    let build = Build { workspace: workspace.to_owned(), target_dir: shared_target_dir(&out_dir).join("ebpf"), arch };
    build.object(&Toolchain::choose()?, "balancer-ebpf", &out_dir.join("balancer-ebpf"))
}

/// The outer build's target directory, so that all its profiles share one nested build; it is the nearest one that cargo tagged.
fn shared_target_dir(out_dir: &Path) -> &Path {
    out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists()).unwrap_or(out_dir)
}

/// Names everything that the object depends on.
fn watch(workspace: &Path) {
    for part in [
        "balancer-ebpf/src",
        "balancer-ebpf/Cargo.toml",
        "balancer-common/src",
        "balancer-common/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
        "xtask/src/ebpf.rs",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
}
