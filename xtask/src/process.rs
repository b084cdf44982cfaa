//! Turns a command into its output and a result, with one line of progress on the terminal while it runs.

use std::{
    env,
    io::{self, BufRead as _, BufReader, IsTerminal as _, PipeReader, Write as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::ebpf;

/// How often the progress line moves.
const TICK: Duration = Duration::from_millis(200);
/// How often a step without a terminal says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Columns of a progress line, less the marks around it.
const LINE_COLUMNS: usize = 100;
/// Lines of output that an error shows.
const ERROR_LINES: usize = 60;

/// What a command that came to its end left behind.
#[derive(Debug)]
pub struct Done {
    /// Whether it succeeded.
    pub status: ExitStatus,
    /// Standard output and standard error, in order.
    pub output: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs a command behind one line of progress. Its output is shown, in the error, only when it fails.
pub fn step(title: &str, command: Command) -> Result<String> {
    let shown = show(&command);
    let done = watch(title, command, Echo::Progress)?;
    if done.status.success() {
        note(&format!("{title}: done in {}", seconds(done.elapsed)));
        return Ok(done.output);
    }
    bail!("{title}: `{shown}` failed ({}) after {}:\n{}", done.status, seconds(done.elapsed), last_lines(&done.output))
}

/// Runs a command behind one line of progress and returns whatever came of it.
pub fn observe(title: &str, command: Command) -> Result<Done> {
    watch(title, command, Echo::Progress)
}

/// Runs a command whose output goes to the terminal as it comes, and is returned too.
pub fn stream(title: &str, command: Command) -> Result<Done> {
    note(&format!("{title}: {}", show(&command)));
    watch(title, command, Echo::Lines)
}

/// Runs a short command silently; its standard output, or an error with its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("`{shown}` did not start"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is: in `PATH`, in the places of system programs, or where `cargo install` puts them.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut dirs = env::split_paths(&path).chain(more).chain([ebpf::cargo_home().join("bin")]);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|file| file.is_file()))
}

/// A command that runs as root: itself when we are root, else through sudo, which may ask for a password on a terminal only.
pub fn as_root(program: &str) -> Result<Command> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let sudo =
        find("sudo").with_context(|| format!("`{program}` needs root, and there is no sudo: run this as root"))?;
    let mut command = Command::new(sudo);
    if !io::stdin().is_terminal() {
        command.arg("-n");
    }
    command.args(["--", program]);
    Ok(command)
}

/// Says one line about what is being done.
pub fn note(text: &str) {
    eprintln!("==> {text}");
}

/// Prints a line that is the command's product.
#[expect(clippy::print_stdout, reason = "the product of a command goes to standard output")]
pub fn print(text: &str) {
    println!("{text}");
}

/// A duration as people read it.
#[must_use]
pub fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// The command as one would type it.
#[must_use]
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    Progress,
    Lines,
}

fn watch(title: &str, mut command: Command, echo: Echo) -> Result<Done> {
    let shown = show(&command);
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    // sudo asks on the terminal itself; nothing else may wait for input.
    command.stdin(Stdio::null());
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("`{shown}` did not start"))?;
    // The command holds the pipe's writing end: without this there would be no end of file.
    drop(command);
    let mut progress = Progress::new(title, echo, started);
    let (status, output) = follow(child, lines(reader), &mut progress)?;
    progress.clear();
    Ok(Done { status, output, elapsed: started.elapsed() })
}

fn lines(reader: PipeReader) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Collects lines until the child and its output end. A process it left behind may keep the pipe open: the child's end counts.
fn follow(mut child: Child, lines: Receiver<String>, progress: &mut Progress) -> Result<(ExitStatus, String)> {
    let mut output = String::new();
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                progress.line(&line);
                output.push_str(&line);
                output.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => {
                progress.tick();
                if let Some(status) = child.try_wait()? {
                    return Ok((status, output));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((child.wait()?, output)),
        }
    }
}

struct Progress {
    title: String,
    echo: Echo,
    terminal: bool,
    started: Instant,
    said: Instant,
    last: String,
}

impl Progress {
    fn new(title: &str, echo: Echo, started: Instant) -> Self {
        let terminal = io::stderr().is_terminal();
        if echo == Echo::Progress && !terminal {
            note(&format!("{title} ..."));
        }
        Self { title: title.to_owned(), echo, terminal, started, said: started, last: String::new() }
    }

    fn line(&mut self, line: &str) {
        if self.echo == Echo::Lines {
            eprintln!("{line}");
            self.said = Instant::now();
        } else if !line.trim().is_empty() {
            line.trim().clone_into(&mut self.last);
            self.tick();
        }
    }

    fn tick(&mut self) {
        let pause = if self.terminal { TICK } else { HEARTBEAT };
        if self.said.elapsed() < pause {
            return;
        }
        self.said = Instant::now();
        let text = format!("{} [{:.0} s] {}", self.title, self.started.elapsed().as_secs_f64(), self.last);
        let text: String = text.chars().filter(|c| !c.is_control()).take(LINE_COLUMNS).collect();
        if !self.terminal {
            note(&text);
        } else if self.echo == Echo::Progress {
            eprint!("\r\x1b[K... {text}");
            // A progress line that cannot be shown is no reason to stop.
            let _ = io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.terminal && self.echo == Echo::Progress {
            eprint!("\r\x1b[K");
        }
    }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_of_both_kinds_is_returned_in_order() {
        let output = step("test", shell("echo one; echo two >&2; echo three")).expect("succeeds");
        assert_eq!(output, "one\ntwo\nthree\n");
    }

    #[test]
    fn failure_names_the_command_and_shows_the_last_lines() {
        let error = step("test", shell("seq 1 100; exit 3")).expect_err("fails").to_string();
        assert!(error.contains("sh -c") && error.contains("exit status: 3"), "{error}");
        assert!(error.contains("\n100") && !error.contains("\n40\n"), "{error}");
    }

    #[test]
    fn process_left_behind_does_not_hold_up_the_step() {
        let done = observe("test", shell("sleep 20 & echo $!")).expect("starts");
        assert!(done.status.success() && done.elapsed < Duration::from_secs(10));
        let left: i32 = done.output.trim().parse().expect("a pid");
        step("test", shell(&format!("kill {left}"))).expect("it is still there");
    }

    #[test]
    fn missing_program_is_an_error_and_not_found() {
        assert!(capture(&mut Command::new("no-such-program-here")).is_err());
        assert_eq!(find("no-such-program-here"), None);
        assert!(find("sh").is_some());
    }
}
