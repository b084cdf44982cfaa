//! Turns bytes into numbers and Internet checksums, one 16-bit word after the other (RFC 1071, RFC 1624).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The 16-bit number at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a 16-bit number.
pub(super) fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The address at `at`.
pub(super) fn address(bytes: &[u8], at: usize, ipv4: bool) -> IpAddr {
    let mut octets = [0; 16];
    let length = if ipv4 { 4 } else { 16 };
    octets[..length].copy_from_slice(&bytes[at..at + length]);
    if ipv4 { Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into() } else { Ipv6Addr::from(octets).into() }
}

/// The bytes of an address as they stand in a packet.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// One's complement sum, folded; an odd last byte counts as padded with 0.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sum of two folded sums.
pub(super) fn add(left: u16, right: u16) -> u16 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u16::from(carry)
}

/// Sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub(super) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    let [high, low] = (length as u16).to_be_bytes();
    sum(&[&octets(source)[..], &octets(destination)[..], &[0, protocol, high, low]].concat())
}

/// RFC 1624 equation 3, `HC' = ~(~HC + ~m + m')`, for every word in which `after` differs from `before`.
pub(super) fn updated(checksum: u16, before: &[u8], after: &[u8]) -> u16 {
    let mut sum = !checksum;
    for (old, new) in before.chunks(2).zip(after.chunks(2)) {
        if old != new {
            sum = add(add(sum, !self::sum(old)), self::sum(new));
        }
    }
    !sum
}

/// The same for UDP: 0 is "none" and stays, and none is never made out of some (RFC 768).
pub(super) fn updated_udp(checksum: u16, before: &[u8], after: &[u8]) -> u16 {
    match (checksum, updated(checksum, before, after)) {
        (0, _) => 0,
        (_, 0) => 0xffff,
        (_, new) => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1624_section_4_example() {
        assert_eq!(updated(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    #[test]
    fn rfc_1071_section_3_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }
}
