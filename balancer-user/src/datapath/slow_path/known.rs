//! Turns what a held fragment waits for into whether the datapath knows it by now.

use std::{io, path::Path};

use aya::maps::{HashMap, Map, MapData, MapError};
use balancer_common::{
    abi,
    fragment::{FragmentEntry, FragmentKey},
};

use crate::datapath::{
    error::{DatapathError, io_error},
    mmap::{Raw, monotonic_coarse_ns},
    pins,
};

/// The map `FRAGMENTS`.
pub struct Known(HashMap<MapData, Raw<FragmentKey>, Raw<FragmentEntry>>);

impl Known {
    /// Opens the map below a pin directory.
    ///
    /// # Errors
    /// [`DatapathError`], the kernel's.
    pub fn open(pin_dir: &Path) -> Result<Self, DatapathError> {
        Map::from_map_data(pins::open(pin_dir, abi::MAP_FRAGMENTS)?)
            .and_then(HashMap::try_from)
            .map(Self)
            .map_err(|error: MapError| DatapathError::of("using the map FRAGMENTS", &error))
    }

    /// Whether the datapath knows where the first fragment went. Looking does not make the entry younger.
    ///
    /// # Errors
    /// The kernel's.
    pub fn holds(&self, key: &FragmentKey) -> io::Result<bool> {
        match self.0.get(&Raw(*key), 0) {
            Ok(Raw(entry)) => Ok(entry.until_ns > monotonic_coarse_ns()),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(io_error(&error)),
        }
    }
}
