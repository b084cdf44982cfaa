//! Turns config text (one TOML file, or the files of a directory taken together) into the desired state, or into every error in it at once.
//!
//! The steps, each in its own file:
//!
//! ```text
//! text -> document (spans kept) -> walk against the shape of the schema -> tables with holes where an error was found
//!      -> validate -> model::Desired
//! ```
//!
//! `schema` is the only description of the format: the JSON Schema is derived from it, and the walk follows that schema.

mod canonical;
mod document;
mod error;
mod field;
mod nearest;
mod path;
mod report;
mod schema;
mod secret;
mod shape;
mod text;
mod validate;
mod walk;

use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, ErrorKind};

use crate::model::Desired;
use canonical::Canonical;
use document::Document;
use report::Report;
use validate::Merged;

/// One piece of config text and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The file; errors name it, and `hash_secret_file` is relative to its directory.
    pub file: PathBuf,
    /// Its content.
    pub text: String,
}

/// A config without an error in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What it says.
    pub desired: Desired,
    /// SHA-256, lower-case hex, of everything it says: comments, spelling and the order of files do not count.
    pub digest: String,
    /// The `generation` key, else a 53-bit number derived from what every gateway must have in common (hosts,
    /// projects, hash secret, VXLAN port), so that it is the same on every gateway.
    pub generation: u64,
    /// The same config as one TOML text that does not depend on where it lies.
    pub canonical: CanonicalText,
}

/// TOML that may hold the hash secret, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalText(pub String);

impl std::fmt::Debug for CanonicalText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CanonicalText(redacted)")
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Reads one config out of `sources`, whose hosts and projects are taken together in the order given.
///
/// `hostname` stands in for an absent `gateway.name`. The file that `hash_secret_file` names is read.
///
/// # Errors
///
/// Every mistake, in the order of file, line and column.
pub fn parse(sources: &[Source], hostname: &str) -> Result<Config, ConfigErrors> {
    let mut syntax_errors = Vec::new();
    let mut documents = Vec::with_capacity(sources.len());
    for source in sources {
        let (document, errors) = Document::read(source);
        documents.push(document);
        syntax_errors.extend(errors);
    }
    let mut report = Report::new(&documents, syntax_errors);
    let merged = Merged::read(&documents, &mut report);
    // Behind a broken line anything may be missing, so names that do not resolve would say nothing.
    let complete = merged.files().len() == documents.len();
    let valid = if complete { validate::validate(&merged, hostname, &mut report) } else { None };
    let errors = report.into_errors();
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    let desired = valid.expect("validation reports an error whenever it has no result");
    let Canonical { digest, generation, text } = Canonical::of(&merged, &desired);
    Ok(Config {
        desired,
        digest,
        generation: merged.generation().unwrap_or(generation),
        canonical: CanonicalText(text),
    })
}

/// The JSON Schema (draft 2020-12) of a config file, as pretty-printed JSON that ends in a newline.
#[must_use]
pub fn json_schema() -> String {
    format!("{:#}\n", schema::schema())
}

/// The host's name as the kernel has it, empty when it cannot be read.
#[must_use]
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// The directory that paths in `file` are relative to.
fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
