//! Turns the list of Python packages that the tests drive (QUIC) into an environment of their own below the target directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::apt;
use crate::{process, workspace};

/// The packages, every one with its version, as pip reads them.
const REQUIREMENTS: &str = include_str!("lab_python.txt");
/// Holds [`REQUIREMENTS`] as they were installed.
const STAMP: &str = "installed.txt";

/// The interpreter that has the packages.
///
/// # Errors
/// When cargo does not say where the target directory is.
pub fn interpreter() -> Result<PathBuf> {
    Ok(environment()?.join("bin/python3"))
}

/// Makes the environment when it is missing or another one is wanted.
pub(super) fn ensure() -> Result<()> {
    let environment = environment()?;
    if is_current(&environment) {
        return Ok(());
    }
    make(&environment)?;
    let wanted = environment.join("wanted.txt");
    fs::write(&wanted, REQUIREMENTS)?;
    let mut install = Command::new(environment.join("bin/python3"));
    install
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--only-binary", ":all:", "--requirement"])
        .arg(&wanted);
    if let Err(error) = process::step("lab: install aioquic and what it needs", install) {
        bail!(
            "{error:#}\nrun by hand: {0}/bin/python3 -m pip install --requirement {0}/wanted.txt",
            environment.display()
        );
    }
    // Last, so that an installation that ended early is begun again.
    fs::rename(&wanted, environment.join(STAMP))?;
    Ok(())
}

fn environment() -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join("lab-python"))
}

fn is_current(environment: &Path) -> bool {
    environment.join("bin/python3").exists()
        && fs::read_to_string(environment.join(STAMP)).is_ok_and(|installed| installed == REQUIREMENTS)
}

/// Debian keeps `ensurepip` in a package of its own: without it `venv` fails.
fn make(environment: &Path) -> Result<()> {
    let venv = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(environment);
        command
    };
    if process::capture(&mut venv()).is_ok() {
        return Ok(());
    }
    apt::install("lab", &["python3-venv"])?;
    process::step("lab: make a Python environment", venv()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_its_version() {
        for line in REQUIREMENTS.lines() {
            assert!(
                line.split_once("==").is_some_and(|(name, version)| !name.is_empty() && !version.is_empty()),
                "{line}"
            );
        }
    }

    #[test]
    fn an_environment_without_its_stamp_is_made_again() {
        assert!(!is_current(Path::new("/nonexistent")));
    }
}
