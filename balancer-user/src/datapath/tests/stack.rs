//! Turns records of the slow path into frames that arrive at a neighbour whose MAC was not known before.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::lab::{PinDir, enter_namespace, ip};
use crate::{datapath::slow_path::written, model::status::SlowPath};
use balancer_common::record::RecordHead;

/// An IPv4 UDP packet from a VIP that is nobody's address to 10.0.0.2, as the datapath would finish it.
fn packet_v4() -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 203, 0, 113, 10, 10, 0, 0, 2];
    bytes.extend_from_slice(&[0, 80, 0x30, 0x39, 0, 12, 0, 0, b'o', b'k', b'!', b'\n']);
    bytes
}

fn record(packet: &[u8], ethertype: [u8; 2]) -> Vec<u8> {
    let frame = [&[0; 12], ethertype.as_slice(), packet].concat();
    written(RecordHead::default(), &frame)
}

/// UDP over IPv6, checksum as RFC 8200 section 8.1 wants it.
fn packet_v6() -> Vec<u8> {
    use balancer_common::checksum::{fold, pseudo_header, sum};
    let mut bytes = vec![0x60, 0, 0, 0, 0, 12, 17, 64];
    bytes.extend_from_slice(&"2001:db8:f::10".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend_from_slice(&"fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend_from_slice(&[0, 80, 0x30, 0x39, 0, 12, 0, 0, b'o', b'k', b'!', b'\n']);
    let checksum = !fold(pseudo_header(&bytes[8..24], &bytes[24..40], 17, 12) + sum(&bytes[40..]));
    bytes[46..48].copy_from_slice(&checksum.to_ne_bytes());
    bytes
}

#[test]
fn root_the_stack_resolves_the_neighbour_and_sends() {
    enter_namespace();
    // The far end answers for 10.0.0.2 and fd00::2 in a namespace of its own, held by a thread.
    let far = std::thread::scope(|scope| {
        let (ready, wait) = std::sync::mpsc::channel();
        let (done, end) = std::sync::mpsc::channel::<()>();
        let far = scope.spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            end.recv().unwrap();
            let receive = |domain, address: &str| {
                let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
                socket.bind(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket
            };
            for arguments in [
                "link set far up",
                "addr add 10.0.0.2/24 dev far",
                "addr add fd00::2/64 dev far nodad",
                "route add default dev far",
                "-6 route add default dev far",
            ] {
                ip(arguments);
            }
            let sockets = [receive(Domain::IPV4, "10.0.0.2:12345"), receive(Domain::IPV6, "[fd00::2]:12345")];
            ready.send(nix::unistd::gettid()).unwrap();
            sockets.map(|mut socket| {
                let mut bytes = [0; 64];
                let length = socket.read(&mut bytes).unwrap();
                bytes[..length].to_vec()
            })
        });
        let thread = wait.recv().unwrap();
        ip(&format!("link set far netns {thread}"));
        ip("addr add 10.0.0.1/24 dev near");
        ip("addr add fd00::1/64 dev near nodad");
        done.send(()).unwrap();
        wait.recv().unwrap();
        let pins = PinDir::new();
        let datapath = pins.maps();
        let mut slow_path = datapath.slow_path().unwrap();
        let counters = slow_path.counters();
        slow_path.work.record(&record(&packet_v4(), [0x08, 0x00]), Instant::now());
        slow_path.work.record(&record(&packet_v6(), [0x86, 0xdd]), Instant::now());
        slow_path.work.record(&record(&packet_v4(), [0x08, 0x06]), Instant::now());
        let mut nowhere = packet_v4();
        nowhere[16] = 192;
        slow_path.work.record(&record(&nowhere, [0x08, 0x00]), Instant::now());
        assert_eq!(counters.read(), SlowPath { sent: 2, refused: 1, malformed: 1, ..SlowPath::default() });
        far.join().unwrap()
    });
    assert_eq!(far, [b"ok!\n", b"ok!\n"]);
}
