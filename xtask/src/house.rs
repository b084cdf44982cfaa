//! Turns the house rules about files, functions and dependencies into the list of places that break them.

use std::{fs, path::Path};

use anyhow::Result;

use crate::{
    source::{self, Source},
    workspace::PACKAGES,
};

/// Lines that no file exceeds.
pub const FILE_LINES_MAX: usize = 500;
/// Lines from which a file is worth a second look.
pub const FILE_LINES_LOOK: usize = 250;
/// Lines that no function exceeds.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: [&str; 6] = ["mod", "utils", "helpers", "misc", "handler", "manager"];
/// The only files with `unsafe`: packet pointers, map lookups, the memory-mapped table.
const UNSAFE_FILES: [&str; 4] = [
    "balancer-ebpf/src/frame.rs",
    "balancer-ebpf/src/maps.rs",
    // The bench's floors and driver: measuring tools, one file, never attached to an interface.
    "balancer-ebpf/src/bin/bench.rs",
    "balancer-user/src/datapath/mmap.rs",
];
/// Macros that stand for code not written yet.
const UNWRITTEN: [&str; 2] = ["todo", "unimplemented"];

/// What the rules say about the workspace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Broken rules, as `file:line: what`.
    pub violations: Vec<String>,
    /// Files worth a second look.
    pub looks: Vec<String>,
}

/// Looks at every Rust file of the workspace.
pub fn findings(root: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    for file in source::files(root, &PACKAGES) {
        match Source::read(root, &file) {
            Ok(source) => inspect(&source, &mut findings),
            Err(error) => findings.violations.push(format!("{error:#}")),
        }
    }
    Ok(findings)
}

/// The dependencies of the workspace table that have no line in the crates table of `ARCHITECTURE.md`.
pub fn unexplained_dependencies(root: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let Ok(architecture) = fs::read_to_string(root.join("ARCHITECTURE.md")) else {
        return Ok(vec!["ARCHITECTURE.md is missing, and with it the reason for every dependency".to_owned()]);
    };
    Ok(unexplained(&manifest, &architecture))
}

fn inspect(source: &Source, findings: &mut Findings) {
    let path = &source.path;
    let violations = &mut findings.violations;
    let name = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if EMPTY_NAMES.contains(&name) {
        violations.push(format!("{path}:1: a file named `{name}` says nothing about what it holds"));
    }
    if !source.text.starts_with("//! ") {
        violations
            .push(format!("{path}:1: the file does not open with a `//!` sentence that says what it turns into what"));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        violations.push(format!("{path}:{lines}: {lines} lines; the wall is {FILE_LINES_MAX}"));
    } else if lines > FILE_LINES_LOOK {
        findings.looks.push(format!("{path}: {lines} lines"));
    }
    for function in source.functions().iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
        violations.push(format!(
            "{path}:{}: `{}` has {} lines; the wall is {FUNCTION_LINES_MAX}",
            function.line, function.name, function.lines
        ));
    }
    if !UNSAFE_FILES.contains(&path.as_str()) {
        let attribute = |line: &usize| {
            source.text.lines().nth(line - 1).is_some_and(|text| text.trim_start().starts_with("#[unsafe("))
        };
        for line in source.word("unsafe").iter().filter(|line| !attribute(line)) {
            violations.push(format!("{path}:{line}: `unsafe` outside {}", UNSAFE_FILES.join(", ")));
        }
    }
    for macro_name in UNWRITTEN {
        let called = format!("{macro_name}!");
        for line in source.word(macro_name) {
            if source.text.lines().nth(line - 1).is_some_and(|text| text.contains(&called)) {
                violations.push(format!("{path}:{line}: `{called}` stands for code that is not written"));
            }
        }
    }
}

fn unexplained(manifest: &str, architecture: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let rows: Vec<_> = architecture.lines().filter(|line| line.trim_start().starts_with('|')).collect();
    let is_explained = |name: &str| rows.iter().any(|row| row.split(|c| !is_name(c)).any(|word| word == name));
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.contains("path ="))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
        .filter(|name| !name.starts_with('#') && !is_explained(name))
        .map(|name| format!("Cargo.toml: `{name}` has no line in the crates table of ARCHITECTURE.md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let mut findings = Findings::default();
        inspect(&Source::parse(path, text).expect("sample is Rust"), &mut findings);
        assert_eq!(findings.violations.len(), expected.len(), "{:?}", findings.violations);
        for (violation, part) in findings.violations.iter().zip(expected) {
            assert!(violation.starts_with(path) && violation.contains(part), "{violation}");
        }
    }

    #[test]
    fn good_file_breaks_nothing() {
        check("a/src/flow.rs", "//! Turns x into y.\n\n/// `unsafe` in words.\nfn f() {}\n", &[]);
    }

    #[test]
    fn empty_name_and_missing_sentence_are_found() {
        check("a/src/utils.rs", "//! Turns x into y.\n", &["named `utils`"]);
        check("a/src/flow/mod.rs", "//! Turns x into y.\n", &["named `mod`"]);
        check("a/src/flow.rs", "fn f() {}\n", &["does not open"]);
    }

    #[test]
    fn long_files_and_functions_are_found() {
        check("a/src/flow.rs", &format!("//! Turns x into y.\n{}", "//\n".repeat(FILE_LINES_MAX)), &["501 lines"]);
        let lines = |count: usize| format!("//! Turns x into y.\nfn f() {{\n{}}}\n", "//\n".repeat(count - 2));
        check("a/src/flow.rs", &lines(FUNCTION_LINES_MAX), &[]);
        check("a/src/flow.rs", &lines(FUNCTION_LINES_MAX + 1), &["`f` has 71 lines"]);
    }

    #[test]
    fn unsafe_is_found_outside_its_files() {
        let text = "//! Turns x into y.\n#[unsafe(no_mangle)]\nfn f() { unsafe { g() } }\n";
        check("balancer-ebpf/src/main.rs", text, &["`unsafe` outside"]);
        check("balancer-ebpf/src/frame.rs", text, &[]);
    }

    #[test]
    fn unwritten_code_is_found() {
        check("a/src/flow.rs", "//! Turns x into y.\nfn f() { todo!() }\n", &["`todo!`"]);
    }

    #[test]
    fn dependency_without_a_reason_is_found() {
        let manifest = "[workspace]\n[workspace.dependencies]\nours = { path = \"ours\" }\n# a comment = 1\naya = \"1\"\ntoml = \"1\"\n[profile.release]\ndebug = 1\n";
        assert_eq!(
            unexplained(manifest, "text about toml\n| BPF | `aya` |\n"),
            ["Cargo.toml: `toml` has no line in the crates table of ARCHITECTURE.md"]
        );
        assert_eq!(unexplained(manifest, "| BPF | aya, toml 1 |\n"), Vec::<String>::new());
    }
}
