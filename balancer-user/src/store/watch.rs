//! Turns file system events around the config into one event for each real change of its content.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::source;

/// How long the file system must be quiet before the content is compared.
const QUIET: Duration = Duration::from_millis(200);

/// How long events may go on before the content is compared all the same.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why the config cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be watched: {source}", path.display())]
pub struct WatchError {
    path: PathBuf,
    source: notify::Error,
}

/// A watch on a config. It ends when dropped.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    /// Hash of the content that the last event stood for.
    seen: Option<[u8; 32]>,
    stirred: Arc<Notify>,
    /// Something happened since the content was compared last.
    stale: bool,
    // Events stop when the watcher is dropped.
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches the directory `path`, or the directory that the file `path` lies in: editors replace files, and a watch on the file would follow the old one.
    pub(super) fn new(path: &Path) -> Result<Self, WatchError> {
        let stirred = Arc::new(Notify::new());
        let stir = Arc::clone(&stirred);
        let failed = |source| WatchError { path: path.to_owned(), source };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Comparing reads the files, which must not count as an event. An error means lost events, so it counts.
            if event.is_ok_and(|event| event.kind.is_access() && !event.need_rescan()) {
                return;
            }
            stir.notify_one();
        })
        .map_err(failed)?;
        let directory = if path.is_dir() { path } else { parent(path) };
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed)?;
        // Hashed after the watch began, so that no change falls between.
        let seen = source::content_hash(path);
        Ok(Self { path: path.to_owned(), seen, stirred, stale: false, _watcher: watcher })
    }

    /// Waits for the next change of the content. Touching, rewriting the same text and renaming to and fro are none.
    ///
    /// Cancel-safe: a change that was not yet reported is reported by the next call.
    pub async fn changed(&mut self) {
        loop {
            if !self.stale {
                self.stirred.notified().await;
                self.stale = true;
            }
            let deadline = Instant::now() + QUIET_WAIT_MAX;
            let mut quiet = Instant::now() + QUIET;
            while timeout_at(quiet.min(deadline), self.stirred.notified()).await.is_ok() && Instant::now() < deadline {
                quiet = Instant::now() + QUIET;
            }
            let now = source::content_hash(&self.path);
            self.stale = false;
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
