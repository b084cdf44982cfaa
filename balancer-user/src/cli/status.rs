//! Turns the running daemon's status into tables for people, or into JSON.

mod table;

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::Context as _;

use super::StatusArgs;
use crate::{
    admin::Client,
    model::{Gateway, status::Status},
    store::Store,
};

/// Prints what the daemon is doing. An error says that it cannot be reached, and what to do.
pub(super) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = Client::new(admin_socket(args)?).status()?;
    let text = if args.json { json(&status)? } else { table::render(&status, SystemTime::now()) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The socket that the arguments name, directly or through a config.
fn admin_socket(args: &StatusArgs) -> anyhow::Result<PathBuf> {
    if let Some(path) = &args.admin_socket {
        return Ok(path.clone());
    }
    let Some(config) = &args.config else { return Ok(Gateway::DEFAULT_ADMIN_SOCKET.into()) };
    let loaded = Store::new(config)
        .load()
        .context("the config does not say where the admin socket is; --admin-socket does without it")?;
    Ok(loaded.desired.gateway.admin_socket)
}

fn json(status: &Status) -> serde_json::Result<String> {
    serde_json::to_string_pretty(status).map(|text| text + "\n")
}
