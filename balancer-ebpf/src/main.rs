//! The XDP entry: one frame in, the pipeline's verdict, one XDP action out.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod careful;
#[cfg(target_arch = "bpf")]
mod cold;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod lookup;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod pipeline;
#[cfg(target_arch = "bpf")]
mod stage;
#[cfg(target_arch = "bpf")]
mod value;

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use balancer_common::verdict::Verdict;

    use crate::{careful, frame::Frame, maps, pipeline};

    /// Runs on every frame of every interface the daemon attaches it to.
    #[xdp(frags)]
    #[inline(always)]
    pub fn balancer(context: XdpContext) -> u32 {
        let mut frame = Frame::new(context.ctx);
        let verdict = pipeline::run(&mut frame);
        if let Verdict::Careful(_) = verdict {
            maps::go_careful(&context);
        }
        act(verdict)
    }

    /// Runs on the frames that the other program hands over.
    #[xdp(frags)]
    #[inline(always)]
    pub fn careful(context: XdpContext) -> u32 {
        act(careful::run(&mut Frame::new(context.ctx)))
    }

    #[inline(always)]
    fn act(verdict: Verdict) -> u32 {
        maps::count_reason(verdict.reason());
        match verdict {
            Verdict::Pass(_) => xdp_action::XDP_PASS,
            Verdict::Drop(_) | Verdict::Careful(_) => xdp_action::XDP_DROP,
            Verdict::Transmit(_) => xdp_action::XDP_TX,
            Verdict::Redirect(_) => xdp_action::XDP_REDIRECT,
        }
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The host build exists so that formatting, lints and docs cover this crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
