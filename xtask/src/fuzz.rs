//! Turns the fuzz targets of `fuzz/` into a short run of each, from its committed corpus.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    setup::{self, Part},
    workspace,
};

/// Seconds that each target runs in `cargo xtask test --long`.
const SECONDS: u32 = 20;
/// Bytes of the longest input: a record of the slow path, or a config of some length.
const LENGTH_MAX: u32 = 10_000;
/// The targets, the files of `fuzz/fuzz_targets`.
pub const TARGETS: [&str; 5] = ["walk", "quote", "headers", "record", "config"];

/// Runs every target; what one of them finds fails, and stays below `fuzz/artifacts`.
pub fn run() -> Result<()> {
    setup::run(&[Part::Fuzz])?;
    let scratch = workspace::target_dir()?.join("fuzz-corpus");
    let mut found = Vec::new();
    for target in TARGETS {
        // What is new goes into the first corpus; the committed one is only read.
        let new = scratch.join(target);
        fs::create_dir_all(&new).with_context(|| format!("make {}", new.display()))?;
        let mut command = fuzz(&["run", "--sanitizer", "none", target]);
        command.arg(&new).arg(workspace::root().join("fuzz/corpus").join(target));
        command.args(["--", &format!("-max_total_time={SECONDS}"), &format!("-max_len={LENGTH_MAX}")]);
        command.args(["-print_final_stats=1", "-verbosity=0"]);
        if process::step(&format!("fuzz {target} for {SECONDS} s"), command).is_err() {
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!("the fuzz targets {} found something: see fuzz/artifacts", found.join(", "));
    }
    Ok(())
}

/// `cargo fuzz`. A stable compiler takes the flags of the coverage's instrumentation under this variable; no address sanitizer is
/// needed, since there is next to no `unsafe` to check.
fn fuzz(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo("fuzz");
    command.args(arguments).env("RUSTC_BOOTSTRAP", "1");
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_has_its_program_and_a_corpus() {
        let fuzz = workspace::root().join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        let named: BTreeSet<&str> =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
        let wanted: Vec<String> = TARGETS.iter().map(|target| format!("{target}.rs\"")).collect();
        assert_eq!(named, wanted.iter().map(String::as_str).collect());
        for target in TARGETS {
            let corpus = fs::read_dir(fuzz.join("corpus").join(target)).unwrap();
            assert!(corpus.count() > 0, "{target} has no corpus");
        }
    }
}
