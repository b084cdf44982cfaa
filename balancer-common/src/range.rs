//! Turns ranges of ports into prefixes, and those into keys of the tries that find service ports and backends by range.

use crate::service::Address;

/// Most prefixes that one range of ports comes to: 1-65534 does.
pub const PREFIXES_MAX: usize = 30;

/// Ports of one VIP and protocol; the key of an LPM trie (`struct bpf_lpm_trie_key_u8`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct RangeKey {
    /// Significant bits of what follows.
    pub prefix_bits: u32,
    /// `ServiceId` of the VIP's address alone, memory order.
    pub vip: [u8; 4],
    /// IP protocol number.
    pub protocol: u8,
    /// Not first: the port's bits have to follow all others.
    pub reserved: u8,
    /// The ports' common bits, network order.
    pub port: [u8; 2],
}

/// Ports of one container and protocol; likewise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct ReplyRangeKey {
    /// Significant bits of what follows.
    pub prefix_bits: u32,
    /// VNI of the project, memory order.
    pub vni: [u8; 4],
    /// The container's address.
    pub address: Address,
    /// IP protocol number.
    pub protocol: u8,
    /// As in [`RangeKey`].
    pub reserved: u8,
    /// The ports' common bits, network order.
    pub port: [u8; 2],
}

const _: () = {
    assert!(size_of::<RangeKey>() == 12);
    assert!(size_of::<ReplyRangeKey>() == 28);
};

/// Bits of a port.
pub const PORT_BITS: u32 = 16;

impl RangeKey {
    /// Bits in front of the port.
    pub const FIXED_BITS: u32 = 48;

    /// The key of ports that share their first `bits` bits with `port`.
    #[must_use]
    #[inline(always)]
    pub const fn of(vip: u32, protocol: u8, port: [u8; 2], bits: u32) -> Self {
        Self { prefix_bits: Self::FIXED_BITS + bits, vip: vip.to_ne_bytes(), protocol, reserved: 0, port }
    }
}

impl ReplyRangeKey {
    /// Bits in front of the port.
    pub const FIXED_BITS: u32 = 176;

    /// The key of ports that share their first `bits` bits with `port`.
    #[must_use]
    #[inline(always)]
    pub const fn of(vni: u32, address: Address, protocol: u8, port: [u8; 2], bits: u32) -> Self {
        let prefix_bits = Self::FIXED_BITS + bits;
        Self { prefix_bits, vni: vni.to_ne_bytes(), address, protocol, reserved: 0, port }
    }
}

/// The prefixes of a range of ports, first to last, both included: (port, significant bits).
///
/// The largest aligned block that begins at `first` and ends within the range, again and again.
pub fn prefixes(first: u16, last: u16) -> impl Iterator<Item = (u16, u32)> {
    let mut next = Some(u32::from(first));
    core::iter::from_fn(move || {
        let at = next.filter(|at| *at <= u32::from(last))?;
        let aligned = if at == 0 { PORT_BITS } else { at.trailing_zeros() };
        let fits = (u32::from(last) - at + 1).ilog2();
        let free = if aligned < fits { aligned } else { fits };
        next = Some(at + (1 << free));
        Some((at as u16, PORT_BITS - free))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_ports_are_one_prefix_and_the_worst_range_is_the_limit() {
        assert_eq!(prefixes(0, u16::MAX).collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(prefixes(80, 80).collect::<Vec<_>>(), [(80, 16)]);
        assert_eq!(prefixes(1, 65_534).count(), PREFIXES_MAX);
        assert_eq!(prefixes(5, 4).count(), 0);
    }

    proptest! {
        #[test]
        fn prefixes_hold_exactly_the_ports_of_the_range(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let mut expected = u32::from(first);
            for (port, bits) in prefixes(first, last) {
                let size = 1_u32 << (PORT_BITS - bits);
                prop_assert_eq!(u32::from(port), expected);
                prop_assert_eq!(u32::from(port) % size, 0);
                expected += size;
            }
            prop_assert_eq!(expected, u32::from(last) + 1);
            prop_assert!(prefixes(first, last).count() <= PREFIXES_MAX);
        }
    }
}
