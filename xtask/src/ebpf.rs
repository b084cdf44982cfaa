//! Turns the `balancer-ebpf` package into one BPF object, with whichever toolchain on this machine can build `core` for BPF.
//!
//! Needs nothing but std, because two programs use this one file: `cargo xtask` as a module, and
//! `balancer-user/build.rs`, which includes it by path.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The rustup toolchain that builds the eBPF programs where rustup has it. Its LLVM is of major version 22.
pub const NIGHTLY: &str = "nightly-2026-05-20";
/// Name of the distribution's toolchain: `rustc-web`, `cargo-web` and `rust-web-src`, below `/usr`.
pub const DEBIAN: &str = "debian";
/// Environment variable that chooses: [`DEBIAN`] or the name of a rustup toolchain.
pub const TOOLCHAIN_VARIABLE: &str = "BALANCER_EBPF_TOOLCHAIN";
/// The oldest compiler that the workspace's `rust-version` admits, as (major, minor).
pub const RUSTC_MIN: (u32, u32) = (1, 95);
/// The oldest LLVM with the BPF feature `allows-misaligned-mem-access`.
pub const LLVM_MIN: u32 = 22;

const PACKAGE: &str = "balancer-ebpf";
const TARGET: &str = "bpfel-unknown-none";

/// Why there is no object.
#[derive(Debug)]
pub enum Error {
    /// The toolchain that was asked for, or every one that was looked for, cannot build for BPF.
    NoToolchain(String),
    /// A program did not start.
    Start(String, io::Error),
    /// The nested cargo failed; its whole output.
    Build(String),
    /// The object could not be copied to where it belongs.
    Copy(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToolchain(why) => {
                write!(f, "no toolchain here can build the eBPF programs: {why}. Run `cargo xtask setup build`")
            }
            Self::Start(program, error) => write!(f, "{program} did not start: {error}"),
            Self::Build(output) => write!(f, "the eBPF programs do not build:\n{output}"),
            Self::Copy(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// What to build and where.
#[derive(Clone, Debug)]
pub struct Build {
    /// The workspace's root.
    pub workspace: PathBuf,
    /// Target directory of the nested build; not the outer build's, whose lock is held meanwhile.
    pub target_dir: PathBuf,
    /// Architecture of the kernel that will load the object, as `CARGO_CFG_TARGET_ARCH` names it.
    pub arch: String,
}

impl Build {
    /// Builds the object of one of the package's binaries and copies it to `destination`; returns what the compiler said.
    pub fn object(&self, toolchain: &Toolchain, binary: &str, destination: &Path) -> Result<String, Error> {
        let mut command = self.cargo(toolchain, "build");
        command.args(["--bin", binary]);
        let said = output(&mut command)?;
        let built = self.target_dir.join(TARGET).join("release").join(binary);
        fs::copy(&built, destination).map_err(|error| Error::Copy(destination.to_owned(), error))?;
        Ok(said)
    }

    /// The nested `cargo SUBCOMMAND` over the package for the BPF target, to be run or to be given more arguments.
    #[must_use]
    pub fn cargo(&self, toolchain: &Toolchain, subcommand: &str) -> Command {
        let mut command = toolchain.cargo(subcommand);
        command
            .current_dir(&self.workspace)
            .args(["--package", PACKAGE, "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(toolchain).join("\x1f"))
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
        command
    }

    /// Compiler flags. The sources travel inside the debug information, so that the verifier's log quotes them
    /// although their paths are replaced; the object is the same from every checkout.
    fn flags(&self, toolchain: &Toolchain) -> Vec<String> {
        let bpf_arch = if self.arch.starts_with("riscv64") { "riscv64" } else { &self.arch };
        vec![
            format!("--cfg=bpf_target_arch=\"{bpf_arch}\""),
            "-Cdebuginfo=2".to_owned(),
            "-Cdwarf-version=5".to_owned(),
            "-Zembed-source=yes".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            "-Ctarget-cpu=v3".to_owned(),
            // Packet headers are not aligned; the kernel's verifier allows such loads from a packet on the machines we run on.
            "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
            format!("--remap-path-prefix={}=/balancer", self.workspace.display()),
            format!("--remap-path-prefix={}=/cargo", cargo_home().join("registry/src").display()),
            format!("--remap-path-prefix={}=/rust", toolchain.source().display()),
        ]
    }
}

/// A compiler, its cargo and the source of its `core`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// [`DEBIAN`] or the name of a rustup toolchain.
    pub name: String,
    /// The directory that holds `bin/cargo` and `lib/rustlib`.
    pub sysroot: PathBuf,
}

impl Toolchain {
    /// The toolchain that [`TOOLCHAIN_VARIABLE`] names; else [`NIGHTLY`], else [`DEBIAN`], whichever can build for BPF.
    pub fn choose() -> Result<Self, Error> {
        if let Ok(name) = env::var(TOOLCHAIN_VARIABLE) {
            return Self::named(&name).map_err(|why| Error::NoToolchain(format!("{TOOLCHAIN_VARIABLE}={name}: {why}")));
        }
        let no_nightly = match Self::named(NIGHTLY) {
            Ok(toolchain) => return Ok(toolchain),
            Err(why) => why,
        };
        Self::named(DEBIAN)
            .map_err(|no_debian| Error::NoToolchain(format!("{NIGHTLY}: {no_nightly}; {DEBIAN}: {no_debian}")))
    }

    /// A toolchain by name; the error says what it lacks.
    pub fn named(name: &str) -> Result<Self, String> {
        let sysroot = if name == DEBIAN { PathBuf::from("/usr") } else { rustup_sysroot(name)? };
        let toolchain = Self { name: name.to_owned(), sysroot };
        for needed in [
            toolchain.sysroot.join("bin/cargo"),
            toolchain.sysroot.join("bin/rustc"),
            toolchain.source().join("library/core"),
        ] {
            if !needed.exists() {
                return Err(format!("{} is missing", needed.display()));
            }
        }
        let version = toolchain.version().ok_or("its rustc does not run")?;
        if version.rustc < RUSTC_MIN || version.llvm < LLVM_MIN {
            return Err(format!("rustc {}.{} with LLVM {} is too old", version.rustc.0, version.rustc.1, version.llvm));
        }
        Ok(toolchain)
    }

    /// Versions of the compiler and its LLVM; `None` when the compiler does not run.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        let said =
            Command::new(self.sysroot.join("bin/rustc")).arg("-vV").env_remove("LD_LIBRARY_PATH").output().ok()?;
        Version::parse(&String::from_utf8_lossy(&said.stdout))
    }

    /// `cargo SUBCOMMAND` of this toolchain, clean of everything an outer cargo or rustup put into the environment.
    #[must_use]
    pub fn cargo(&self, subcommand: &str) -> Command {
        let bin = self.sysroot.join("bin");
        // A subcommand is started directly: cargo would look for it in ~/.cargo/bin first and find rustup's.
        let mut command = match subcommand {
            "clippy" => Command::new(bin.join("cargo-clippy")),
            _ => Command::new(bin.join("cargo")),
        };
        command.arg(subcommand);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(belongs_to_outer_build) {
                command.env_remove(name);
            }
        }
        command
            .env("PATH", search_path(&bin))
            .env("CARGO", bin.join("cargo"))
            .env("RUSTC", bin.join("rustc"))
            .env("RUSTC_WRAPPER", "")
            // Unstable flags on a stable compiler, for this child only: in host crates it would switch features on.
            .env("RUSTC_BOOTSTRAP", "1");
        command
    }

    fn source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }
}

/// Version of a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Major and minor of rustc.
    pub rustc: (u32, u32),
    /// Major of its LLVM, which bpf-linker has to share.
    pub llvm: u32,
}

