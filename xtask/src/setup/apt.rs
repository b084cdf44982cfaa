//! Turns names of distribution packages into installed packages, without questions and without starting services.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail};

use crate::process;

/// Runs as root with the packages as arguments. The policy file keeps packages from starting their services; it is
/// taken away however the script ends, and one that is there already is left alone.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
echo 'wireshark-common wireshark-common/install-setuid boolean false' | debconf-set-selections
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 -- "$@"
"#;

/// The lists of packages were brought up to date by this process.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Installs packages; brings the lists up to date first when one of them is unknown, or when installing fails.
pub fn install(why: &str, packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !is_debian_like(&fs::read_to_string("/etc/os-release").unwrap_or_default()) {
        bail!(
            "{why}: this is neither Debian nor Ubuntu. Install what these Debian packages hold, then run the command again:\n    {}",
            packages.join(" ")
        );
    }
    if packages.iter().any(|package| candidate(package).is_none()) {
        update()?;
    }
    let title = format!("{why}: install {}", packages.join(" "));
    let first = process::step(&title, script(packages)?);
    if first.is_ok() || UPDATED.load(Ordering::Relaxed) {
        return first.map(drop).map_err(|error| by_hand(&error, packages));
    }
    // Old lists name versions that the mirror no longer has.
    update()?;
    process::step(&title, script(packages)?).map(drop).map_err(|error| by_hand(&error, packages))
}

/// Brings the lists of packages up to date, once in the life of this process.
pub fn update() -> Result<()> {
    if UPDATED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let mut command = process::as_root("apt-get")?;
    command.args(["update", "-o", "DPkg::Lock::Timeout=300"]);
    process::step("bring the package lists up to date", command).map(drop)
}

/// The version that would be installed; `None` when the lists do not have the package.
#[must_use]
pub fn candidate(package: &str) -> Option<String> {
    let said = process::capture(Command::new("apt-cache").args(["policy", package])).ok()?;
    parse_candidate(&said)
}

fn script(packages: &[&str]) -> Result<Command> {
    let mut command = process::as_root("sh")?;
    command.args(["-c", INSTALL, "install"]).args(packages);
    Ok(command)
}

fn by_hand(error: &anyhow::Error, packages: &[&str]) -> anyhow::Error {
    anyhow::anyhow!(
        "{error:#}\nrun by hand, as root: apt-get update && apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

fn parse_candidate(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    if version == "(none)" { None } else { Some(version.to_owned()) }
}

fn is_debian_like(os_release: &str) -> bool {
    let fields = os_release.lines().filter_map(|line| line.split_once('='));
    fields
        .filter(|(name, _)| matches!(*name, "ID" | "ID_LIKE"))
        .flat_map(|(_, value)| value.trim_matches('"').split(' '))
        .any(|word| matches!(word, "debian" | "ubuntu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_derivatives_are_known() {
        assert!(is_debian_like("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian_like("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_like("ID=\"fedora\"\nNAME=debian\n"));
    }

    #[test]
    fn candidate_none_is_no_candidate() {
        assert_eq!(
            parse_candidate("x:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n"),
            Some("1.96.0+dfsg1-1".to_owned())
        );
        assert_eq!(parse_candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(parse_candidate(""), None);
    }
}
