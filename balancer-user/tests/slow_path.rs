//! Turns frames that only the daemon can finish into what the program and the slow path make of them together. Needs root.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use balancer_common::verdict::Reason;
use balancer_user::{
    config::{self, Source},
    datapath::{Datapath, Options, OuterError, SlowPathCounters, detach},
    model::{ClientRoutes, Desired, NetworkView, NextHop, XdpMode, status::SlowPath},
    reconcile::{Reconciler, Wish},
};
use etherparse::{Icmpv4Type, IpFragOffset, Ipv4Header, PacketBuilder, icmpv4::DestUnreachableHeader};
use nix::{net::if_::if_nametoindex, sched::CloneFlags};
use tokio::sync::mpsc;

const DEMO: &str = include_str!("../../examples/demo.toml");
const DEADLINE: Duration = Duration::from_secs(10);
const DROP: u32 = 1;
const PASS: u32 = 2;

/// A gateway in a namespace of its own, without a daemon but with its slow path.
struct Lab {
    datapath: Arc<Mutex<Datapath>>,
    counters: SlowPathCounters,
    errors: mpsc::Receiver<OuterError>,
    public: u32,
    pin_dir: PathBuf,
}

impl Lab {
    /// Underlay packets may have `mtu` bytes. Spawns the slow path on the runtime.
    fn start(mtu: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        for interface in ["pub0", "und0"] {
            ip(&format!("link add {interface} type veth peer name {interface}-peer"));
            ip(&format!("link set {interface} up"));
        }
        ip("addr add 10.99.0.1/24 dev und0");
        let source = Source { file: "demo.toml".into(), text: DEMO.to_owned() };
        let desired = config::parse(&[source], "gw1").expect("the demo config is right").desired;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/slow-{}-{number}", std::process::id()));
        let options = Options { pin_dir: pin_dir.clone(), flows_max: desired.gateway.flows_max };
        let mut datapath = Datapath::open(&options).expect("the program loads");
        let [public, underlay] = ["pub0", "und0"].map(|name| if_nametoindex(name).expect("it was made"));
        for interface in ["pub0", "und0"] {
            datapath.attach(interface, XdpMode::Native).expect("veth runs XDP");
        }
        let view = view(&desired, public, underlay, mtu);
        let wish = Wish { desired: &desired, generation: 1, view: &view, ports: &[public, underlay] };
        Reconciler::new().reconcile(&wish, &mut datapath).expect("the maps take the demo config");
        let slow_path = datapath.slow_path().expect("the ring and raw sockets open");
        let counters = slow_path.counters();
        let datapath = Arc::new(Mutex::new(datapath));
        let (sender, errors) = mpsc::channel(4);
        let running = Arc::clone(&datapath);
        let again = move |frame: &[u8], ifindex| running.lock().expect("nobody panics").run_live(frame, ifindex);
        tokio::spawn(slow_path.run(again, sender));
        Self { datapath, counters, errors, public, pin_dir }
    }

    /// Runs a client's frame; the XDP action.
    fn run(&self, frame: &[u8]) -> u32 {
        self.datapath.lock().expect("nobody panics").test_run(frame, self.public).expect("the frame is whole").action
    }

    fn frames(&self, wanted: Reason) -> u64 {
        let reasons = self.datapath.lock().expect("nobody panics").reasons().expect("the map is there");
        reasons.into_iter().find(|(reason, _)| *reason == wanted).map_or(0, |(_, frames)| frames)
    }

