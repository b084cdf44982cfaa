//! Turns everything that can be said about the sources without a network into one table of results.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{
    house, layers,
    process::{self, seconds},
    setup::{self, Part},
    workspace,
};

mod external;

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to complain about; what is worth saying anyway.
    Passed(String),
    /// What is wrong.
    Failed(String),
    /// Why it could not be done here.
    Skipped(String),
}

struct Check {
    name: &'static str,
    /// What has to be installed for it.
    needs: &'static [Part],
    run: fn() -> Result<Outcome>,
}

const fn check(name: &'static str, needs: &'static [Part], run: fn() -> Result<Outcome>) -> Check {
    Check { name, needs, run }
}

/// Cheap ones first; the ones that compile share what they compile.
const CHECKS: [Check; 10] = [
    check("fmt", &[], external::format),
    check("layers", &[], layer_rules),
    check("house", &[], house_rules),
    check("dependencies", &[], dependency_reasons),
    check("clippy", &[Part::Build], external::clippy),
    check("clippy-bpf", &[Part::Build, Part::Check], external::clippy_bpf),
    check("doc", &[Part::Build], external::documentation),
    check("deny", &[Part::Check], external::deny),
    check("advisories", &[Part::Check], external::advisories),
    check("tests", &[Part::Build], external::tests),
];

/// Names of all checks, in the order in which they run.
#[must_use]
pub fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

/// Runs the checks named, or all; goes on after a failure; prints the table and fails when one failed.
pub fn run(only: &[String]) -> Result<()> {
    let chosen: Vec<_> =
        CHECKS.iter().filter(|check| only.is_empty() || only.iter().any(|name| name == check.name)).collect();
    let setup_errors = set_up(&chosen);
    let mut rows = Vec::new();
    for check in chosen {
        process::note(&format!("check {}", check.name));
        let started = Instant::now();
        let blocked = setup_errors.iter().find(|(part, _)| check.needs.contains(part));
        let outcome = match blocked {
            Some((_, error)) => Outcome::Failed(error.clone()),
            None => (check.run)().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
        };
        if let Outcome::Failed(text) = &outcome {
            eprintln!("{text}");
        }
        rows.push((check.name, outcome, started.elapsed()));
    }
    process::print(&table(&rows));
    let failed: Vec<_> =
        rows.iter().filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_))).map(|(name, ..)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Installs what the checks need; what cannot be installed fails the checks that need it, and no others.
fn set_up(chosen: &[&Check]) -> Vec<(Part, String)> {
    let needed = Part::ALL.into_iter().filter(|part| chosen.iter().any(|check| check.needs.contains(part)));
    needed.filter_map(|part| setup::run(&[part]).err().map(|error| (part, format!("{error:#}")))).collect()
}

fn layer_rules() -> Result<Outcome> {
    Ok(none_of(layers::violations(&workspace::root())?, String::new()))
}

fn house_rules() -> Result<Outcome> {
    let findings = house::findings(&workspace::root())?;
    let looks =
        if findings.looks.is_empty() { String::new() } else { format!("look twice: {}", findings.looks.join("; ")) };
    Ok(none_of(findings.violations, looks))
}

fn dependency_reasons() -> Result<Outcome> {
    Ok(none_of(house::unexplained_dependencies(&workspace::root())?, String::new()))
}

fn none_of(violations: Vec<String>, remark: String) -> Outcome {
    if violations.is_empty() { Outcome::Passed(remark) } else { Outcome::Failed(violations.join("\n")) }
}

fn table(rows: &[(&str, Outcome, Duration)]) -> String {
    let line = |(name, outcome, elapsed): &(&str, Outcome, Duration)| {
        let (word, remark) = match outcome {
            Outcome::Passed(remark) => ("ok", remark.as_str()),
            // The whole text was shown when it happened.
            Outcome::Failed(_) => ("FAILED", ""),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
        };
        format!("{name:<14}{word:<9}{:>9}  {remark}", seconds(*elapsed)).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_for_each_check_with_its_result() {
        let rows = [
            ("fmt", Outcome::Passed(String::new()), Duration::from_millis(100)),
            ("deny", Outcome::Failed("long text".to_owned()), Duration::from_secs(2)),
            ("advisories", Outcome::Skipped("cannot fetch".to_owned()), Duration::ZERO),
        ];
        let expected = "fmt           ok           0.1 s\ndeny          FAILED       2.0 s\nadvisories    skipped      0.0 s  cannot fetch";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn one_violation_fails_the_check() {
        assert_eq!(none_of(vec!["a:1: b".to_owned()], "c".to_owned()), Outcome::Failed("a:1: b".to_owned()));
        assert_eq!(none_of(Vec::new(), "c".to_owned()), Outcome::Passed("c".to_owned()));
    }
}
