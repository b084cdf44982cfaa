//! Turns inner packets into VXLAN packets and back, for comparing whole frames.

use std::net::IpAddr;

use super::packet::{Body, Packet, Udp};

/// What is around an inner frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Destination and source MAC of the outer frame.
    pub macs: [[u8; 6]; 2],
    /// Source VTEP.
    pub source: IpAddr,
    /// Destination VTEP.
    pub destination: IpAddr,
    /// Outer ToS or traffic class.
    pub traffic_class: u8,
    /// Outer UDP source port.
    pub port: u16,
    /// The VNI.
    pub vni: u32,
    /// First byte of the VXLAN header; 0x08 says that the VNI is valid.
    pub flags: u8,
}

/// UDP port of VXLAN in these tests.
pub const VXLAN_PORT: u16 = 4789;

impl Overlay {
    /// The outer packet around `inner`, as a gateway has to send it: DF, a TTL of 64, no checksum over IPv4 and a valid one
    /// over IPv6.
    #[must_use]
    pub fn around(&self, inner: &[u8]) -> Packet {
        let mut payload = vec![self.flags, 0, 0, 0];
        payload.extend((self.vni << 8).to_be_bytes());
        payload.extend(inner);
        let ipv4 = self.source.is_ipv4();
        Packet {
            macs: self.macs,
            tags: vec![],
            source: self.source,
            destination: self.destination,
            ttl: 64,
            traffic_class: self.traffic_class,
            fragment: if ipv4 { 0x4000 } else { 0 },
            identification: 0,
            body: Body::Udp(Udp { ports: [self.port, VXLAN_PORT], payload, checksum: !ipv4 }),
        }
    }
}

/// Bytes in front of the inner frame.
#[must_use]
pub const fn outer_bytes(ipv4: bool) -> usize {
    14 + if ipv4 { 20 } else { 40 } + 8 + 8
}

/// The outer UDP source port of an encapsulated frame.
#[must_use]
pub fn outer_port(frame: &[u8], ipv4: bool) -> u16 {
    let at = 14 + if ipv4 { 20 } else { 40 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}
