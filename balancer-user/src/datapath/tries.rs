//! Turns keys of the maps that are searched by longest prefix into what aya takes, and back.

use std::io;

use aya::{
    Pod,
    maps::lpm_trie::{Key, LpmTrie},
};
use balancer_common::{
    range::{RangeKey, ReplyRangeKey},
    source::SourceKey,
};

use super::{Datapath, error::io_error, maps::Prefixes, tables::or_absent};
use crate::model::tables::Trie;

/// A key as the number of its bits and the bytes that hold them: `struct bpf_lpm_trie_key_u8` of include/uapi/linux/bpf.h.
pub trait TrieKey: Copy {
    /// The bytes.
    type Data: Pod;

    /// The key in two.
    fn parts(self) -> (u32, Self::Data);
    /// The key out of the two.
    fn from_parts(prefix_bits: u32, data: Self::Data) -> Self;
}

impl TrieKey for SourceKey {
    type Data = [u8; 24];

    fn parts(self) -> (u32, Self::Data) {
        (self.prefix_bits, joined(&[&self.list, &self.address]))
    }

    fn from_parts(prefix_bits: u32, data: Self::Data) -> Self {
        Self { prefix_bits, list: part(&data, 0), address: part(&data, 8) }
    }
}

impl TrieKey for RangeKey {
    type Data = [u8; 8];

    fn parts(self) -> (u32, Self::Data) {
        (self.prefix_bits, joined(&[&self.vip, &[self.protocol, self.reserved], &self.port]))
    }

    fn from_parts(prefix_bits: u32, data: Self::Data) -> Self {
        Self { prefix_bits, vip: part(&data, 0), protocol: data[4], reserved: data[5], port: part(&data, 6) }
    }
}

impl TrieKey for ReplyRangeKey {
    type Data = [u8; 24];

    fn parts(self) -> (u32, Self::Data) {
        (self.prefix_bits, joined(&[&self.vni, &self.address, &[self.protocol, self.reserved], &self.port]))
    }

    fn from_parts(prefix_bits: u32, data: Self::Data) -> Self {
        Self {
            prefix_bits,
            vni: part(&data, 0),
            address: part(&data, 4),
            protocol: data[20],
            reserved: data[21],
            port: part(&data, 22),
        }
    }
}

const _: () = {
    assert!(size_of::<SourceKey>() == size_of::<u32>() + size_of::<<SourceKey as TrieKey>::Data>());
    assert!(size_of::<RangeKey>() == size_of::<u32>() + size_of::<<RangeKey as TrieKey>::Data>());
    assert!(size_of::<ReplyRangeKey>() == size_of::<u32>() + size_of::<<ReplyRangeKey as TrieKey>::Data>());
};

macro_rules! trie {
    ($($key:ty, $map:ident;)*) => {$(
        impl Trie<$key> for Datapath {
            fn prefixes(&self) -> io::Result<Vec<($key, u32)>> {
                read(&self.maps.$map)
            }

            fn put_prefix(&mut self, key: &$key, value: u32) -> io::Result<()> {
                let (bits, data) = key.parts();
                self.maps.$map.insert(&Key::new(bits, data), value, 0).map_err(|error| io_error(&error))
            }

            fn remove_prefix(&mut self, key: &$key) -> io::Result<()> {
                let (bits, data) = key.parts();
                or_absent(self.maps.$map.remove(&Key::new(bits, data)))
            }
        }
    )*};
}

trie! {
    SourceKey, sources;
    RangeKey, ranges;
    ReplyRangeKey, reply_ranges;
}

/// Every entry. The daemon alone writes these maps, so that nothing moves under the iteration.
fn read<K: TrieKey>(trie: &Prefixes<K>) -> io::Result<Vec<(K, u32)>> {
    let entry = |found: Result<(Key<K::Data>, u32), _>| {
        let (key, value) = found.map_err(|error| io_error(&error))?;
        Ok((K::from_parts(key.prefix_len(), key.data()), value))
    };
    LpmTrie::iter(trie).map(entry).collect()
}

fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[from..from + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_way_there_and_back() {
        let address = std::array::from_fn(|byte| byte as u8 + 1);
        let source = SourceKey::of(0x0102_0304_0506_0708, address, 100);
        let range = RangeKey::of(0x0a0b_0c0d, 17, [0x1f, 0x40], 9);
        let reply = ReplyRangeKey::of(0x00aa_bbcc, address, 6, [0x1f, 0x41], 16);
        let back = |(bits, data)| SourceKey::from_parts(bits, data);
        assert_eq!(back(source.parts()), source);
        let (bits, data) = range.parts();
        assert_eq!((RangeKey::from_parts(bits, data), data[4..].to_vec()), (range, vec![17, 0, 0x1f, 0x40]));
        let (bits, data) = reply.parts();
        assert_eq!((ReplyRangeKey::from_parts(bits, data), bits), (reply, 192));
    }
}
