//! Two fresh network namespaces, gateway and peer, joined by two veth pairs, and a follower with deadlines.
//!
//! Gateway `gw0` 10.9.0.1/24, fd09::1/64 - peer `peer0` .2, ::2; gateway `gw1` 10.8.0.1/24 - peer `other0`, no address.
//! Both namespaces live on threads and have no name, so they go with the test.

use std::{
    io::Write,
    net::IpAddr,
    panic::resume_unwind,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;

use crate::{
    model::{NetworkView, NextHop},
    network::{Network, Wanted},
};

/// MAC of `peer0`.
pub(in crate::network) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x42];

/// A change that the kernel tells of must be seen within this time; it takes some 30 ms on an idle machine.
pub(in crate::network) const CHANGE_MS: u64 = 1_000;

/// The same for what two machines have to exchange packets for.
const DEADLINE_MS: u64 = 3_000;

/// The two namespaces; the calling thread is in the gateway's.
pub(in crate::network) struct Lab {
    peer: Peer,
}

/// Runs the test in a thread that is in the gateway's namespace, on a current-thread runtime like the daemon's.
pub(in crate::network) fn in_lab(test: impl AsyncFnOnce(&Lab) + Send + 'static) {
    let gateway = thread::spawn(|| {
        enter_fresh_namespace();
        let lab = Lab::build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(&lab));
    });
    if let Err(panic) = gateway.join() {
        resume_unwind(panic);
    }
}

fn enter_fresh_namespace() {
    unshare(CloneFlags::CLONE_NEWNET)
        .unwrap_or_else(|error| panic!("no network namespace ({error}): run this test as root"));
}

impl Lab {
    fn build() -> Self {
        let lab = Self { peer: Peer::start() };
        let peer = &lab.peer.namespace;
        // Neighbour solicitation needs a link-local address, which duplicate address detection holds back for a second or two.
        let no_detection = "for conf in all default; do echo 0 > /proc/sys/net/ipv6/conf/$conf/accept_dad; done";
        lab.gateway(no_detection);
        lab.peer(no_detection);
        for (inside, outside) in [("gw0", "peer0"), ("gw1", "other0")] {
            lab.gateway(&format!("ip link add {inside} type veth peer name {outside} netns {peer}"));
            lab.gateway(&format!("ip link set {inside} up"));
        }
        lab.peer("ip link set peer0 address 02:00:00:00:00:42");
        // A host whose MAC changes says so, as machines do that take over an address.
        lab.peer("echo 1 > /proc/sys/net/ipv4/conf/all/arp_notify");
        for device in ["peer0", "other0"] {
            lab.peer(&format!("ip link set {device} up"));
        }
        lab.peer("ip address add 10.9.0.2/24 dev peer0");
        lab.peer("ip address add fd09::2/64 dev peer0 nodad");
        lab.gateway("ip address add 10.9.0.1/24 dev gw0");
        lab.gateway("ip address add fd09::1/64 dev gw0 nodad");
        lab.gateway("ip address add 10.8.0.1/24 dev gw1");
        lab
    }

    /// Runs a command in the gateway's namespace and returns what it prints.
    pub(in crate::network) fn gateway(&self, command: &str) -> String {
        run(command)
    }

    /// Runs a command in the peer's namespace.
    pub(in crate::network) fn peer(&self, command: &str) {
        self.peer.run(command);
    }

    /// Runs `ip` commands, one a line, in the gateway's namespace.
    pub(in crate::network) fn batch(&self, commands: &str) {
        let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Waits until it holds; for what the view does not show.
    pub(in crate::network) async fn eventually(&self, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_millis(DEADLINE_MS);
        while !holds(self) {
            assert!(Instant::now() < deadline, "not so within {DEADLINE_MS} ms: {}", self.gateway("ip neigh show"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The peer's namespace: a thread that runs what it is told.
struct Peer {
    namespace: String,
    commands: Option<mpsc::Sender<String>>,
    done: mpsc::Receiver<String>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Peer {
    fn start() -> Self {
        let (commands, received) = mpsc::channel::<String>();
        let (sender, done) = mpsc::channel();
        let thread = thread::spawn(move || {
            enter_fresh_namespace();
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            sender.send(format!("/proc/{}/ns/net", thread.display())).unwrap();
            for command in received {
                sender.send(run(&command)).unwrap();
            }
        });
        let namespace = done.recv().unwrap();
        Self { namespace, commands: Some(commands), done, thread: Some(thread) }
    }

    fn run(&self, command: &str) -> String {
        self.commands.as_ref().unwrap().send(command.to_owned()).unwrap();
        self.done.recv().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running [`Network`] and its view.
pub(in crate::network) struct Following {
    wanted: watch::Sender<Wanted>,
    view: watch::Receiver<NetworkView>,
    _network: Network,
}

/// Starts to follow the gateway's namespace.
pub(in crate::network) async fn follow(vteps: &[&str]) -> Following {
    let (wanted, receiver) = watch::channel(want(vteps));
    let (network, view) = Network::start(receiver).await.unwrap();
    Following { wanted, view, _network: network }
}

fn want(vteps: &[&str]) -> Wanted {
    Wanted { vteps: vteps.iter().map(|vtep| vtep.parse().unwrap()).collect() }
}

impl Following {
    /// The view now.
    pub(in crate::network) fn view(&self) -> NetworkView {
        self.view.borrow().clone()
    }

    /// Changes what is wanted.
    pub(in crate::network) fn want(&self, vteps: &[&str]) {
        self.wanted.send_replace(want(vteps));
    }

    /// Waits for the host's next hop to have that MAC.
    pub(in crate::network) async fn host_with_mac(&mut self, vtep: &str, mac: [u8; 6]) -> NextHop {
        let vtep: IpAddr = vtep.parse().unwrap();
        let has_mac =
            |view: &NetworkView| view.hosts.get(&vtep).is_some_and(|next_hop| next_hop.destination_mac == Some(mac));
        self.until(&format!("{vtep} at {mac:02x?}"), has_mac).await;
        self.view().hosts[&vtep]
    }

    /// Waits for the view to be so.
    pub(in crate::network) async fn until(&mut self, what: &str, holds: impl Fn(&NetworkView) -> bool) {
        self.until_within(DEADLINE_MS, what, holds).await;
    }

    /// Waits for the view to be so, with a deadline of its own.
    pub(in crate::network) async fn until_within(
        &mut self,
        deadline_ms: u64,
        what: &str,
        holds: impl Fn(&NetworkView) -> bool,
    ) {
        let waiting = self.view.wait_for(|view| holds(view));
        let waited =
            tokio::time::timeout(Duration::from_millis(deadline_ms), waiting).await.map(|view| drop(view.unwrap()));
        assert!(
            waited.is_ok(),
            "not within {deadline_ms} ms: {what}; view {:#?}; {}",
            self.view(),
            run("ip neigh show; ip route show")
        );
    }
}
