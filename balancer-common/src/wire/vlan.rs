//! VLAN tags (IEEE 802.1Q, 802.1ad): 4 bytes between the MACs and the ethertype of what follows.

/// Tag protocol identifier of a C-VLAN.
pub const TPID_CUSTOMER: [u8; 2] = [0x81, 0x00];
/// Tag protocol identifier of an S-VLAN.
pub const TPID_SERVICE: [u8; 2] = [0x88, 0xa8];
/// How many tags a frame may carry.
pub const TAGS_MAX: usize = 2;

/// One tag, as read behind the MACs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VlanTag {
    /// Tag protocol identifier.
    pub tpid: [u8; 2],
    /// Priority, drop eligibility and VLAN id.
    pub tci: [u8; 2],
}

impl VlanTag {
    /// Whether these bytes, read in an ethertype's place, begin a tag.
    #[must_use]
    #[inline(always)]
    pub const fn begins_with(ethertype: [u8; 2]) -> bool {
        matches!(ethertype, TPID_CUSTOMER | TPID_SERVICE)
    }

    /// The word a service port's entry keeps; 0 is "no tag".
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        u32::from_be_bytes([self.tpid[0], self.tpid[1], self.tci[0], self.tci[1]])
    }

    /// Back from [`word`](VlanTag::word).
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        let [a, b, c, d] = word.to_be_bytes();
        Self { tpid: [a, b], tci: [c, d] }
    }
}
