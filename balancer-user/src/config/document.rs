//! Turns the text of one file into a TOML document whose every key and value knows its place, and syntax errors into words.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{
    Source,
    error::{ConfigError, ErrorKind},
    path::{KeyPath, Step},
};

/// One parsed file.
pub(crate) struct Document<'a> {
    /// Where it came from.
    pub(crate) source: &'a Source,
    /// Its root table, as far as it could be read.
    pub(crate) root: DeTable<'a>,
    /// Whether all of it could be read; a key that stands twice does not hinder that.
    pub(crate) sound: bool,
}

/// What the parser says of a key that stands twice.
const DUPLICATE_KEY: &str = "duplicate key";

impl<'a> Document<'a> {
    /// Parses a file as far as it goes; the errors hold one entry for each broken line.
    pub(crate) fn read(source: &'a Source) -> (Self, Vec<ConfigError>) {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        let mut found: Vec<ConfigError> = Vec::new();
        let mut sound = true;
        for error in errors {
            let duplicate = error.message() == DUPLICATE_KEY;
            sound &= duplicate;
            let described = syntax_error(source, error.message(), error.span());
            if found.iter().all(|other| other.line != described.line) {
                found.push(described);
            }
        }
        (Self { source, root: root.into_inner(), sound }, found)
    }

    /// Bytes of the value at `path`, or of the nearest table around it that the text shows.
    pub(crate) fn span(&self, path: &KeyPath<'_>) -> Option<Range<usize>> {
        let mut at: Option<&DeValue<'_>> = None;
        let mut span = None;
        for step in path.steps() {
            let next = match step {
                Step::Root(_) => continue,
                Step::Key(key) => match at {
                    None => self.root.get(key),
                    Some(DeValue::Table(table)) => table.get(key),
                    Some(_) => None,
                },
                Step::Index(index) => at.and_then(DeValue::as_array).and_then(|array| array.get(index)),
            };
            let Some(next) = next else { break };
            span = Some(next.span());
            at = Some(next.get_ref());
        }
        span
    }

    /// Bytes of the key that `path` ends in.
    pub(crate) fn key_span(&self, path: &KeyPath<'_>) -> Option<Range<usize>> {
        let mut at: Option<&DeValue<'_>> = None;
        let mut span = None;
        for step in path.steps() {
            match step {
                Step::Root(_) => {}
                Step::Key(name) => {
                    let table = match at {
                        None => &self.root,
                        Some(DeValue::Table(table)) => table,
                        Some(_) => return None,
                    };
                    let (key, value) = table.get_key_value(name)?;
                    span = Some(key.span());
                    at = Some(value.get_ref());
                }
                Step::Index(index) => at = Some(at?.as_array()?.get(index)?.get_ref()),
            }
        }
        span
    }

    /// The text at `path`, whatever it may be worth.
    pub(crate) fn text_at(&self, path: &KeyPath<'_>) -> Option<&str> {
        let span = self.span(path)?;
        let raw = self.source.text.get(span)?;
        raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'))
    }
}

/// Line and column, both from 1, the column in characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn syntax_error(source: &Source, message: &str, span: Option<Range<usize>>) -> ConfigError {
    let offset = span.map_or(source.text.len(), |span| span.start);
    let (line, column) = position(&source.text, offset);
    let duplicate = message == DUPLICATE_KEY;
    ConfigError {
        file: source.file.clone(),
        line: Some(line),
        column: Some(column),
        path: String::new(),
        kind: if duplicate { ErrorKind::Duplicate } else { ErrorKind::Syntax },
        value: None,
        message: if duplicate {
            "the key stands here a second time: remove one of the two".to_owned()
        } else {
            format!("not TOML: {message}")
        },
        allowed: None,
        excerpt: Some(excerpt(&source.text, line, column)),
    }
}

/// The source line with a mark below the column.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    let content = text.lines().nth(line - 1).unwrap_or_default();
    let masked = mask(content);
    let gutter = line.to_string();
    let indent = " ".repeat(gutter.len());
    if masked != content {
        return format!(" {indent} |\n {gutter} | {masked}");
    }
    let padding: String =
        content.chars().take(column - 1).map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    format!(" {indent} |\n {gutter} | {content}\n {indent} | {padding}^")
}

/// Longest run of hex digits that is not taken for a secret.
const HEX_RUN_SHOWN_MAX: usize = 15;

/// The line without anything that may be (part of) a hash secret.
fn mask(line: &str) -> String {
    if let Some(start) = line.find("hash_secret") {
        let rest = &line[start + "hash_secret".len()..];
        if !rest.starts_with("_file") {
            return format!("{}hash_secret <redacted>", mask(&line[..start]));
        }
    }
    let mut masked = String::new();
    let mut run = String::new();
    for letter in line.chars().chain(['\n']) {
        if letter.is_ascii_hexdigit() {
            run.push(letter);
            continue;
        }
        masked.push_str(if run.len() > HEX_RUN_SHOWN_MAX { "<redacted>" } else { &run });
        run.clear();
        masked.push(letter);
    }
    masked.truncate(masked.len() - 1);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<ConfigError> {
        Document::read(&Source { file: "f.toml".into(), text: text.to_owned() }).1
    }

    #[test]
    fn syntax_error_shows_line_column_and_source_line() {
        let errors = read("[gateway]\nname = \"gw1\"\nvtep_ipv4 = 10.0.0.1\n");
        assert_eq!(errors.len(), 1, "{errors:?}");
        let shown = errors[0].to_string();
        assert!(shown.starts_with("f.toml:3:"), "{shown}");
        assert!(shown.contains("3 | vtep_ipv4 = 10.0.0.1"), "{shown}");
    }

    #[test]
    fn syntax_error_never_shows_the_secret() {
        for text in [
            "hash_secret = 7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\n",
            "hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\n",
            "x = { hash_secret = '7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91'\n",
            "hash_secret = \"\"\"\n7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\n",
        ] {
            let errors = read(text);
            assert!(!errors.is_empty(), "{text}");
            assert!(errors.iter().all(|error| !format!("{error} {error:?}").contains("7d0f5b")), "{errors:?}");
        }
    }

    #[test]
    fn key_that_stands_twice_leaves_the_document_readable() {
        let source = Source { file: "f.toml".into(), text: "a = 1\na = 2\nb = 3\n".to_owned() };
        let (document, errors) = Document::read(&source);
        assert!(document.sound);
        assert_eq!((errors.len(), errors[0].kind, errors[0].line), (1, ErrorKind::Duplicate, Some(2)));
        assert!(document.root.get("b").is_some());
    }

    #[test]
    fn column_counts_characters() {
        assert_eq!(position("a\nü = 1", 5), (2, 3));
    }
}
