//! TCP (RFC 9293): the fixed header, and the MSS option.

/// The 20 bytes without options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TcpHeader {
    /// Source port.
    pub source: [u8; 2],
    /// Destination port.
    pub destination: [u8; 2],
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgment number.
    pub acknowledgment: [u8; 4],
    /// Header length in 4-byte words, in the upper half.
    pub data_offset: u8,
    /// `TCP_*` flags.
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

impl TcpHeader {
    /// Bytes of header and options; less than 20 is malformed.
    #[must_use]
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        (self.data_offset >> 4) as u32 * 4
    }
}

/// Option kinds (RFC 9293 section 3.2).
pub const OPTION_END: u8 = 0;
/// See [`OPTION_END`].
pub const OPTION_NOP: u8 = 1;
/// See [`OPTION_END`].
pub const OPTION_MSS: u8 = 2;
/// Bytes of the MSS option.
pub const OPTION_MSS_LENGTH: u8 = 4;
/// Most bytes of options.
pub const OPTIONS_MAX: usize = 40;
