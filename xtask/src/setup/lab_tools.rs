//! Turns the table of programs that the lab and the tests drive into installed programs.

use std::{fs, path::Path};

use anyhow::Result;

use super::apt;
use crate::process;

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// Everything that the lab and the tests call by name.
const TOOLS: [Tool; 19] = [
    tool("ip", "iproute2"),
    tool("bridge", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
    tool("ping", "iputils-ping"),
    tool("tracepath", "iputils-tracepath"),
    tool("tcpdump", "tcpdump"),
    tool("tshark", "tshark"),
    tool("curl", "curl"),
    tool("nginx", "nginx-light"),
    tool("wrk", "wrk"),
    tool("hey", "hey"),
    tool("dnsperf", "dnsperf"),
    tool("knotd", "knot"),
    tool("iperf3", "iperf3"),
    tool("pgbench", "postgresql"),
    tool("postgres", "postgresql"),
    tool("python3", "python3"),
    tool("sysctl", "procps"),
];

/// Where Debian keeps the servers that it does not put into `PATH`, one directory for each version.
const POSTGRES_DIR: &str = "/usr/lib/postgresql";

/// Installs the packages of all programs that are missing.
pub(super) fn ensure() -> Result<()> {
    let packages =
        missing(|program| process::find(program).is_some() || in_postgres_dir(Path::new(POSTGRES_DIR), program));
    if packages.is_empty() {
        process::note("lab: everything is there");
    }
    apt::install("lab", &packages)
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = TOOLS.iter().filter(|tool| !is_there(tool.program)).map(|tool| tool.package).collect();
    packages.dedup();
    packages
}

fn in_postgres_dir(dir: &Path, program: &str) -> bool {
    let Ok(versions) = fs::read_dir(dir) else { return false };
    versions.flatten().any(|version| version.path().join("bin").join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_of_missing_programs_are_installed_and_each_once() {
        assert_eq!(missing(|_| true), Vec::<&str>::new());
        assert_eq!(missing(|program| !matches!(program, "ip" | "bridge" | "wrk")), ["iproute2", "wrk"]);
    }
}
