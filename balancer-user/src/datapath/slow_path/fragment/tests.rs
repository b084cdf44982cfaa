//! Checks fragments with an independent parser and by putting them together again.

use etherparse::{Ipv4Slice, Ipv6Header, PacketBuilder, SlicedPacket, UdpHeader, checksum::Sum16BitWords};
use proptest::prelude::*;

use super::*;

/// VNI 100.
const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 100, 0];
const INNER_ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];

/// An IPv4 packet of protocol UDP, whatever its payload; `flags` is the word of flags and offset.
fn inner(options: &[u8], flags: u16, payload: &[u8]) -> Vec<u8> {
    let header_length = 20 + options.len();
    let mut bytes = vec![0x40 | (header_length / 4) as u8, 0x28];
    bytes.extend(((header_length + payload.len()) as u16).to_be_bytes());
    bytes.extend([0xab, 0xcd]);
    bytes.extend(flags.to_be_bytes());
    bytes.extend([63, 17, 0, 0, 198, 51, 100, 7, 10, 1, 0, 11]);
    bytes.extend([options, payload].concat());
    bytes
}

fn frame_over_ipv4(inner: &[u8]) -> Vec<u8> {
    let payload = [VXLAN.as_slice(), &INNER_ETHERNET, inner].concat();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([10, 99, 0, 1], [10, 99, 0, 11], 64)
        .udp(50_000, 4789)
        .write(&mut bytes, &payload)
        .unwrap();
    // DF, as the datapath sets it, and no UDP checksum.
    bytes[20] = 0x40;
    bytes[40..42].fill(0);
    bytes
}

fn frame_over_ipv6(inner: &[u8]) -> Vec<u8> {
    let payload = [VXLAN.as_slice(), &INNER_ETHERNET, inner].concat();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv6([1; 16], [2; 16], 64)
        .udp(50_000, 4789)
        .write(&mut bytes, &payload)
        .unwrap();
    bytes
}

/// The inner packet of a packet over IPv4 whose outer headers are right.
fn inside_ipv4(packet: &[u8], original: &[u8]) -> Vec<u8> {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let outer = Ipv4Slice::from_slice(packet).unwrap();
    let header = outer.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(usize::from(header.total_len), packet.len());
    // All but the lengths and the header's checksum is as it was.
    let same = |range: std::ops::Range<usize>| assert_eq!(packet[range.clone()], original[14..][range]);
    for range in [0..2, 4..10, 12..24, 28..50] {
        same(range);
    }
    let Some(etherparse::TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP: {packet:?}") };
    assert_eq!((usize::from(udp.length()), udp.checksum()), (packet.len() - 20, 0));
    udp.payload()[22..].to_vec()
}

/// The same over IPv6, where the UDP checksum is in force.
fn inside_ipv6(packet: &[u8], original: &[u8]) -> Vec<u8> {
    let (header, behind) = Ipv6Header::from_slice(packet).unwrap();
    assert_eq!(usize::from(header.payload_length), packet.len() - 40);
    for range in [0..4, 6..44, 48..70] {
        assert_eq!(packet[range.clone()], original[14..][range]);
    }
    let (udp, payload) = UdpHeader::from_slice(behind).unwrap();
    assert_eq!(usize::from(udp.length), behind.len());
    assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&header, payload).unwrap());
    assert_ne!(udp.checksum, 0);
    payload[22..].to_vec()
}

/// Options and payload as the container's stack would put them together, and the word of flags and offset of the whole.
fn together(fragments: &[Vec<u8>], mtu: u32) -> (Vec<u8>, Vec<u8>, u16) {
    let (mut options, mut payload, mut first_offset) = (Vec::new(), Vec::new(), 0);
    for (position, bytes) in fragments.iter().enumerate() {
        let slice = Ipv4Slice::from_slice(bytes).unwrap();
        let header = slice.header().to_header();
        assert!(bytes.len() <= mtu as usize && usize::from(header.total_len) == bytes.len());
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((header.identification, header.time_to_live, header.dont_fragment), (0xabcd, 63, false));
        assert_eq!((header.source, header.destination), ([198, 51, 100, 7], [10, 1, 0, 11]));
        if position == 0 {
            options = header.options.to_vec();
            first_offset = header.fragment_offset.value();
        }
        let last = position + 1 == fragments.len();
        assert!(last || (header.more_fragments && slice.payload().payload.len().is_multiple_of(8)));
        let expected = usize::from(first_offset) * 8 + payload.len();
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, expected);
        payload.extend_from_slice(slice.payload().payload);
    }
    let last = Ipv4Slice::from_slice(fragments.last().unwrap()).unwrap();
    let more = if last.header().more_fragments() { MORE_FRAGMENTS } else { 0 };
    (options, payload, first_offset | more)
}

fn check(options: &[u8], flags: u16, payload: &[u8], mtu: u32) {
    let packet = inner(options, flags, payload);
    type Inside = fn(&[u8], &[u8]) -> Vec<u8>;
    let ways: [(Vec<u8>, Inside); 2] =
        [(frame_over_ipv4(&packet), inside_ipv4), (frame_over_ipv6(&packet), inside_ipv6)];
    for (frame, inside) in ways {
        let packets = fragments(&frame, mtu).unwrap();
        let inner: Vec<_> = packets.iter().map(|packet| inside(packet, &frame)).collect();
        assert_eq!(together(&inner, mtu), (options.to_vec(), payload.to_vec(), flags));
        // As few as there can be when none has options.
        if options.is_empty() {
            let room = (mtu as usize - 20) & !7;
            assert_eq!(packets.len(), payload.len().div_ceil(room).max(1));
        }
    }
}

