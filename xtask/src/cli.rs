//! Turns the words after `cargo xtask` into one call of the command they name.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{bench, build_ebpf, check, lab, process, run, setup, test};

/// Everything that is done to this project, from one place.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The demo: a lab of namespaces on `examples/demo.toml`, real requests, live counters, until Ctrl-C. Needs root or sudo.
    Run(run::Options),
    /// The labs of network namespaces that the demo and the tests build.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Install what is missing; skips what is there.
    Setup {
        /// What to install for; everything when none is named.
        #[arg(value_enum)]
        parts: Vec<setup::Part>,
    },
    /// Everything static: formatting, lints, docs, layers, house rules, licences, unit and property tests.
    Check {
        /// Only these checks.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(check::names()))]
        only: Vec<String>,
    },
    /// All tests: unit and property, the loaded program, end to end in network namespaces. Needs root or sudo.
    Test(test::Options),
    /// Build the eBPF programs alone; prints the object's path and size.
    BuildEbpf,
    /// Measure.
    Bench(bench::Options),
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Remove the labs whose owner is dead; they remove themselves unless their guardian was killed too.
    Clean,
}

/// Does what the process's arguments say.
pub fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Setup { parts } if parts.is_empty() => setup::run(&setup::Part::ALL),
        Command::Setup { parts } => setup::run(&parts),
        Command::Check { only } => check::run(&only),
        Command::Run(options) => run::run(&options),
        Command::Lab(LabCommand::Clean) => {
            lab::clean()?.iter().for_each(|id| process::print(id));
            Ok(())
        }
        Command::Test(options) => test::run(&options),
        Command::BuildEbpf => build_ebpf::run(),
        Command::Bench(options) => bench::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn unknown_check_is_refused() {
        assert!(Cli::try_parse_from(["xtask", "check", "nonsense"]).is_err());
        assert!(Cli::try_parse_from(["xtask", "check", "layers"]).is_ok());
    }
}
