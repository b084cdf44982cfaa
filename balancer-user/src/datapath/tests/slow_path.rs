//! Turns records of every kind into what the kernel makes of them: datagrams that a far VXLAN device puts together, and
//! frames that come in again.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::mpsc as threads,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use balancer_common::{
    abi,
    fragment::{FragmentEntry, FragmentKey},
    record::{RECORD_FRAGMENT, RECORD_HOLD, RECORD_OUTER_ERROR, RecordHead},
};
use etherparse::{Icmpv6Type, Ipv4Header, PacketBuilder};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use super::lab::{PinDir, enter_namespace, ip};
use crate::{
    datapath::{
        DatapathError, OuterError, SlowPath,
        mmap::{Raw, monotonic_coarse_ns},
        program::LIVE_FRAME_MAX,
        slow_path::written,
    },
    model::status,
};

const SECONDS: Duration = Duration::from_secs(5);
/// MAC of the VXLAN devices at the far end.
const INNER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// A UDP packet of a client to the container at port 7007.
fn client_packet(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([198, 51, 100, 7], [10, 1, 0, 11], 63).udp(40_000, 7007).write(&mut bytes, payload).unwrap();
    // No DF.
    bytes[6] = 0;
    let mut header = Ipv4Header::from_slice(&bytes).unwrap().0;
    header.identification = 0x1234;
    header.header_checksum = header.calc_header_checksum();
    bytes[..20].copy_from_slice(&header.to_bytes());
    bytes
}

fn in_vxlan(vtep: IpAddr, inner: &[u8]) -> Vec<u8> {
    let vxlan = [8, 0, 0, 0, 0, 0, 100, 0];
    let payload = [vxlan.as_slice(), &INNER_MAC, &[2, 0, 0, 0, 0, 1, 0x08, 0x00], inner].concat();
    let link = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let ip = match vtep {
        IpAddr::V4(vtep) => link.ipv4([10, 0, 0, 1], vtep.octets(), 64),
        IpAddr::V6(vtep) => link.ipv6("fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets(), vtep.octets(), 64),
    };
    let mut bytes = Vec::new();
    ip.udp(50_000, 4789).write(&mut bytes, &payload).unwrap();
    bytes
}

/// What a VXLAN device of a namespace of its own, with the other end of the veth pair, puts together from `packets`
/// fragments of at most `inner_mtu` bytes.
fn received(vtep: &str, payload: &[u8], packets: u64) -> Vec<u8> {
    std::thread::scope(|scope| {
        let (ready, wait) = threads::channel();
        let (done, end) = threads::channel::<()>();
        let far = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            end.recv().unwrap();
            ip("link set lo up");
            ip("link set far up");
            ip("addr add 10.0.0.2/24 dev far");
            ip("addr add fd00::2/64 dev far nodad");
            ip(&format!("link add vx address 02:00:00:00:00:11 type vxlan id 100 local {vtep} dstport 4789"));
            ip("link set vx mtu 1400 up");
            ip("addr add 10.1.0.11/24 dev vx");
            ip("route add 198.51.100.0/24 dev vx");
            let mut socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            socket.bind(&"10.1.0.11:7007".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket.set_read_timeout(Some(SECONDS)).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            let mut bytes = vec![0; 9000];
            let length = socket.read(&mut bytes).unwrap();
            bytes.truncate(length);
            bytes
        });
        let thread = wait.recv().unwrap();
        ip(&format!("link set far netns {thread}"));
        ip("addr add 10.0.0.1/24 dev near");
        ip("addr add fd00::1/64 dev near nodad");
        done.send(()).unwrap();
        wait.recv().unwrap();
        let pins = PinDir::new();
        let mut slow_path = pins.maps().slow_path().unwrap();
        let frame = in_vxlan(vtep.parse().unwrap(), &client_packet(payload));
        let head = RecordHead { kind: RECORD_FRAGMENT, inner_mtu: 1400, ..RecordHead::default() };
        slow_path.work.record(&written(head, &frame), Instant::now());
        let expected = status::SlowPath { fragmented: 1, fragments_sent: packets, ..status::SlowPath::default() };
        assert_eq!(slow_path.counters().read(), expected);
        far.join().unwrap()
    })
}

#[test]
fn root_fragments_are_put_together_behind_a_vxlan_device() {
    let payload: Vec<u8> = (0..4000_u16).map(|position| (position % 251) as u8).collect();
    for vtep in ["10.0.0.2", "fd00::2"] {
        let payload = payload.clone();
        // A namespace for each, which ends with its thread.
        std::thread::spawn(move || {
            enter_namespace();
            assert!(received(vtep, &payload, 3) == payload, "{vtep}");
        })
        .join()
        .unwrap();
    }
}

