//! Turns a good config into a file that survives the daemon, and back.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::config::{CanonicalText, ConfigErrors, Source};

const FILE: &str = "last-good.toml";
const FILE_NEW: &str = "last-good.toml.new";

/// Why the last good config could not be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file or its directory cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was good then is not now: another version wrote it, or the secret's file is gone.
    #[error("the last good config is not right any more: {0}")]
    Config(#[from] ConfigErrors),
}

/// Writes the text aside, then puts it in place in one step.
pub(super) fn write(state_dir: &Path, text: &CanonicalText, generation: u64) -> Result<(), LastGoodError> {
    let path = state_dir.join(FILE);
    let aside = state_dir.join(FILE_NEW);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| LastGoodError::Io { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(io(state_dir))?;
    // A file left by a crash may have another mode: `mode` below counts only for a new one.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(&aside)(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(io(&aside))?;
    let head = format!(
        "# The last good config, generation {generation}, all files in one. Written by balancer: changes here are lost.\n\n"
    );
    file.write_all(head.as_bytes())
        .and_then(|()| file.write_all(text.0.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(io(&aside))?;
    fs::rename(&aside, &path).map_err(io(&path))?;
    // The rename itself is on disk only once the directory is.
    File::open(state_dir).and_then(|directory| directory.sync_all()).map_err(io(state_dir))
}

/// The text that was written last.
pub(super) fn read(state_dir: &Path) -> Result<Option<Source>, LastGoodError> {
    let file = state_dir.join(FILE);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(Source { file, text })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LastGoodError::Io { path: file, source }),
    }
}
