//! Newtypes for every number that names something, so that two kinds of number cannot be mixed up.

/// A VXLAN network identifier: 24 bits, 1 to 16 777 215 (RFC 7348 section 5; 0 is kept out because an unset field reads as 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Vni(u32);

impl Vni {
    /// The largest legal value.
    pub const MAX: u32 = 0x00ff_ffff;

    /// Checks the range; `None` outside 1..=[`Vni::MAX`].
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value == 0 || value > Self::MAX { None } else { Some(Self(value)) }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Position of a service port's entry in the `SERVICES` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ServiceId(pub u32);

/// Position of a backend's entry in the `BACKENDS` map. Reused only under another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BackendId(pub u32);

/// Position of a host's entry in the `HOSTS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct HostId(pub u32);

/// A kernel interface index; 0 names no interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct IfIndex(pub u32);

/// A backend together with the generation of its id: what slots and flows remember.
///
/// Layout: bits 0-19 the [`BackendId`], bits 20-29 the generation (1..=1023, so that no reference is 0),
/// bits 30-31 free for the [`Slot`](crate::service::Slot)'s phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BackendRef(u32);

impl BackendRef {
    /// Number of bits of the id.
    pub const ID_BITS: u32 = 20;
    /// The largest id.
    pub const ID_MAX: u32 = (1 << Self::ID_BITS) - 1;
    /// The largest generation; the next one is 1 again.
    pub const GENERATION_MAX: u16 = 1023;
    /// The bits that a reference uses.
    pub const MASK: u32 = 0x3fff_ffff;

    /// Joins id and generation; `None` when either is out of range.
    #[must_use]
    pub const fn new(id: BackendId, generation: u16) -> Option<Self> {
        if id.0 > Self::ID_MAX || generation == 0 || generation > Self::GENERATION_MAX {
            return None;
        }
        Some(Self(id.0 | (generation as u32) << Self::ID_BITS))
    }

    /// Reads a reference out of a map word, leaving the phase bits aside; `None` for "no backend".
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Option<Self> {
        let bits = word & Self::MASK;
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// The word as it stands in a map.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The id part.
    #[must_use]
    #[inline(always)]
    pub const fn id(self) -> BackendId {
        BackendId(self.0 & Self::ID_MAX)
    }

    /// The generation part.
    #[must_use]
    #[inline(always)]
    pub const fn generation(self) -> u16 {
        (self.0 >> Self::ID_BITS) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vni_takes_exactly_24_bits_without_zero() {
        assert_eq!(Vni::new(0), None);
        assert_eq!(Vni::new(Vni::MAX + 1), None);
        assert_eq!(Vni::new(Vni::MAX).map(Vni::get), Some(Vni::MAX));
    }

    #[test]
    fn backend_reference_keeps_id_and_generation_apart() {
        for (id, generation) in [(0, 1), (BackendRef::ID_MAX, BackendRef::GENERATION_MAX), (5, 7)] {
            let reference = BackendRef::new(BackendId(id), generation).expect("in range");
            assert_eq!((reference.id().0, reference.generation()), (id, generation));
            assert_eq!(BackendRef::from_word(reference.word() | 0xc000_0000), Some(reference));
        }
        assert_eq!(BackendRef::new(BackendId(0), 0), None);
        assert_eq!(BackendRef::new(BackendId(BackendRef::ID_MAX + 1), 1), None);
        assert_eq!(BackendRef::from_word(0), None);
    }
}
