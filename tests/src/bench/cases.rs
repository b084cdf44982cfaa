//! Turns the names of the cases into the frames they send and what must become of them.

use crate::frames::{
    packet::{Body, Packet},
    programs::{Kind, Program, Template},
    world::Shape,
};

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in the figures.
    pub name: &'static str,
    /// What runs.
    pub subject: Subject,
    /// What is sent.
    pub traffic: Traffic,
    /// Number of flows.
    pub flows: u32,
    /// Most times the cost of `encap`, where the issue says so.
    pub target: Option<f64>,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A floor.
    Floor(Program),
    /// The balancer with the service ports of the cases alone.
    Few,
    /// The balancer with 10 000 service ports.
    Many,
}

/// What is sent: frames of 64 bytes (without FCS) where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Segments of established connections, ACK with 10 bytes of payload.
    Established,
    /// SYN with the options that Linux sends, 74 bytes.
    Syn,
    /// Datagrams with 22 bytes of payload.
    Udp,
    /// Segments over IPv6, 80 bytes.
    Established6,
    /// A container's segments in VXLAN, 114 bytes.
    Reply,
    /// Segments to an address that is no VIP.
    Stranger,
}

const fn case(name: &'static str, subject: Subject, (traffic, flows): (Traffic, u32), target: Option<f64>) -> Case {
    Case { name, subject, traffic, flows, target }
}

const K64: u32 = 1 << 16;
const K512: u32 = 1 << 19;

/// Every case, in the order of a round.
pub const CASES: [Case; 18] = [
    case("null", Subject::Floor(Program::Null), (Traffic::Established, K64), None),
    case("encap", Subject::Floor(Program::Encap), (Traffic::Established, K64), None),
    case("tcp_1", Subject::Few, (Traffic::Established, 1), Some(2.0)),
    case("tcp_64k", Subject::Few, (Traffic::Established, K64), Some(2.3)),
    case("tcp_512k", Subject::Few, (Traffic::Established, K512), Some(2.3)),
    case("syn_64k", Subject::Few, (Traffic::Syn, K64), Some(2.4)),
    case("udp_64k", Subject::Few, (Traffic::Udp, K64), None),
    case("tcp6_64k", Subject::Few, (Traffic::Established6, K64), None),
    case("reply_64k", Subject::Few, (Traffic::Reply, K64), Some(2.0)),
    case("pass", Subject::Few, (Traffic::Stranger, K64), Some(1.2)),
    case("tcp_1_10k_ports", Subject::Many, (Traffic::Established, 1), None),
    case("tcp_64k_10k_ports", Subject::Many, (Traffic::Established, K64), None),
    case("tcp_512k_10k_ports", Subject::Many, (Traffic::Established, K512), None),
    case("syn_64k_10k_ports", Subject::Many, (Traffic::Syn, K64), None),
    case("udp_64k_10k_ports", Subject::Many, (Traffic::Udp, K64), None),
    case("tcp6_64k_10k_ports", Subject::Many, (Traffic::Established6, K64), None),
    case("reply_64k_10k_ports", Subject::Many, (Traffic::Reply, K64), None),
    case("pass_10k_ports", Subject::Many, (Traffic::Stranger, K64), None),
];

/// What the names of cases with 10 000 service ports end in.
pub const MANY: &str = "_10k_ports";

/// Options of a SYN of Linux: MSS 1460, SACK permitted, timestamps, NOP, window scale 7.
const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

impl Case {
    /// Whether it is not the balancer that runs.
    #[must_use]
    pub fn is_floor(&self) -> bool {
        matches!(self.subject, Subject::Floor(_))
    }

    /// The packet it begins with; for a reply what the container sends.
    #[must_use]
    pub fn packet(&self) -> Packet {
        let shape = self.shape();
        let mut packet = match self.traffic {
            Traffic::Udp => shape.datagram(0),
            Traffic::Established | Traffic::Syn | Traffic::Established6 | Traffic::Reply | Traffic::Stranger => {
                shape.segment(0)
            }
        };
        packet.ports()[0] = 0x4000;
        if let Body::Tcp(tcp) = &mut packet.body {
            tcp.flags = 0x10;
            tcp.sequence = 0x0102_f000;
            tcp.payload = vec![0x5a; if shape.vip_ipv4 { 10 } else { 6 }];
        }
        match self.traffic {
            Traffic::Udp => packet.udp().payload = [vec![0xf0], vec![0x5a; 21]].concat(),
            Traffic::Syn => {
                let tcp = packet.tcp();
                (tcp.flags, tcp.options, tcp.payload) = (2, SYN_OPTIONS.to_vec(), vec![]);
            }
            Traffic::Stranger => packet.destination = shape.stranger(),
            Traffic::Reply => packet = answer(shape, &packet),
            Traffic::Established | Traffic::Established6 => {}
        }
        packet
    }

    /// What the driver sends.
    #[must_use]
    pub fn template(&self) -> Template {
        let packet = self.packet();
        let (kind, frame) = match self.traffic {
            Traffic::Established | Traffic::Syn | Traffic::Stranger => (Kind::Tcp4, packet.bytes()),
            Traffic::Udp => (Kind::Udp4, packet.bytes()),
            Traffic::Established6 => (Kind::Tcp6, packet.bytes()),
            Traffic::Reply => (Kind::Reply4, self.shape().from_host(0, &packet).bytes()),
        };
        Template { frame, kind, flows: self.flows }
    }

    /// The family of what it sends.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape { vip_ipv4: self.traffic != Traffic::Established6, underlay_ipv4: true }
    }
}

/// What the first container answers.
fn answer(shape: Shape, packet: &Packet) -> Packet {
    let mut answer = shape.delivered(0, packet, (1, 8080)).turned();
    answer.ttl = 64;
    answer
}
