//! Internet checksums (RFC 1071) and their incremental update (RFC 1624 equation 3), on words in memory order.
//!
//! The one's complement sum does not care about byte order as long as every word is read alike (RFC 1071 section 2 B),
//! so words here are native-endian reads of network memory, and a [`Delta`] can be stored in a map as it is.

/// What a set of changed words does to a checksum: the folded one's complement sum of `~old + new`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Delta(pub u16);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// The effect of replacing `old` by `new`, which have the same even length.
    #[must_use]
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        Self(fold(sum(new) + u64::from(!fold(sum(old)))))
    }

    /// The effect of replacing one 16-bit word, read in memory order.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(old: u16, new: u16) -> Self {
        Self(fold_few(!old as u32 + new as u32))
    }

    /// Both changes together.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(fold_few(self.0 as u32 + other.0 as u32))
    }

    /// The change back.
    #[must_use]
    #[inline(always)]
    pub const fn inverse(self) -> Self {
        Self(!self.0)
    }

    /// RFC 1624 equation 3: `HC' = ~(~HC + ~m + m')`. `checksum` as it stands in memory.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        // Two words leave one carry at most.
        let sum = !checksum as u32 + self.0 as u32;
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// Both changes in one step, which is cheaper than [`and`](Delta::and) and [`apply`](Delta::apply).
    #[must_use]
    #[inline(always)]
    pub const fn apply_both(self, other: Self, checksum: u16) -> u16 {
        !fold_few(!checksum as u32 + self.0 as u32 + other.0 as u32)
    }

    /// The same for a UDP checksum: 0 means "none" and stays (RFC 768; IPv4 only), and 0 is never produced.
    #[must_use]
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            updated => updated,
        }
    }
}

/// Folds a sum of 16-bit words (at most 2^32 of them) to 16 bits with end-around carry.
#[must_use]
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The same for a sum below 2^32: of at most 65 536 words. Two steps: the first leaves at most 0x1fffe.
#[must_use]
#[inline(always)]
pub const fn fold_few(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Sum of the 16-bit words of `bytes`, memory order, not folded; an odd last byte counts as padded with 0.
///
/// Read 4 bytes at a time: 2^16 is 1 modulo 0xffff, so that a 32-bit word folds to the sum of its halves.
#[must_use]
#[inline(always)]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    match *words.remainder() {
        [a, b, c] => total + u64::from(u32::from_ne_bytes([a, b, c, 0])),
        [a, b] => total + u64::from(u16::from_ne_bytes([a, b])),
        [a] => total + u64::from(u16::from_ne_bytes([a, 0])),
        _ => total,
    }
}

/// Sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 8200 section 8.1); addresses of 4 or 16 bytes.
#[must_use]
#[inline(always)]
pub fn pseudo_header(source: &[u8], destination: &[u8], protocol: u8, length: u16) -> u64 {
    sum(source) + sum(destination) + u64::from(u16::from(protocol).to_be()) + u64::from(length.to_be())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(bytes: &[u8]) -> u16 {
        !fold(sum(bytes))
    }

    /// One's complement has two zeros; both mean the same to a receiver, who sums and compares with 0xffff.
    fn same(left: u16, right: u16) -> bool {
        left == right || (left ^ right) == 0xffff && (left == 0 || right == 0)
    }

    #[test]
    fn rfc_1624_section_4_example_is_updated_without_minus_zero() {
        let delta = Delta::of_word(0x5555_u16, 0x3285_u16);
        assert_eq!(delta.apply(0xdd2f), 0x0000);
    }

    #[test]
    fn every_old_word_with_edge_words_equals_a_full_computation() {
        let edges: [u16; 7] = [0x0000, 0x0001, 0x00ff, 0x7fff, 0x8000, 0xfffe, 0xffff];
        for old in 0..=u16::MAX {
            for new in edges {
                let before = [old.to_ne_bytes(), 0x1234_u16.to_ne_bytes()].concat();
                let after = [new.to_ne_bytes(), 0x1234_u16.to_ne_bytes()].concat();
                assert_eq!(Delta::of_word(old, new).apply(full(&before)), full(&after), "{old:#x} -> {new:#x}");
            }
        }
    }

    #[test]
    fn every_checksum_comes_back_through_the_inverse() {
        let delta = Delta::of(&[192, 0, 2, 1, 0, 80], &[10, 1, 0, 11, 31, 144]);
        for checksum in 0..=u16::MAX {
            assert!(same(delta.inverse().apply(delta.apply(checksum)), checksum), "{checksum:#x}");
        }
    }

    #[test]
    fn udp_checksum_none_stays_none_and_is_never_produced() {
        assert_eq!(Delta::of_word(1, 2).apply_udp(0), 0);
        for checksum in 1..=u16::MAX {
            for word in [0, 1, 0x8000, 0xfffe, 0xffff] {
                assert_ne!(Delta::of_word(word, checksum).apply_udp(checksum), 0);
            }
        }
    }

    proptest! {
        #[test]
        fn any_change_equals_a_full_computation(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..41), new in any::<[u8; 16]>(), at in 0_usize..12,
        ) {
            bytes[39] |= 1;
            let (from, to) = (at * 2, at * 2 + 16);
            let checksum = full(&bytes);
            let delta = Delta::of(&bytes[from..to], &new);
            bytes[from..to].copy_from_slice(&new);
            prop_assert_eq!(delta.apply(checksum), full(&bytes));
        }

        #[test]
        fn short_folding_and_short_ways_equal_the_long_ones(sum: u32, a: u16, b: u16, checksum: u16) {
            prop_assert_eq!(fold_few(sum), fold(u64::from(sum)));
            prop_assert!(same(Delta(a).apply_both(Delta(b), checksum), Delta(a).and(Delta(b)).apply(checksum)));
        }

        #[test]
        fn folding_equals_the_remainder_by_65535(words in proptest::collection::vec(any::<u16>(), 1..2000)) {
            let total: u64 = words.iter().map(|word| u64::from(*word)).sum();
            prop_assert_eq!(u64::from(fold(total)) % 0xffff, total % 0xffff);
        }
    }
}
