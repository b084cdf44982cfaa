//! Turns the pin directory into a place that is ready for maps and links: a bpffs below it, and in it only what this version can use.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{MapData, MapError};
use balancer_common::{
    abi, case, fragment,
    range::{RangeKey, ReplyRangeKey},
    source::SourceKey,
    verdict,
};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use tracing::{info, warn};

use super::{error::DatapathError, mmap::Region};

/// Where a bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// In front of an interface's name in the name of its link's pin.
const LINK_PREFIX: &str = "link-";
/// In front of a map's id in the name of the pin of a `CAREFUL`, of which each load has its own.
const CAREFUL_PREFIX: &str = "CAREFUL-";

/// A map as `balancer_common::abi` describes it.
pub struct Shape {
    /// Its name, which is its pin's name.
    pub name: &'static str,
    key_size: usize,
    value_size: usize,
    /// None where the config chooses it.
    entries: Option<u32>,
}

impl Shape {
    const fn array<T>(name: &'static str, entries: u32) -> Self {
        Self { name, key_size: 4, value_size: size_of::<T>(), entries: Some(entries) }
    }

    const fn flows<K, V>(name: &'static str) -> Self {
        Self { name, key_size: size_of::<K>(), value_size: size_of::<V>(), entries: None }
    }

    const fn trie<K>(name: &'static str, limit: u32) -> Self {
        Self { name, key_size: size_of::<K>(), value_size: size_of::<u32>(), entries: Some(trie_entries(limit)) }
    }
}

/// Entries of a map that is searched by longest prefix: while it changes, all that is new stands beside all that was. What
/// is not used takes no memory (`BPF_F_NO_PREALLOC`).
pub const fn trie_entries(limit: u32) -> u32 {
    2 * limit
}

/// Every map that outlives the process and whose shape can be compared.
pub const SHAPES: [Shape; 25] = [
    Shape::array::<abi::Gateway>(abi::MAP_GATEWAY, 1),
    Shape::array::<balancer_common::index::Bucket>(abi::MAP_SERVICE_INDEX, abi::SERVICE_BUCKETS),
    Shape::array::<abi::Service>(abi::MAP_SERVICES, abi::SERVICES_MAX),
    Shape::array::<u32>(abi::MAP_TABLES[0], abi::SERVICES_MAX),
    Shape::array::<u32>(abi::MAP_TABLES[1], abi::SERVICES_MAX),
    Shape::array::<u32>(abi::MAP_TABLES[2], abi::SERVICES_MAX),
    Shape::array::<u32>(abi::MAP_TABLES[3], abi::SERVICES_MAX),
    Shape::array::<u32>(abi::MAP_TABLES[4], abi::SERVICES_MAX),
    Shape::array::<abi::Policy>(abi::MAP_POLICIES, abi::POLICIES_MAX),
    Shape::trie::<SourceKey>(abi::MAP_SOURCES, abi::SOURCES_MAX),
    Shape::trie::<RangeKey>(abi::MAP_RANGES, abi::RANGES_MAX),
    Shape::trie::<ReplyRangeKey>(abi::MAP_REPLY_RANGES, abi::RANGES_MAX),
    Shape::array::<abi::Backend>(abi::MAP_BACKENDS, abi::BACKENDS_MAX),
    Shape::array::<balancer_common::index::Bucket>(abi::MAP_REPLY_INDEX, abi::REPLY_BUCKETS),
    Shape::array::<abi::Host>(abi::MAP_HOSTS, abi::HOSTS_MAX),
    Shape::array::<abi::ClientRoutes>(abi::MAP_CLIENT_ROUTES, 2),
    Shape::array::<u64>(abi::MAP_REASONS, verdict::REASONS_COUNT),
    Shape::array::<u64>(abi::MAP_CASES, case::CASES_COUNT),
    Shape::array::<abi::Counters>(abi::MAP_SERVICE_COUNTERS, abi::SERVICES_MAX),
    Shape::array::<abi::Counters>(abi::MAP_BACKEND_COUNTERS, abi::BACKENDS_MAX),
    Shape::flows::<balancer_common::conntrack::FlowKey, balancer_common::conntrack::FlowEntry>(abi::MAP_FLOWS),
    Shape::flows::<balancer_common::conntrack::FlowKey, balancer_common::conntrack::FlowEntry>(abi::MAP_EMBRYOS),
    Shape::flows::<balancer_common::conntrack::ReplyKey, u32>(abi::MAP_REPLY_FLOWS),
    Shape {
        name: abi::MAP_FRAGMENTS,
        key_size: size_of::<fragment::FragmentKey>(),
        value_size: size_of::<fragment::FragmentEntry>(),
        entries: Some(abi::FRAGMENTS_MAX),
    },
    // A device map's value is `bpf_devmap_val`: an interface and a program.
    Shape::array::<u64>(abi::MAP_PORTS, 64),
];

/// Names of all maps with a pin, but `CAREFUL`.
pub fn map_names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name).chain([abi::MAP_SLOW_PATH])
}

/// Makes the directory, on a bpffs, and looks at what is pinned in it already.
///
/// # Errors
/// [`DatapathError`] when it cannot be made or holds what another version pinned.
pub fn prepare(pin_dir: &Path) -> Result<(), DatapathError> {
    require_bpffs(pin_dir)?;
    if pin_dir.to_string_lossy().contains('.') {
        return Err(DatapathError::PinDirName { path: pin_dir.to_owned() });
    }
    fs::create_dir_all(pin_dir)
        .map_err(|error| DatapathError::of(format!("creating {}", pin_dir.display()), &error))?;
    let Some(version) = pinned_version(pin_dir)? else { return Ok(()) };
    if version == 0 {
        return forget_unused(pin_dir);
    }
    if version != abi::ABI_VERSION {
        return Err(DatapathError::OtherVersion { path: pin_dir.to_owned(), found: version, ours: abi::ABI_VERSION });
    }
    SHAPES.iter().try_for_each(|shape| compare(pin_dir, shape))
}

