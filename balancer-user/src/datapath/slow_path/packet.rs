//! Turns an Ethernet frame into the IP packet in it and the address that the packet goes to.

use std::net::IpAddr;

/// A packet to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// From the IP header to the end of the IP packet.
    pub bytes: &'a [u8],
    /// Its destination.
    pub destination: IpAddr,
}

const MACS: usize = 12;
const TAGS_MAX: usize = 2;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q and 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// The packet of a frame, whole. The Ethernet header and tags are left to others; padding behind the IP packet is cut off.
pub fn of_frame(frame: &[u8]) -> Option<Packet<'_>> {
    let mut rest = frame.get(MACS..)?;
    for _ in 0..=TAGS_MAX {
        let (ethertype, behind) = rest.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*ethertype) {
            ETHERTYPE_IPV4 => return ipv4(behind),
            ETHERTYPE_IPV6 => return ipv6(behind),
            tag if TAGS.contains(&tag) => rest = behind.get(2..)?,
            _ => return None,
        }
    }
    None
}

/// RFC 791 section 3.1.
fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let length = u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?);
    let destination: [u8; 4] = *bytes.get(16..20)?.first_chunk()?;
    (bytes[0] >> 4 == 4).then_some(())?;
    Some(Packet { bytes: bytes.get(..usize::from(length))?, destination: destination.into() })
}

/// RFC 8200 section 3.
fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let payload = u16::from_be_bytes(*bytes.get(4..6)?.first_chunk()?);
    let destination: [u8; 16] = *bytes.get(24..40)?.first_chunk()?;
    (bytes[0] >> 4 == 6).then_some(())?;
    Some(Packet { bytes: bytes.get(..40 + usize::from(payload))?, destination: destination.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethernet: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[0xff; 12], ethernet, packet].concat()
    }

    fn packet_v4() -> Vec<u8> {
        let mut bytes = vec![0; 28];
        (bytes[0], bytes[3]) = (0x45, 28);
        bytes[16..20].copy_from_slice(&[192, 0, 2, 7]);
        bytes
    }

    fn packet_v6() -> Vec<u8> {
        let mut bytes = vec![0; 48];
        (bytes[0], bytes[5]) = (0x60, 8);
        bytes[39] = 1;
        bytes
    }

    #[test]
    fn packets_are_found_behind_tags_and_cut_at_their_own_length() {
        let (v4, v6) = (packet_v4(), packet_v6());
        let to_v4 = Some(Packet { bytes: &v4, destination: [192, 0, 2, 7].into() });
        let to_v6 = Some(Packet { bytes: &v6, destination: IpAddr::V6(1.into()) });
        let padded = [v4.as_slice(), &[0; 18]].concat();
        let table = [
            (frame(&[0x08, 0x00], &v4), &to_v4),
            (frame(&[0x08, 0x00], &padded), &to_v4),
            (frame(&[0x81, 0x00, 0, 5, 0x08, 0x00], &v4), &to_v4),
            (frame(&[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x86, 0xdd], &v6), &to_v6),
        ];
        for (bytes, expected) in &table {
            assert_eq!(of_frame(bytes), **expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_whole_packet_is_refused() {
        let v4 = packet_v4();
        let three_tags = [0x81, 0x00, 0, 1, 0x81, 0x00, 0, 2, 0x81, 0x00, 0, 3, 0x08, 0x00];
        let table = [
            Vec::new(),
            frame(&[], &[]),
            frame(&[0x08, 0x06], &v4),
            frame(&[0x86, 0xdd], &v4),
            frame(&[0x08, 0x00], &v4[..20]),
            frame(&three_tags, &v4),
        ];
        for bytes in table {
            assert_eq!(of_frame(&bytes), None, "{bytes:?}");
        }
    }
}
