//! A frame as the stages may touch it: typed views that the verifier and the borrow checker both accept.
//!
//! Every view is checked against the frame's end. A view borrows the frame, and whatever moves the frame's ends borrows
//! it mutably, so a pointer from before such a move cannot be used after it.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::{
        bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    programs::XdpContext,
};
use balancer_common::{
    checksum,
    record::FRAME_MAX,
    wire::{
        bytes::{Bytes, BytesMut, carried},
        ethernet::EthernetHeader,
        icmp::IcmpHeader,
        ipv4::Ipv4Header,
        ipv6::Ipv6Header,
        tcp::TcpHeader,
        udp::UdpHeader,
        vlan::VlanTag,
        vxlan::VxlanHeader,
    },
};

/// One frame while the program runs on it.
pub struct Frame {
    context: XdpContext,
}

/// Headers that may be read from any bytes.
///
/// # Safety
/// Every bit pattern is valid, the alignment is 1 and there is no padding.
pub unsafe trait Header: Copy + 'static {}

// SAFETY: all of these are `repr(C)` structs of byte arrays and bytes only.
unsafe impl Header for EthernetHeader {}
// SAFETY: as above.
unsafe impl Header for VlanTag {}
// SAFETY: as above.
unsafe impl Header for Ipv4Header {}
// SAFETY: as above.
unsafe impl Header for Ipv6Header {}
// SAFETY: as above.
unsafe impl Header for TcpHeader {}
// SAFETY: as above.
unsafe impl Header for UdpHeader {}
// SAFETY: as above.
unsafe impl Header for IcmpHeader {}
// SAFETY: as above.
unsafe impl Header for VxlanHeader {}
// SAFETY: an array of a header has its alignment and no padding.
unsafe impl<const N: usize> Header for [u8; N] {}

/// Ethernet and IP header.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Link<I> {
    pub ethernet: EthernetHeader,
    pub ip: I,
}

// SAFETY: headers of alignment 1 in a row leave no padding.
unsafe impl<I: Header> Header for Link<I> {}

/// Ethernet, IP and transport header.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Packet<I, T> {
    pub ethernet: EthernetHeader,
    pub ip: I,
    pub transport: T,
}

// SAFETY: as for `Link`.
unsafe impl<I: Header, T: Header> Header for Packet<I, T> {}

/// Everything in front of an inner IP packet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Overlay<O> {
    pub ethernet: EthernetHeader,
    pub ip: O,
    pub udp: UdpHeader,
    pub vxlan: VxlanHeader,
    pub inner: EthernetHeader,
}

// SAFETY: as for `Link`.
unsafe impl<O: Header> Header for Overlay<O> {}

