//! Turns `cargo xtask test` into runs of every test: unit and property first, then what needs root, the kernel and a network.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    fuzz,
    process::{self, Done},
    setup::{self, Part},
    workspace,
};

/// Packages whose tests need neither root nor the lab.
const UNIT_PACKAGES: [&str; 3] = ["balancer-common", "balancer-user", "xtask"];
/// The package of the tests against the kernel.
const ROOT_PACKAGE: &str = "balancer-tests";
/// Tests of the unit packages whose name starts so need root.
const ROOT_PREFIX: &str = "root_";
/// Tells tests that they may take minutes.
const LONG_VARIABLE: &str = "BALANCER_TEST_LONG";
/// Tells tests where the daemon is.
const BINARY_VARIABLE: &str = "BALANCER_BIN";
/// Tells tests where to write what they proved.
const CLAIMS_VARIABLE: &str = "BALANCER_CONFORMANCE_DIR";
/// Tells tests where the Python with their packages is.
const PYTHON_VARIABLE: &str = "BALANCER_LAB_PYTHON";

/// Which tests.
#[derive(Args, Debug, Default)]
pub struct Options {
    /// Let the tests that scale take minutes instead of seconds, and run every fuzz target for a while.
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Installs what is missing, builds, runs every test, and repeats the runners' closing lines at the end.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&[Part::Build, Part::Lab])?;
    setup::ensure_bpffs()?;
    let mut build = workspace::cargo("build");
    build.args(["--package", "balancer-user", "--bin", "balancer"]);
    process::step("build the daemon", build)?;
    let filter = options.filter.as_deref();
    let mut closing = Vec::new();
    let unit = unit(filter)?;
    let unit_passed = unit.status.success();
    closing.extend(closing_lines(&unit.output));
    let claims = new_claims()?;
    let mut root_passed = true;
    for suite in &SUITES {
        let mut tests = root_tests(options, suite)?;
        tests.env(CLAIMS_VARIABLE, &claims);
        let done = process::stream(suite.title, tests)?;
        root_passed &= done.status.success();
        closing.extend(closing_lines(&done.output));
    }
    let fuzzed = if options.long && options.filter.is_none() { fuzz::run() } else { Ok(()) };
    for line in &closing {
        process::print(line);
    }
    fuzzed?;
    if !(unit_passed && root_passed) {
        bail!("tests failed");
    }
    // A part of the tests proves a part of the cases.
    if filter.is_none() { compare_conformance(&claims) } else { Ok(()) }
}

/// An empty directory for what the tests claim to have proved. It is ours, so that root's files in it can be removed again.
fn new_claims() -> Result<PathBuf> {
    let claims = workspace::target_dir()?.join("conformance");
    match fs::remove_dir_all(&claims) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", claims.display()));
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&claims).with_context(|| format!("create {}", claims.display()))?;
    Ok(claims)
}

/// Fails when a datapath case is unproven somewhere, or when the committed table says something else than the tests.
fn compare_conformance(claims: &Path) -> Result<()> {
    let mut command = workspace::cargo("run");
    command.args(["--quiet", "--package", ROOT_PACKAGE, "--bin", "conformance", "--"]);
    command.arg(claims).arg(workspace::root().join("docs/conformance.md"));
    process::step("compare docs/conformance.md with what the tests proved", command).map(drop)
}

/// Runs the unit and property tests; those whose names begin with `root_` only when we are root.
pub fn unit(filter: Option<&str>) -> Result<Done> {
    let runner = Runner::find();
    let mut command = runner.command(&UNIT_PACKAGES);
    let skip_root = !nix::unistd::geteuid().is_root();
    command.args(runner.arguments(filter, skip_root, false));
    process::stream("unit and property tests", command)
}

/// The last lines of a runner's output that say how many tests passed and failed.
#[must_use]
pub fn closing_lines(output: &str) -> Vec<String> {
    let plain = output.lines().map(without_colour);
    plain
        .filter(|line| {
            line.trim_start().starts_with("Summary [")
                || (line.starts_with("test result:") && !line.contains(" 0 passed; 0 failed"))
        })
        .collect()
}

/// Tests against the kernel that run together.
struct Suite {
    title: &'static str,
    /// Which targets of the package, as cargo's words.
    targets: &'static [&'static str],
    /// Whether they share the machine, so that only one may run at a time.
    one_by_one: bool,
}