#[test]
fn a_packet_is_cut_and_comes_together_again() {
    let payload: Vec<u8> = (0..1480).map(|position| position as u8).collect();
    check(&[], 0, &payload, 1450);
    check(&[], 0, &payload, 1500);
    check(&[], 0, &payload, 68);
    check(&[], 0, &payload[..1], 68);
    check(&[], 0, &[], 68);
}

#[test]
fn a_fragment_is_cut_further() {
    let payload = vec![7; 1480];
    check(&[], MORE_FRAGMENTS | 185, &payload, 1450);
    check(&[], 185, &payload[..1479], 1450);
}

#[test]
fn options_go_where_their_copied_flag_says() {
    // Router alert is copied, timestamp and padding are not.
    let (alert, timestamp) = ([148, 4, 0, 0], [68, 8, 5, 0, 0, 0, 0, 0]);
    let security = [130, 3, 9];
    let options = [[OPTION_NONE].as_slice(), &security, &timestamp, &alert].concat();
    let payload = vec![3; 400];
    check(&options, 0, &payload, 100);
    let packets = fragments(&frame_over_ipv4(&inner(&options, 0, &payload)), 100).unwrap();
    for later in &packets[1..] {
        let header = Ipv4Slice::from_slice(&later[50..]).unwrap().header().to_header();
        assert_eq!(header.options.to_vec(), [security.as_slice(), &alert, &[OPTION_END]].concat());
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let payload = vec![1; 100];
    let good = inner(&[], 0, &payload);
    let mut version_6 = good.clone();
    version_6[0] = 0x65;
    let mut short_header = good.clone();
    short_header[0] = 0x44;
    let mut beyond = good.clone();
    beyond[2] = 1;
    for packet in [
        inner(&[], DONT_FRAGMENT, &payload),
        inner(&[148, 0, 0, 0], 0, &payload),
        inner(&[148, 1, 0, 0], 0, &payload),
        inner(&[148, 5, 0, 0], 0, &payload),
        inner(&[1, 1, 1, 148], 0, &payload),
        // Not the last fragment, but of odd length.
        inner(&[], MORE_FRAGMENTS, &payload),
        // Beyond the largest offset.
        inner(&[], 0x1fff, &payload),
        version_6,
        short_header,
        beyond,
    ] {
        assert_eq!(fragments(&frame_over_ipv4(&packet), 68), None, "{packet:?}");
    }
    assert_eq!(fragments(&frame_over_ipv4(&good), 67), None);
    let frame = frame_over_ipv4(&good);
    let changed = |at: usize, byte: u8| {
        let mut frame = frame.clone();
        frame[at] = byte;
        frame
    };
    for frame in [changed(13, 6), changed(14, 0x46), changed(17, 10), changed(17, 0), changed(23, 6), changed(63, 1)] {
        assert_eq!(fragments(&frame, 68), None);
    }
    for length in 0..frame.len() {
        assert_eq!(fragments(&frame[..length], 68), None, "{length}");
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_its_other_form() {
    // The word at the end is chosen so that the sum over UDP is all ones.
    let mut packet = inner(&[], 0, &[0; 8]);
    let once = fragments(&frame_over_ipv6(&packet), 68).unwrap();
    let checksum = [once[0][46], once[0][47]];
    let at = packet.len() - 2;
    packet[at..].copy_from_slice(&checksum);
    let packets = fragments(&frame_over_ipv6(&packet), 68).unwrap();
    assert_eq!(packets[0][46..48], [0xff, 0xff]);
    assert_eq!(
        Sum16BitWords::new()
            .add_slice(&packets[0][8..])
            .add_2bytes([0, 17])
            .add_2bytes(packets[0][4..6].try_into().unwrap())
            .ones_complement(),
        0
    );
}

fn any_options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![OPTION_NONE]),
        (prop_oneof![Just(148_u8), Just(68), Just(7), Just(130)], 2_usize..12).prop_map(|(kind, length)| {
            let mut option = vec![0x5a; length];
            (option[0], option[1]) = (kind, length as u8);
            option
        }),
    ];
    proptest::collection::vec(option, 0..6).prop_map(|options| {
        let mut bytes = Vec::new();
        for option in options {
            if bytes.len() + option.len() <= 40 {
                bytes.extend(option);
            }
        }
        bytes.resize(bytes.len().next_multiple_of(4), OPTION_END);
        bytes
    })
}

proptest! {
    #[test]
    fn every_packet_comes_together_again(
        options in any_options(), payload in proptest::collection::vec(any::<u8>(), 0..4000), mtu in 68_u32..2000,
        offset in 0_u16..7000, more in any::<bool>(),
    ) {
        let length = if more { payload.len() & !7 } else { payload.len() };
        let flags = offset | if more { MORE_FRAGMENTS } else { 0 };
        check(&options, flags, &payload[..length], mtu);
    }

    #[test]
    fn reply_is_cut_into_the_same_fragments_without_anything_around_them(
        options in any_options(), payload in proptest::collection::vec(any::<u8>(), 0..4000), mtu in 68_u32..2000,
    ) {
        let whole = inner(&options, 0, &payload);
        let plain = [&[1; 6], &[2; 6], [0x08, 0x00].as_slice(), &whole].concat();
        let inside = fragments(&frame_over_ipv4(&whole), mtu).unwrap();
        let expected: Vec<Vec<u8>> = inside.iter().map(|packet| packet[50..].to_vec()).collect();
        prop_assert_eq!(of_reply(&plain, mtu).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), mtu in 0_u32..100) {
        let mut frame = frame_over_ipv4(&inner(&[], 0, &[0; 64]));
        fragments(&bytes, mtu);
        let end = bytes.len().min(frame.len() - 14);
        frame[14..14 + end].copy_from_slice(&bytes[..end]);
        fragments(&frame, mtu);
        frame[14] = 0x45;
        fragments(&frame, mtu);
    }
}
