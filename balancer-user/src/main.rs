//! Turns a command line into an exit code.

use std::process::ExitCode;

use balancer_user::cli::{self, Cli};
use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
