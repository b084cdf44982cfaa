//! Turns the memory of a kernel array map into entries that are read and written word by word, without a system call.
//!
//! The one file of this package with `unsafe`. The memory is shared with the program that runs on every CPU, so it is
//! only ever touched through 8-byte atomics: a reader on the other side sees an old word or a new one.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapData, RingBuf};
use balancer_common::{
    abi::{Backend, ClientRoutes, Counters, Gateway, Host, Policy, Service, Slot},
    conntrack::{FlowEntry, FlowKey},
    fragment::{FragmentEntry, FragmentKey},
    index::Bucket,
};
use memmap2::{MmapOptions, MmapRaw};
use tokio::io::{Interest, unix::AsyncFd};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Words of the largest entry, a [`ClientRoutes`].
const WORDS_MAX: usize = size_of::<ClientRoutes>().div_ceil(WORD);

/// An entry as the words it stands in; the ones behind its end are 0.
type Words = [u64; WORDS_MAX];

/// The entries of an array map that was created with `BPF_F_MMAPABLE`.
///
/// Element `i` stands at `i * round_up(size_of::<T>(), 8)` (kernel/bpf/arraymap.c, `array_map_alloc`).
pub struct Region<T> {
    memory: MmapRaw,
    len: u32,
    value: PhantomData<T>,
}

/// What keeps the datapath from believing an entry of several words while they are being written.
#[derive(Clone, Copy)]
pub struct Guard {
    /// The word that says whether the others hold.
    pub word: usize,
    /// That word as it must stand meanwhile.
    pub closed: fn(u64) -> u64,
}

impl<T: Plain> Region<T> {
    const STRIDE: usize = size_of::<T>().div_ceil(WORD);

    /// Maps the first `len` entries of a map.
    ///
    /// # Errors
    /// The kernel's: the map holds fewer entries, is frozen, or was not created with `BPF_F_MMAPABLE`.
    pub fn map(map: impl AsFd, len: u32) -> io::Result<Self> {
        let bytes = len as usize * Self::STRIDE * WORD;
        let memory = MmapOptions::new().len(bytes).populate().map_raw(map.as_fd().as_raw_fd())?;
        Ok(Self { memory, len, value: PhantomData })
    }

    /// Number of entries.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// An entry. The datapath may be writing it: every word is whole, the entry need not be.
    pub fn read(&self, index: u32) -> T {
        from_words(&self.words(index))
    }

    /// All entries.
    pub fn read_all(&self) -> Vec<T> {
        (0..self.len).map(|index| self.read(index)).collect()
    }

    /// Replaces the words of an entry that differ. With a guard and more than one such word, the guard's word is closed
    /// first and written last.
    pub fn write(&self, index: u32, value: &T, guard: Option<Guard>) {
        let (old, new) = (self.words(index), to_words(value));
        let differs = |word: &usize| old[*word] != new[*word];
        let last = guard.map(|guard| guard.word);
        if let Some(guard) = guard
            && (0..Self::STRIDE).any(|word| word != guard.word && differs(&word))
        {
            self.set_word(index, guard.word, (guard.closed)(old[guard.word]));
        }
        for word in (0..Self::STRIDE).filter(differs).filter(|word| Some(*word) != last) {
            self.set_word(index, word, new[word]);
        }
        if let Some(word) = last {
            self.set_word(index, word, new[word]);
        }
    }

    /// Replaces all entries of a map that the datapath does not see yet.
    pub fn fill(&self, values: &[T]) {
        for (index, value) in (0..self.len).zip(values) {
            for (word, bits) in to_words(value).iter().enumerate().take(Self::STRIDE) {
                self.word(index, word).store(*bits, Ordering::Relaxed);
            }
        }
    }

    /// Replaces one word at once; every word before this call is visible before it.
    pub fn set_word(&self, index: u32, word: usize, bits: u64) {
        self.word(index, word).store(bits, Ordering::Release);
    }

    fn words(&self, index: u32) -> Words {
        let mut words = [0; WORDS_MAX];
        for (word, bits) in words.iter_mut().enumerate().take(Self::STRIDE) {
            *bits = self.word(index, word).load(Ordering::Acquire);
        }
        words
    }

    fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        assert!(index < self.len && word < Self::STRIDE, "entry {index} word {word} is outside the map");
        // SAFETY: inside the mapping as asserted, which lives as long as `self`; the mapping is page-aligned and every
        // stride is whole words, so the pointer is aligned; nothing of this process touches the memory but by atomics.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index as usize * Self::STRIDE + word)) }
    }
}

/// A map key or value: what of it stands in memory is its value and nothing else.
///
/// # Safety
/// `repr(C)` without padding that is not named, valid for every pattern of bits, at most [`WORDS_MAX`] words.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: integers and arrays of them in `repr(C)`; balancer-common asserts the sizes, so that no padding hides.
        unsafe impl Plain for $type {}
        const _: () = assert!(size_of::<$type>() <= size_of::<Words>());
    )*};
}

plain!(
    u32,
    Backend,
    Bucket,
    ClientRoutes,
    Counters,
    FlowEntry,
    FlowKey,
    FragmentEntry,
    FragmentKey,
    Gateway,
    Host,
    Policy,
    Service,
    Slot
);

/// A [`Plain`] value in the form that aya's typed maps take.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Raw<T>(pub T);

// SAFETY: aya asks for what `Plain` promises.
unsafe impl<T: Plain> aya::Pod for Raw<T> {}

/// Lets a task wait for records in a ring that the datapath writes; needs a tokio runtime with I/O.
///
/// # Errors
/// The kernel's: the ring's map cannot be polled.
pub fn watch(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its map's descriptor, which stays open and the same until the ring is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    watched.map_err(|error| error.into_parts().1)
}

/// Now on CLOCK_MONOTONIC_COARSE, the clock of `bpf_ktime_get_coarse_ns`, in nanoseconds.
pub fn monotonic_coarse_ns() -> u64 {
    let mut time = MaybeUninit::<nix::libc::timespec>::uninit();
    // SAFETY: the pointer is valid for one timespec, which the call fills when it returns 0.
    let time = unsafe {
        let failed = nix::libc::clock_gettime(nix::libc::CLOCK_MONOTONIC_COARSE, time.as_mut_ptr());
        assert!(failed == 0, "Linux always has CLOCK_MONOTONIC_COARSE");
        time.assume_init()
    };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn to_words<T: Plain>(value: &T) -> Words {
    let mut words = [0; WORDS_MAX];
    // SAFETY: `Plain` types are no larger than `Words` and have no padding; the two do not overlap.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), words.as_mut_ptr().cast::<u8>(), size_of::<T>())
    };
    words
}

fn from_words<T: Plain>(words: &Words) -> T {
    // SAFETY: `Plain` types are no larger than `Words` and valid for every pattern of bits.
    unsafe { words.as_ptr().cast::<T>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_the_way_through_words() {
        let mut routes = ClientRoutes { exceptions_count: 7, ..ClientRoutes::default() };
        routes.exceptions[7].mask = [0xa5; 16];
        assert_eq!(from_words::<ClientRoutes>(&to_words(&routes)), routes);
        assert_eq!(from_words::<Slot>(&to_words(&Slot { owner: 1, previous: 2 })), Slot { owner: 1, previous: 2 });
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = monotonic_coarse_ns();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!((10_000_000..10_000_000_000).contains(&(monotonic_coarse_ns() - before)));
    }
}
