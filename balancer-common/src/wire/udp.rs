//! UDP (RFC 768).

/// The 8-byte header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub source: [u8; 2],
    /// Destination port.
    pub destination: [u8; 2],
    /// Header and payload, bytes.
    pub length: [u8; 2],
    /// Checksum; 0 over IPv4 means none.
    pub checksum: [u8; 2],
}
