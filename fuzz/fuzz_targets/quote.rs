//! Turns any bytes into an ICMP error, reads the packet it quotes, gives one end of it another name, and back again.
#![no_main]

mod packet;

use balancer_common::{
    checksum::{fold, sum},
    wire::{
        ip::Ip,
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        quote::{End, QUOTE_AT, Quote},
    },
};
use libfuzzer_sys::fuzz_target;

const ICMP_AT: u32 = 0;
const OTHER: [u8; 16] = [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff, 0xff, 10, 1, 0, 7];

fuzz_target!(|bytes: &[u8]| {
    if let Some(ip) = packet::ipv4(bytes, ICMP_AT + QUOTE_AT) {
        check::<Ipv4Header>(bytes, &ip);
    }
    if let Some(ip) = packet::ipv6(bytes, ICMP_AT + QUOTE_AT) {
        check::<Ipv6Header>(bytes, &ip);
    }
});

fn check<I: Ip>(bytes: &[u8], ip: &I) {
    let end = bytes.len() as u32;
    let Some(quote) = Quote::read(bytes, ip, ICMP_AT, end) else { return };
    assert!(quote.transport + 8 <= end && quote.header < quote.transport);
    for (which, old, port) in
        [(End::Source, ip.source(), quote.ports[0]), (End::Destination, ip.destination(), quote.ports[1])]
    {
        let mut renamed = bytes.to_vec();
        let before = fold(sum(&renamed));
        let delta = quote.replace::<I, [u8]>(&mut renamed, which, (&old, &OTHER), [0x1f, 0x90]);
        let delta = delta.expect("all that is replaced was read");
        assert_eq!(renamed.len(), bytes.len());
        // Both zeros of one's complement are one; an odd last byte would shift nothing, since only whole words change.
        let expected = fold(u64::from(before) + u64::from(delta.0));
        assert_eq!(expected % 0xffff, fold(sum(&renamed)) % 0xffff);
        let mut back = renamed.clone();
        let again = Quote { ports: with(&quote, which, [0x1f, 0x90]), ..quote };
        again.replace::<I, [u8]>(&mut back, which, (&OTHER, &old), port).expect("as before");
        let same =
            back.iter().zip(bytes).enumerate().all(|(at, (left, right))| left == right || is_zero(&back, bytes, at));
        assert!(same, "renaming back gives something else");
    }
}

fn with(quote: &Quote, which: End, port: [u8; 2]) -> [[u8; 2]; 2] {
    match which {
        End::Source => [port, quote.ports[1]],
        End::Destination => [quote.ports[0], port],
    }
}

/// A checksum that is 0 may come back as 0xffff and the other way around.
fn is_zero(left: &[u8], right: &[u8], at: usize) -> bool {
    let word = |bytes: &[u8]| bytes.get(at & !1..(at & !1) + 2).map(|word| [word[0], word[1]]);
    matches!((word(left), word(right)), (Some([0, 0]), Some([255, 255])) | (Some([255, 255]), Some([0, 0])))
}
