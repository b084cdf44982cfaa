//! Turns a path into a listening unix socket that belongs to one daemon at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Owner and group may speak to the daemon, nobody else.
const SOCKET_MODE: u32 = 0o660;
/// Of the socket's directory, when it has to be made.
const DIRECTORY_MODE: u32 = 0o755;
/// Of the lock beside the socket.
const LOCK_MODE: u32 = 0o600;

/// Why there is no admin socket. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon is alive.
    #[error(
        "a balancer runs already and answers on {path}: stop it first, or give this one its own gateway.admin_socket"
    )]
    AlreadyRuns {
        /// Its socket.
        path: PathBuf,
    },
    /// Something else is where the socket should be.
    #[error("{path} is not a socket: move it away, or choose another gateway.admin_socket")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The kernel's refusal.
    #[error("{path}: {source}")]
    Io {
        /// What could not be made, opened or replaced.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Held as long as the process lives: that is how the next one knows whether the file is stale.
    _lock: File,
}

impl Socket {
    /// Listens at `path` with mode 0660; makes the directory, and replaces the socket of a daemon that is gone.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        if let Some(directory) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
            made.map_err(at(directory))?;
        }
        let lock = lock(path)?;
        refuse_live(path)?;
        // Nobody may connect before the mode is set, so the socket gets its name last. A rename replaces a stale one.
        let unnamed = with_suffix(path, ".new");
        match fs::remove_file(&unnamed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&unnamed)(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&unnamed).map_err(at(&unnamed))?;
        fs::set_permissions(&unnamed, Permissions::from_mode(SOCKET_MODE)).map_err(at(&unnamed))?;
        fs::rename(&unnamed, path).map_err(at(path))?;
        listener.set_nonblocking(true).map_err(at(path))?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already is as good, and the next daemon replaces what is left.
        let _absent = fs::remove_file(&self.path);
    }
}

/// The kernel lets go of the lock with the process, so a killed daemon never bars the next one, and a hung one does.
fn lock(path: &Path) -> Result<File, BindError> {
    let lock = with_suffix(path, ".lock");
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(LOCK_MODE).open(&lock).map_err(at(&lock))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::AlreadyRuns { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(at(&lock)(error)),
    }
}

/// Somebody who does not know of the lock may listen there.
fn refuse_live(path: &Path) -> Result<(), BindError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path)(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::AlreadyRuns { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(at(path)(error)),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_made_and_the_socket_is_for_owner_and_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/balancer/admin.sock");
        let _socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn the_socket_of_a_dead_daemon_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(UnixStream::connect(&path).is_err());
        let _socket = Socket::bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_second_daemon_is_told_that_one_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::AlreadyRuns { .. })));
        assert!(UnixStream::connect(&path).is_ok(), "the first one still answers");
        drop(first);
        assert!(!path.exists());
        assert!(Socket::bind(&path).is_ok());
    }

    #[test]
    fn a_socket_that_somebody_without_a_lock_listens_on_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::AlreadyRuns { .. })));
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
