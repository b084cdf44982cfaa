//! Turns the name of a bench into a run of its program in release.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    process,
    setup::{self, Part},
    workspace,
};

/// Which bench, and what is passed on to it.
#[derive(Args, Debug)]
pub struct Options {
    /// What to measure.
    #[arg(value_enum)]
    what: Bench,
    /// Passed on, for example `--json FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bench {
    /// Nanoseconds per frame through the loaded program.
    Datapath,
}

impl Bench {
    const fn program(self) -> &'static str {
        match self {
            Self::Datapath => "bench-datapath",
        }
    }
}

/// Builds what is measured in release and measures it, as root.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&[Part::Build])?;
    let program = options.what.program();
    let mut build = workspace::cargo("build");
    build.args(["--release", "--package", "balancer-tests", "--bin", program]);
    process::step("build in release", build)?;
    let mut bench = process::as_root(&workspace::target_dir()?.join("release").join(program).to_string_lossy())?;
    // The report is the program's own; it goes straight to our standard output.
    let status = bench.args(&options.arguments).current_dir(workspace::root()).status()?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}