    /// Waits until the slow path has counted this.
    async fn counts(&self, wanted: SlowPath) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while self.counters.read() != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "{:?} never became {wanted:?}", self.counters.read());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = detach(&self.pin_dir) {
            eprintln!("{} stays behind: {error}", self.pin_dir.display());
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

fn view(desired: &Desired, public: u32, underlay: u32, mtu: u32) -> NetworkView {
    let hop = |ifindex, mtu| NextHop { ifindex, source_mac: [2; 6], destination_mac: Some([4; 6]), mtu };
    NetworkView {
        hosts: desired.hosts.iter().map(|host| (host.vtep, hop(underlay, mtu))).collect(),
        clients_ipv4: ClientRoutes { default: Some(hop(public, 1500)), ..ClientRoutes::default() },
        ..NetworkView::default()
    }
}

/// A client's datagram to the service `echo`, in frames of at most `size` bytes of payload, without DF.
fn datagram(identification: u16, length: usize, size: usize) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let payload: Vec<u8> = (0..length).map(|position| position as u8).collect();
    let addresses = PacketBuilder::ipv4([198, 51, 100, 7], [203, 0, 113, 20], 64);
    addresses.udp(40_000, 7).write(&mut whole, &payload).expect("it fits a packet");
    let (mut header, payload) = Ipv4Header::from_slice(&whole).expect("it begins with a header");
    header.identification = identification;
    header.dont_fragment = false;
    let chunks: Vec<_> = payload.chunks(size).collect();
    let fragments = chunks.iter().enumerate().map(|(position, chunk)| {
        header.fragment_offset = IpFragOffset::try_new((position * size / 8) as u16).expect("13 bits");
        header.more_fragments = position + 1 < chunks.len();
        header.total_len = 20 + chunk.len() as u16;
        header.header_checksum = header.calc_header_checksum();
        [[2; 6].as_slice(), &[4; 6], &[0x08, 0x00], &header.to_bytes(), chunk].concat()
    });
    fragments.collect()
}

/// One thread for test, slow path and namespace.
fn on_a_runtime<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(test);
}

#[test]
fn root_a_fragment_that_comes_first_follows_its_first_one() {
    on_a_runtime(async {
        let lab = Lab::start(1600);
        let frames = datagram(1, 1800, 1000);
        assert_eq!(frames.len(), 2);
        assert_eq!(lab.run(&frames[1]), DROP);
        assert_eq!(lab.frames(Reason::FragmentHeld), 1);
        lab.counts(SlowPath { held: 1, ..SlowPath::default() }).await;
        assert_ne!(lab.run(&frames[0]), DROP);
        lab.counts(SlowPath { held: 1, released: 1, ..SlowPath::default() }).await;
        assert_eq!((lab.frames(Reason::Forwarded), lab.frames(Reason::FragmentHeld)), (2, 1));

        // One whose first never comes is given up.
        lab.run(&datagram(2, 1800, 1000)[1]);
        lab.counts(SlowPath { held: 2, released: 1, expired: 1, ..SlowPath::default() }).await;
        assert_eq!(lab.frames(Reason::Forwarded), 2);
    });
}

#[test]
fn root_a_packet_larger_than_the_path_is_sent_as_fragments() {
    on_a_runtime(async {
        let lab = Lab::start(1400);
        assert_eq!(lab.run(&datagram(1, 1400, 2000)[0]), DROP);
        assert_eq!(lab.frames(Reason::FragmentedByDaemon), 1);
        // 1408 bytes of UDP in packets of 1350 bytes: 1328 and 80.
        lab.counts(SlowPath { fragmented: 1, fragments_sent: 2, ..SlowPath::default() }).await;
    });
}

#[test]
fn root_an_error_about_an_outer_packet_is_passed_and_told() {
    on_a_runtime(async {
        let mut lab = Lab::start(1600);
        let mut quote = Vec::new();
        let outer = PacketBuilder::ipv4([10, 99, 0, 1], [10, 99, 0, 11], 60).udp(50_000, 4789);
        outer.write(&mut quote, &[0; 100]).expect("it fits a packet");
        let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 99, 0, 254], [10, 99, 0, 1], 64)
            .icmpv4(Icmpv4Type::DestinationUnreachable(header))
            .write(&mut frame, &quote)
            .expect("it fits a packet");
        assert_eq!(lab.run(&frame), PASS);
        let told = tokio::time::timeout(DEADLINE, lab.errors.recv()).await.expect("within the deadline");
        let [source, host] = [[10, 99, 0, 1], [10, 99, 0, 11]].map(Into::into);
        assert_eq!(told, Some(OuterError { source, host, port: 4789, mtu: 1400 }));
        assert_eq!(lab.frames(Reason::OuterError), 1);
    });
}
