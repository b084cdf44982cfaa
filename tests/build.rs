//! Turns the measuring and testing programs of the `balancer-ebpf` package into `OUT_DIR/balancer-bench`, the object that the tests embed.

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
    for part in ["balancer-ebpf/src", "balancer-ebpf/Cargo.toml", "Cargo.toml", "Cargo.lock", "xtask/src/ebpf.rs"] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    match build(workspace) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build(workspace: &Path) -> Result<String, Error> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH for build scripts");
    // The nearest directory that cargo tagged: the outer build's target directory, shared with `balancer-user/build.rs`.
    let target_dir = out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists()).unwrap_or(&out_dir);
    let build = Build { workspace: workspace.to_owned(), target_dir: target_dir.join("ebpf"), arch };
    build.object(&Toolchain::choose()?, "balancer-bench", &out_dir.join("balancer-bench"))
}
