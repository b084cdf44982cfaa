//! Turns the tools that are built from source with cargo into installed programs of exactly the version wanted.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{apt, toolchain::Chosen};
use crate::{ebpf, process, workspace};

/// Links LLVM bitcode into BPF objects; has to share LLVM's major version with the compiler.
const BPF_LINKER: &str = "0.13.0";
/// Major versions of LLVM that this bpf-linker can be built with, less those without `allows-misaligned-mem-access`.
const BPF_LINKER_LLVM: std::ops::RangeInclusive<u32> = ebpf::LLVM_MIN..=23;
/// Checks licences, bans, sources and advisories.
const CARGO_DENY: &str = "0.20.2";

/// Drives libFuzzer.
const CARGO_FUZZ: &str = "0.13.2";

/// Installs bpf-linker against the toolchain's LLVM.
pub(super) fn ensure_bpf_linker(chosen: &Chosen) -> Result<()> {
    let llvm = chosen.version.llvm;
    if has_version("bpf-linker", BPF_LINKER) && linked_llvm().is_none_or(|linked| linked == llvm) {
        process::note(&format!("build: bpf-linker {BPF_LINKER} is there"));
        return Ok(());
    }
    if !BPF_LINKER_LLVM.contains(&llvm) {
        bail!(
            "bpf-linker {BPF_LINKER} cannot be built with LLVM {llvm}; choose another toolchain with {}",
            ebpf::TOOLCHAIN_VARIABLE
        );
    }
    let prefix = format!("/usr/lib/llvm-{llvm}");
    ensure_llvm(llvm, &prefix)?;
    let mut command = install("bpf-linker", BPF_LINKER);
    command.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]).env("LLVM_PREFIX", &prefix);
    let by_hand = format!("LLVM_PREFIX={prefix} {}", process::show(&command));
    process::step("build: bpf-linker from source (about a minute)", command)
        .with_context(|| format!("run by hand: {by_hand}"))?;
    Ok(())
}

/// Installs cargo-deny, wherever it is not there; any version will do that is not older.
pub(super) fn ensure_cargo_deny() -> Result<()> {
    if process::find("cargo-deny").is_some() {
        process::note("check: cargo-deny is there");
        return Ok(());
    }
    apt::install("check", &missing_compilers())?;
    let command = install("cargo-deny", CARGO_DENY);
    let by_hand = process::show(&command);
    process::step("check: cargo-deny from source (about four minutes)", command)
        .with_context(|| format!("run by hand: {by_hand}"))?;
    Ok(())
}

/// Installs cargo-fuzz likewise. Its targets are linked with libFuzzer, which is C++.
pub(super) fn ensure_cargo_fuzz() -> Result<()> {
    apt::install("fuzz", &missing_compilers())?;
    if process::find("cargo-fuzz").is_some() {
        process::note("fuzz: cargo-fuzz is there");
        return Ok(());
    }
    let command = install("cargo-fuzz", CARGO_FUZZ);
    let by_hand = process::show(&command);
    process::step("fuzz: cargo-fuzz from source (about two minutes)", command)
        .with_context(|| format!("run by hand: {by_hand}"))?;
    Ok(())
}

fn install(package: &str, version: &str) -> Command {
    let mut command = workspace::cargo("install");
    command.args([package, "--version", version, "--locked", "--force"]);
    command
}

fn ensure_llvm(llvm: u32, prefix: &str) -> Result<()> {
    let mut packages = missing_compilers();
    let development = format!("llvm-{llvm}-dev");
    if !Path::new(prefix).join("bin/llvm-config").exists() {
        packages.push(&development);
        if apt::candidate(&development).is_none() && (apt::update().is_err() || apt::candidate(&development).is_none())
        {
            bail!(
                "bpf-linker needs LLVM {llvm}, and this distribution has no {development}. Do one of these, then run the command again:\n    \
                 add https://apt.llvm.org and install {development}\n    cargo binstall bpf-linker@{BPF_LINKER}"
            );
        }
    }
    apt::install("build", &packages)
}

/// What building from source needs beside cargo: a C and a C++ compiler.
fn missing_compilers() -> Vec<&'static str> {
    [("cc", "gcc"), ("c++", "g++"), ("pkg-config", "pkg-config")]
        .into_iter()
        .filter(|(program, _)| process::find(program).is_none())
        .map(|(_, package)| package)
        .collect()
}

/// Whether a program is there, runs (its shared libraries are there too) and is of this version.
fn has_version(program: &str, version: &str) -> bool {
    let Some(path) = process::find(program) else { return false };
    process::capture(Command::new(path).arg("--version"))
        .is_ok_and(|said| said.split_whitespace().any(|word| word == version))
}

/// Major version of the LLVM that bpf-linker loads; `None` when LLVM is part of the program.
fn linked_llvm() -> Option<u32> {
    let libraries = process::capture(Command::new("ldd").arg(process::find("bpf-linker")?)).ok()?;
    llvm_of(&libraries)
}

fn llvm_of(libraries: &str) -> Option<u32> {
    let name = libraries.split_whitespace().find_map(|word| word.strip_prefix("libLLVM"))?;
    name.trim_start_matches(['.', '-']).trim_start_matches("so.").split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linked_llvm_is_read_from_the_library_name() {
        assert_eq!(llvm_of("\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x0)"), Some(22));
        assert_eq!(llvm_of("\tlibLLVM-19.so.1 => /x (0x0)"), Some(19));
        assert_eq!(llvm_of("\tlibc.so.6 => /lib/libc.so.6 (0x0)"), None);
    }

    #[test]
    fn program_of_another_version_counts_as_missing() {
        assert!(!has_version("sh", "0.0.0-never"));
        assert!(!has_version("no-such-program-here", "1"));
    }
}
