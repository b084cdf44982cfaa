//! VXLAN (RFC 7348 section 5).

/// "The VNI is valid", the only flag; all other bits are zero.
pub const FLAGS_VALID: u8 = 0x08;
/// IANA's UDP port.
pub const PORT: u16 = 4789;

/// The 8-byte header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VxlanHeader {
    /// Flags and reserved bits.
    pub flags: [u8; 4],
    /// VNI in the upper 24 bits, reserved bits below.
    pub vni_field: [u8; 4],
}

impl VxlanHeader {
    /// The VNI; 0 when the flag says that there is none.
    #[must_use]
    #[inline(always)]
    pub const fn vni(&self) -> u32 {
        if self.flags[0] & FLAGS_VALID == 0 { 0 } else { u32::from_be_bytes(self.vni_field) >> 8 }
    }

    /// The header for a VNI as it stands in [`Backend::vni_field`](crate::service::Backend::vni_field).
    #[must_use]
    #[inline(always)]
    pub const fn with(vni_field: [u8; 4]) -> Self {
        Self { flags: [FLAGS_VALID, 0, 0, 0], vni_field }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vni_stands_in_the_top_24_bits_and_needs_its_flag() {
        let header = VxlanHeader::with((0x00ab_cdef_u32 << 8).to_be_bytes());
        assert_eq!((header.flags, header.vni_field), ([8, 0, 0, 0], [0xab, 0xcd, 0xef, 0]));
        assert_eq!(header.vni(), 0x00ab_cdef);
        assert_eq!(VxlanHeader { flags: [0; 4], ..header }.vni(), 0);
    }
}
