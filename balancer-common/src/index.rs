//! The index over service ports and over replies: 64-byte buckets that one frame reads with one cache miss.
//!
//! A bucket is 7 entries of (tag, id) and a word that says whether a key spilled into the next bucket. The daemon
//! changes one 8-byte entry at a time, so that a reader sees the old entry or the new one; the id's own entry holds the
//! full key and is compared before it is believed.

/// Entries of a bucket.
pub const BUCKET_ENTRIES: usize = 7;

/// One cache line of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Bucket {
    /// `tag << 32 | id + 1`; 0 is free.
    pub entries: [u64; BUCKET_ENTRIES],
    /// 1 when a key of this bucket stands in the next one.
    pub spilled: u64,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// Where a key stands: which bucket, and the tag it carries there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    hash: u64,
}

impl Place {
    /// The bucket of the key among `buckets`, a power of two.
    #[must_use]
    #[inline(always)]
    pub const fn bucket(self, buckets: u32) -> u32 {
        (self.hash >> BUCKET_SHIFT) as u32 & (buckets - 1)
    }

    /// The bucket a key spills into.
    #[must_use]
    #[inline(always)]
    pub const fn next_bucket(self, buckets: u32) -> u32 {
        ((self.hash >> BUCKET_SHIFT) as u32).wrapping_add(1) & (buckets - 1)
    }

    /// The entry of this key for `id`.
    #[must_use]
    #[inline(always)]
    pub const fn entry(self, id: u32) -> u64 {
        self.hash & TAG_MASK | (id as u64 + 1)
    }
}

const TAG_MASK: u64 = 0xffff_ffff_0000_0000;
/// The bits from here on choose the bucket: every bit of a key has reached them. The tag has them too, and at least 16 others.
const BUCKET_SHIFT: u32 = 40;

impl Bucket {
    /// The id under the key's tag; the caller compares the full key with what the id names.
    #[must_use]
    #[inline(always)]
    pub fn find(&self, place: Place) -> Option<u32> {
        let mut position = 0;
        while position < BUCKET_ENTRIES {
            let entry = self.entries[position];
            if (entry ^ place.hash) & TAG_MASK == 0 && entry as u32 != 0 {
                return Some((entry as u32).wrapping_sub(1));
            }
            position += 1;
        }
        None
    }
}

/// Place of (VIP, protocol, port) with an IPv4 VIP; protocol and port are 0 for the VIP's address alone.
#[must_use]
#[inline(always)]
pub const fn service_ipv4(vip: [u8; 4], protocol: u8, port: [u8; 2]) -> Place {
    mix(u32::from_le_bytes(vip) as u64 | ports(protocol, port), 0)
}

/// Place of (VIP, protocol, port) with an IPv6 VIP.
#[must_use]
#[inline(always)]
pub const fn service_ipv6(vip: &[u8; 16], protocol: u8, port: [u8; 2]) -> Place {
    let (high, low) = halves(vip);
    mix(high.rotate_left(29) ^ ports(protocol, port), low)
}

/// Place of (VNI, container address, protocol, port) with an IPv4 container.
#[must_use]
#[inline(always)]
pub const fn reply_ipv4(vni: u32, address: [u8; 4], protocol: u8, port: [u8; 2]) -> Place {
    mix(u32::from_le_bytes(address) as u64 | ports(protocol, port), vni as u64)
}

/// Place of (VNI, container address, protocol, port) with an IPv6 container.
#[must_use]
#[inline(always)]
pub const fn reply_ipv6(vni: u32, address: &[u8; 16], protocol: u8, port: [u8; 2]) -> Place {
    let (high, low) = halves(address);
    mix(high.rotate_left(29) ^ ports(protocol, port), low ^ (vni as u64) << 40)
}

#[inline(always)]
const fn ports(protocol: u8, port: [u8; 2]) -> u64 {
    (protocol as u64) << 48 | (u16::from_le_bytes(port) as u64) << 32
}

#[inline(always)]
const fn halves(address: &[u8; 16]) -> (u64, u64) {
    let a = address;
    (
        u64::from_le_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_le_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    )
}

/// Keys come from the operator's config, not from clients, so the mix need not be keyed; a full bucket spills. One multiplication
/// (Knuth, "The Art of Computer Programming" volume 3, section 6.4): its upper bits depend on every bit of the key.
#[inline(always)]
const fn mix(first: u64, second: u64) -> Place {
    let second = second.wrapping_mul(0xff51_afd7_ed55_8ccd);
    Place { hash: (first ^ second ^ second >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_found_under_its_own_place_only() {
        let (mine, other) = (service_ipv4([192, 0, 2, 1], 6, [0, 80]), service_ipv4([192, 0, 2, 1], 6, [0, 81]));
        let mut bucket = Bucket::default();
        assert_eq!(bucket.find(mine), None);
        bucket.entries[6] = mine.entry(0);
        assert_eq!(bucket.find(mine), Some(0));
        assert_eq!(bucket.find(other), None);
    }

    #[test]
    fn keys_of_a_large_config_fill_buckets_evenly_under_tags_of_their_own() {
        use crate::abi::{REPLY_BUCKETS, SERVICE_BUCKETS};
        type Key = fn(u32) -> Place;
        let series: [(&str, u32, Key); 6] = [
            ("four ports of many VIPs", SERVICE_BUCKETS, |n| {
                service_ipv4((0xcb00_7100 + n / 4).to_be_bytes(), 6, (80 + (n % 4) as u16).to_be_bytes())
            }),
            ("one port of every VIP", SERVICE_BUCKETS, |n| service_ipv4((0x0a00_0000 + n).to_be_bytes(), 17, [0, 53])),
            ("every port of one VIP", SERVICE_BUCKETS, |n| {
                service_ipv4([203, 0, 113, 10], 6, (n as u16).to_be_bytes())
            }),
            ("VIPs of IPv6", SERVICE_BUCKETS, |n| {
                let mut vip = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                vip[12..].copy_from_slice(&n.to_be_bytes());
                service_ipv6(&vip, 6, [1, 187])
            }),
            ("containers of one project", REPLY_BUCKETS, |n| {
                reply_ipv4(100, (0x0a01_0000 + n).to_be_bytes(), 6, [31, 144])
            }),
            ("one container of many projects", REPLY_BUCKETS, |n| reply_ipv4(1 + n, [10, 1, 0, 11], 6, [31, 144])),
        ];
        for (name, buckets, key) in series {
            let mut counts = vec![0_u32; buckets as usize];
            let mut places = std::collections::BTreeSet::new();
            for place in (0..20_000).map(key) {
                counts[place.bucket(buckets) as usize] += 1;
                assert!(places.insert((place.bucket(buckets), place.entry(0) >> 32)), "{name}: two keys under one tag");
            }
            assert!(counts.iter().max() < Some(&12), "{name}: {:?} in the fullest bucket", counts.iter().max());
        }
    }
}
