//! Fills a Maglev table: which backend owns which slot, a pure function of the backends' identities and weights.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4.
//! Weights give a backend proportionally many turns, so that its share is exact to about one slot.

use crate::flow::siphash13;

/// One backend's part in the filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// First slot it prefers, below the table's size.
    pub offset: u32,
    /// Distance to the next one, 1 to the table's size less 1.
    pub skip: u32,
    /// Turns relative to the others, at least 1.
    pub weight: u32,
}

impl Candidate {
    /// The preferences of a backend known by `identity`, in a table of `size` slots (a prime).
    #[must_use]
    pub fn of(identity: &[u8], weight: u32, size: u32) -> Self {
        let offset = siphash13([0x6d61_676c_6576, 0], identity) % u64::from(size);
        let skip = siphash13([0x6d61_676c_6576, 1], identity) % u64::from(size - 1) + 1;
        Self { offset: offset as u32, skip: skip as u32, weight }
    }
}

/// Where a backend stands in its own permutation while the table is filled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    next: u32,
    credit: u64,
}

/// Words of the occupancy bitmap for a table of `size` slots.
#[must_use]
pub const fn bitmap_words(size: usize) -> usize {
    size.div_ceil(64)
}

/// Room the filling works in, so that this crate needs no allocator.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// One for each candidate.
    pub cursors: &'a mut [Cursor],
    /// [`bitmap_words`] words.
    pub occupied: &'a mut [u64],
}

/// Writes into every slot of `table` the position of its owner in `candidates`.
///
/// `table.len()` is a prime, `candidates` is not empty, and their order is the same on every gateway (sorted by identity).
/// The occupancy is a bitmap beside the table: 8 KiB for 65 537 slots stay in the first-level cache while the table does not.
pub fn fill(table: &mut [u32], candidates: &[Candidate], scratch: Scratch<'_>) {
    let Scratch { cursors, occupied } = scratch;
    let size = table.len() as u32;
    let total_weight: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    if size == 0 || total_weight == 0 {
        return;
    }
    occupied.fill(0);
    for (cursor, candidate) in cursors.iter_mut().zip(candidates) {
        *cursor = Cursor { next: candidate.offset, credit: 0 };
    }
    let turns = candidates.len() as u64;
    let mut left = size;
    loop {
        for (position, (cursor, candidate)) in cursors.iter_mut().zip(candidates).enumerate() {
            cursor.credit += u64::from(candidate.weight) * turns;
            while cursor.credit >= total_weight {
                cursor.credit -= total_weight;
                let slot = claim(cursor, candidate.skip, size, occupied);
                table[slot] = position as u32;
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }
}

/// The next free slot of this permutation. There is one, since the table is not full and a prime size makes the permutation visit every slot.
#[inline]
fn claim(cursor: &mut Cursor, skip: u32, size: u32, occupied: &mut [u64]) -> usize {
    let mut slot = cursor.next;
    loop {
        let (word, bit) = ((slot / 64) as usize, 1_u64 << (slot % 64));
        let taken = occupied[word] & bit != 0;
        let after = slot + skip;
        let after = if after >= size { after - size } else { after };
        if !taken {
            occupied[word] |= bit;
            cursor.next = after;
            return slot as usize;
        }
        slot = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::abi::TABLE_SIZES;

    fn filled(size: usize, candidates: &[Candidate]) -> Vec<u32> {
        let mut table = vec![u32::MAX; size];
        let mut cursors = vec![Cursor::default(); candidates.len()];
        let mut occupied = vec![0; bitmap_words(size)];
        fill(&mut table, candidates, Scratch { cursors: &mut cursors, occupied: &mut occupied });
        table
    }

    fn candidate(offset: u32, skip: u32) -> Candidate {
        Candidate { offset, skip, weight: 1 }
    }

    fn named(count: u32, weight: impl Fn(u32) -> u32, size: u32) -> Vec<Candidate> {
        (0..count).map(|number| Candidate::of(&number.to_be_bytes(), weight(number), size)).collect()
    }

    #[test]
    fn the_paper_s_example_comes_out_as_printed() {
        let [b0, b1, b2] = [candidate(3, 4), candidate(0, 2), candidate(3, 1)];
        assert_eq!(filled(7, &[b0, b1, b2]), [1, 0, 1, 0, 2, 2, 0]);
        // Without the second backend; position 1 is then the third.
        assert_eq!(filled(7, &[b0, b2]), [0, 0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn every_class_is_filled_by_one_backend_and_by_many() {
        for size in TABLE_SIZES {
            for count in [1, 2, 100] {
                let table = filled(size as usize, &named(count, |_| 1, size));
                assert!(table.iter().all(|owner| *owner < count));
            }
        }
    }

    #[test]
    fn removing_one_of_ten_moves_few_other_slots() {
        let size = 65_537;
        let all = named(10, |_| 1, size);
        let before = filled(size as usize, &all);
        let after = filled(size as usize, &all[..9]);
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != 9 && old != new).count();
        assert!(moved < size as usize / 20, "{moved} slots of others moved");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn shares_follow_weights_within_one_per_cent_of_the_table(weights in proptest::collection::vec(1_u32..=1000, 1..40)) {
            let size = 4_093;
            let table = filled(size, &named(weights.len() as u32, |number| weights[number as usize], size as u32));
            let total: u32 = weights.iter().sum();
            for (position, weight) in weights.iter().enumerate() {
                let slots = table.iter().filter(|owner| **owner == position as u32).count() as f64;
                let share = f64::from(*weight) / f64::from(total) * size as f64;
                prop_assert!((slots - share).abs() <= size as f64 / 100.0, "weight {weight}: {slots} slots, {share:.1} expected");
            }
        }
    }
}
