//! Turns the claims of a whole test run into `docs/conformance.md`, and fails when that file was behind or a case is unproven.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use balancer_tests::conformance::matrix::Claims;
use clap::Parser;

/// Compares what the tests proved with the committed table.
#[derive(Debug, Parser)]
struct Arguments {
    /// The directory with the tests' claims.
    claims: PathBuf,
    /// The table.
    table: PathBuf,
}

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Without the backtrace that tests are run with.
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(Arguments { claims, table }: &Arguments) -> Result<()> {
    let text = Claims::read(claims)?.table()?;
    let is_current = fs::read_to_string(table).is_ok_and(|committed| committed == text);
    if !is_current {
        fs::write(table, &text)?;
    }
    ensure!(is_current, "{} was behind and is written anew: look at the change and commit it", table.display());
    Ok(())
}
