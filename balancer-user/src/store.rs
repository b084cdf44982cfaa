//! Turns the place where the config is kept (a file, or a directory of *.toml files) into the desired state, now, last time, and on every change.

mod last_good;
mod source;
mod watch;

use std::path::{Path, PathBuf};

pub use last_good::LastGoodError;
pub use watch::{Watch, WatchError};

use crate::{
    config::{self, CanonicalText, Config, ConfigErrors},
    model::Desired,
};

/// A file-backed source of configs.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

/// A config without an error, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub desired: Desired,
    /// SHA-256 of all it says, lower-case hex; comments, spelling and the order of files do not count.
    pub digest: String,
    /// Number of the config, the same on every gateway that has it; at least 1, at most 53 bits.
    pub generation: u64,
    /// The files it was read from.
    pub sources: Vec<PathBuf>,
    canonical: CanonicalText,
}

impl Store {
    /// A store on a config file, or on a directory whose `*.toml` files are taken together.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the config is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the config.
    ///
    /// # Errors
    ///
    /// Every mistake in it, or the one thing that kept it from being read.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        let sources = source::read(&self.path).map_err(|error| ConfigErrors::unreadable(error.path, error.message))?;
        let parsed = config::parse(&sources, &config::hostname())?;
        Ok(Loaded::new(parsed, sources.into_iter().map(|source| source.file).collect()))
    }

    /// Reports every change of the config's content from now on.
    ///
    /// # Errors
    ///
    /// When the directory cannot be watched.
    pub fn watch(&self) -> Result<Watch, WatchError> {
        Watch::new(&self.path)
    }
}

impl Loaded {
    fn new(Config { desired, digest, generation, canonical }: Config, sources: Vec<PathBuf>) -> Self {
        Self { desired, digest, generation, sources, canonical }
    }

    /// Keeps this config as the last good one in `state_dir`, for its owner's eyes only; replaced as a whole or not at all.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written.
    pub fn keep(&self, state_dir: &Path) -> Result<(), LastGoodError> {
        last_good::write(state_dir, &self.canonical, self.generation)
    }

    /// The config that was kept last in `state_dir`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not right any more.
    pub fn last_good(state_dir: &Path) -> Result<Option<Self>, LastGoodError> {
        let Some(source) = last_good::read(state_dir)? else { return Ok(None) };
        let file = source.file.clone();
        let parsed = config::parse(&[source], &config::hostname())?;
        Ok(Some(Self::new(parsed, vec![file])))
    }
}
