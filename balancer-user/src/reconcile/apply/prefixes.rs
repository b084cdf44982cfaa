//! Turns wanted prefixes (of sources, of port ranges) into those to add now and those to remove once nothing leads to them.

use std::collections::BTreeMap;

use balancer_common::{
    range::{RangeKey, ReplyRangeKey},
    source::SourceKey,
};

use super::Apply;
use crate::{
    model::tables::{Tables, Trie},
    reconcile::{
        ReconcileError,
        error::Step as _,
        render::{Lists, Wanted, source_entries},
    },
};

/// What the last run left in the maps.
#[derive(Debug, Default)]
pub(in crate::reconcile) struct Known {
    lists: Lists,
    ranges: BTreeMap<RangeKey, u32>,
    reply_ranges: BTreeMap<ReplyRangeKey, u32>,
}

impl Known {
    /// After everything wanted was written and everything else removed.
    pub(super) fn of(wanted: &Wanted) -> Self {
        let Wanted { lists, ranges, reply_ranges, .. } = wanted;
        Self { lists: lists.clone(), ranges: ranges.clone(), reply_ranges: reply_ranges.clone() }
    }
}

/// Writes the lists that are not there. A list never changes, as its id follows from what it says.
pub(super) fn add_sources<T: Tables>(
    apply: &mut Apply<'_, T>,
    lists: &Lists,
    full: bool,
) -> Result<(), ReconcileError> {
    let (before, wanted) = if full {
        let all = lists.iter().flat_map(|(id, sources)| source_entries(*id, sources));
        (read_back(apply.tables)?, all.collect())
    } else {
        let of = |lists: &Lists, but: &Lists| {
            let differing = lists.iter().filter(|(id, _)| !but.contains_key(id));
            differing.flat_map(|(id, sources)| source_entries(*id, sources)).collect::<BTreeMap<SourceKey, u32>>()
        };
        (of(&apply.memory.known.lists, lists), of(lists, &apply.memory.known.lists))
    };
    apply.report.source_entries += add(apply.tables, &before, &wanted)?;
    apply.stale.sources = stale(&before, &wanted);
    Ok(())
}

/// Writes prefixes of service ports that are missing or name another one.
pub(super) fn add_ranges<T: Tables>(
    apply: &mut Apply<'_, T>,
    wanted: &BTreeMap<RangeKey, u32>,
    full: bool,
) -> Result<(), ReconcileError> {
    let before = if full { read_back(apply.tables)? } else { std::mem::take(&mut apply.memory.known.ranges) };
    apply.report.range_entries += add(apply.tables, &before, wanted)?;
    apply.stale.ranges = stale(&before, wanted);
    Ok(())
}

/// Writes prefixes of backends likewise.
pub(super) fn add_reply_ranges<T: Tables>(
    apply: &mut Apply<'_, T>,
    wanted: &BTreeMap<ReplyRangeKey, u32>,
    full: bool,
) -> Result<(), ReconcileError> {
    let before = if full { read_back(apply.tables)? } else { std::mem::take(&mut apply.memory.known.reply_ranges) };
    apply.report.range_entries += add(apply.tables, &before, wanted)?;
    apply.stale.reply_ranges = stale(&before, wanted);
    Ok(())
}

/// Removes prefixes.
pub(super) fn remove<K>(tables: &mut impl Trie<K>, keys: &[K]) -> Result<(), ReconcileError> {
    keys.iter().try_for_each(|key| tables.remove_prefix(key).step("remove a prefix"))
}

fn read_back<K: Ord>(tables: &impl Trie<K>) -> Result<BTreeMap<K, u32>, ReconcileError> {
    Ok(tables.prefixes().step("read the prefixes back")?.into_iter().collect())
}

/// Gives how many were written.
fn add<K: Ord>(
    tables: &mut impl Trie<K>,
    before: &BTreeMap<K, u32>,
    wanted: &BTreeMap<K, u32>,
) -> Result<usize, ReconcileError> {
    let mut written = 0;
    for (key, value) in wanted.iter().filter(|(key, value)| before.get(key) != Some(value)) {
        tables.put_prefix(key, *value).step("write a prefix")?;
        written += 1;
    }
    Ok(written)
}

fn stale<K: Ord + Copy>(before: &BTreeMap<K, u32>, wanted: &BTreeMap<K, u32>) -> Vec<K> {
    before.keys().filter(|key| !wanted.contains_key(key)).copied().collect()
}
