//! Turns random choices into packets of clients: TCP, UDP and ICMP to service ports, VIPs and strangers.

use std::net::IpAddr;

use balancer_tests::frames::{
    packet::{Body, Icmp, Packet, Tcp, Udp},
    world::{CLIENT_ROUTER_MAC, PUBLIC_MAC, Shape},
};
use balancer_user::model::{Desired, Protocol};

use super::random::Random;

/// TCP flags: SYN, SYN-ACK, ACK, PSH-ACK, FIN-ACK, RST, RST-ACK, SYN-FIN, none.
pub const FLAGS: [u8; 9] = [0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x03, 0];

/// A packet to a service port that exists, mostly.
pub fn packet(random: &mut Random, desired: &Desired) -> Packet {
    let ports = &desired.service_ports;
    let at = (!ports.is_empty()).then(|| &ports[random.below(ports.len())]);
    let (vip, protocol, first, last) =
        at.map_or((Shape::ALL[0].vip(0), Protocol::Tcp, 80, 80), |at| (at.vip, at.protocol, at.port, at.port_last));
    let client_port = 40_000 + random.below(40) as u16;
    let within = first + random.below(usize::from(last - first).min(12) + 1) as u16;
    let ports = [client_port, if random.one_in(30) { random.number() as u16 } else { within }];
    let body = match protocol {
        Protocol::Tcp => tcp(random, ports),
        Protocol::Udp => udp(random, ports, vip.is_ipv4()),
    };
    to(random, vip, body)
}

/// A segment of any kind.
pub fn tcp(random: &mut Random, ports: [u16; 2]) -> Body {
    let flags = if random.flip() { 0x02 } else { random.pick(&FLAGS) };
    let options = if flags & 0x02 != 0 || random.one_in(8) { options(random) } else { vec![] };
    let payload = if flags & 0x02 == 0 || random.one_in(6) { payload(random) } else { vec![] };
    let (sequence, acknowledgment) = (random.number() as u32, random.number() as u32);
    Body::Tcp(Tcp { ports, sequence, acknowledgment, flags, window: 0x7210, options, payload })
}

/// A datagram, with a checksum mostly.
pub fn udp(random: &mut Random, ports: [u16; 2], ipv4: bool) -> Body {
    let checksum = !random.one_in(if ipv4 { 4 } else { 16 });
    Body::Udp(Udp { ports, payload: payload(random), checksum })
}

/// Mostly short; now and then about as much as the path takes, or more.
fn payload(random: &mut Random) -> Vec<u8> {
    let length = match random.below(12) {
        0 => random.pick(&[1190, 1360, 1390, 1400, 1410, 1430, 1440, 1460]),
        1 => random.below(3000),
        _ => random.below(60),
    };
    random.bytes(length)
}

/// TCP options in any order, padded to words; some are cut off by the end of the header.
pub fn options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..random.below(5) {
        match random.below(6) {
            0 | 1 => {
                options.extend([2, 4]);
                options.extend(random.pick(&[1460_u16, 8960, 1440, 536]).to_be_bytes());
            }
            2 => options.extend([1]),
            3 => options.extend([3, 3, 7]),
            4 => options.extend([4, 2]),
            _ => options.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        }
    }
    options.truncate(40);
    let words = if random.one_in(8) { options.len() / 4 } else { options.len().div_ceil(4) };
    options.resize(words * 4, 0);
    options
}

/// A client's packet to an address, with or without VLAN tags.
pub fn to(random: &mut Random, destination: IpAddr, body: Body) -> Packet {
    let ipv4 = destination.is_ipv4();
    let tag = |random: &mut Random| [random.pick(&[0x8100, 0x88a8]), random.below(0xffff) as u16];
    let tags = match random.below(10) {
        0 => vec![tag(random)],
        1 => vec![tag(random), tag(random)],
        2 if random.one_in(8) => vec![tag(random), tag(random), tag(random)],
        _ => vec![],
    };
    Packet {
        macs: [PUBLIC_MAC, CLIENT_ROUTER_MAC],
        tags,
        source: client(random, ipv4),
        destination,
        ttl: if random.one_in(24) { random.below(3) as u8 } else { 57 },
        traffic_class: random.byte(),
        fragment: if ipv4 && random.flip() { 0x4000 } else { 0 },
        identification: random.number() as u16,
        body,
    }
}

/// A client's address; now and then one that is nobody's.
pub fn client(random: &mut Random, ipv4: bool) -> IpAddr {
    let last = random.below(12) as u8;
    let odd = random.one_in(40);
    match (ipv4, odd) {
        (true, false) => IpAddr::from([198, 51, 100, last]),
        (false, false) => IpAddr::from([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, u16::from(last)]),
        (true, true) => random.pick(&[[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [10, 1, 2, 3]]).into(),
        (false, true) => random
            .pick(&[[0; 8], [0, 0, 0, 0, 0, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1], [0xfe80, 0, 0, 0, 0, 0, 0, 9]])
            .into(),
    }
}

/// Echo requests and other messages to VIPs, and protocols nobody publishes.
pub fn message(random: &mut Random, desired: &Desired) -> Packet {
    let like = packet(random, desired);
    let kind = match random.below(4) {
        0 => random.byte(),
        _ if like.source.is_ipv4() => 8,
        _ => 128,
    };
    let body = if random.one_in(8) {
        Body::Other(random.pick(&[2, 4, 41, 47, 50, 132]), payload(random))
    } else {
        Body::Icmp(Icmp { kind: [kind, 0], rest: [0x12, 0x34, 0, random.byte()], payload: payload(random) })
    };
    Packet { body, ..like }
}

/// For nobody here.
pub fn stranger(random: &mut Random, desired: &Desired) -> Packet {
    let like = packet(random, desired);
    let strangers = Shape::ALL.map(|shape| [shape.stranger(), shape.gateway_vtep()]).concat();
    let others: Vec<IpAddr> = strangers.into_iter().filter(|other| other.is_ipv4() == like.source.is_ipv4()).collect();
    Packet { destination: random.pick(&others), ..like }
}
