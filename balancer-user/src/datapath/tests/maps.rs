//! Turns writes through [`Tables`] into what the kernel gives back, and pins of other versions into errors.

use std::{net::Ipv4Addr, time::Instant};

use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use balancer_common::{
    abi::{self, Backend, ClientRoutes, Counters, Gateway, Host, NextHop, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    id::{BackendId, ServiceId},
    index::Bucket,
    service::{STATE_ACTIVE, mapped},
    verdict::{REASONS_COUNT, Reason},
};

use super::lab::PinDir;
use crate::{
    datapath::{Datapath, DatapathError, Options, mmap::Raw},
    model::tables::{Index, Tables as _},
};

fn slots(size: u32, seed: u32) -> Vec<Slot> {
    (0..size).map(|position| Slot { owner: position * 7 + seed, previous: position ^ seed }).collect()
}

#[test]
fn root_entries_come_back_as_written_also_through_a_second_opening() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let gateway = Gateway { abi_version: abi::ABI_VERSION, generation: 7, udp_idle_ns: 9, ..Gateway::default() };
    datapath.set_gateway(&gateway);
    let last = datapath.services_len() - 1;
    let service =
        Service { vip: mapped([203, 0, 113, 10]), port: [0, 80], protocol: 6, refuge: 3, ..Service::default() };
    datapath.set_service(last, &service);
    let backend =
        Backend { active: 5, state: STATE_ACTIVE, reference: 5, vni: 100, container: [9; 16], ..Backend::default() };
    datapath.set_backend(abi::BACKENDS_MAX - 1, &backend);
    let next_hop = NextHop { macs: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], ifindex: 4, resolved: 1, mtu: 1600 };
    let host = Host { next_hop, inner_mtu: 1550, family: 4, vtep: mapped([10, 99, 0, 11]), ..Host::default() };
    datapath.set_host(abi::HOSTS_MAX - 1, &host);
    let mut routes = ClientRoutes { default: next_hop, exceptions_count: 8, ..ClientRoutes::default() };
    routes.exceptions[7].mask = [0xff; 16];
    datapath.set_client_routes(1, &routes);
    datapath.set_entry(Index::Replies, abi::REPLY_BUCKETS - 1, 6, u64::MAX - 1);
    datapath.set_spilled(Index::Replies, abi::REPLY_BUCKETS - 1, true);

    for datapath in [datapath, pins.maps()] {
        assert_eq!(datapath.gateway(), gateway);
        assert_eq!(datapath.service(last), service);
        assert_eq!(datapath.backend(abi::BACKENDS_MAX - 1), backend);
        assert_eq!(datapath.backend(abi::BACKENDS_MAX - 2), Backend::default());
        assert_eq!(datapath.host(abi::HOSTS_MAX - 1), host);
        assert_eq!(datapath.client_routes(1), routes);
        assert_eq!(datapath.client_routes(0), ClientRoutes::default());
        let bucket = Bucket { entries: [0, 0, 0, 0, 0, 0, u64::MAX - 1], spilled: 1 };
        assert_eq!(datapath.bucket(Index::Replies, abi::REPLY_BUCKETS - 1), bucket);
        assert_eq!(datapath.bucket(Index::Services, 0), Bucket::default());
    }
}

#[test]
fn root_learnt_tags_stay_until_the_vip_is_another() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let learnt = Service {
        vip: mapped([203, 0, 113, 10]),
        port: [0, 80],
        protocol: 6,
        vlan_outer: 0x8100_0005,
        vlan_inner: 6,
        ..Service::default()
    };
    datapath.set_service(3, &learnt);
    datapath.set_service(3, &Service { vlan_outer: 0, vlan_inner: 0, refuge: 8, ..learnt });
    assert_eq!(datapath.service(3), Service { refuge: 8, ..learnt });
    let other = Service { port: [0, 81], vlan_outer: 0, vlan_inner: 0, ..learnt };
    datapath.set_service(3, &other);
    assert_eq!(datapath.service(3), other);
    datapath.set_service(3, &Service::default());
    assert_eq!(datapath.service(3), Service::default());
}

