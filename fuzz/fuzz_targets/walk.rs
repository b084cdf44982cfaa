//! Turns any bytes into a walk over the headers of an IP packet: it ends, stays within the packet, and says so alike twice.
#![no_main]

mod packet;

use balancer_common::wire::ip::Ip as _;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(ip) = packet::ipv4(bytes, 0)
        && let Ok(walk) = ip.walk(bytes, 0)
    {
        assert!((20..=60).contains(&walk.transport) && walk.transport <= walk.length);
        assert!(walk.fragment_offset + walk.length <= 65_535);
    }
    if let Some(ip) = packet::ipv6(bytes, 0)
        && let Ok(walk) = ip.walk(bytes, 0)
    {
        assert!(walk.transport >= 40 && walk.transport <= walk.length);
    }
});
