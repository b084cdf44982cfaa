//! Turns `balancer detach` into a kernel without our program, maps and links.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use super::DetachArgs;
use crate::{datapath, model, store::Store};

/// Says what was removed; nothing to remove is no failure.
pub(super) fn run(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    let pin_dir = match (&args.pin_dir, &args.config) {
        (Some(pin_dir), _) => pin_dir.clone(),
        (None, Some(config)) => Store::new(config).load()?.desired.gateway.pin_dir,
        (None, None) => PathBuf::from(model::Gateway::DEFAULT_PIN_DIR),
    };
    let detached = datapath::detach(&pin_dir)?;
    let mut stdout = std::io::stdout().lock();
    for interface in &detached.interfaces {
        writeln!(stdout, "detached from {interface}")?;
    }
    match (detached.interfaces.is_empty(), detached.maps) {
        (true, 0) => writeln!(stdout, "nothing to remove in {}", pin_dir.display())?,
        (_, maps) => writeln!(stdout, "removed {maps} pinned maps from {}", pin_dir.display())?,
    }
    Ok(ExitCode::SUCCESS)
}
