//! Turns (key, id) pairs into entries of the two indexes, one 8-byte entry at a time, so that a reader always finds the old id or the new one.

use std::net::{IpAddr, Ipv6Addr};

use balancer_common::{
    abi::{Backend, REPLY_BUCKETS, SERVICE_BUCKETS, Service},
    index::{BUCKET_ENTRIES, Bucket, Place, reply_ipv4, reply_ipv6, service_ipv4, service_ipv6},
    service::{Address, FAMILY_IPV4, STATE_FREE},
};

use super::ReconcileError;
use crate::model::tables::{Index, Tables};

/// The full key behind an entry. `vni` is 0 in the index over service ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    vni: u32,
    address: Address,
    port: [u8; 2],
    protocol: u8,
    family: u8,
}

impl Key {
    /// (VIP, protocol, port).
    pub fn of_service(entry: &Service) -> Self {
        Self { vni: 0, address: entry.vip, port: entry.port, protocol: entry.protocol, family: entry.family }
    }

    /// (VNI, container address, protocol, port).
    pub fn of_reply(entry: &Backend) -> Self {
        Self {
            vni: entry.vni,
            address: entry.container,
            port: entry.port,
            protocol: entry.protocol,
            family: entry.family,
        }
    }

    /// (VNI, container address) alone: some backend of the container, for fragments that show no port.
    pub fn of_container(entry: &Backend) -> Self {
        Self { port: [0; 2], protocol: 0, ..Self::of_reply(entry) }
    }

    fn place(&self, index: Index) -> Place {
        let a = &self.address;
        let v4 = [a[12], a[13], a[14], a[15]];
        match (index, self.family == FAMILY_IPV4) {
            (Index::Services, true) => service_ipv4(v4, self.protocol, self.port),
            (Index::Services, false) => service_ipv6(a, self.protocol, self.port),
            (Index::Replies, true) => reply_ipv4(self.vni, v4, self.protocol, self.port),
            (Index::Replies, false) => reply_ipv6(self.vni, a, self.protocol, self.port),
        }
    }
}

/// Makes `key` name `id`, whose own entry holds the key already. Gives the number of entries written.
///
/// # Errors
/// Both buckets of the key are full.
pub(super) fn put(tables: &mut impl Tables, index: Index, key: &Key, id: u32) -> Result<usize, ReconcileError> {
    let place = key.place(index);
    let (home, next) = (place.bucket(buckets(index)), place.next_bucket(buckets(index)));
    if let Some(found) = locate(tables, index, key) {
        if found.id == id {
            return Ok(0);
        }
        tables.set_entry(index, found.bucket, found.entry, place.entry(id));
        return Ok(1);
    }
    if let Some(entry) = room(&tables.bucket(index, home), place) {
        tables.set_entry(index, home, entry, place.entry(id));
        return Ok(1);
    }
    let Some(entry) = room(&tables.bucket(index, next), place) else { return Err(full(index, key)) };
    tables.set_entry(index, next, entry, place.entry(id));
    if tables.bucket(index, home).spilled == 0 {
        tables.set_spilled(index, home, true);
    }
    Ok(1)
}

/// Removes `key` if it still names `id`. Gives the number of entries written.
pub(super) fn remove(tables: &mut impl Tables, index: Index, key: &Key, id: u32) -> usize {
    let Some(found) = locate(tables, index, key).filter(|found| found.id == id) else { return 0 };
    clear(tables, index, found.bucket, found.entry);
    1
}

/// Removes every entry that does not name a wanted id under that id's own key, and puts spill marks right.
/// Gives the number of entries written.
pub(super) fn remove_strays(tables: &mut impl Tables, index: Index, is_wanted: impl Fn(u32) -> bool) -> usize {
    let mut written = 0;
    for position in 0..buckets(index) {
        let bucket = tables.bucket(index, position);
        if bucket == Bucket::default() {
            continue;
        }
        for (entry, word) in bucket.entries.into_iter().enumerate().filter(|(_, word)| *word != 0) {
            let id = id_of(word);
            let stands = keys_of(tables, index, id).iter().any(|key| {
                let found = locate(tables, index, key);
                found.is_some_and(|found| found.id == id && (found.bucket, found.entry) == (position, entry))
            });
            if !is_wanted(id) || !stands {
                clear(tables, index, position, entry);
                written += 1;
            }
        }
        if bucket.spilled != 0 {
            update_spill(tables, index, position);
        }
    }
    written
}

