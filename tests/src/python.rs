//! Turns a program text and its arguments into a run of Python in a namespace, with the packages that `cargo xtask setup lab` installs.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use xtask::lab::{Ns, Service};

/// Runs a program to its end; what it printed.
///
/// # Errors
/// When it fails or runs longer than `limit`; with what it printed.
pub fn run(namespace: &Ns, program: &str, arguments: &[&str], limit: Duration) -> Result<String> {
    let words = [&["python3", "-c", program], arguments].concat();
    Ok(String::from_utf8_lossy(&namespace.run_for(limit, words)?.stdout).into_owned())
}

/// The same with the packages.
///
/// # Errors
/// Those of [`run`], and when the packages are not installed.
pub fn run_with_packages(namespace: &Ns, program: &str, arguments: &[&str], limit: Duration) -> Result<String> {
    let interpreter = interpreter()?;
    let words = [&[interpreter.to_str().context("the interpreter's path is text")?, "-c", program], arguments].concat();
    Ok(String::from_utf8_lossy(&namespace.run_for(limit, words)?.stdout).into_owned())
}

/// Starts a program that runs until it is dropped, with the packages.
///
/// # Errors
/// When it cannot start, or the packages are not installed.
pub fn spawn_with_packages(namespace: &Ns, name: &str, program: &str, arguments: &[&str]) -> Result<Service> {
    let mut command: Command = namespace.command(interpreter()?);
    command.args(["-u", "-c", program]).args(arguments);
    namespace.spawn(name, command)
}

/// `$BALANCER_LAB_PYTHON`, else the one in the target directory of the running test.
fn interpreter() -> Result<PathBuf> {
    if let Some(path) = env::var_os("BALANCER_LAB_PYTHON") {
        return Ok(path.into());
    }
    let program = env::current_exe().context("find the running program")?;
    let mut places = program.ancestors().skip(1).map(|dir| dir.join("lab-python/bin/python3"));
    places.find(|path: &PathBuf| Path::exists(path)).context("no Python packages: run `cargo xtask setup lab`")
}
