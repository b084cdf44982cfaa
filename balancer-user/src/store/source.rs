//! Turns a path into config text: of one file, or of every `*.toml` file of a directory in the order of their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::config::Source;

/// Most bytes of a config, all files together.
const BYTES_MAX: u64 = 64 << 20;

/// Most files of a directory.
const FILES_MAX: usize = 4_096;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub(super) struct SourceError {
    /// What could not be read.
    pub(super) path: PathBuf,
    /// Why not.
    pub(super) message: String,
}

impl SourceError {
    fn new(path: &Path, message: impl ToString) -> Self {
        Self { path: path.to_owned(), message: message.to_string() }
    }
}

/// Reads all text at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, SourceError> {
    let mut bytes = 0;
    let mut sources = Vec::new();
    for file in files(path)? {
        let content = fs::read(&file).map_err(|error| SourceError::new(&file, error))?;
        bytes += content.len() as u64;
        if bytes > BYTES_MAX {
            return Err(SourceError::new(&file, format!("the config is larger than {BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(content).map_err(|error| {
            SourceError::new(&file, format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
        })?;
        sources.push(Source { file, text });
    }
    Ok(sources)
}

/// The hash of names and content; `None` while something cannot be read, as between the two halves of an editor's rename.
pub(super) fn content_hash(path: &Path) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    for source in read(path).ok()? {
        for part in [source.file.as_os_str().as_encoded_bytes(), source.text.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    Some(hash.finalize().into())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let unreadable = |error: io::Error| SourceError::new(path, error);
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if is_config(&file) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(SourceError::new(path, "the directory holds no *.toml file"));
    }
    if files.len() > FILES_MAX {
        return Err(SourceError::new(path, format!("the directory holds more than {FILES_MAX} *.toml files")));
    }
    files.sort();
    Ok(files)
}

/// Hidden files are what editors and package managers leave behind.
fn is_config(file: &Path) -> bool {
    let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && file.extension().is_some_and(|extension| extension == "toml") && file.is_file()
}
