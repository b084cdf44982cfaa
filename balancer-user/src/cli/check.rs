//! Turns a config into a summary, or into the list of everything that is wrong with it.

use std::{io::Write, path::PathBuf, process::ExitCode};

use serde::Serialize;

use super::CheckArgs;
use crate::{
    config::{ConfigError, ConfigErrors},
    store::{Loaded, Store},
};

/// Checks the config at `args.config`; the exit code says whether it is right.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    // Warnings, such as an open secret file, belong to the check; stdout stays for its result.
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_target(false).finish();
    let loaded = tracing::subscriber::with_default(subscriber, || Store::new(&args.config).load());
    let (report, code) = match &loaded {
        Ok(loaded) => (Report::right(loaded), ExitCode::SUCCESS),
        Err(errors) => (Report::wrong(errors), ExitCode::FAILURE),
    };
    let mut stdout = std::io::stdout().lock();
    match (&loaded, args.json) {
        (_, true) => {
            serde_json::to_writer_pretty(&mut stdout, &report)?;
            writeln!(stdout)?;
        }
        (Ok(_), false) => report.write(&mut stdout)?,
        (Err(errors), false) => writeln!(stdout, "{errors}")?,
    }
    Ok(code)
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary<'a>>,
    errors: &'a [ConfigError],
}

/// What a right config amounts to.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    gateway: &'a str,
    projects: usize,
    service_ports: usize,
    backends: usize,
    hosts: usize,
    digest: &'a str,
    generation: u64,
    sources: &'a [PathBuf],
}

impl<'a> Report<'a> {
    fn right(loaded: &'a Loaded) -> Self {
        let desired = &loaded.desired;
        let summary = Summary {
            gateway: &desired.gateway.name,
            projects: desired.projects.len(),
            service_ports: desired.service_ports.len(),
            backends: desired.service_ports.iter().map(|port| port.backends.len()).sum(),
            hosts: desired.hosts.len(),
            digest: &loaded.digest,
            generation: loaded.generation,
            sources: &loaded.sources,
        };
        Self { valid: true, summary: Some(summary), errors: &[] }
    }

    fn wrong(errors: &'a ConfigErrors) -> Self {
        Self { valid: false, summary: None, errors: errors.errors() }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Some(summary) = &self.summary else { return Ok(()) };
        let sources: Vec<String> = summary.sources.iter().map(|file| file.display().to_string()).collect();
        writeln!(out, "config         right ({})", sources.join(", "))?;
        writeln!(out, "gateway        {}", summary.gateway)?;
        writeln!(out, "projects       {}", summary.projects)?;
        writeln!(out, "service ports  {}", summary.service_ports)?;
        writeln!(out, "backends       {}", summary.backends)?;
        writeln!(out, "hosts          {}", summary.hosts)?;
        writeln!(out, "digest         {}", summary.digest)?;
        writeln!(out, "generation     {}", summary.generation)
    }
}
