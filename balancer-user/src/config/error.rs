//! Turns what is wrong with a config into words: file, line and column, key path, value, what is allowed, and the mend.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ConfigError {
    /// The file it is in, or the path that could not be read.
    pub file: PathBuf,
    /// Line, from 1; unset when the mistake has no place in the text.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// Key path such as `projects[0].vni`; empty at the root of the file.
    pub path: String,
    /// Which sort of mistake.
    pub kind: ErrorKind,
    /// The value as it stands in the file, never a secret.
    pub value: Option<String>,
    /// What is wrong, and the mend where there is one.
    pub message: String,
    /// What may stand there.
    pub allowed: Option<String>,
    /// The line of a syntax error with a mark below, secrets masked.
    pub excerpt: Option<String>,
}

/// The sort of a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A file or directory cannot be read.
    Unreadable,
    /// The text is not TOML.
    Syntax,
    /// A key that means nothing here.
    UnknownKey,
    /// A key that must be there is not.
    MissingKey,
    /// A value of another type.
    WrongType,
    /// A number or a list's length outside its range, or a word outside its list.
    OutOfRange,
    /// Text that cannot be read as what it stands for, or a value that cannot be used there.
    BadValue,
    /// A name, address or port that is taken already.
    Duplicate,
    /// A name that nothing goes by.
    UnknownReference,
    /// Two values, each right alone, that cannot both hold.
    Conflict,
    /// More of something than the datapath has room for.
    Limit,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(formatter, ":{column}")?;
        }
        if !self.path.is_empty() {
            write!(formatter, ": {}", self.path)?;
        }
        write!(formatter, ": {}", self.message)?;
        if let Some(allowed) = &self.allowed {
            write!(formatter, " (allowed: {allowed})")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(formatter, "\n{excerpt}")?;
        }
        Ok(())
    }
}

/// Every mistake of a config: never empty, in the order of file, line and column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Takes the mistakes of one config.
    pub(crate) fn new(errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty(), "a config without a mistake is not an error");
        Self(errors)
    }

    /// A path that cannot be read; the whole error.
    pub(crate) fn unreadable(file: PathBuf, message: String) -> Self {
        Self(vec![ConfigError {
            file,
            line: None,
            column: None,
            path: String::new(),
            kind: ErrorKind::Unreadable,
            value: None,
            message,
            allowed: None,
            excerpt: None,
        }])
    }

    /// The mistakes.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

/// One mistake a line, the count last.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(formatter, "{error}")?;
        }
        match self.0.len() {
            1 => write!(formatter, "1 error"),
            count => write!(formatter, "{count} errors"),
        }
    }
}