impl Frame {
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        Self { context: XdpContext::new(context) }
    }

    /// The header at `offset`, a constant; `None` when it does not lie wholly in the frame's first buffer.
    #[inline(always)]
    pub fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        let start = self.data() + offset;
        if start + size_of::<T>() > self.data_end() {
            return None;
        }
        // SAFETY: the bytes lie between data and data_end, T may be read from any bytes at alignment 1, and nothing
        // moves the frame's ends while the returned reference borrows `self`.
        Some(unsafe { &*(start as *const T) })
    }

    /// The same for writing.
    #[inline(always)]
    pub fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let start = self.data() + offset;
        if start + size_of::<T>() > self.data_end() {
            return None;
        }
        // SAFETY: as in `view`, and `&mut self` makes it the only view.
        Some(unsafe { &mut *(start as *mut T) })
    }

    /// Address of the first byte.
    ///
    /// Read by one 32-bit load into a 64-bit register: left to itself the compiler may copy the value through a 32-bit
    /// register, and the verifier then no longer knows it for a packet pointer.
    #[inline(always)]
    fn data(&self) -> usize {
        let address: u64;
        // SAFETY: the load reads `xdp_md.data` of a valid context, and the verifier turns it into the packet pointer.
        unsafe {
            asm!("{0} = *(u32 *)({1} + 0)", out(reg) address, in(reg) self.context.ctx, options(pure, readonly, nostack));
        }
        address as usize
    }

    /// Address behind the last byte of the first buffer.
    #[inline(always)]
    fn data_end(&self) -> usize {
        let address: u64;
        // SAFETY: as in `data`, for `xdp_md.data_end`.
        unsafe {
            asm!("{0} = *(u32 *)({1} + 4)", out(reg) address, in(reg) self.context.ctx, options(pure, readonly, nostack));
        }
        address as usize
    }

    /// Bytes of the frame in its first buffer.
    #[inline(always)]
    pub fn first_buffer(&self) -> u32 {
        (self.data_end() - self.data()) as u32
    }

    /// Bytes of the whole frame, in however many buffers. A helper call: not for the fast path.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        // SAFETY: the helper only reads the context.
        unsafe { bpf_xdp_get_buff_len(self.context.as_ptr().cast()) as u32 }
    }

    /// Whether it lies in more than one buffer. A helper call.
    #[inline(always)]
    pub fn is_split(&self) -> bool {
        self.length() > self.first_buffer()
    }

    /// Room for `bytes` more in front.
    #[inline(always)]
    pub fn grow_head(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the helper checks the headroom; no view is alive, since `self` is borrowed mutably.
        let status = unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), -(bytes as i32)) };
        (status == 0).then_some(())
    }

    /// Cuts `bytes` off the front.
    #[inline(always)]
    pub fn shrink_head(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the helper checks that an Ethernet header remains; no view is alive.
        let status = unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), bytes as i32) };
        (status == 0).then_some(())
    }

    /// Cuts the frame off behind `length` bytes.
    #[inline(always)]
    pub fn cut_tail(&mut self, length: u32) -> Option<()> {
        let delta = length as i32 - self.length() as i32;
        if delta == 0 {
            return Some(());
        }
        // SAFETY: the helper checks the bounds; no view is alive.
        let status = unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), delta) };
        (status == 0).then_some(())
    }

    /// Copies `into.len()` bytes from `offset`, across buffers.
    #[inline(always)]
    pub fn copy<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> Option<()> {
        // SAFETY: `into` is N writable bytes; the helper checks the frame's bounds.
        let status =
            unsafe { bpf_xdp_load_bytes(self.context.as_ptr().cast(), offset, into.as_mut_ptr().cast(), N as u32) };
        (status == 0).then_some(())
    }

    /// A header at any offset, across buffers, copied into `room`, which is at least as large.
    #[inline(always)]
    pub fn load_header<'a, T: Header, const N: usize>(&self, offset: u32, room: &'a mut [u8; N]) -> Option<&'a mut T> {
        const { assert!(size_of::<T>() <= N) }
        // SAFETY: `room` holds a `T`; the helper checks the frame's bounds.
        let status = unsafe {
            let (context, length) = (self.context.as_ptr().cast(), size_of::<T>() as u32);
            bpf_xdp_load_bytes(context, offset, room.as_mut_ptr().cast(), length)
        };
        // SAFETY: a header may be read from any bytes at alignment 1, and `room` is borrowed for as long.
        (status == 0).then(|| unsafe { &mut *room.as_mut_ptr().cast::<T>() })
    }

    /// Writes a header at any offset, across buffers.
    #[inline(always)]
    pub fn store_header<T: Header>(&mut self, offset: u32, header: &T) -> Option<()> {
        // SAFETY: `header` is readable for its size; the helper checks the frame's bounds. No view is alive.
        let status = unsafe {
            let (context, length) = (self.context.as_ptr().cast(), size_of::<T>() as u32);
            bpf_xdp_store_bytes(context, offset, core::ptr::from_ref(header).cast_mut().cast(), length)
        };
        (status == 0).then_some(())
    }

    /// Copies the first `length` bytes into ring buffer memory of [`balancer_common::record::FRAME_MAX`] bytes.
    #[inline(always)]
    pub fn load_head(&self, length: u32, into: *mut u8) -> Option<()> {
        // Checked here once more, on a value that the compiler knows nothing of and the verifier sees as 32 bits.
        let length = carried(length, u32::MAX);
        if length == 0 || length > FRAME_MAX {
            return None;
        }
        // SAFETY: the caller's buffer holds FRAME_MAX bytes, which `length` never exceeds; the verifier checks it again.
        let status = unsafe { bpf_xdp_load_bytes(self.context.as_ptr().cast(), 0, into.cast(), length) };
        (status == 0).then_some(())
    }

    /// Folded sum of `length` bytes from an even `offset`, across buffers; [`Frame::SUM_FAILED`] when they cannot be read.
    #[inline(always)]
    pub fn sum(&self, offset: u32, length: u32) -> u32 {
        const CHUNK: u32 = Chunk::LENGTH as u32;
        let (mut total, mut at, mut left) = (0, offset, length);
        if length > Self::SUM_MAX {
            return Self::SUM_FAILED;
        }
        let mut chunk = Chunk([0; Chunk::LENGTH]);
        for _ in 0..Self::SUM_MAX / CHUNK {
            if left < CHUNK {
                break;
            }
            let Some(()) = self.copy(at, &mut chunk.0) else { return Self::SUM_FAILED };
            total += checksum::sum(&chunk.0);
            at += CHUNK;
            left -= CHUNK;
        }
        let mut byte = [0; 1];
        for position in 0..CHUNK {
            if position >= left {
                break;
            }
            let Some(()) = self.copy(at + position, &mut byte) else { return Self::SUM_FAILED };
            let word = if position.is_multiple_of(2) { [byte[0], 0] } else { [0, byte[0]] };
            total += u64::from(u16::from_ne_bytes(word));
        }
        u32::from(checksum::fold(total))
    }

    /// Most bytes that [`Frame::sum`] reads: a jumbo frame.
    const SUM_MAX: u32 = 9216;
    /// No folded sum is that large.
    const SUM_FAILED: u32 = u32::MAX;

    /// Interface the frame came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// The raw context, for helper calls and for the functions of [`crate::cold`].
    #[inline(always)]
    pub fn raw(&self) -> *mut xdp_md {
        self.context.ctx
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut room = Room([0; N]);
        self.copy(at, &mut room.0)?;
        Some(room.0)
    }
}

impl BytesMut for Frame {
    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, bytes: &[u8; N]) -> Option<()> {
        let room = Room(*bytes);
        self.store_header(at, &room.0)
    }
}

/// Bytes on the stack that are read as words, hence aligned.
#[repr(align(8))]
struct Room<const N: usize>([u8; N]);

/// Bytes on the stack that are read as words, hence aligned.
#[repr(align(8))]
struct Chunk([u8; Chunk::LENGTH]);

impl Chunk {
    const LENGTH: usize = 64;
}

/// Makes global functions: exported symbols, which the kernel verifies on their own. Those after `|frame|` take the context
/// first and see it under that name.
macro_rules! global {
    (|$frame:ident| $(fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty { $body:expr })*) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(context: *mut aya_ebpf::bindings::xdp_md $(, $argument: $kind)*) -> $result {
            #[allow(unused_mut, reason = "some bodies only read the frame")]
            let mut $frame = Frame::new(context);
            $body
        }
    )*};
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty { $body:expr })*) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name($($argument: $kind),*) -> $result {
            $body
        }
    )*};
}

pub(crate) use global;
