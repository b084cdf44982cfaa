//! Turns findings at key paths into errors with file, line and column, and keeps them until all are known.

use super::{
    document::{Document, position},
    error::{ConfigError, ErrorKind},
    path::KeyPath,
};

/// Everything found so far.
pub(crate) struct Report<'a> {
    documents: &'a [Document<'a>],
    errors: Vec<ConfigError>,
}

/// What is wrong at a path.
pub(crate) struct Finding {
    kind: ErrorKind,
    message: String,
    value: Option<String>,
    allowed: Option<String>,
    at_key: bool,
}

impl Finding {
    /// A finding; `message` says what is wrong and the mend.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), value: None, allowed: None, at_key: false }
    }

    /// With the value as the operator wrote it. Never called for a secret.
    pub(crate) fn value(mut self, value: impl ToString) -> Self {
        self.value = Some(value.to_string());
        self
    }

    /// With what may stand there.
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// About the key, not its value.
    pub(crate) fn at_key(mut self) -> Self {
        self.at_key = true;
        self
    }
}

impl<'a> Report<'a> {
    /// A report over `documents` that begins with what their parser said.
    pub(crate) fn new(documents: &'a [Document<'a>], errors: Vec<ConfigError>) -> Self {
        Self { documents, errors }
    }

    /// Adds what was found at `path`.
    pub(crate) fn add(&mut self, path: &KeyPath<'_>, finding: Finding) {
        let Some(document) = self.documents.get(path.source()) else { return };
        let span = if finding.at_key { document.key_span(path) } else { document.span(path) };
        let place = span.map(|span| position(&document.source.text, span.start));
        self.errors.push(ConfigError {
            file: document.source.file.clone(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            path: path.to_string(),
            kind: finding.kind,
            value: finding.value,
            message: finding.message,
            allowed: finding.allowed,
            excerpt: None,
        });
    }

    /// The text that stands at `path`, right or wrong.
    pub(crate) fn text_at(&self, path: &KeyPath<'_>) -> Option<&'a str> {
        self.documents.get(path.source())?.text_at(path)
    }

    /// How many errors there are.
    pub(crate) fn count(&self) -> usize {
        self.errors.len()
    }

    /// The errors in the order of file, line and column.
    pub(crate) fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by(|left, right| {
            (&left.file, left.line, left.column, &left.path).cmp(&(&right.file, right.line, right.column, &right.path))
        });
        self.errors
    }
}
