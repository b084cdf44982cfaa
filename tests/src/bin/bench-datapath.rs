//! Turns command-line words into a run of the datapath's bench; the figures go to standard output, progress to standard error.

use std::path::PathBuf;

use anyhow::Result;
use balancer_tests::bench::{Plan, run};
use clap::Parser;

/// Nanoseconds per frame through the loaded program. Needs root.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Samples of each case for each load of the program.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How often the program is loaded anew; memory lies elsewhere each time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    loads: u32,
    /// Frames of a sample.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    frames: u32,
    /// Only cases whose name begins like this.
    #[arg(long)]
    only: Option<String>,
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() -> Result<()> {
    let Arguments { json, rounds, loads, frames, only } = Arguments::parse();
    print!("{}", run(&Plan { rounds, loads, frames, json, only })?);
    Ok(())
}
