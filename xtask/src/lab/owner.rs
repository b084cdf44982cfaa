//! Ties a lab to the process that owns it: the guardian removes the lab when the owner ends, the sweep what a guardian missed.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// One directory per lab, with the file `owner`: process id and start time.
pub(super) const RECORDS: &str = "/run/balancer-lab";
/// One directory per lab for logs, configs, sockets and served files.
pub(super) const DATA: &str = "/tmp/balancer-lab";

/// How long the removal of a lab may take before its owner stops waiting for it.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// A child process that waits for its owner's end and then removes the lab.
///
/// It is a process because nothing in the owner runs after SIGKILL, after `abort`, or after Ctrl-C in a test runner,
/// and a shell script because the owner may be any test binary. It has its own process group, so Ctrl-C does not reach it.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Child,
}

impl Guardian {
    /// Records the calling process as the owner of lab `id`, makes the lab's directories and starts its guardian.
    ///
    /// # Errors
    /// When the directories cannot be made or the guardian cannot be started.
    pub(super) fn start(id: &str) -> Result<Self> {
        let record = Path::new(RECORDS).join(id);
        let data = Path::new(DATA).join(id);
        fs::create_dir_all(&record).with_context(|| format!("create {} (a lab needs root)", record.display()))?;
        fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
        let pid = std::process::id();
        let started = start_time(pid).context("read the own start time from /proc")?;
        fs::write(record.join("owner"), format!("{pid} {started}\n"))?;
        let child = removal(id).stdin(Stdio::piped()).spawn().context("start the guardian (sh)")?;
        Ok(Self { child })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + REMOVAL_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
    }
}

/// A lab id that no living process has: `bl`, the process id, `n`, a number.
pub(super) fn new_id() -> String {
    static LABS: AtomicU32 = AtomicU32::new(0);
    format!("bl{:x}n{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed))
}

/// Removes every lab whose owner is no longer alive and returns their ids.
///
/// # Errors
/// When the records cannot be read or a removal cannot be started.
pub(super) fn sweep() -> Result<Vec<String>> {
    let entries = match fs::read_dir(RECORDS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(format!("read {RECORDS}")),
    };
    let mut removed = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_dir()) else { continue };
        if owner_alive(&path) {
            continue;
        }
        let status = removal(id).stdin(Stdio::null()).status().context("run the removal (sh)")?;
        if !status.success() {
            bail!("cannot remove the lab {id}: {status}");
        }
        removed.push(id.to_owned());
    }
    Ok(removed)
}

/// The lock under which labs are swept and namespaces are named, so that labs built at once do not meet. Freed when dropped.
///
/// # Errors
/// When the lock file cannot be opened.
pub(super) fn lock() -> Result<File> {
    fs::create_dir_all(RECORDS).with_context(|| format!("create {RECORDS} (a lab needs root)"))?;
    let path = PathBuf::from(RECORDS).join("lock");
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn removal(id: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", include_str!("remove.sh"), "lab-guardian", id])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

/// Start time guards against a process id that was given out again.
fn owner_alive(record: &Path) -> bool {
    let Ok(text) = fs::read_to_string(record.join("owner")) else {
        // Between the directory and its file lies an instant of a living owner: only an old directory is dead.
        let age = record.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        return age.is_none_or(|age| age < Duration::from_secs(10));
    };
    let mut words = text.split_whitespace();
    let (Some(pid), Some(started)) = (words.next().and_then(|word| word.parse().ok()), words.next()) else {
        return false;
    };
    start_time(pid).is_some_and(|time| time == started)
}

/// Field 22 of `/proc/<pid>/stat`, ticks since boot; the command before it may hold spaces and parentheses.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_whitespace().nth(19).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_a_start_time_and_a_free_id_has_none() {
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }

    #[test]
    fn ids_are_never_the_same() {
        assert_ne!(new_id(), new_id());
    }
}