#[test]
fn root_tables_of_every_class_are_put_replaced_and_dropped() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    datapath.set_gateway(&Gateway { abi_version: abi::ABI_VERSION, ..Gateway::default() });
    for (class, size) in abi::TABLE_SIZES.into_iter().enumerate() {
        assert_eq!(datapath.table(class, 9).unwrap(), None);
        for seed in [1, 2] {
            datapath.put_table(class, 9, &slots(size, seed)).unwrap();
            assert_eq!(datapath.table(class, 9).unwrap(), Some(slots(size, seed)));
        }
        assert_eq!(pins.maps().table(class, 9).unwrap(), Some(slots(size, 2)));
        datapath.drop_table(class, 9).unwrap();
        datapath.drop_table(class, 9).unwrap();
        assert_eq!(datapath.table(class, 9).unwrap(), None);
        assert!(datapath.put_table(class, 9, &slots(size - 1, 1)).is_err());
    }
}

#[test]
fn root_waiting_for_readers_leaves_every_table_as_it_was() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    datapath.set_gateway(&Gateway { abi_version: abi::ABI_VERSION, ..Gateway::default() });
    let last = datapath.services_len() - 1;
    datapath.wait_for_readers().unwrap();
    assert_eq!(datapath.table(0, last).unwrap(), None);
    datapath.put_table(0, last, &slots(abi::TABLE_SIZES[0], 3)).unwrap();
    datapath.wait_for_readers().unwrap();
    pins.maps().wait_for_readers().unwrap();
    assert_eq!(datapath.table(0, last).unwrap(), Some(slots(abi::TABLE_SIZES[0], 3)));
    datapath.drop_table(0, last).unwrap();
    datapath.wait_for_readers().unwrap();
    assert_eq!(datapath.table(0, last).unwrap(), None);
}

#[test]
fn root_flows_of_both_tables_are_listed_and_forgotten() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let key = |port: u16| FlowKey {
        client: mapped(Ipv4Addr::LOCALHOST.octets()),
        client_port: port.to_be_bytes(),
        protocol: 6,
        ..FlowKey::default()
    };
    for (name, ports, backend) in [(abi::MAP_EMBRYOS, 0..700, 1), (abi::MAP_FLOWS, 500..1500, 2)] {
        let map = Map::LruHashMap(MapData::from_pin(pins.path().join(name)).unwrap());
        let mut map: HashMap<_, Raw<FlowKey>, Raw<FlowEntry>> = map.try_into().unwrap();
        for port in ports {
            map.insert(Raw(key(port)), Raw(FlowEntry { backend, state: 1, last_ns: 5 }), 0).unwrap();
        }
    }
    let flows: std::collections::HashMap<_, _> = datapath.flows().unwrap().into_iter().collect();
    assert_eq!(flows.len(), 1500);
    assert_eq!(flows[&key(499)], FlowEntry { backend: 1, state: 1, last_ns: 5 });
    assert_eq!(flows[&key(500)], FlowEntry { backend: 2, state: 1, last_ns: 5 }, "the grown flow counts");
    for _ in 0..2 {
        datapath.forget_flow(&key(600)).unwrap();
    }
    assert_eq!(datapath.flows().unwrap().len(), 1499);
    assert!(datapath.now_ns() > 0);
}

#[test]
fn root_counters_are_folded_over_cpus_and_cleared() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let cpus = aya::util::nr_cpus().unwrap();
    let one = Counters { forward_packets: 1, forward_bytes: 60, reply_packets: 2, reply_bytes: 120 };
    for name in [abi::MAP_SERVICE_COUNTERS, abi::MAP_BACKEND_COUNTERS] {
        let map = Map::PerCpuArray(MapData::from_pin(pins.path().join(name)).unwrap());
        let mut map: PerCpuArray<_, Raw<Counters>> = map.try_into().unwrap();
        map.set(4, PerCpuValues::try_from(vec![Raw(one); cpus]).unwrap(), 0).unwrap();
    }
    let cpus = cpus as u64;
    let sum =
        Counters { forward_packets: cpus, forward_bytes: 60 * cpus, reply_packets: 2 * cpus, reply_bytes: 120 * cpus };
    assert_eq!(datapath.service_counters(&[ServiceId(4), ServiceId(5)]).unwrap(), [sum, Counters::default()]);
    assert_eq!(datapath.backend_counters(&[BackendId(4)]).unwrap(), [sum]);
    datapath.clear_service_counters(4).unwrap();
    datapath.clear_backend_counters(4).unwrap();
    assert_eq!(datapath.service_counters(&[ServiceId(4)]).unwrap(), [Counters::default()]);
    assert_eq!(datapath.backend_counters(&[BackendId(4)]).unwrap(), [Counters::default()]);
    assert!(datapath.service_counters(&[ServiceId(abi::SERVICES_MAX)]).is_err());
    let reasons = datapath.reasons().unwrap();
    assert_eq!((reasons.len(), reasons[0]), (REASONS_COUNT as usize, (Reason::Forwarded, 0)));
}

