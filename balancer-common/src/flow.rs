//! The keyed flow hash: SipHash-1-3 of the client's address and port under the service port's own key.
//!
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with 1 and 3 rounds. The VIP, protocol and
//! port are not hashed for each frame: they are in the key, which the daemon derives from the gateways' secret, so that
//! an IPv4 flow is one block. A client who does not know the secret cannot aim flows at one backend.

use crate::abi::TABLE_SIZES;

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
        let mut state = Sip::new(key);
        state.absorb(block | 6 << 56);
        Self(state.finish())
    }

    /// Of an IPv6 client.
    #[must_use]
    #[inline(always)]
    pub const fn ipv6(key: [u64; 2], address: &[u8; 16], port: [u8; 2]) -> Self {
        let a = address;
        let mut state = Sip::new(key);
        state.absorb(u64::from_le_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]));
        state.absorb(u64::from_le_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]));
        state.absorb(u16::from_le_bytes(port) as u64 | 18 << 56);
        Self(state.finish())
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

/// SipHash-1-3 of any bytes: identities of backends, digests. Not for frames.
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
        fn short_forms_equal_the_hash_of_the_same_bytes(key: [u64; 2], v4: [u8; 4], v6: [u8; 16], port: [u8; 2]) {
            prop_assert_eq!(FlowHash::ipv4(key, v4, port).0, siphash13(key, &[&v4[..], &port[..]].concat()));
            prop_assert_eq!(FlowHash::ipv6(key, &v6, port).0, siphash13(key, &[&v6[..], &port[..]].concat()));
        }

        #[test]
        fn any_bytes_hash_as_the_standard_library_s_siphash_1_3_with_key_zero(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut oracle = std::hash::DefaultHasher::new();
            std::hash::Hasher::write(&mut oracle, &bytes);
            prop_assert_eq!(siphash13([0, 0], &bytes), std::hash::Hasher::finish(&oracle));
        }

        #[test]
        fn slot_and_port_stay_in_range(hash: u64, class in 0..TABLE_SIZES.len()) {
            prop_assert!(FlowHash(hash).slot(class) < TABLE_SIZES[class]);
            prop_assert!(u16::from_be_bytes(FlowHash(hash).outer_port()) >= 49152);
        }
    }

    #[test]
    fn flows_spread_over_a_table_within_a_few_per_cent() {
        let mut counts = [0_u32; 251];
        for client in 0..251_000_u32 {
            counts[FlowHash::ipv4([1, 2], client.to_be_bytes(), [0, 80]).slot(0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
