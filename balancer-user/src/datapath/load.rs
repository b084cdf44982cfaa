//! Turns the embedded object into pinned maps, and then into a program that the kernel has verified.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{ProgramInfo, Xdp},
    util::KernelVersion,
};
use balancer_common::abi;
use tracing::info;

use super::{Options, error::DatapathError, pins};

/// The object that build.rs makes of balancer-ebpf.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/balancer-ebpf"));
/// The program's name in the object.
const PROGRAM: &str = "balancer";
/// The name of the program that it hands the hard cases to.
const CAREFUL: &str = "careful";

/// XDP programs that take frames of several buffers (`BPF_F_XDP_HAS_FRAGS`) came with 5.18; everything else is older.
const KERNEL_NEEDED: (KernelVersion, &str) = (KernelVersion::new(5, 18, 0), "Linux 5.18");
/// Where the kernel shows its BTF.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Makes the maps that are not pinned yet, pins them, and points the program at them.
///
/// # Errors
/// [`DatapathError`], the kernel's.
pub fn maps(options: &Options) -> Result<Ebpf, DatapathError> {
    if KernelVersion::current().is_ok_and(|version| version < KERNEL_NEEDED.0) {
        return Err(DatapathError::KernelTooOld { needed: KERNEL_NEEDED.1 });
    }
    let mut loader = EbpfLoader::new();
    // The statistics alone: with the whole trace the log of a refusal would be hundreds of megabytes.
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader.map_max_entries(abi::MAP_FLOWS, options.flows_max);
    loader.map_max_entries(abi::MAP_REPLY_FLOWS, options.flows_max);
    let tries = [
        (abi::MAP_SOURCES, abi::SOURCES_MAX),
        (abi::MAP_RANGES, abi::RANGES_MAX),
        (abi::MAP_REPLY_RANGES, abi::RANGES_MAX),
    ];
    for (name, limit) in tries {
        loader.map_max_entries(name, pins::trie_entries(limit));
    }
    for name in pins::map_names() {
        loader.map_pin_path(name, options.pin_dir.join(name));
    }
    loader.load(OBJECT).map_err(|error| DatapathError::of("creating the maps", &error))
}

/// Hands both programs to the verifier.
///
/// # Errors
/// [`DatapathError::Verifier`] with the end of its log, or the kernel's.
pub fn programs(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    for name in [PROGRAM, CAREFUL] {
        let program = named_mut(ebpf, name)?;
        program.load().map_err(|error| {
            if Path::new(KERNEL_BTF).exists() { DatapathError::of_load(error) } else { DatapathError::NoBtf }
        })?;
        let info = info(program)?;
        info!(
            program = name,
            program_id = info.id(),
            verified_instructions = info.verified_instruction_count(),
            jited_bytes = info.size_jitted(),
            "loaded the XDP program"
        );
    }
    Ok(())
}

/// What the kernel knows about the loaded program.
///
/// # Errors
/// [`DatapathError`]: it is not loaded.
pub fn info(program: &Xdp) -> Result<ProgramInfo, DatapathError> {
    program.info().map_err(|error| DatapathError::of("asking about the XDP program", &error))
}

/// The fast program, which interfaces run.
///
/// # Errors
/// [`DatapathError`]: the object does not hold it.
pub fn xdp(ebpf: &Ebpf) -> Result<&Xdp, DatapathError> {
    named(ebpf, PROGRAM)
}

/// The fast program, to attach it.
///
/// # Errors
/// As [`xdp`].
pub fn xdp_mut(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    named_mut(ebpf, PROGRAM)
}

/// The careful program, which the fast one hands the hard cases to.
///
/// # Errors
/// As [`xdp`].
pub fn careful(ebpf: &Ebpf) -> Result<&Xdp, DatapathError> {
    named(ebpf, CAREFUL)
}

fn named<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a Xdp, DatapathError> {
    let program = ebpf.program(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|error| DatapathError::of("using the XDP program", &error))
}

fn named_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, DatapathError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|error| DatapathError::of("using the XDP program", &error))
}

fn missing(name: &str) -> DatapathError {
    DatapathError::Kernel {
        what: "looking for the XDP program".to_owned(),
        reason: format!("the object holds no program {name}; build balancer anew"),
        source: None,
    }
}