#[test]
fn root_a_restart_keeps_the_maps_and_a_failed_start_leaves_none() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    datapath.set_entry(Index::Services, 1, 1, 42);
    drop(datapath);
    let mut datapath = pins.maps();
    assert_eq!(datapath.bucket(Index::Services, 1).entries[1], 0, "nobody had put these maps in force");
    datapath.set_entry(Index::Services, 1, 1, 42);
    datapath.set_gateway(&Gateway { abi_version: abi::ABI_VERSION, ..Gateway::default() });
    drop(datapath);
    let options = Options { flows_max: 8192, ..pins.options() };
    let datapath = Datapath::open_maps(&options).unwrap();
    assert_eq!(datapath.bucket(Index::Services, 1).entries[1], 42);
}

#[test]
fn root_maps_of_another_version_or_shape_are_refused_with_the_mend() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    datapath.set_gateway(&Gateway { abi_version: abi::ABI_VERSION + 1, ..Gateway::default() });
    let error = Datapath::open_maps(&pins.options()).err().unwrap();
    assert!(
        matches!(error, DatapathError::OtherVersion { .. }) && error.to_string().contains("balancer detach"),
        "{error}"
    );
    datapath.set_gateway(&Gateway { abi_version: abi::ABI_VERSION, ..Gateway::default() });
    std::fs::remove_file(pins.path().join(abi::MAP_HOSTS)).unwrap();
    MapData::from_pin(pins.path().join(abi::MAP_BACKENDS)).unwrap().pin(pins.path().join(abi::MAP_HOSTS)).unwrap();
    let error = Datapath::open_maps(&pins.options()).err().unwrap();
    assert!(matches!(error, DatapathError::OtherShape { .. }) && error.to_string().contains("not 64"), "{error}");
}

#[test]
fn root_a_pin_directory_that_cannot_work_is_refused_with_the_mend() {
    let options = |path: &str| Options { pin_dir: path.into(), flows_max: 1024 };
    let error = Datapath::open_maps(&options("/tmp/no-bpffs/here")).err().unwrap();
    assert!(matches!(error, DatapathError::NoBpffs { .. }), "{error}");
    let error = Datapath::open_maps(&options("/sys/fs/bpf/with.dot")).err().unwrap();
    assert!(matches!(error, DatapathError::PinDirName { .. }), "{error}");
}

/// The figure of the issue is 1 ms in release for 65 537 slots, without the wait for readers; run with `--release --nocapture`.
#[test]
fn root_a_large_table_is_handed_over_quickly() {
    let pins = PinDir::new();
    let mut datapath = pins.maps();
    let table = slots(abi::TABLE_SIZES[4], 1);
    let times = |action: &mut dyn FnMut()| {
        let mut times: Vec<_> = (0..7)
            .map(|_| {
                let before = Instant::now();
                action();
                before.elapsed()
            })
            .collect();
        times.sort();
        times
    };
    let made = times(&mut || drop(datapath.maps.tables[4].make(&table).unwrap()));
    let put = times(&mut || datapath.put_table(4, 1, &table).unwrap());
    let waited = times(&mut || datapath.wait_for_readers().unwrap());
    println!("65537 slots: made and filled in {:?}, put in {:?}; wait for readers {:?}", made[3], put[3], waited[3]);
    assert!(put[3].as_millis() < 1000, "{put:?}");
}
