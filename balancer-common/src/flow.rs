//! The keyed flow hash: the client's address and port, mixed by multiplications whose factors are the service port's own key.
//!
//! Each block is added to the state by exclusive or and multiplied by a secret odd number, and the high half comes back to the low
//! one, three times for an IPv4 flow (as the finaliser of Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
//! 2014, but with secret factors): 5 ns in place of the 20 ns of SipHash-1-3, since BPF has neither rotations nor a wide multiplication. It is no
//! pseudorandom function: it keeps apart a client who does not know the secret and the flows of others that he would have to aim,
//! not a cryptanalyst who sees where many chosen flows go. The VIP, protocol and port are not hashed for each frame: they are in
//! the key, which the daemon derives from the gateways' secret.

use crate::{
    abi::{Service, TABLE_SIZES},
    service::{Address, FAMILY_IPV4, SERVICE_CLIENT_AFFINITY, SERVICE_HASH_NO_ADDRESS, SERVICE_HASH_VIP_PORT},
};

/// Hash of one flow; its parts are independent: [`slot`](FlowHash::slot) uses the low half, the outer port the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct FlowHash(pub u64);

impl FlowHash {
    /// Of an IPv4 client, address and port as they stand in memory.
    #[must_use]
    #[inline(always)]
    pub const fn ipv4(key: [u64; 2], address: [u8; 4], port: [u8; 2]) -> Self {
        let block = u32::from_le_bytes(address) as u64 | (u16::from_le_bytes(port) as u64) << 32;
        Mix::new(key).absorb(block).finish()
    }

