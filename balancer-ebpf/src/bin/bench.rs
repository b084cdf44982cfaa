//! Turns one test frame into a stream of frames of many flows for the program under measurement, and gives the floors to compare with.
//!
//! The kernel's test run with `repeat` does not reset the frame: a program that encapsulates would see its own output the
//! second time. `driver` restores the frame first, then tail-calls the program under test, which may be `null` or `encap`.
//! `poison` is for tests: the kernel zeroes a test frame's headroom, real drivers do not.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
#[path = "../frame.rs"]
#[expect(dead_code, unused_macros, unused_imports, reason = "the programs here use little of what the stages use")]
mod frame;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::xdp_action,
        btf_maps::{Array, ProgramArray},
        macros::{btf_map, xdp},
        programs::XdpContext,
    };

    use crate::frame::Frame;

    /// The program under test, at index 0.
    #[btf_map]
    static UNDER_TEST: ProgramArray<1> = ProgramArray::new();
    /// What `driver` sends.
    #[btf_map]
    static TEMPLATE: Array<Template, 1> = Array::new();

    /// 64-bit words of a template's headers.
    const WORDS: usize = 10;

    /// What `driver` sends. `balancer-tests` writes it, as bytes in this order.
    #[repr(C)]
    struct Template {
        /// The frame's bytes from where its kind says, native-endian words.
        headers: [u64; WORDS],
        /// Frames sent so far.
        sent: u64,
        /// Number of flows less 1; the number is a power of two up to 2^19.
        flows_mask: u64,
        /// Bytes of the whole frame.
        length: u32,
        /// A `KIND_*`.
        kind: u32,
    }

    /// Client's IPv4 TCP segment.
    const KIND_TCP4: u32 = 0;
    /// Client's IPv4 UDP datagram.
    const KIND_UDP4: u32 = 1;
    /// Client's IPv6 TCP segment.
    const KIND_TCP6: u32 = 2;
    /// Backend's IPv4 TCP segment in VXLAN over IPv4.
    const KIND_REPLY4: u32 = 3;

    /// Restores the frame as the template has it, with the next flow's client address and port, and runs the program under test.
    #[xdp(frags)]
    pub fn driver(context: XdpContext) -> u32 {
        let Some(template) = TEMPLATE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
        // SAFETY: an array entry lives as long as the map, and the measurement runs on one CPU.
        let template = unsafe { &mut *template };
        let mut frame = Frame::new(context.ctx);
        if restore_length(&mut frame, template.length).is_none() {
            return xdp_action::XDP_ABORTED;
        }
        let flow = template.sent & template.flows_mask;
        template.sent += 1;
        let headers = &template.headers;
        let restored = match template.kind {
            KIND_TCP4 => restore::<64>(&mut frame, headers, Fields { at: 0, address: 26, port: 34, spare: 40 }, flow),
            KIND_UDP4 => restore::<64>(&mut frame, headers, Fields { at: 0, address: 26, port: 34, spare: 42 }, flow),
            KIND_TCP6 => restore::<80>(&mut frame, headers, Fields { at: 0, address: 34, port: 54, spare: 60 }, flow),
            KIND_REPLY4 => {
                restore::<64>(&mut frame, headers, Fields { at: 50, address: 30, port: 36, spare: 40 }, flow)
            }
            _ => None,
        };
        if restored.is_none() {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: nothing is left to drop; when the slot is empty control comes back here.
        unsafe { UNDER_TEST.tail_call(&context, 0) };
        xdp_action::XDP_ABORTED
    }
    /// Undoes what the run before did to the frame's front.
    #[inline(always)]
    fn restore_length(frame: &mut Frame, length: u32) -> Option<()> {
        let now = frame.first_buffer();
        if now > length {
            frame.shrink_head((now - length) as usize)
        } else if now < length {
            frame.grow_head((length - now) as usize)
        } else {
            Some(())
        }
    }

    /// Where the fields lie that make a flow: behind `at`, even offsets.
    struct Fields {
        /// What the headers of the template begin with.
        at: usize,
        /// The last four bytes of the client's address.
        address: usize,
        /// The client's port.
        port: usize,
        /// A word that only the transport checksum covers.
        spare: usize,
    }

    /// Bits of the flow's number that go into the port; the others go into the address.
    const PORT_BITS: u64 = 13;

    /// Writes the headers with the flow's own address and port. What one word gains another one loses, so that the IP
    /// header's sum and the transport's sum stay what they are in the template.
    #[inline(always)]
    fn restore<const BYTES: usize>(frame: &mut Frame, headers: &[u64; WORDS], fields: Fields, flow: u64) -> Option<()> {
        let bytes = frame.view_mut::<[u8; BYTES]>(fields.at)?;
        for (word, value) in bytes.chunks_exact_mut(8).zip(headers) {
            // SAFETY: the chunk is 8 bytes of the frame.
            unsafe { word.as_mut_ptr().cast::<u64>().write_unaligned(*value) };
        }
        let port = (flow & ((1 << PORT_BITS) - 1)) as u16;
        let address = (flow >> PORT_BITS) as u16;
        add(bytes, fields.address, address);
        add(bytes, fields.address + 2, address.wrapping_neg());
        add(bytes, fields.port, port);
        add(bytes, fields.spare, port.wrapping_neg());
        Some(())
    }

    #[inline(always)]
    fn add<const BYTES: usize>(bytes: &mut [u8; BYTES], at: usize, value: u16) {
        let Some(word) = bytes.get_mut(at..at + 2) else { return };
        let pointer = word.as_mut_ptr().cast::<u16>();
        // SAFETY: the slice is 2 bytes of the frame.
        unsafe { pointer.write_unaligned(u16::from_be(pointer.read_unaligned()).wrapping_add(value).to_be()) };
    }

    /// The floor of everything: no work at all.
    #[xdp(frags)]
    pub fn null(_context: XdpContext) -> u32 {
        xdp_action::XDP_TX
    }

    /// Bytes that VXLAN over IPv4 puts in front of an Ethernet frame.
    const ENCAPSULATION: usize = 50;

    /// The floor of encapsulation: a constant header of the right size, without any decision or checksum.
    #[xdp(frags)]
    pub fn encap(context: XdpContext) -> u32 {
        let mut frame = Frame::new(context.ctx);
        if frame.grow_head(ENCAPSULATION).is_none() {
            return xdp_action::XDP_ABORTED;
        }
        let Some(bytes) = frame.view_mut::<[u8; ENCAPSULATION]>(0) else { return xdp_action::XDP_ABORTED };
        for word in bytes.chunks_exact_mut(8) {
            // SAFETY: the chunk is 8 bytes of the frame.
            unsafe { word.as_mut_ptr().cast::<u64>().write_unaligned(0x0045_0008_5634_1202) };
        }
        bytes[48] = 0x45;
        bytes[49] = 0;
        xdp_action::XDP_TX
    }

    /// Bytes in front of the frame that `poison` fills; the test run leaves 256 less the kernel's own 40.
    const POISONED: usize = 200;

    /// Fills the headroom with 0xff and runs the program under test.
    #[xdp(frags)]
    pub fn poison(context: XdpContext) -> u32 {
        let mut frame = Frame::new(context.ctx);
        if frame.grow_head(POISONED).is_none() {
            return xdp_action::XDP_ABORTED;
        }
        let Some(bytes) = frame.view_mut::<[u8; POISONED]>(0) else { return xdp_action::XDP_ABORTED };
        for word in bytes.chunks_exact_mut(8) {
            // SAFETY: the chunk is 8 bytes of the frame.
            unsafe { word.as_mut_ptr().cast::<u64>().write_unaligned(u64::MAX) };
        }
        if frame.shrink_head(POISONED).is_none() {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: as in `driver`.
        unsafe { UNDER_TEST.tail_call(&context, 0) };
        xdp_action::XDP_ABORTED
    }

    /// The licence of the package.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The host build exists so that formatting, lints and docs cover this crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
