//! Turns the claims of a test run into the text of `docs/conformance.md`, or into the list of what nobody proved.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Cell,
    cases::{CASES, Case},
};

/// Who proved what: case and cell, then the tests' names.
#[derive(Debug, Default)]
pub struct Claims(BTreeMap<(u8, Cell), BTreeSet<String>>);

impl Claims {
    /// Reads every file of a directory that [`proves`](super::proves) wrote.
    ///
    /// # Errors
    /// When the directory cannot be read, or a line is no claim.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut claims = Self::default();
        for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
            let path = entry?.path();
            for line in fs::read_to_string(&path)?.lines() {
                claims.add(line).with_context(|| format!("{}: {line:?}", path.display()))?;
            }
        }
        Ok(claims)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let mut words = line.splitn(3, ' ');
        let (Some(case), Some(cell), Some(test)) = (words.next(), words.next(), words.next()) else {
            bail!("a claim is `CASE CELL TEST`");
        };
        let cell = Cell::named(cell).context("no such cell")?;
        self.0.entry((case.parse()?, cell)).or_default().insert(test.to_owned());
        Ok(())
    }

    /// The text of the table.
    ///
    /// # Errors
    /// When a cell that applies has no proof; with all of them.
    pub fn table(&self) -> Result<String> {
        let missing: Vec<String> = CASES
            .iter()
            .flat_map(|case| Cell::all().map(|cell| (case, cell)))
            .filter(|(case, cell)| case.applies(*cell) && !self.0.contains_key(&(case.number, *cell)))
            .map(|(case, cell)| format!("case {} ({}) in {}", case.number, case.title, cell.name()))
            .collect();
        ensure!(missing.is_empty(), "no test proves\n    {}", missing.join("\n    "));
        let mut text = String::from(HEAD);
        for case in &CASES {
            self.write_row(&mut text, case);
        }
        text.push_str("\n## Tests and counters\n");
        for case in &CASES {
            self.write_tests(&mut text, case);
        }
        Ok(text)
    }

    fn write_row(&self, text: &mut String, case: &Case) {
        let tests = self.tests(case);
        let cells = Cell::all().map(|cell| {
            let Some(proofs) = self.0.get(&(case.number, cell)) else { return "n/a".to_owned() };
            letters(tests.iter().map(|test| proofs.contains(*test)))
        });
        push(text, &format!("| [{0}](#case-{0}) | {1} | {2} |", case.number, case.title, cells.join(" | ")));
    }

    fn write_tests(&self, text: &mut String, case: &Case) {
        push(text, &format!("\n### Case {}\n\n{}.", case.number, capitalized(case.title)));
        let counters: Vec<_> = case.counters().iter().map(|name| format!("`{name}`")).collect();
        let counters = if counters.is_empty() { "none of its own".to_owned() } else { counters.join(", ") };
        push(text, &format!("Counters: {counters}.\n"));
        for (position, test) in self.tests(case).iter().enumerate() {
            push(text, &format!("- {}: `{test}`", letter(position)));
        }
        if let Some(why) = case.no_dsr {
            push(text, &format!("- n/a for dsr: {why}."));
        }
    }

    /// All tests of a case, by name.
    fn tests(&self, case: &Case) -> Vec<&String> {
        let all: BTreeSet<_> =
            self.0.iter().filter(|((number, _), _)| *number == case.number).flat_map(|(_, tests)| tests).collect();
        all.into_iter().collect()
    }
}

const HEAD: &str = "\
# Conformance

Which test proves which datapath case, for a VIP of one family over an underlay of the same or the other, in mode `nat` and in
mode `dsr`. `cargo xtask test` writes this file out of what the tests claimed when they passed, and fails while a cell is empty.
A letter is a test of the list below; counters are the names in `balancer status` and in the metrics.

| case | what is right | nat 4 over 4 | nat 4 over 6 | nat 6 over 4 | nat 6 over 6 | dsr 4 over 4 | dsr 4 over 6 | dsr 6 over 4 | dsr 6 over 6 |
|---|---|---|---|---|---|---|---|---|---|
";

/// `a-c f` for the first three tests and the sixth.
fn letters(proven: impl Iterator<Item = bool>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (position, _) in proven.enumerate().filter(|(_, proven)| *proven) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == position => *last = position,
            Some(_) | None => runs.push((position, position)),
        }
    }
    let words = runs.into_iter().map(|(first, last)| match last - first {
        0 => letter(first),
        1 => format!("{} {}", letter(first), letter(last)),
        2.. => format!("{}-{}", letter(first), letter(last)),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `a` to `z`, then `aa` and on.
fn letter(position: usize) -> String {
    let last = char::from(b'a' + (position % 26) as u8);
    if position < 26 { last.to_string() } else { letter(position / 26 - 1) + &last.to_string() }
}

fn capitalized(title: &str) -> String {
    let mut characters = title.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn push(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Claims {
        let mut claims = Claims::default();
        for case in &CASES {
            for cell in Cell::all().into_iter().filter(|cell| case.applies(*cell)) {
                claims.add(&format!("{} {} frames x::everything_is_right", case.number, cell.name())).expect("a claim");
            }
        }
        claims
    }

    #[test]
    fn table_names_the_tests_of_every_cell() {
        let mut claims = everything();
        claims.add("1 nat-6-6 e2e a::one_more").expect("a claim");
        let text = claims.table().expect("complete");
        assert!(text.contains(" | b | b | b | a b | n/a | n/a | n/a | n/a |"), "{text}");
        assert!(text.contains("- a: `e2e a::one_more`\n- b: `frames x::everything_is_right`"), "{text}");
    }

    #[test]
    fn a_cell_without_proof_is_named() {
        let mut claims = everything();
        claims.0.remove(&(12, Cell::named("dsr-6-4").expect("a cell")));
        let error = claims.table().expect_err("incomplete").to_string();
        assert!(error.contains("case 12") && error.contains("dsr-6-4"), "{error}");
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        for line in ["", "1 nat-4-4", "x nat-4-4 t", "1 nat-5-4 t"] {
            assert!(Claims::default().add(line).is_err(), "{line}");
        }
    }

    #[test]
    fn letters_of_neighbours_are_drawn_together() {
        assert_eq!(letters([true, true, true, false, true].into_iter()), "a-c e");
        assert_eq!(letters([true, true].into_iter()), "a b");
        assert_eq!((letter(25), letter(26), letter(27)), ("z".into(), "aa".into(), "ab".into()));
    }
}
