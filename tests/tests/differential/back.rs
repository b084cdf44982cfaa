//! Turns frames that left the gateway into what comes back for them: replies, ICMP errors of clients, containers and the underlay.

use std::net::IpAddr;

use balancer_tests::frames::{
    overlay::{Overlay, outer_bytes},
    packet::{Body, Icmp, Packet},
    world::{HOST_MAC, Shape, UNDERLAY_MAC, VNIS, gateway_mac},
};

use super::{client, odd, random::Random};

/// Bytes of the largest answer: more than the way to the clients takes.
const REPLY_MAX: usize = 2_600;

/// A frame in VXLAN that went to a host, taken apart.
struct Delivered<'a> {
    outer_ipv4: bool,
    vni: u32,
    /// The outer IP packet.
    outer: &'a [u8],
    /// The inner frame's MACs.
    macs: [[u8; 6]; 2],
    /// The inner IP packet.
    packet: &'a [u8],
}

impl<'a> Delivered<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let outer_ipv4 = *frame.get(12..14)? == [0x08, 0x00];
        let at = outer_bytes(outer_ipv4);
        let inner = frame.get(at..)?;
        let vni = u32::from_be_bytes([0, frame[at - 4], frame[at - 3], frame[at - 2]]);
        let macs = [*inner.first_chunk()?, *inner.get(6..)?.first_chunk()?];
        Some(Self { outer_ipv4, vni, outer: frame.get(14..)?, macs, packet: inner.get(14..)? })
    }

    /// Something from the container, in VXLAN; now and then something about it is wrong.
    fn back(&self, random: &mut Random, packet: &[u8]) -> Vec<u8> {
        let ipv4 = packet[0] >> 4 == 4;
        let [gateway, host] = ends(self.outer);
        let mut overlay = Overlay {
            macs: [UNDERLAY_MAC, HOST_MAC],
            source: host,
            destination: gateway,
            traffic_class: random.byte(),
            port: random.number() as u16,
            vni: self.vni,
            flags: 8,
        };
        let mut macs = [self.macs[1], self.macs[0]];
        match random.below(40) {
            0 => overlay.vni = random.pick(&VNIS),
            1 => overlay.flags = random.byte(),
            2 => macs[0] = gateway_mac(random.below(2)),
            3 => overlay.source = Shape { vip_ipv4: self.outer_ipv4, underlay_ipv4: true }.stranger(),
            _ => {}
        }
        let ethertype: [u8; 2] = if ipv4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        overlay.around(&[&macs.concat(), &ethertype[..], packet].concat()).bytes()
    }
}

/// What the container of a delivered packet answers, more or less, whole or in fragments.
pub fn answers(random: &mut Random, frame: &[u8], identification: u32) -> Option<Vec<Vec<u8>>> {
    let delivered = Delivered::of(frame)?;
    let packet = delivered.packet;
    let ipv4 = packet[0] >> 4 == 4;
    let at = transport(packet)?;
    let [source, destination] = ends(packet);
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let ports = [port(at + 2)?, port(at)?];
    let body = if protocol(packet) == 6 { client::tcp(random, ports) } else { client::udp(random, ports, ipv4) };
    let mut answer = client::to(random, source, body);
    (answer.source, answer.destination) = (destination, source);
    if random.one_in(30) {
        answer.destination = Shape { vip_ipv4: ipv4, underlay_ipv4: true }.project_gateway();
    }
    let mut answer = answer.ip();
    if answer.len() > REPLY_MAX {
        return None;
    }
    if random.one_in(8) {
        answer = odd::dressed(random, &answer);
    }
    let parts = if random.one_in(6) { odd::fragments(random, &answer, identification) } else { vec![answer] };
    Some(parts.iter().map(|part| delivered.back(random, part)).collect())
}

/// What a container says of a packet that it did not want.
pub fn complaint(random: &mut Random, frame: &[u8]) -> Option<Vec<u8>> {
    let delivered = Delivered::of(frame)?;
    let [client, container] = ends(delivered.packet);
    let mut error = error(random, delivered.packet, client);
    error.source = if random.one_in(20) { client::client(random, client.is_ipv4()) } else { container };
    Some(delivered.back(random, &error.ip()))
}

/// What a router near a client says of a packet that the client should have got.
pub fn notice(random: &mut Random, frame: &[u8]) -> Option<Packet> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let packet = frame.get(at + 2..)?;
    let [vip, _] = ends(packet);
    Some(error(random, packet, vip))
}

/// What a router of the underlay says of a packet to a host.
pub fn underlay(random: &mut Random, frame: &[u8]) -> Option<Packet> {
    let delivered = Delivered::of(frame)?;
    let [vtep, _] = ends(delivered.outer);
    Some(error(random, delivered.outer, vtep))
}

/// An ICMP error to `receiver` that quotes as much of a packet as it likes.
fn error(random: &mut Random, packet: &[u8], receiver: IpAddr) -> Packet {
    let ipv4 = receiver.is_ipv4();
    let quoted = match random.below(4) {
        0 => {
            if ipv4 {
                28
            } else {
                48
            }
        }
        1 => random.below(80),
        _ => 1200,
    };
    let quoted = quoted.min(packet.len());
    let kind = if ipv4 {
        random.pick(&[[3, 4], [3, 1], [3, 3], [11, 0], [12, 0], [4, 0]])
    } else {
        random.pick(&[[1, 0], [1, 4], [2, 0], [3, 0], [4, 0], [5, 0]])
    };
    let body = Body::Icmp(Icmp { kind, rest: [0, 0, 5, 20], payload: packet[..quoted].to_vec() });
    client::to(random, receiver, body)
}

/// Source and destination of an IP packet.
fn ends(packet: &[u8]) -> [IpAddr; 2] {
    if packet[0] >> 4 == 4 {
        [12, 16].map(|at| IpAddr::from(*packet[at..].first_chunk::<4>().expect("a whole header left the gateway")))
    } else {
        [8, 24].map(|at| IpAddr::from(*packet[at..].first_chunk::<16>().expect("a whole header left the gateway")))
    }
}

fn protocol(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[9] } else { packet[6] }
}

/// Where the transport header stands in a packet without extension headers.
fn transport(packet: &[u8]) -> Option<usize> {
    let at = if packet[0] >> 4 == 4 { usize::from(packet[0] & 0xf) * 4 } else { 40 };
    matches!(protocol(packet), 6 | 17).then_some(at)
}
