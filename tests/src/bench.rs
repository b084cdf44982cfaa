//! Turns the loaded program into nanoseconds per frame, beside two floors that run through the same driver.

mod cases;
mod loaded;
mod report;
pub mod stack;
mod tables;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use self::{
    cases::{CASES, Case},
    loaded::Loaded,
    report::{Report, Samples},
};

/// How much is measured and where the figures go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Samples of each case for each load of the program.
    pub rounds: u32,
    /// How often the program is loaded anew.
    pub loads: u32,
    /// Frames of a sample.
    pub frames: u32,
    /// File for the figures as JSON.
    pub json: Option<PathBuf>,
    /// Only the cases whose name begins like this, and the floors.
    pub only: Option<String>,
}

/// Measures everything and returns the table for people.
///
/// # Errors
/// The kernel's, or a case in which the program did not do what it should.
pub fn run(plan: &Plan) -> Result<String> {
    pin_to_one_core()?;
    let wanted =
        |case: &&Case| plan.only.as_ref().is_none_or(|prefix| case.is_floor() || case.name.starts_with(prefix));
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let mut samples = Samples::new(cases.iter().map(|case| case.name));
    let mut facts = Vec::new();
    for load in 1..=plan.loads {
        eprintln!("load {load} of {}: loading the program twice and filling its maps", plan.loads);
        let mut loaded = Loaded::new()?;
        facts = loaded.facts()?;
        for case in &cases {
            loaded.check(case).with_context(|| format!("{} does not do what it should", case.name))?;
        }
        for round in 1..=plan.rounds {
            eprintln!("load {load} of {}, round {round} of {}", plan.loads, plan.rounds);
            for case in &cases {
                samples.add(case.name, loaded.sample(case, plan.frames).with_context(|| case.name)?);
            }
            if plan.only.is_none() {
                samples.add(tables::FILL, tables::fill());
                samples.add(tables::HANDOVER, loaded.hand_over()?);
            }
        }
    }
    let report = Report::of(&samples, facts);
    if let Some(file) = &plan.json {
        std::fs::write(file, report.json()).with_context(|| file.display().to_string())?;
    }
    Ok(report.table())
}

/// The last core, so that what else runs on the machine tends to be elsewhere.
fn pin_to_one_core() -> Result<()> {
    let last = std::thread::available_parallelism()?.get() - 1;
    let mut cores = CpuSet::new();
    cores.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &cores).context("pin the process to one core")
}
