//! Turns the admin socket's path into the status of the daemon behind it: one blocking HTTP request for each call.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{RELOAD_PATH, STATUS_PATH};
use crate::model::status::Status;

/// Longest pause in the daemon's answer.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Largest answer: the status of 100 000 backends takes about 30 MB.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Why the daemon could not be asked. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no socket.
    #[error(
        "{path}: no such socket: is `balancer run` running? \
         --admin-socket or --config says where another daemon's socket is"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a socket, and nobody behind it.
    #[error(
        "{path}: nobody listens: the daemon has ended; start it with `balancer run` (forwarding goes on without it)"
    )]
    NotListening {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is for others.
    #[error("{path}: permission denied: run this as root, or as a member of the socket's group")]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon hangs.
    #[error("{path}: no answer within {READ_LIMIT:?}: the daemon hangs or is overloaded; its log may say why")]
    TimedOut {
        /// The socket.
        path: PathBuf,
    },
    /// Any other failure of the socket.
    #[error("{path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("the daemon refused ({code}): {reason}")]
    Refused {
        /// HTTP status code.
        code: u16,
        /// What it said.
        reason: String,
    },
    /// Whatever listens there is not this daemon.
    #[error("{path}: the answer is not a balancer's")]
    NotHttp {
        /// The socket.
        path: PathBuf,
    },
    /// The status has another shape.
    #[error("the daemon's status cannot be read; is it of another version than this command?")]
    Status(#[from] serde_json::Error),
}

/// The command line's side of the admin socket. Its calls block.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the daemon whose socket is at `path`. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What the gateway is doing now.
    ///
    /// # Errors
    /// When the daemon cannot be reached or does not answer with a status.
    pub fn status(&self) -> Result<Status, AdminError> {
        Ok(serde_json::from_slice(&self.ask("GET", STATUS_PATH)?)?)
    }

    /// Asks the daemon to read its config again, which it does after this call returned; `config_error` of the status
    /// then says whether the config was taken.
    ///
    /// # Errors
    /// When the daemon cannot be reached or takes no request now.
    pub fn reload(&self) -> Result<(), AdminError> {
        self.ask("POST", RELOAD_PATH).map(drop)
    }

    /// The body of the answer to one request.
    fn ask(&self, method: &str, target: &str) -> Result<Vec<u8>, AdminError> {
        let answer = exchange(&self.path, method, target).map_err(|error| self.explain(error))?;
        let (code, body) = split(&answer).ok_or_else(|| AdminError::NotHttp { path: self.path.clone() })?;
        if !(200..300).contains(&code) {
            let reason = String::from_utf8_lossy(body).trim().to_owned();
            return Err(AdminError::Refused { code, reason });
        }
        Ok(body.to_vec())
    }

    fn explain(&self, source: io::Error) -> AdminError {
        let path = self.path.clone();
        // Kinds of error are the standard library's and grow; what is not named here explains itself.
        #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is not ours and not exhaustive")]
        match source.kind() {
            io::ErrorKind::NotFound => AdminError::Missing { path },
            io::ErrorKind::ConnectionRefused => AdminError::NotListening { path },
            io::ErrorKind::PermissionDenied => AdminError::Permission { path },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AdminError::TimedOut { path },
            _ => AdminError::Io { path, source },
        }
    }
}

fn exchange(path: &Path, method: &str, target: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(READ_LIMIT))?;
    stream.set_write_timeout(Some(READ_LIMIT))?;
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: balancer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status code and body of an answer whose length is told and kept, as our server's always is.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    const BLANK_LINE: &[u8] = b"\r\n\r\n";
    let end = answer.windows(BLANK_LINE.len()).position(|window| window == BLANK_LINE)?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let body = answer.get(end + BLANK_LINE.len()..)?;
    let mut lines = head.split("\r\n");
    let code = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        let found = name.eq_ignore_ascii_case("content-length");
        if found { value.trim().parse::<usize>().ok() } else { None }
    })?;
    (body.len() == length).then_some((code, body))
}

#[cfg(test)]
mod tests;