/// Where a key stands.
struct Found {
    bucket: u32,
    entry: usize,
    id: u32,
}

/// Looks where a reader looks: the first entry under the tag in the home bucket, then, behind a spill mark, in the next.
fn locate(tables: &impl Tables, index: Index, key: &Key) -> Option<Found> {
    let place = key.place(index);
    let at = |position: u32| {
        let bucket = tables.bucket(index, position);
        let entry = same_tag(&bucket, place)?;
        let id = id_of(bucket.entries[entry]);
        keys_of(tables, index, id).contains(key).then_some(Found { bucket: position, entry, id })
    };
    let home = place.bucket(buckets(index));
    at(home).or_else(|| {
        let spilled = tables.bucket(index, home).spilled != 0;
        spilled.then(|| at(place.next_bucket(buckets(index)))).flatten()
    })
}

/// The entry to put a new key into; none where the bucket is full or a reader would meet another key's equal tag first.
fn room(bucket: &Bucket, place: Place) -> Option<usize> {
    if same_tag(bucket, place).is_some() {
        return None;
    }
    bucket.entries.iter().position(|word| *word == 0)
}

fn same_tag(bucket: &Bucket, place: Place) -> Option<usize> {
    bucket.entries.iter().position(|word| *word != 0 && word >> 32 == place.entry(0) >> 32)
}

/// Frees an entry. The bucket before it keeps its spill mark while another of its keys stands here.
fn clear(tables: &mut impl Tables, index: Index, position: u32, entry: usize) {
    tables.set_entry(index, position, entry, 0);
    let before = position.wrapping_sub(1) & (buckets(index) - 1);
    if tables.bucket(index, before).spilled != 0 {
        update_spill(tables, index, before);
    }
}

/// Clears the spill mark of a bucket none of whose keys stands in the next one.
fn update_spill(tables: &mut impl Tables, index: Index, home: u32) {
    let next = home.wrapping_add(1) & (buckets(index) - 1);
    let bucket = tables.bucket(index, next);
    let is_guest =
        |id: u32| keys_of(tables, index, id).iter().any(|key| key.place(index).bucket(buckets(index)) == home);
    let guests = (0..BUCKET_ENTRIES).any(|entry| bucket.entries[entry] != 0 && is_guest(id_of(bucket.entries[entry])));
    if !guests {
        tables.set_spilled(index, home, false);
    }
}

const fn buckets(index: Index) -> u32 {
    match index {
        Index::Services => SERVICE_BUCKETS,
        Index::Replies => REPLY_BUCKETS,
    }
}

const fn id_of(word: u64) -> u32 {
    (word as u32).wrapping_sub(1)
}

/// The keys that an id may stand under, from its own entry; none when the entry is free.
fn keys_of(tables: &impl Tables, index: Index, id: u32) -> Vec<Key> {
    match index {
        Index::Services if id < tables.services_len() => {
            let entry = tables.service(id);
            if entry.family == 0 { Vec::new() } else { vec![Key::of_service(&entry)] }
        }
        Index::Replies if id < tables.backends_len() => {
            let entry = tables.backend(id);
            if entry.state == STATE_FREE { Vec::new() } else { vec![Key::of_reply(&entry), Key::of_container(&entry)] }
        }
        Index::Services | Index::Replies => Vec::new(),
    }
}

fn full(index: Index, key: &Key) -> ReconcileError {
    ReconcileError::IndexFull {
        index: match index {
            Index::Services => "service",
            Index::Replies => "reply",
        },
        address: IpAddr::V6(Ipv6Addr::from(key.address)).to_canonical(),
        port: u16::from_be_bytes(key.port),
        protocol: key.protocol,
    }
}