impl Version {
    /// Reads the output of `rustc -vV`.
    #[must_use]
    pub fn parse(verbose: &str) -> Option<Self> {
        let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name));
        let mut release = field("release: ")?.split('.');
        let rustc = (release.next()?.parse().ok()?, release.next()?.parse().ok()?);
        let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
        Some(Self { rustc, llvm })
    }
}

/// Cargo's home directory, where `cargo install` puts programs below `bin`.
#[must_use]
pub fn cargo_home() -> PathBuf {
    match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
    }
}

fn rustup_sysroot(name: &str) -> Result<PathBuf, String> {
    let mut command = Command::new("rustup");
    // Asking must not start a download.
    command.args(["run", name, "rustc", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
    let said = command.stderr(Stdio::null()).output().map_err(|_| "there is no rustup".to_owned())?;
    if !said.status.success() {
        return Err("rustup does not have it".to_owned());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()))
}

/// Variables that an outer cargo, build script or rustup sets and that would steer the nested build. Where cargo
/// keeps its files and how it reaches the registry stays.
fn belongs_to_outer_build(name: &str) -> bool {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "RUSTUP_HOME"];
    const DROPPED: [&str; 3] = ["CARGO_", "RUST", "DEP_"];
    const DROPPED_EXACTLY: [&str; 8] =
        ["CARGO", "TARGET", "HOST", "OUT_DIR", "PROFILE", "DEBUG", "OPT_LEVEL", "LD_LIBRARY_PATH"];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    DROPPED_EXACTLY.contains(&name) || (starts(&DROPPED) && !starts(&KEPT))
}

/// The toolchain's programs first, then what was there, then where `cargo install` puts bpf-linker.
fn search_path(bin: &Path) -> std::ffi::OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let last = cargo_home().join("bin");
    let all = std::iter::once(bin.to_owned()).chain(env::split_paths(&inherited)).chain(std::iter::once(last));
    env::join_paths(all).unwrap_or(inherited)
}

fn output(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| Error::Start(program, error))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(said) } else { Err(Error::Build(said)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_version_is_read_with_its_llvm() {
        let said = "rustc 1.96.0 (x)\nbinary: rustc\nhost: x\nrelease: 1.96.0-nightly\nLLVM version: 22.1.8\n";
        assert_eq!(Version::parse(said), Some(Version { rustc: (1, 96), llvm: 22 }));
        assert_eq!(Version::parse("release: 1.96.0\n"), None);
    }

    #[test]
    fn nested_build_sees_the_network_settings_but_not_the_outer_build() {
        for dropped in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "CARGO_TARGET_DIR",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "OUT_DIR",
            "LD_LIBRARY_PATH",
        ] {
            assert!(belongs_to_outer_build(dropped), "{dropped}");
        }
        for kept in ["CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_HOME", "PATH", "HOME", "https_proxy", "TARGETS"] {
            assert!(!belongs_to_outer_build(kept), "{kept}");
        }
    }

    #[test]
    fn toolchain_that_is_not_there_says_what_is_missing() {
        assert!(Toolchain::named("nightly-1999-01-01").is_err());
    }
}
