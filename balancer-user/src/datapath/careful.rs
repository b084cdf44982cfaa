//! Turns the careful program of a load into the one that this load's fast program hands frames to, for as long as that one runs.
//!
//! The fast program finds the careful one in a program array. The kernel empties such an array when nothing of user space
//! holds it any more, whatever programs use it (`prog_array_map_clear` of kernel/bpf/arraymap.c), so a pin has to outlive
//! the daemon. Each load has an array of its own: a fast program never meets the careful program of another version. The
//! pins are named by map id, and one goes when no link runs a program that uses it, so there is no moment at which a
//! process that is killed leaves an interface without its array.

use std::{collections::BTreeSet, fs, io, path::Path};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, ProgramArray},
    programs::{ProgramError, loaded_programs},
};
use balancer_common::abi;
use tracing::{debug, warn};

use super::{Datapath, attach, error::DatapathError, load, pins};
use crate::model::tables::Tables as _;

/// The array of this load.
pub struct Careful {
    map_id: u32,
    /// Held so that test runs work when the pins are gone.
    _array: ProgramArray<MapData>,
}

impl Careful {
    /// Puts the loaded careful program into the array and pins that.
    ///
    /// # Errors
    /// [`DatapathError`], the kernel's.
    pub fn install(ebpf: &mut Ebpf, pin_dir: &Path) -> Result<Self, DatapathError> {
        let failed = |error: MapError| DatapathError::of("filling the map CAREFUL", &error);
        let Some(Map::ProgramArray(map)) = ebpf.take_map(abi::MAP_CAREFUL) else {
            return Err(DatapathError::Kernel {
                what: "looking for the map CAREFUL".to_owned(),
                reason: "the object holds no such program array; build balancer anew".to_owned(),
                source: None,
            });
        };
        let map_id = map.info().map_err(failed)?.id();
        let path = pins::careful_path(pin_dir, map_id);
        map.pin(&path).map_err(|error| DatapathError::of(format!("pinning {}", path.display()), &error))?;
        let mut array = ProgramArray::try_from(Map::ProgramArray(map)).map_err(failed)?;
        let unused = |error: ProgramError| DatapathError::of("using the careful program", &error);
        array.set(0, load::careful(ebpf)?.fd().map_err(unused)?, 0).map_err(failed)?;
        Ok(Self { map_id, _array: array })
    }
}

impl Datapath {
    /// Removes the pins of arrays that no interface's program uses any more, once the last frame has left it.
    pub(super) fn forget_old_careful(&mut self) {
        let pin_dir = self.options.pin_dir.clone();
        let own = self.careful.as_ref().map(|careful| careful.map_id);
        forget_unused(&pin_dir, own, || self.wait_for_readers());
    }
}

/// Removes the pin of every array but `own` that no pinned link's program uses, after `wait` has waited for the frames that
/// were in such a program. One that may be in use stays: the next attach or start looks again.
pub fn forget_unused(pin_dir: &Path, own: Option<u32>, wait: impl FnOnce() -> io::Result<()>) {
    if let Err(error) = remove_unused(pin_dir, own, wait) {
        warn!(%error, "cannot tell which pins of the map CAREFUL are unused: they stay");
    }
}

fn remove_unused(pin_dir: &Path, own: Option<u32>, wait: impl FnOnce() -> io::Result<()>) -> Result<(), DatapathError> {
    let failed = |error: io::Error| DatapathError::of("removing old pins of the map CAREFUL", &error);
    let mut unused = pins::careful_ids(pin_dir).map_err(failed)?;
    unused.retain(|id| Some(*id) != own);
    if unused.is_empty() {
        return Ok(());
    }
    let used = used_maps(pin_dir)?;
    unused.retain(|id| !used.contains(id));
    if unused.is_empty() {
        return Ok(());
    }
    wait().map_err(failed)?;
    for id in unused {
        fs::remove_file(pins::careful_path(pin_dir, id)).map_err(failed)?;
        debug!(map_id = id, "removed the pin of a map CAREFUL that no interface's program uses");
    }
    Ok(())
}

/// Ids of the maps that the programs of all pinned links use.
fn used_maps(pin_dir: &Path) -> Result<BTreeSet<u32>, DatapathError> {
    let mut running = BTreeSet::new();
    for interface in pins::linked_interfaces(pin_dir).map_err(|error| DatapathError::of("listing the links", &error))? {
        let link = attach::open_link(&pins::link_path(pin_dir, &interface))?;
        let info = link.info().map_err(|error| DatapathError::of("asking about a link", &error))?;
        running.insert(info.program_id());
    }
    let mut used = BTreeSet::new();
    // Programs of others come and go meanwhile; ours cannot, its link holds it.
    for program in loaded_programs().filter_map(Result::ok) {
        if running.remove(&program.id()) {
            let maps = program.map_ids().map_err(|error| DatapathError::of("asking for a program's maps", &error))?;
            used.extend(maps.unwrap_or_default());
        }
    }
    match running.first() {
        None => Ok(used),
        Some(id) => Err(DatapathError::Kernel {
            what: format!("asking for the maps of program {id}"),
            reason: "the kernel does not list it".to_owned(),
            source: None,
        }),
    }
}
