//! Turns a packet written down as fields into its bytes, every length and checksum computed in full and by nothing the balancer uses.

use std::net::IpAddr;

/// An IP packet in an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Destination and source MAC.
    pub macs: [[u8; 6]; 2],
    /// VLAN tags, outermost first: TPID and TCI.
    pub tags: Vec<[u16; 2]>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// ToS or traffic class.
    pub traffic_class: u8,
    /// IPv4 flags and fragment offset; nothing for IPv6.
    pub fragment: u16,
    /// IPv4 identification, IPv6 flow label.
    pub identification: u16,
    /// What it carries.
    pub body: Body,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An ICMP or ICMPv6 message.
    Icmp(Icmp),
    /// Bytes of another protocol, by number.
    Other(u8, Vec<u8>),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source and destination port.
    pub ports: [u16; 2],
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source and destination port.
    pub ports: [u16; 2],
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether it has a checksum.
    pub checksum: bool,
}

/// An ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type and code.
    pub kind: [u8; 2],
    /// The four bytes behind the checksum.
    pub rest: [u8; 4],
    /// What follows.
    pub payload: Vec<u8>,
}

impl Packet {
    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.macs.concat();
        for [tpid, tci] in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend(if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        bytes.extend(self.ip());
        bytes
    }

    /// The frame, padded with a pattern to the 60 bytes that Ethernet wants at least.
    #[must_use]
    pub fn padded(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        while bytes.len() < 60 {
            bytes.push(0xa5);
        }
        bytes
    }

    /// The IP packet alone.
    #[must_use]
    pub fn ip(&self) -> Vec<u8> {
        let body = self.body();
        let mut header = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, self.traffic_class];
                header.extend((20 + body.len() as u16).to_be_bytes());
                header.extend(self.identification.to_be_bytes());
                header.extend(self.fragment.to_be_bytes());
                header.extend([self.ttl, self.protocol(), 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let checksum = complement(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                header
            }
            (source, destination) => {
                let mut header = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4];
                header.extend(self.identification.to_be_bytes());
                header.extend((body.len() as u16).to_be_bytes());
                header.extend([self.protocol(), self.ttl]);
                header.extend(octets(source));
                header.extend(octets(destination));
                header
            }
        };
        header.extend(body);
        header
    }

    /// Its TCP segment.
    ///
    /// # Panics
    /// It carries none.
    pub fn tcp(&mut self) -> &mut Tcp {
        let Body::Tcp(tcp) = &mut self.body else { panic!("no TCP") };
        tcp
    }

    /// Its UDP datagram.
    ///
    /// # Panics
    /// It carries none.
    pub fn udp(&mut self) -> &mut Udp {
        let Body::Udp(udp) = &mut self.body else { panic!("no UDP") };
        udp
    }

    /// Source and destination port.
    ///
    /// # Panics
    /// It carries neither TCP nor UDP.
    pub fn ports(&mut self) -> &mut [u16; 2] {
        match &mut self.body {
            Body::Tcp(tcp) => &mut tcp.ports,
            Body::Udp(udp) => &mut udp.ports,
            Body::Icmp(_) | Body::Other(..) => panic!("no ports"),
        }
    }

    /// The same packet from its receiver to its sender.
    #[must_use]
    pub fn turned(&self) -> Self {
        let mut turned = self.clone();
        turned.macs.swap(0, 1);
        std::mem::swap(&mut turned.source, &mut turned.destination);
        if matches!(turned.body, Body::Tcp(_) | Body::Udp(_)) {
            turned.ports().swap(0, 1);
        }
        turned
    }

    fn protocol(&self) -> u8 {
        match &self.body {
            Body::Tcp(_) => 6,
            Body::Udp(_) => 17,
            Body::Icmp(_) => {
                if self.source.is_ipv4() {
                    1
                } else {
                    58
                }
            }
            Body::Other(protocol, _) => *protocol,
        }
    }

    fn body(&self) -> Vec<u8> {
        match &self.body {
            Body::Tcp(tcp) => {
                let mut bytes = ports(tcp.ports);
                bytes.extend(tcp.sequence.to_be_bytes());
                bytes.extend(tcp.acknowledgment.to_be_bytes());
                bytes.extend([((5 + tcp.options.len() / 4) << 4) as u8, tcp.flags]);
                bytes.extend(tcp.window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(&tcp.options);
                bytes.extend(&tcp.payload);
                self.sealed(bytes, 16)
            }
            Body::Udp(udp) => {
                let mut bytes = ports(udp.ports);
                bytes.extend((8 + udp.payload.len() as u16).to_be_bytes());
                bytes.extend([0; 2]);
                bytes.extend(&udp.payload);
                if !udp.checksum {
                    return bytes;
                }
                let mut bytes = self.sealed(bytes, 6);
                if bytes[6..8] == [0, 0] {
                    bytes[6..8].copy_from_slice(&[0xff; 2]);
                }
                bytes
            }
            Body::Icmp(icmp) => {
                let mut bytes = icmp.kind.to_vec();
                bytes.extend([0; 2]);
                bytes.extend(icmp.rest);
                bytes.extend(&icmp.payload);
                self.sealed(bytes, 2)
            }
            Body::Other(_, bytes) => bytes.clone(),
        }
    }

    /// With the transport checksum at `at`, over the pseudo-header too but for ICMP over IPv4.
    fn sealed(&self, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let mut summed = Vec::new();
        if self.protocol() != 1 {
            summed.extend(octets(self.source));
            summed.extend(octets(self.destination));
            summed.extend((bytes.len() as u32).to_be_bytes());
            summed.extend([0, 0, 0, self.protocol()]);
        }
        summed.extend(&bytes);
        let checksum = complement(&summed);
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// The Internet checksum of bytes, one 16-bit word after the other (RFC 1071).
fn complement(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn ports([source, destination]: [u16; 2]) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
