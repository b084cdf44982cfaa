//! Turns the XDP program and its maps into something the daemon opens, attaches, fills and reads; the only user of aya.
//!
//! Maps and links are pinned, so that forwarding goes on when the process ends: dropping a [`Datapath`] detaches nothing.

mod attach;
mod careful;
mod counters;
mod error;
mod interface;
mod load;
mod maps;
mod mmap;
mod pins;
mod program;
mod slow_path;
mod tables;
mod tries;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use aya::Ebpf;

pub use self::{
    attach::{Attached, Detached, detach},
    error::DatapathError,
    interface::Mode,
    program::{ProgramStatus, TestRun},
    slow_path::{OuterError, SlowPath, SlowPathCounters, packets_of_record},
};

/// What opening a datapath needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory below a bpffs for the pinned maps and links; made when it is not there.
    pub pin_dir: PathBuf,
    /// Most flows that the conntrack remembers. Maps that are pinned already keep their size.
    pub flows_max: u32,
}

/// The programs and their maps.
pub struct Datapath {
    options: Options,
    ebpf: Ebpf,
    /// None when only the maps were opened.
    careful: Option<careful::Careful>,
    maps: maps::Maps,
}

/// The ELF object of the programs, for tools that look into it.
#[must_use]
pub fn object() -> &'static [u8] {
    load::OBJECT
}

impl Datapath {
    /// Makes the maps, or takes over the pinned ones, and loads the programs. Nothing is attached yet.
    ///
    /// Mounts a bpffs at `/sys/fs/bpf` when the pin directory lies below and none is mounted.
    ///
    /// # Errors
    /// [`DatapathError`], each with its mend.
    pub fn open(options: &Options) -> Result<Self, DatapathError> {
        let mut datapath = Self::open_maps(options)?;
        load::programs(&mut datapath.ebpf)?;
        careful::forget_unused(&options.pin_dir, None, || Ok(()));
        datapath.careful = Some(careful::Careful::install(&mut datapath.ebpf, &options.pin_dir)?);
        Ok(datapath)
    }

    /// The maps alone, without handing the program to the kernel: enough to read and write them, not to attach.
    ///
    /// # Errors
    /// As [`open`](Datapath::open).
    pub fn open_maps(options: &Options) -> Result<Self, DatapathError> {
        pins::prepare(&options.pin_dir)?;
        let ebpf = load::maps(options)?;
        Ok(Self { maps: maps::Maps::open(options)?, ebpf, careful: None, options: options.clone() })
    }

    /// Takes over the frames that only the daemon can finish. One at a time: the ring has one reader.
    ///
    /// # Errors
    /// [`DatapathError`]: a raw socket is refused, or a map cannot be opened.
    pub fn slow_path(&self) -> Result<SlowPath, DatapathError> {
        SlowPath::open(&self.options.pin_dir)
    }
}
