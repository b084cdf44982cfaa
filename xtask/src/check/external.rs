//! Turns the programs of the Rust toolchain and cargo-deny into results of checks.

use std::process::Command;

use anyhow::Result;

use super::Outcome;
use crate::{
    build_ebpf,
    ebpf::{DEBIAN, Toolchain},
    process, setup, test, workspace,
};

/// Seconds that fetching the database of advisories may take.
const ADVISORIES_TIMEOUT_S: &str = "120";

pub(super) fn format() -> Result<Outcome> {
    if process::find("cargo-fmt").is_none() {
        return Ok(Outcome::Skipped("cargo fmt is not installed (rustup component add rustfmt)".to_owned()));
    }
    let mut command = workspace::cargo("fmt");
    command.args(["--all", "--check"]);
    verdict("cargo fmt", command)
}

pub(super) fn clippy() -> Result<Outcome> {
    let mut command = workspace::cargo("clippy");
    command.args(["--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"]);
    verdict("clippy on host code", command)
}

/// Clippy of the eBPF toolchain over the code that only exists for BPF; without that clippy, its compiler's warnings.
pub(super) fn clippy_bpf() -> Result<Outcome> {
    let toolchain = Toolchain::choose()?;
    let build = build_ebpf::build()?;
    let name = &toolchain.name;
    if setup::has_clippy(&toolchain) {
        let mut command = build.cargo(&toolchain, "clippy");
        // Another clippy than the host's: lints that only one of them knows are no reason to fail.
        command.args(["--", "-D", "warnings", "-A", "unknown_lints"]);
        let outcome = verdict("clippy on BPF code", command)?;
        return Ok(remark(outcome, &format!("clippy of {name}")));
    }
    let command = build.cargo(&toolchain, "check");
    // Denying warnings through the flags would compile `core` once more.
    let outcome = match process::observe("cargo check on BPF code", command)? {
        done if done.status.success() && !done.output.contains("warning:") => Outcome::Passed(String::new()),
        done => Outcome::Failed(done.output),
    };
    let package = if name == DEBIAN { "rust-web-clippy" } else { "the component clippy" };
    Ok(remark(outcome, &format!("compiler warnings of {name} only: {package} is not installed")))
}

pub(super) fn documentation() -> Result<Outcome> {
    let mut command = workspace::cargo("doc");
    command.args(["--workspace", "--no-deps", "--keep-going"]).env("RUSTDOCFLAGS", "-D warnings");
    verdict("cargo doc", command)
}

pub(super) fn deny() -> Result<Outcome> {
    let mut command = workspace::cargo("deny");
    command.args(["--log-level", "error", "check", "licenses", "bans", "sources"]);
    verdict("cargo deny: licences, bans, sources", command)
}

/// Known vulnerabilities. The database is a git repository: a machine that cannot reach it can still be checked for the rest.
pub(super) fn advisories() -> Result<Outcome> {
    let cargo = workspace::cargo("deny");
    let mut command = Command::new("timeout");
    command.arg(ADVISORIES_TIMEOUT_S).arg(cargo.get_program()).args(cargo.get_args());
    command.args(["check", "advisories"]).current_dir(workspace::root());
    let done = process::observe("cargo deny: advisories", command)?;
    if done.status.success() {
        return Ok(Outcome::Passed(String::new()));
    }
    if cannot_fetch(done.status.code(), &done.output) {
        return Ok(Outcome::Skipped("cannot fetch the database of advisories".to_owned()));
    }
    Ok(Outcome::Failed(done.output))
}

pub(super) fn tests() -> Result<Outcome> {
    let done = test::unit(None)?;
    let closing = test::closing_lines(&done.output).iter().map(|line| line.trim()).collect::<Vec<_>>().join("; ");
    Ok(if done.status.success() {
        Outcome::Passed(closing)
    } else {
        Outcome::Failed(format!("tests failed: {closing}"))
    })
}

fn verdict(title: &str, command: Command) -> Result<Outcome> {
    let done = process::observe(title, command)?;
    Ok(if done.status.success() { Outcome::Passed(String::new()) } else { Outcome::Failed(done.output) })
}

fn remark(outcome: Outcome, text: &str) -> Outcome {
    match outcome {
        Outcome::Passed(_) => Outcome::Passed(text.to_owned()),
        failed @ (Outcome::Failed(_) | Outcome::Skipped(_)) => failed,
    }
}

/// Whether the database never arrived: `timeout` ended it (status 124), or cargo-deny says so.
fn cannot_fetch(status: Option<i32>, output: &str) -> bool {
    status == Some(124)
        || output.contains("failed to fetch advisory database")
        || output.contains("failed to load advisory database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_that_does_not_arrive_is_told_from_a_finding() {
        assert!(cannot_fetch(
            Some(1),
            "error: failed to fetch advisory database https://github.com/rustsec/advisory-db"
        ));
        assert!(cannot_fetch(Some(124), ""));
        assert!(!cannot_fetch(Some(1), "error[vulnerability]: a crate has a hole"));
    }

    #[test]
    fn command_that_fails_fails_the_check_with_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo wrong; exit 1"]);
        assert_eq!(verdict("test", command).expect("starts"), Outcome::Failed("wrong\n".to_owned()));
        assert_eq!(verdict("test", Command::new("true")).expect("starts"), Outcome::Passed(String::new()));
    }
}
