//! Turns bytes into fixed IP headers, as the programs read them out of a frame.
#![allow(dead_code, reason = "each target uses its part")]

use balancer_common::wire::{bytes::Bytes as _, ipv4::Ipv4Header, ipv6::Ipv6Header};

/// The IPv4 header at `at`.
pub fn ipv4(bytes: &[u8], at: u32) -> Option<Ipv4Header> {
    let b: [u8; 20] = bytes.load(at)?;
    Some(Ipv4Header {
        version_ihl: b[0],
        tos: b[1],
        total_length: [b[2], b[3]],
        identification: [b[4], b[5]],
        fragment: [b[6], b[7]],
        ttl: b[8],
        protocol: b[9],
        checksum: [b[10], b[11]],
        source: [b[12], b[13], b[14], b[15]],
        destination: [b[16], b[17], b[18], b[19]],
    })
}

/// The IPv6 header at `at`.
pub fn ipv6(bytes: &[u8], at: u32) -> Option<Ipv6Header> {
    let b: [u8; 40] = bytes.load(at)?;
    Some(Ipv6Header {
        version_class_label: [b[0], b[1], b[2], b[3]],
        payload_length: [b[4], b[5]],
        next_header: b[6],
        hop_limit: b[7],
        source: *b[8..].first_chunk()?,
        destination: *b[24..].first_chunk()?,
    })
}
