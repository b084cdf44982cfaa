//! Turns policies and prefixes written through [`Tables`](crate::model::tables::Tables) into what the kernel gives back and finds.

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues, lpm_trie};
use balancer_common::{
    abi::{self, Gateway, Policy},
    case::{CASES_COUNT, Case},
    range::{RangeKey, ReplyRangeKey, prefixes},
    service::mapped,
    source::{SOURCE_ALLOW, SOURCE_DENY, SourceKey},
};

use super::lab::PinDir;
use crate::{
    datapath::{maps::Prefixes, mmap::Region, tries::TrieKey},
    model::tables::{Tables as _, Trie},
};

#[test]
fn root_a_policy_keeps_what_is_spent_until_it_is_freed() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let last = abi::POLICIES_MAX - 1;
    let spent: Region<Policy> =
        Region::map(MapData::from_pin(pins.path().join(abi::MAP_POLICIES)).unwrap().fd(), abi::POLICIES_MAX).unwrap();
    let policy = Policy { sources: 7, interval_ns: 100, burst_ns: 1_000, spent_until_ns: 0 };
    datapath.set_policy(last, &Policy { spent_until_ns: 5, ..policy });
    assert_eq!(datapath.policies(), [(last, policy)], "what is spent is the datapath's to say");
    spent.set_word(last, 3, 99);
    datapath.set_policy(last, &Policy { sources: 8, spent_until_ns: 3, ..policy });
    assert_eq!(datapath.policies(), [(last, Policy { sources: 8, spent_until_ns: 99, ..policy })]);
    datapath.free_policy(last);
    assert_eq!(datapath.policies(), []);
}

#[test]
fn root_prefixes_are_listed_replaced_removed_and_survive_a_restart() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    datapath.set_gateway(&Gateway { abi_version: abi::ABI_VERSION, ..Gateway::default() });
    let sources: Vec<(SourceKey, u32)> =
        (0..500_u32).map(|number| (SourceKey::of(3, mapped(number.to_be_bytes()), 128), SOURCE_DENY)).collect();
    let ranges: Vec<(RangeKey, u32)> =
        prefixes(1, 65_534).map(|(port, bits)| (RangeKey::of(9, 6, port.to_be_bytes(), bits), 40)).collect();
    let replies: Vec<(ReplyRangeKey, u32)> = prefixes(1, 65_534)
        .map(|(port, bits)| (ReplyRangeKey::of(100, mapped([10, 0, 0, 1]), 17, port.to_be_bytes(), bits), 41))
        .collect();
    check(&mut datapath, &sources);
    check(&mut datapath, &ranges);
    check(&mut datapath, &replies);
    let again = pins.maps();
    assert_eq!(sorted::<SourceKey>(&again).len(), sources.len() - 1);
    assert_eq!(sorted::<RangeKey>(&again).len(), ranges.len() - 1);
    assert_eq!(sorted::<ReplyRangeKey>(&again).len(), replies.len() - 1);
}

/// Writes all, one of them twice, and removes the first, twice.
fn check<K: Ord + Copy + std::fmt::Debug, T: Trie<K>>(trie: &mut T, entries: &[(K, u32)]) {
    for (key, value) in entries {
        trie.put_prefix(key, *value).unwrap();
    }
    let mut expected = entries.to_vec();
    expected[1].1 = 77;
    trie.put_prefix(&expected[1].0, 77).unwrap();
    let first = expected.remove(0);
    trie.remove_prefix(&first.0).unwrap();
    trie.remove_prefix(&first.0).unwrap();
    expected.sort_unstable();
    assert_eq!(sorted(trie), expected);
}

fn sorted<K: Ord>(trie: &impl Trie<K>) -> Vec<(K, u32)> {
    let mut found = trie.prefixes().unwrap();
    found.sort_unstable();
    found
}

#[test]
fn root_the_kernel_finds_the_longest_prefix_of_the_right_list_and_service() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let client = |last: u8| mapped([10, 1, 2, last]);
    for (list, address, bits, verdict) in [
        (1, [0; 16], 0, SOURCE_DENY),
        (1, mapped([10, 0, 0, 0]), 104, SOURCE_ALLOW),
        (1, client(3), 128, SOURCE_DENY),
        (2, [0; 16], 0, SOURCE_ALLOW),
    ] {
        datapath.put_prefix(&SourceKey::of(list, address, bits), verdict).unwrap();
    }
    for (list, address, verdict) in [
        (1, client(4), Some(SOURCE_ALLOW)),
        (1, client(3), Some(SOURCE_DENY)),
        (1, mapped([11, 0, 0, 1]), Some(SOURCE_DENY)),
        (2, client(3), Some(SOURCE_ALLOW)),
        (3, client(3), None),
    ] {
        let key = SourceKey::of(list, address, SourceKey::ADDRESS_BITS - SourceKey::LIST_BITS);
        assert_eq!(find(&datapath.maps.sources, key), verdict, "{list} {address:?}");
    }
    for (port, bits, service) in [(0, 0, 10), (8000, 10, 20)] {
        datapath.put_prefix(&RangeKey::of(5, 6, u16::to_be_bytes(port), bits), service).unwrap();
    }
    for (vip, protocol, port, service) in
        [(5, 6, 8010, Some(20)), (5, 6, 80, Some(10)), (5, 17, 8010, None), (6, 6, 8010, None)]
    {
        let key = RangeKey::of(vip, protocol, u16::to_be_bytes(port), 16);
        assert_eq!(find(&datapath.maps.ranges, key), service, "{vip} {protocol} {port}");
    }
}

fn find<K: TrieKey>(trie: &Prefixes<K>, key: K) -> Option<u32> {
    let (bits, data) = key.parts();
    trie.get(&lpm_trie::Key::new(bits, data), 0).ok()
}

#[test]
fn root_cases_are_folded_over_cpus() {
    let pins = PinDir::new();
    let datapath = pins.maps();
    let cpus = aya::util::nr_cpus().unwrap();
    let map = Map::PerCpuArray(MapData::from_pin(pins.path().join(abi::MAP_CASES)).unwrap());
    let mut map: PerCpuArray<_, u64> = map.try_into().unwrap();
    map.set(Case::PortRange as u32, PerCpuValues::try_from(vec![3; cpus]).unwrap(), 0).unwrap();
    let cases = datapath.cases().unwrap();
    assert_eq!((cases.len(), cases[0]), (CASES_COUNT as usize, (Case::Careful, 0)));
    assert_eq!(cases.iter().find(|(case, _)| *case == Case::PortRange).unwrap().1, 3 * cpus as u64);
}
