//! Turns any bytes into a record of the slow path's ring, and that into what the daemon would send.
#![no_main]

use balancer_user::datapath::packets_of_record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Each fragment repeats the outer headers and is cut from what is there: no record makes much more than it holds.
    let packets = packets_of_record(bytes);
    let payload: usize = packets.iter().map(Vec::len).sum();
    assert!(payload <= bytes.len() + packets.len() * 200, "{payload} bytes out of {}", bytes.len());
});
