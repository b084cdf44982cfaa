//! Turns what the kernel and aya refuse into sentences that say how to mend it.

use std::{error::Error, io, path::PathBuf};

use aya::programs::ProgramError;
use nix::libc;

/// Why the datapath could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The process may not use BPF.
    #[error(
        "the kernel refuses {what} to this process (EPERM): run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN"
    )]
    NotPermitted {
        /// What was refused.
        what: String,
    },
    /// The kernel lacks what the program is made of.
    #[error("this kernel is older than {needed}, which the XDP program needs: run a newer kernel")]
    KernelTooOld {
        /// The oldest kernel that will do.
        needed: &'static str,
    },
    /// The kernel has no BTF.
    #[error(
        "the kernel has no BTF (/sys/kernel/btf/vmlinux is missing), which the XDP program needs: run a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf,
    /// The verifier refused the program: a fault of the build.
    #[error(
        "the kernel's verifier refuses the XDP program ({error}); please report this with the kernel's version. Its last words:\n{tail}"
    )]
    Verifier {
        /// The system call's error.
        error: io::Error,
        /// Last lines of the verifier's log.
        tail: String,
    },
    /// Pins need a bpffs below them.
    #[error("{} lies on no BPF file system: mount one (mount -t bpf bpf /sys/fs/bpf), or set gateway.pin_dir below one", path.display())]
    NoBpffs {
        /// The directory for the pins.
        path: PathBuf,
    },
    /// bpffs keeps names with a dot for itself.
    #[error("{} has a dot in a name, which a BPF file system refuses: set gateway.pin_dir to another path", path.display())]
    PinDirName {
        /// The directory for the pins.
        path: PathBuf,
    },
    /// The pinned maps are another version's.
    #[error("the maps below {} are of version {found} of the maps' layout, this balancer is of version {ours}: \
        `balancer detach`, then start again (forwarding stops in between)", path.display())]
    OtherVersion {
        /// The directory of the pins.
        path: PathBuf,
        /// The version that wrote them.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// A pinned map has another shape than its version says.
    #[error("the pinned map {} has another shape than this balancer's ({what}): \
        `balancer detach`, then start again (forwarding stops in between)", path.display())]
    OtherShape {
        /// The pin.
        path: PathBuf,
        /// Which number differs, and how.
        what: String,
    },
    /// There is no such interface.
    #[error("there is no interface {name} in this network namespace: create it, or correct gateway.interfaces")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// Another XDP program is there.
    #[error(
        "interface {interface} already has the XDP program with id {program_id} (`bpftool prog show id {program_id}`): \
        detach that one (`ip link set dev {interface} xdp off`), or leave the interface out of gateway.interfaces"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The other program's id.
        program_id: u32,
    },
    /// The driver or the kernel refuses the program.
    #[error(
        "interface {interface} refuses the XDP program in {mode} mode ({reason}): \
        set gateway.xdp_mode to \"auto\" or \"generic\", or lower the interface's MTU"
    )]
    Refused {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// The kernel's error.
        reason: String,
    },
    /// Anything else.
    #[error("{what} failed: {reason}")]
    Kernel {
        /// What was tried.
        what: String,
        /// The chain of errors.
        reason: String,
        /// The system call's error, when there was one.
        #[source]
        source: Option<io::Error>,
    },
}

/// Lines of the verifier's log that an error shows.
const VERIFIER_LINES: usize = 12;

impl DatapathError {
    /// Of an error in something described by `what`.
    pub(super) fn of(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let (what, source) = (what.into(), os_error(error));
        if source.as_ref().and_then(io::Error::raw_os_error) == Some(libc::EPERM) {
            return Self::NotPermitted { what };
        }
        Self::Kernel { what, reason: chain(error), source }
    }

    /// Of an error while the program was loaded.
    pub(super) fn of_load(error: ProgramError) -> Self {
        let ProgramError::LoadError { io_error, verifier_log } = error else {
            return Self::of("loading the XDP program", &error);
        };
        let log = verifier_log.to_string();
        let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        if io_error.raw_os_error() == Some(libc::EPERM) && lines.is_empty() {
            return Self::NotPermitted { what: "the XDP program".to_owned() };
        }
        let tail = lines[lines.len().saturating_sub(VERIFIER_LINES)..].join("\n");
        Self::Verifier { error: io_error, tail }
    }
}

/// An error of aya as an `io::Error` that keeps the kernel's number where there is one.
pub(super) fn io_error(error: &(dyn Error + 'static)) -> io::Error {
    os_error(error).unwrap_or_else(|| io::Error::other(chain(error)))
}

/// An error and its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors already repeat their cause.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn os_error(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use aya::{maps::MapError, sys::SyscallError};

    use super::*;

    fn refused(code: i32) -> MapError {
        MapError::SyscallError(SyscallError {
            call: "bpf_map_update_elem",
            io_error: io::Error::from_raw_os_error(code),
        })
    }

    #[test]
    fn the_kernels_number_is_found_below_ayas_errors() {
        assert_eq!(io_error(&refused(libc::E2BIG)).raw_os_error(), Some(libc::E2BIG));
        assert_eq!(io_error(&MapError::KeyNotFound).to_string(), "key not found");
    }

    #[test]
    fn a_missing_right_is_named_with_its_mend() {
        let text = DatapathError::of("creating the maps", &refused(libc::EPERM)).to_string();
        assert!(text.contains("creating the maps") && text.contains("run as root"), "{text}");
    }
}
