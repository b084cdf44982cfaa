//! Checks errors as an independent builder makes them, whole, cut off and changed.

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, PacketBuilderStep, UdpHeader, icmpv4::DestUnreachableHeader};

use super::*;

const VTEP_V4: [u8; 4] = [10, 99, 0, 1];
const HOST_V4: [u8; 4] = [10, 99, 0, 11];
const VTEP_V6: [u8; 16] = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const HOST_V6: [u8; 16] = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// The outer packet of `length` bytes that the error is about.
fn outer_v4(length: usize) -> Vec<u8> {
    built(PacketBuilder::ipv4(VTEP_V4, HOST_V4, 60).udp(50_000, 4789), length - 28)
}

fn outer_v6(length: usize) -> Vec<u8> {
    built(PacketBuilder::ipv6(VTEP_V6, HOST_V6, 60).udp(50_000, 4789), length - 48)
}

fn built(step: PacketBuilderStep<UdpHeader>, payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    step.write(&mut bytes, &vec![9; payload]).unwrap();
    bytes
}

fn error_v4(mtu: u16, quote: &[u8]) -> Vec<u8> {
    let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([10, 99, 0, 254], VTEP_V4, 64)
        .icmpv4(Icmpv4Type::DestinationUnreachable(header))
        .write(&mut bytes, quote)
        .unwrap();
    bytes
}

fn error_v6(mtu: u32, quote: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv6([0xfd; 16], VTEP_V6, 64)
        .icmpv6(Icmpv6Type::PacketTooBig { mtu })
        .write(&mut bytes, quote)
        .unwrap();
    bytes
}

fn says_v4(mtu: u16) -> Option<OuterError> {
    Some(OuterError { source: VTEP_V4.into(), host: HOST_V4.into(), port: 4789, mtu })
}

fn says_v6(mtu: u16) -> Option<OuterError> {
    Some(OuterError { source: VTEP_V6.into(), host: HOST_V6.into(), port: 4789, mtu })
}

#[test]
fn errors_of_both_families_tell_host_port_and_mtu() {
    let mut tagged = error_v4(1400, &outer_v4(1550)[..28]);
    tagged.splice(12..12, [0x81, 0x00, 0, 5]);
    let mut padded = error_v4(1400, &outer_v4(1550)[..28]);
    padded.extend([0; 30]);
    let table = [
        (error_v4(1400, &outer_v4(1550)[..28]), says_v4(1400)),
        (error_v4(1400, &outer_v4(1550)[..548]), says_v4(1400)),
        (error_v6(1400, &outer_v6(1570)[..48]), says_v6(1400)),
        (error_v6(1280, &outer_v6(1570)[..1232]), says_v6(1280)),
        (error_v6(0x0001_0000, &outer_v6(1570)[..48]), says_v6(u16::MAX)),
        (tagged, says_v4(1400)),
        (padded, says_v4(1400)),
    ];
    for (frame, expected) in table {
        assert_eq!(OuterError::read(&frame), expected, "{frame:?}");
    }
}

#[test]
fn a_router_that_tells_no_mtu_means_the_next_plateau() {
    for (length, mtu) in [(9000, 8166), (8166, 4352), (1550, 1492), (1492, 1006), (69, 68)] {
        assert_eq!(OuterError::read(&error_v4(0, &outer_v4(length)[..28])), says_v4(mtu), "{length}");
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    for (frame, quoted) in [(error_v4(1400, &outer_v4(100)[..28]), 28), (error_v6(1400, &outer_v6(100)[..48]), 48)] {
        for length in 0..frame.len() {
            assert_eq!(OuterError::read(&frame[..length]), None, "{length}");
        }
        // Less than the quoted UDP header, in a packet that is whole.
        for length in 0..quoted {
            let frame = if quoted == 28 {
                error_v4(1400, &outer_v4(100)[..length])
            } else {
                error_v6(1400, &outer_v6(100)[..length])
            };
            assert_eq!(OuterError::read(&frame), None, "{length}");
        }
    }
}

#[test]
fn what_is_changed_or_about_something_else_is_refused() {
    let (v4, v6) = (error_v4(1400, &outer_v4(100)[..28]), error_v6(1400, &outer_v6(100)[..48]));
    // ICMP type, code, checksum, quoted addresses: the checksum no longer fits.
    for (frame, from) in [(&v4, 34), (&v6, 54)] {
        for at in from..frame.len() {
            let mut frame = frame.clone();
            frame[at] ^= 0x10;
            assert_eq!(OuterError::read(&frame), None, "{at}");
        }
    }
    let mut fragment = v4.clone();
    fragment[20] = 0x20;
    let changed = |mut quote: Vec<u8>, at: usize, byte: u8| {
        quote[at] = byte;
        quote.truncate(48);
        quote
    };
    for frame in [
        fragment,
        error_v4(1400, &changed(outer_v4(100), 0, 0x55)),
        error_v4(1400, &changed(outer_v4(100), 0, 0x44)),
        // Not the first fragment, no UDP, not from us.
        error_v4(1400, &changed(outer_v4(100), 7, 1)),
        error_v4(1400, &changed(outer_v4(100), 9, 6)),
        error_v4(1400, &changed(outer_v4(100), 15, 2)),
        error_v6(1400, &changed(outer_v6(100), 0, 0x40)),
        error_v6(1400, &changed(outer_v6(100), 6, 6)),
        error_v6(1400, &changed(outer_v6(100), 23, 2)),
    ] {
        assert_eq!(OuterError::read(&frame), None, "{frame:?}");
    }
    let mut port_unreachable = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([10, 99, 0, 254], VTEP_V4, 64)
        .icmpv4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port))
        .write(&mut port_unreachable, &outer_v4(100)[..28])
        .unwrap();
    assert_eq!(OuterError::read(&port_unreachable), None);
}
