//! Bytes of a packet that can be read and written at any offset, wherever they lie: a frame in several buffers, or a slice.

/// Bytes to read.
pub trait Bytes {
    /// `N` bytes from `at`; none when they do not all exist.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
}

/// Bytes to write too.
pub trait BytesMut: Bytes {
    /// Replaces `N` bytes from `at`; none when they do not all exist, and nothing is written then.
    fn store<const N: usize>(&mut self, at: u32, bytes: &[u8; N]) -> Option<()>;
}

/// A position that a loop carries on, with the bits that it may have.
///
/// The BPF verifier follows every way through a loop on its own, unless what it knows of the loop's variables is the same on all of
/// them. The compiler would drop the mask, for it can tell that it changes nothing; it must not see where the value comes from.
#[must_use]
#[inline(always)]
pub fn carried(position: u32, mask: u32) -> u32 {
    core::hint::black_box(position) & mask
}

impl Bytes for [u8] {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.get(at as usize..)?.first_chunk().copied()
    }
}

impl BytesMut for [u8] {
    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, bytes: &[u8; N]) -> Option<()> {
        *self.get_mut(at as usize..)?.first_chunk_mut()? = *bytes;
        Some(())
    }
}
