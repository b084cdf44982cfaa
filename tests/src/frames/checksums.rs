//! Turns a frame into the list of checksums in it that are wrong, by another implementation than ours (etherparse).

use etherparse::{NetSlice, SlicedPacket, TransportSlice, checksum::Sum16BitWords};

/// Every wrong checksum of a frame, of the outer packet and of the one inside VXLAN; empty when all are right.
#[must_use]
pub fn wrong(frame: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let sliced = match SlicedPacket::from_ethernet(frame) {
        Ok(sliced) => sliced,
        Err(error) => return vec![format!("not parsed: {error}")],
    };
    let pseudo = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            if header.header_checksum != header.calc_header_checksum() {
                found.push(format!("IPv4 header: {:#06x}", header.header_checksum));
            }
            Sum16BitWords::new().add_4bytes(header.source).add_4bytes(header.destination)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            Sum16BitWords::new().add_16bytes(header.source).add_16bytes(header.destination)
        }
        Some(NetSlice::Arp(_)) | None => return found,
    };
    let sum = |bytes: &[u8], protocol: u8| {
        let length = (bytes.len() as u16).to_be_bytes();
        pseudo.clone().add_2bytes([0, protocol]).add_2bytes(length).add_slice(bytes).ones_complement()
    };
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) if sum(tcp.slice(), 6) != 0 => found.push("TCP".to_owned()),
        Some(TransportSlice::Udp(udp)) => {
            let none = udp.checksum() == 0;
            if none && matches!(sliced.net, Some(NetSlice::Ipv6(_))) {
                found.push("UDP over IPv6 without checksum".to_owned());
            } else if !none && sum(udp.slice(), 17) != 0 {
                found.push("UDP".to_owned());
            }
            if udp.destination_port() == super::overlay::VXLAN_PORT {
                found.extend(wrong(&udp.payload()[8..]).into_iter().map(|what| format!("inner {what}")));
            }
        }
        Some(TransportSlice::Icmpv4(icmp)) if Sum16BitWords::new().add_slice(icmp.slice()).ones_complement() != 0 => {
            found.push("ICMP".to_owned());
        }
        Some(TransportSlice::Icmpv6(icmp)) if sum(icmp.slice(), 58) != 0 => found.push("ICMPv6".to_owned()),
        Some(TransportSlice::Tcp(_) | TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) | None => {}
    }
    found
}
