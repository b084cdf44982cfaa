//! Datagrams larger than any frame reach the container and come back, in whatever order their fragments travel (cases 17, 19).

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use balancer_tests::{
    conformance::{over, proves},
    datagram::{DatagramClient, exchange_sizes},
    echoes::{self, Echoes, UDP_PORT},
    frames::{
        packet::{Body, Packet, Udp},
        reshape::fragments,
    },
    raw::RawSender,
    transfer::{pattern, target},
    web,
};
use xtask::lab::{Lab, Ns, Topology, Underlay};

const SIZES: [usize; 9] = [1, 1400, 1472, 1473, 2000, 2960, 4000, 8000, 20_000];
/// Far longer than a fragment is ever held back by the gateway when all is well.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of the Ethernet header, which the kernel makes.
const ETHERNET: usize = 14;

fn over_both(topology: Topology, test: impl Fn(&Lab) -> Result<()>) -> Result<()> {
    for topology in [topology.clone(), topology.over_ipv6()] {
        let underlay = topology.underlay;
        // Containers fill the underlay, and no more.
        let encapsulation = if underlay == Underlay::Ipv4 { 50 } else { 70 };
        let inner_mtu = topology.inner_mtu.min(topology.underlay_mtu - encapsulation);
        let lab = Lab::build(Topology { inner_mtu, ..topology })?;
        let _echoes = Echoes::start(&lab, &["web-1", "web-2"])?;
        let _balancer = lab.start_balancer(&echoes::config(&lab, &["web-1", "web-2"]).to_toml())?;
        test(&lab).with_context(|| format!("over {underlay:?}"))?;
        proves(&[19], over(underlay));
    }
    Ok(())
}

#[test]
fn datagrams_of_every_size_come_back_in_fragments() -> Result<()> {
    over_both(Topology::demo(), |lab| {
        for (_, vip) in web::everywhere() {
            exchange_sizes(&lab.ns("client"), target(vip, UDP_PORT), &SIZES)?;
        }
        Ok(())
    })
}

/// The client's fragments fill its MTU, and the way to the hosts is narrower: the gateway cuts them once more, or says so.
#[test]
fn fragments_larger_than_the_way_to_the_host_arrive_too() -> Result<()> {
    over_both(Topology { underlay_mtu: 1500, ..Topology::demo() }, |lab| {
        // Without discovery nothing has DF set.
        lab.ns("client").run(["sysctl", "-q", "net.ipv4.ip_no_pmtu_disc=1"])?;
        for (_, vip) in web::everywhere() {
            exchange_sizes(&lab.ns("client"), target(vip, UDP_PORT), &SIZES)?;
        }
        Ok(())
    })?;
    [Underlay::Ipv4, Underlay::Ipv6].into_iter().for_each(|underlay| proves(&[17], over(underlay)));
    Ok(())
}

/// The containers' packets fill the underlay, and the gateway's public link is narrower: it cuts them, or tells the container.
#[test]
fn answers_larger_than_the_way_to_the_client_arrive_too() -> Result<()> {
    over_both(Topology { client_mtu: 1400, public_mtu: 1400, ..Topology::demo() }, |lab| {
        lab.ns("red-web-1").run(["sysctl", "-q", "net.ipv4.ip_no_pmtu_disc=1"])?;
        for (_, vip) in web::everywhere() {
            exchange_sizes(&lab.ns("client"), target(vip, UDP_PORT), &SIZES)?;
        }
        Ok(())
    })?;
    [Underlay::Ipv4, Underlay::Ipv6].into_iter().for_each(|underlay| proves(&[17], over(underlay)));
    Ok(())
}

/// Changes the order in which fragments are sent.
type Arrange = fn(&mut Vec<Vec<u8>>);

/// How the fragments of a datagram are sent.
const ORDERS: [(&str, Arrange); 4] = [
    ("as they are", |_| {}),
    ("last first", |pieces| pieces.reverse()),
    ("first last", |pieces| pieces.rotate_left(1)),
    ("every one twice, last first", |pieces| {
        pieces.reverse();
        *pieces = pieces.iter().flat_map(|piece| [piece.clone(), piece.clone()]).collect();
    }),
];

#[test]
fn fragments_in_any_order_are_one_datagram_for_the_container() -> Result<()> {
    over_both(Topology::demo(), |lab| {
        let (client, sender) = (lab.ns("client"), RawSender::open(&lab.ns("client"))?);
        let mut identification = 1000;
        for (_, vip) in web::everywhere() {
            for (order, arrange) in ORDERS {
                identification += 1;
                let port = 40_000 + identification as u16;
                send_and_receive(&client, &sender, (vip, port, identification), arrange)
                    .with_context(|| format!("{vip}, {order}"))?;
            }
        }
        Ok(())
    })
}

fn send_and_receive(
    client: &Ns,
    sender: &RawSender,
    (vip, port, identification): (&str, u16, u32),
    arrange: Arrange,
) -> Result<()> {
    let (target, payload) = (target(vip, UDP_PORT), pattern(5000));
    let socket = DatagramClient::connect_from(client, port, target)?;
    let source: IpAddr = if target.is_ipv4() { Topology::CLIENT.0.into() } else { Topology::CLIENT.1.into() };
    let packet = Packet {
        macs: [[0; 6]; 2],
        tags: vec![],
        source,
        destination: target.ip(),
        ttl: 64,
        traffic_class: 0,
        fragment: 0,
        identification: 0,
        body: Body::Udp(Udp { ports: [port, UDP_PORT], payload: payload.clone(), checksum: true }),
    };
    let mut pieces = fragments(&packet.bytes(), 1400, identification);
    arrange(&mut pieces);
    pieces.iter().try_for_each(|piece| sender.send(&piece[ETHERNET..]))?;
    let sent = Instant::now();
    loop {
        match socket.receive(&payload) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && sent.elapsed() < ARRIVAL_LIMIT => {}
            Err(error) => bail!("no answer after {:?}: {error}", sent.elapsed()),
        }
    }
}
