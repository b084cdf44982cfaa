//! Turns the config's format into its JSON Schema on stdout.

use std::{io::Write as _, process::ExitCode};

use crate::config;

/// Prints the schema.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    std::io::stdout().lock().write_all(config::json_schema().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