/// Frames go through a program and a namespace of each test's own; end to end, tests need the machine's time for themselves.
const SUITES: [Suite; 2] = [
    Suite {
        title: "the loaded program on crafted frames",
        targets: &["--lib", "--bins", "--test", "frames", "--test", "differential"],
        one_by_one: false,
    },
    Suite { title: "end to end in network namespaces", targets: &["--test", "e2e"], one_by_one: true },
];

/// The tests against the kernel: compiled as ourselves, run as root.
fn root_tests(options: &Options, suite: &Suite) -> Result<Command> {
    let runner = Runner::find();
    let mut command = runner.command(&[ROOT_PACKAGE]);
    command.args(suite.targets);
    // A million frames are told to the model too, which takes three times as long without optimisation.
    if options.long && !suite.one_by_one {
        command.arg("--release");
    }
    command.args(runner.arguments(options.filter.as_deref(), false, suite.one_by_one));
    command.env(BINARY_VARIABLE, workspace::target_dir()?.join("debug/balancer"));
    command.env(PYTHON_VARIABLE, setup::lab_python::interpreter()?);
    if options.long {
        command.env(LONG_VARIABLE, "1");
    }
    if !nix::unistd::geteuid().is_root() {
        let sudo = process::find("sudo")
            .context("the tests against the kernel need root, and there is no sudo: run this as root")?;
        let triple = format!("{}_UNKNOWN_LINUX_GNU", std::env::consts::ARCH.to_uppercase());
        command.env(format!("CARGO_TARGET_{triple}_RUNNER"), format!("{} --preserve-env", sudo.display()));
    }
    Ok(command)
}

/// What runs the tests: nextest where it is, because it runs each test in a process of its own; else cargo itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    fn find() -> Self {
        if process::find("cargo-nextest").is_some() { Self::Nextest } else { Self::Cargo }
    }

    fn command(self, packages: &[&str]) -> Command {
        let mut command = match self {
            Self::Nextest => workspace::cargo("nextest"),
            Self::Cargo => workspace::cargo("test"),
        };
        match self {
            // A first failure does not hide the others.
            Self::Nextest => command.args(["run", "--no-fail-fast", "--no-tests", "pass"]),
            Self::Cargo => command.arg("--no-fail-fast"),
        };
        for package in packages {
            command.args(["--package", package]);
        }
        command
    }

    fn arguments(self, filter: Option<&str>, skip_root: bool, one_by_one: bool) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        match self {
            Self::Nextest => {
                if skip_root {
                    arguments.extend(["--filterset".to_owned(), format!("not test(/(^|::){ROOT_PREFIX}/)")]);
                }
                if one_by_one {
                    arguments.extend(["--test-threads".to_owned(), "1".to_owned()]);
                }
                arguments.extend(filter.map(str::to_owned));
            }
            Self::Cargo => {
                arguments.push("--".to_owned());
                if skip_root {
                    arguments.extend(["--skip".to_owned(), ROOT_PREFIX.to_owned()]);
                }
                if one_by_one {
                    arguments.push("--test-threads=1".to_owned());
                }
                arguments.extend(filter.map(str::to_owned));
            }
        }
        arguments
    }
}

fn without_colour(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = escape.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_runners_are_found() {
        let nextest = "   PASS [ 0.1s] a b\n\x1b[32;1m     Summary\x1b[0m [   0.2s] 3 tests run: 3 passed, 0 skipped\n";
        assert_eq!(closing_lines(nextest), ["     Summary [   0.2s] 3 tests run: 3 passed, 0 skipped"]);
        let cargo = "test a ... ok\ntest result: ok. 0 passed; 0 failed; 0 ignored\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(closing_lines(cargo), ["test result: ok. 2 passed; 0 failed; 0 ignored"]);
    }

    #[test]
    fn tests_that_need_root_are_left_out_for_others() {
        assert_eq!(Runner::Cargo.arguments(Some("x"), true, false), ["--", "--skip", "root_", "x"]);
        assert_eq!(Runner::Nextest.arguments(None, true, false), ["--filterset", "not test(/(^|::)root_/)"]);
        assert_eq!(Runner::Nextest.arguments(Some("x"), false, true), ["--test-threads", "1", "x"]);
    }
}
