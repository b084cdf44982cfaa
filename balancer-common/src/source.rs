//! Keys of the lists that say which clients may use a service port: longest prefix first.

use crate::service::Address;

/// A prefix of clients in one list; the key of an LPM trie (`struct bpf_lpm_trie_key_u8`: length in bits, then the data).
///
/// Each list holds a prefix of length [`SourceKey::LIST_BITS`] that says what holds for everybody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct SourceKey {
    /// Significant bits of what follows.
    pub prefix_bits: u32,
    /// [`Policy::sources`](crate::service::Policy::sources).
    pub list: [u8; 8],
    /// The prefix's address, mapped when IPv4.
    pub address: Address,
}

const _: () = assert!(size_of::<SourceKey>() == 28);

/// Frames of these clients go on.
pub const SOURCE_ALLOW: u32 = 1;
/// Frames of these clients are dropped.
pub const SOURCE_DENY: u32 = 2;

impl SourceKey {
    /// Bits of the list's id.
    pub const LIST_BITS: u32 = 64;
    /// Bits of one address in a list.
    pub const ADDRESS_BITS: u32 = Self::LIST_BITS + 128;
    /// Bits in front of an IPv4 address in its mapped form.
    pub const MAPPED_BITS: u32 = 96;

    /// The key of a prefix; `bits` counts from the start of the mapped address.
    #[must_use]
    #[inline(always)]
    pub const fn of(list: u64, address: Address, bits: u32) -> Self {
        Self { prefix_bits: Self::LIST_BITS + bits, list: list.to_ne_bytes(), address }
    }
}
