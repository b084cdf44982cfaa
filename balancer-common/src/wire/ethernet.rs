//! Ethernet II (IEEE 802.3 clause 3).

/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// The 14-byte header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EthernetHeader {
    /// Destination MAC, then source MAC: kept together because they are mostly written together.
    pub macs: [u8; 12],
    /// Ethertype of what follows.
    pub ethertype: [u8; 2],
}

impl EthernetHeader {
    /// Fills the header. Word by word: a plain copy between map and packet would be a call of `memmove` in BPF.
    #[inline(always)]
    pub fn write(&mut self, macs: &[u8; 12], ethertype: [u8; 2]) {
        let m = macs;
        let first = u64::from_ne_bytes([m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]]).to_ne_bytes();
        let last = u32::from_ne_bytes([m[8], m[9], m[10], m[11]]).to_ne_bytes();
        self.macs = [
            first[0], first[1], first[2], first[3], first[4], first[5], first[6], first[7], last[0], last[1], last[2],
            last[3],
        ];
        self.ethertype = ethertype;
    }

    /// The MACs for the way back.
    #[must_use]
    #[inline(always)]
    pub const fn swapped(self) -> Self {
        let m = self.macs;
        Self {
            macs: [m[6], m[7], m[8], m[9], m[10], m[11], m[0], m[1], m[2], m[3], m[4], m[5]],
            ethertype: self.ethertype,
        }
    }
}