/// Opens a pinned map.
///
/// # Errors
/// [`DatapathError`], the kernel's.
pub fn open(pin_dir: &Path, name: &str) -> Result<MapData, DatapathError> {
    MapData::from_pin(pin_dir.join(name)).map_err(|error| DatapathError::of(format!("opening the map {name}"), &error))
}

/// Where an interface's link is pinned. bpffs refuses dots, which VLAN interfaces have; no interface has a colon.
pub fn link_path(pin_dir: &Path, interface: &str) -> PathBuf {
    pin_dir.join(format!("{LINK_PREFIX}{}", interface.replace('.', ":")))
}

/// Where the `CAREFUL` with this map id is pinned.
pub fn careful_path(pin_dir: &Path, map_id: u32) -> PathBuf {
    pin_dir.join(format!("{CAREFUL_PREFIX}{map_id}"))
}

/// The map ids of every `CAREFUL` that is pinned.
///
/// # Errors
/// As [`linked_interfaces`].
pub fn careful_ids(pin_dir: &Path) -> io::Result<Vec<u32>> {
    Ok(behind_prefix(pin_dir, CAREFUL_PREFIX)?.iter().filter_map(|id| id.parse().ok()).collect())
}

/// The interfaces that have a link pinned, by name.
///
/// # Errors
/// The file system's; a directory that is not there holds none.
pub fn linked_interfaces(pin_dir: &Path) -> io::Result<Vec<String>> {
    Ok(behind_prefix(pin_dir, LINK_PREFIX)?.iter().map(|name| name.replace(':', ".")).collect())
}

/// What follows a prefix in the names that have it, sorted.
fn behind_prefix(pin_dir: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_string_lossy().strip_prefix(prefix).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Removes the pins of all maps; returns how many there were.
///
/// # Errors
/// The file system's.
pub fn remove_maps(pin_dir: &Path) -> io::Result<usize> {
    let mut removed = 0;
    let careful = careful_ids(pin_dir)?.into_iter().map(|id| careful_path(pin_dir, id));
    for path in map_names().map(|name| pin_dir.join(name)).chain(careful) {
        match fs::remove_file(path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn require_bpffs(pin_dir: &Path) -> Result<(), DatapathError> {
    if is_on_bpffs(pin_dir) {
        return Ok(());
    }
    if !pin_dir.starts_with(BPFFS) {
        return Err(DatapathError::NoBpffs { path: pin_dir.to_owned() });
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(|errno| {
        DatapathError::of(format!("mounting a BPF file system at {BPFFS}"), &io::Error::from(errno))
    })?;
    info!(path = BPFFS, "mounted a BPF file system");
    Ok(())
}

/// Whether the nearest directory that exists is on a bpffs.
fn is_on_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find_map(|ancestor| statfs(ancestor).ok())
        .is_some_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// The version that the maps were last written with, 0 when nobody did; none when there are no maps.
fn pinned_version(pin_dir: &Path) -> Result<Option<u32>, DatapathError> {
    let path = pin_dir.join(abi::MAP_GATEWAY);
    if !path.exists() {
        return Ok(None);
    }
    let map = open(pin_dir, abi::MAP_GATEWAY)?;
    // In every version the first word of GATEWAY begins with `abi_version`.
    let version: Region<u32> = Region::map(map.fd(), 1)
        .map_err(|error| DatapathError::of(format!("memory-mapping {}", path.display()), &error))?;
    Ok(Some(version.read(0)))
}

/// Maps that nobody wrote to and no link uses are what a start that failed left behind; they may be of any shape.
fn forget_unused(pin_dir: &Path) -> Result<(), DatapathError> {
    let failed = |error: io::Error| DatapathError::of(format!("clearing {}", pin_dir.display()), &error);
    if !linked_interfaces(pin_dir).map_err(failed)?.is_empty() {
        return SHAPES.iter().try_for_each(|shape| compare(pin_dir, shape));
    }
    let maps = remove_maps(pin_dir).map_err(failed)?;
    warn!(path = %pin_dir.display(), maps, "removed maps that a start without success left behind");
    Ok(())
}

fn compare(pin_dir: &Path, shape: &Shape) -> Result<(), DatapathError> {
    let path = pin_dir.join(shape.name);
    if !path.exists() {
        return Ok(());
    }
    let info = open(pin_dir, shape.name)?
        .info()
        .map_err(|error: MapError| DatapathError::of(format!("asking for the shape of {}", shape.name), &error))?;
    let differs = |what: &str, found: u32, ours: u32| {
        if found == ours {
            return Ok(());
        }
        Err(DatapathError::OtherShape { path: path.clone(), what: format!("{what} {found}, not {ours}") })
    };
    differs("bytes of a key", info.key_size(), shape.key_size as u32)?;
    differs("bytes of a value", info.value_size(), shape.value_size as u32)?;
    shape.entries.map_or(Ok(()), |entries| differs("entries", info.max_entries(), entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_interface_has_a_pin_without_a_dot() {
        assert_eq!(link_path(Path::new("/sys/fs/bpf/b"), "eth0.100"), Path::new("/sys/fs/bpf/b/link-eth0:100"));
    }

    #[test]
    fn a_directory_that_is_not_there_holds_no_links() {
        assert_eq!(linked_interfaces(Path::new("/nowhere/at/all")).ok(), Some(Vec::new()));
    }
}
