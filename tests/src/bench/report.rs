//! Turns samples into medians and ratios, as a table for people and as JSON for programs.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{
    cases::{CASES, MANY},
    tables::TARGETS_MS,
};

/// The floor that everything is compared with.
const FLOOR: &str = "encap";
/// The floor that does nothing.
const NULL: &str = "null";
/// Most times the cost with few service ports that the cost with many may be.
const MANY_FACTOR: f64 = 1.15;

/// Samples by case, in the order they are reported.
pub struct Samples {
    names: Vec<&'static str>,
    values: BTreeMap<&'static str, Vec<f64>>,
}

impl Samples {
    /// No sample yet of these cases.
    pub fn new(names: impl Iterator<Item = &'static str>) -> Self {
        Self { names: names.collect(), values: BTreeMap::new() }
    }

    /// Adds a sample.
    pub fn add(&mut self, name: &'static str, value: f64) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        self.values.entry(name).or_default().push(value);
    }

    fn of(&self, name: &str) -> &[f64] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The figures.
pub struct Report {
    rows: Vec<Row>,
    facts: Vec<String>,
}

struct Row {
    name: &'static str,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    /// Median of the ratios to the floor in the same round.
    ratio: Option<f64>,
    /// Nanoseconds less those of doing nothing.
    net: Option<f64>,
    target: Option<f64>,
}

impl Report {
    /// Summarises.
    pub fn of(samples: &Samples, facts: Vec<String>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for name in &samples.names {
            let row = row(name, samples, &rows);
            rows.push(row);
        }
        Self { rows, facts }
    }

    /// `{"cases": [..]}`, the form of every bench of this project.
    #[must_use]
    pub fn json(&self) -> String {
        let case = |row: &Row| -> Value {
            json!({
                "name": row.name, "unit": row.unit, "median": round(row.median), "min": round(row.min),
                "max": round(row.max), "ratio": row.ratio.map(round), "target": row.target.map(round),
            })
        };
        format!("{:#}\n", json!({ "cases": self.rows.iter().map(case).collect::<Vec<_>>() }))
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["case", "unit", "median", "min", "max", "net", "ratio", "target", ""]);
        for row in &self.rows {
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
            let reached = match (row.measured(), row.target) {
                (Some(measured), Some(target)) if measured > target => "missed",
                (Some(_), Some(_)) => "reached",
                _ => "",
            };
            table.add_row([
                row.name.to_owned(),
                row.unit.to_owned(),
                number(Some(row.median)),
                number(Some(row.min)),
                number(Some(row.max)),
                number(row.net),
                number(row.ratio),
                number(row.target),
                reached.to_owned(),
            ]);
        }
        for column in 2..8 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = format!("{table}\n");
        for fact in &self.facts {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{fact}");
        }
        text + "ratio: to encap in the same round; net: less null, so with the driver's undoing of growth\n"
    }
}

impl Row {
    /// What the target is about.
    fn measured(&self) -> Option<f64> {
        if self.unit == "ms" { Some(self.median) } else { self.ratio }
    }
}

fn row(name: &'static str, samples: &Samples, before: &[Row]) -> Row {
    let values = samples.of(name);
    let target_ms = TARGETS_MS.iter().find(|(case, _)| *case == name).map(|(_, target)| *target);
    let few = name.strip_suffix(MANY).and_then(|few| before.iter().find(|row| row.name == few));
    let target = CASES.iter().find(|case| case.name == name).and_then(|case| case.target);
    let (median, ns) = (median(values), target_ms.is_none());
    Row {
        name,
        unit: if ns { "ns" } else { "ms" },
        median,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(0.0, f64::max),
        ratio: ns.then(|| ratio(values, samples.of(FLOOR))),
        net: ns.then(|| median - self::median(samples.of(NULL))),
        target: target.or(target_ms).or(few.and_then(|row| row.ratio).map(|ratio| ratio * MANY_FACTOR)),
    }
}

fn ratio(values: &[f64], floor: &[f64]) -> f64 {
    let ratios: Vec<_> = values.iter().zip(floor).map(|(value, floor)| value / floor).collect();
    median(&ratios)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_taken_round_by_round() {
        let mut samples = Samples::new(["encap", "tcp_1", "tcp_1_10k_ports"].into_iter());
        for (floor, case) in [(50.0, 100.0), (100.0, 200.0), (10.0, 20.0)] {
            samples.add("encap", floor);
            samples.add("tcp_1", case);
            samples.add("tcp_1_10k_ports", case);
        }
        let report = Report::of(&samples, vec![]);
        assert_eq!((report.rows[1].ratio, report.rows[1].median), (Some(2.0), 100.0));
        assert_eq!(report.rows[2].target, Some(2.0 * MANY_FACTOR));
        assert!(report.json().contains("\"name\": \"tcp_1_10k_ports\""));
        assert!(report.table().contains("reached"));
    }
}