    /// Of an IPv6 client.
    #[must_use]
    #[inline(always)]
    pub const fn ipv6(key: [u64; 2], address: &[u8; 16], port: [u8; 2]) -> Self {
        let a = address;
        Mix::new(key)
            .absorb(u64::from_le_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]))
            .absorb(u64::from_le_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]))
            .absorb(u16::from_le_bytes(port) as u64)
            .finish()
    }

    /// Of a flow through a service port, by the fields that its flags choose: what the fast path's [`ipv4`](FlowHash::ipv4) and
    /// [`ipv6`](FlowHash::ipv6) are shorter forms of. The client's address is mapped when IPv4; ports in network order.
    #[must_use]
    #[inline(always)]
    pub const fn of(service: &Service, client: &Address, client_port: [u8; 2], vip_port: [u8; 2]) -> Self {
        let flags = service.flags;
        let [mut first, second] = service.hash_key;
        if flags & SERVICE_HASH_VIP_PORT != 0 {
            // Every port is a key of its own, so that it costs the flow's block no room.
            first ^= (u16::from_le_bytes(vip_port) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let port = if flags & SERVICE_CLIENT_AFFINITY == 0 { client_port } else { [0; 2] };
        let c = client;
        if service.family == FAMILY_IPV4 {
            let address = if flags & SERVICE_HASH_NO_ADDRESS == 0 { [c[12], c[13], c[14], c[15]] } else { [0; 4] };
            Self::ipv4([first, second], address, port)
        } else {
            let none = [0; 16];
            Self::ipv6([first, second], if flags & SERVICE_HASH_NO_ADDRESS == 0 { c } else { &none }, port)
        }
    }

    /// Position in a table of class `class`: multiply and shift in place of a remainder (Lemire 2019).
    #[must_use]
    #[inline(always)]
    pub const fn slot(self, class: usize) -> u32 {
        (((self.0 as u32) as u64 * TABLE_SIZES[class] as u64) >> 32) as u32
    }

    /// Another slot hash for the `attempt`-th try to find a usable backend.
    #[must_use]
    #[inline(always)]
    pub const fn again(self, attempt: u32) -> Self {
        let mixed = (self.0 ^ (attempt as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed ^ mixed >> 32)
    }

    /// Outer UDP source port, 49152..=65535 (RFC 7348 section 5), network order.
    #[must_use]
    #[inline(always)]
    pub const fn outer_port(self) -> [u8; 2] {
        (0xc000 | (self.0 >> 48) as u16).to_be_bytes()
    }
}

/// The state of the flow hash and its secret factor.
struct Mix {
    state: u64,
    factor: u64,
    last_factor: u64,
}

impl Mix {
    #[inline(always)]
    const fn new([first, second]: [u64; 2]) -> Self {
        Self { state: first, factor: second | 1, last_factor: first | 1 }
    }

    #[inline(always)]
    const fn absorb(self, block: u64) -> Self {
        let state = (self.state ^ block).wrapping_mul(self.factor);
        Self { state: state ^ state >> 32, ..self }
    }

    #[inline(always)]
    const fn finish(self) -> FlowHash {
        let state = self.state.wrapping_mul(self.last_factor);
        let state = (state ^ state >> 29).wrapping_mul(self.factor);
        FlowHash(state ^ state >> 32)
    }
}

/// SipHash-1-3 of any bytes (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): identities of backends, digests. Not
/// for frames.
#[must_use]
pub fn siphash13(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = Sip::new(key);
    let mut blocks = bytes.chunks_exact(8);
    for block in &mut blocks {
        let mut word = [0; 8];
        word.copy_from_slice(block);
        state.absorb(u64::from_le_bytes(word));
    }
    let mut last = [0; 8];
    last[..blocks.remainder().len()].copy_from_slice(blocks.remainder());
    state.absorb(u64::from_le_bytes(last) | (bytes.len() as u64) << 56);
    state.finish()
}

struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline(always)]
    const fn new(key: [u64; 2]) -> Self {
        Self {
            v0: key[0] ^ 0x736f_6d65_7073_6575,
            v1: key[1] ^ 0x646f_7261_6e64_6f6d,
            v2: key[0] ^ 0x6c79_6765_6e65_7261,
            v3: key[1] ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline(always)]
    const fn absorb(&mut self, block: u64) {
        self.v3 ^= block;
        self.round();
        self.v0 ^= block;
    }

    #[inline(always)]
    const fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    const fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_of_the_reference_key_give_the_published_siphash_1_3_value() {
        // From the SipHash-1-3 vectors of the reference implementation and of Rust's core library tests.
        let key = [u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]), u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15])];
        assert_eq!(siphash13(key, &[]).to_le_bytes(), [0xdc, 0xc4, 0x0f, 0x05, 0x58, 0x01, 0xac, 0xab]);
        assert_eq!(siphash13(key, &[0]).to_le_bytes(), [0x93, 0xca, 0x57, 0x7d, 0xf3, 0x9b, 0xf4, 0xc9]);
    }

    proptest! {
        #[test]
        fn any_bytes_hash_as_the_standard_library_s_siphash_1_3_with_key_zero(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut oracle = std::hash::DefaultHasher::new();
            std::hash::Hasher::write(&mut oracle, &bytes);
            prop_assert_eq!(siphash13([0, 0], &bytes), std::hash::Hasher::finish(&oracle));
        }

        #[test]
        fn chosen_fields_decide_and_no_others(client: Address, other: Address, port: [u8; 2], vip_port: [u8; 2], key: [u64; 2]) {
            let hash = |flags, client: &Address, port, vip_port| {
                FlowHash::of(&Service { flags, hash_key: key, family: 6, ..Service::default() }, client, port, vip_port)
            };
            let none = [0; 2];
            prop_assert_eq!(hash(0, &client, port, vip_port), FlowHash::ipv6(key, &client, port));
            prop_assert_eq!(hash(SERVICE_CLIENT_AFFINITY, &client, port, none), hash(SERVICE_CLIENT_AFFINITY, &client, none, vip_port));
            prop_assert_eq!(hash(SERVICE_HASH_NO_ADDRESS, &client, port, none), hash(SERVICE_HASH_NO_ADDRESS, &other, port, none));
            if vip_port != [9, 9] {
                prop_assert_ne!(hash(SERVICE_HASH_VIP_PORT, &client, port, vip_port), hash(SERVICE_HASH_VIP_PORT, &client, port, [9, 9]));
            }
        }

        #[test]
        fn slot_and_port_stay_in_range(hash: u64, class in 0..TABLE_SIZES.len()) {
            prop_assert!(FlowHash(hash).slot(class) < TABLE_SIZES[class]);
            prop_assert!(u16::from_be_bytes(FlowHash(hash).outer_port()) >= 49152);
        }
    }

    /// Keys as SHA-256 makes them: any bits.
    fn keys() -> Vec<[u64; 2]> {
        (0..20).map(|number| [siphash13([1, number], b"first"), siphash13([2, number], b"second")]).collect()
    }

    /// Pearson's statistic of counts over equally likely cells, less its mean, in standard deviations.
    fn deviation(counts: &[u32]) -> f64 {
        let cells = counts.len() as f64;
        let expected = counts.iter().map(|count| f64::from(*count)).sum::<f64>() / cells;
        let statistic: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        (statistic - (cells - 1.0)) / (2.0 * (cells - 1.0)).sqrt()
    }

    #[test]
    fn flows_spread_over_slots_and_outer_ports_like_chance_whatever_runs_through_them() {
        type Flow = fn(u32) -> ([u8; 4], [u8; 2]);
        let series: [(&str, Flow); 5] = [
            ("ports of one client", |n| ([198, 51, 100, 7], (n as u16).to_be_bytes())),
            ("neighbours on one port", |n| ((0xc633_0000 + n).to_be_bytes(), [0x9c, 0x40])),
            ("one host of many networks", |n| ((n << 8 | 7).to_be_bytes(), [0x9c, 0x40])),
            ("a network's hosts and even ports", |n| ([10, 0, 0, n as u8], ((n >> 8 << 1) as u16).to_be_bytes())),
            ("both ends at once", |n| ((0x0a00_0000 + n).to_be_bytes(), (n as u16).to_be_bytes())),
        ];
        for key in keys() {
            for (name, flow) in series {
                for class in 0..2 {
                    let mut counts = vec![0; TABLE_SIZES[class] as usize];
                    let mut ports = vec![0; 1 << 6];
                    for (address, port) in (0..60_000).map(flow) {
                        let hash = FlowHash::ipv4(key, address, port);
                        counts[hash.slot(class) as usize] += 1;
                        ports[usize::from(u16::from_be_bytes(hash.outer_port()) & 63)] += 1;
                    }
                    // Better than chance is no harm.
                    assert!(deviation(&counts) < 6.0, "{name}, class {class}: {}", deviation(&counts));
                    assert!(deviation(&ports) < 6.0, "{name}, outer ports: {}", deviation(&ports));
                }
            }
        }
    }

    #[test]
    fn every_bit_of_a_flow_changes_every_bit_that_is_used_half_of_the_time() {
        let used: Vec<u32> = (0..32).chain(48..62).collect();
        for bit in 0..48 {
            let mut flips = vec![0_u32; 64];
            let samples = 4_000;
            for (number, key) in keys().iter().cycle().take(samples).enumerate() {
                let flow = siphash13([3, 4], &number.to_le_bytes()) & 0xffff_ffff_ffff;
                let hash = |flow: u64| {
                    let b = flow.to_le_bytes();
                    FlowHash::ipv4(*key, [b[0], b[1], b[2], b[3]], [b[4], b[5]]).0
                };
                let changed = hash(flow) ^ hash(flow ^ 1 << bit);
                (0..64).for_each(|place| flips[place] += (changed >> place & 1) as u32);
            }
            for place in &used {
                let rate = f64::from(flips[*place as usize]) / samples as f64;
                assert!((0.4..0.6).contains(&rate), "input bit {bit}, output bit {place}: {rate}");
            }
        }
    }
}