fn remember(pins: &PinDir, key: FragmentKey, until_ns: u64) {
    let map = Map::LruHashMap(MapData::from_pin(pins.path().join(abi::MAP_FRAGMENTS)).unwrap());
    let mut map: HashMap<_, Raw<FragmentKey>, Raw<FragmentEntry>> = map.try_into().unwrap();
    map.insert(Raw(key), Raw(FragmentEntry { until_ns, ..FragmentEntry::default() }), 0).unwrap();
}

fn held(slow_path: &mut SlowPath, key: FragmentKey, frame: &[u8], now: Instant) {
    let head = RecordHead { kind: RECORD_HOLD, ifindex: 7, key, ..RecordHead::default() };
    slow_path.work.record(&written(head, frame), now);
}

#[test]
fn root_held_frames_run_again_once_their_first_fragment_is_known_or_expire() {
    let pins = PinDir::new();
    let mut slow_path = pins.maps().slow_path().unwrap();
    let [known, old, unknown] =
        [1, 2, 3].map(|identification| FragmentKey { identification, ..FragmentKey::default() });
    let now = Instant::now();
    for (key, frame) in [(known, [1; 60]), (old, [2; 60]), (known, [3; 60]), (unknown, [4; 60])] {
        held(&mut slow_path, key, &frame, now);
    }
    held(&mut slow_path, known, &vec![5; LIVE_FRAME_MAX + 1], now);
    let mut again = Vec::new();
    let mut run_again = |frame: &[u8], ifindex| {
        again.push((frame.to_vec(), ifindex));
        Ok::<_, DatapathError>(())
    };
    slow_path.work.look(now, &mut run_again);
    remember(&pins, old, monotonic_coarse_ns());
    remember(&pins, known, monotonic_coarse_ns() + 60_000_000_000);
    slow_path.work.look(now, &mut run_again);
    slow_path.work.look(now + SECONDS, &mut run_again);
    assert_eq!(again, [(vec![1; 60], 7), (vec![3; 60], 7)]);
    let expected = status::SlowPath { held: 4, too_long: 1, released: 2, expired: 2, ..status::SlowPath::default() };
    assert_eq!(slow_path.counters().read(), expected);
}

#[test]
fn root_a_frame_that_runs_again_reaches_the_stack_through_its_interface() {
    enter_namespace();
    ip("link set near address 02:00:00:00:00:01");
    ip("addr add 10.0.0.1/24 dev near");
    let socket = UdpSocket::bind("10.0.0.1:7007").unwrap();
    socket.set_read_timeout(Some(SECONDS)).unwrap();
    let near = nix::net::if_::if_nametoindex("near").unwrap();
    let pins = PinDir::new();
    let datapath = pins.open();
    for length in [42, 1500, LIVE_FRAME_MAX] {
        let mut frame = Vec::new();
        let payload = vec![length as u8; length - 42];
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
        link.ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64).udp(40_000, 7007).write(&mut frame, &payload).unwrap();
        datapath.run_live(&frame, near).unwrap();
        let mut bytes = [0; 4096];
        let (received, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..received], from.to_string().as_str()), (payload.as_slice(), "10.0.0.9:40000"));
    }
    for (frame, ifindex) in [(vec![0; 13], near), (vec![0; 4096], near), (vec![0; 60], 0x7fff_0000)] {
        assert!(datapath.run_live(&frame, ifindex).is_err(), "{} bytes on {ifindex}", frame.len());
    }
}

#[test]
fn root_the_task_reads_errors_about_outer_packets_and_survives_what_is_none() {
    let pins = PinDir::new();
    let mut slow_path = pins.maps().slow_path().unwrap();
    let (sender, mut errors) = mpsc::channel(1);
    slow_path.work.errors = Some(sender);
    let [vtep, host] = ["fd00::1", "fd00::2"].map(|address| address.parse::<std::net::Ipv6Addr>().unwrap());
    let mut quote = Vec::new();
    PacketBuilder::ipv6(vtep.octets(), host.octets(), 64).udp(50_000, 4789).write(&mut quote, &[0; 8]).unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv6([0xfd; 16], vtep.octets(), 64)
        .icmpv6(Icmpv6Type::PacketTooBig { mtu: 1400 })
        .write(&mut frame, &quote)
        .unwrap();
    let head = RecordHead { kind: RECORD_OUTER_ERROR, ..RecordHead::default() };
    for frame in [&frame[..60], &frame, &frame] {
        slow_path.work.record(&written(head, frame), Instant::now());
    }
    let expected = OuterError { source: vtep.into(), host: host.into(), port: 4789, mtu: 1400 };
    assert_eq!(errors.try_recv(), Ok(expected));
    assert!(errors.try_recv().is_err());
    let expected = status::SlowPath { malformed: 1, outer_errors: 1, overflowed: 1, ..status::SlowPath::default() };
    assert_eq!(slow_path.counters().read(), expected);
}
