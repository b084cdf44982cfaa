//! Turns the loaded program into what `status` shows of it, and a crafted frame into what the program makes of it.

use aya::{TestRunAttrs, TestRunOptions, programs::TestRun as _};

use super::{Datapath, attach::Attached, error::DatapathError, load};

/// What the kernel knows about the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStatus {
    /// Id of the fast program, which interfaces run.
    pub id: u32,
    /// Id of the careful program, which the fast one hands the hard cases to.
    pub careful_id: u32,
    /// Instructions that the verifier walked through in both; none on kernels before 5.16.
    pub verified_instructions: Option<u32>,
    /// Those of the careful program.
    pub careful_verified_instructions: Option<u32>,
    /// Bytes of machine code of both.
    pub jited_bytes: u32,
    /// Where the fast one runs.
    pub attached: Vec<Attached>,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The XDP action (`enum xdp_action`: 0 aborted, 1 drop, 2 pass, 3 transmit, 4 redirect).
    pub action: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// By how many bytes a frame may grow: VLAN tags, outer headers, and room to notice what must not be.
const GROWTH_MAX: usize = 256;
/// Bytes of the longest frame that [`Datapath::run_live`] takes: the kernel wants it in one page of 4096 bytes, with its own
/// bookkeeping and 256 bytes of headroom in front and a `skb_shared_info` behind (`bpf_prog_test_run_xdp` of
/// net/bpf/test_run.c). Linux 6.18 takes 3408.
pub const LIVE_FRAME_MAX: usize = 3_300;

impl Datapath {
    /// What the kernel knows about the programs.
    ///
    /// # Errors
    /// [`DatapathError`]: they are not loaded.
    pub fn status(&self) -> Result<ProgramStatus, DatapathError> {
        let fast = load::info(load::xdp(&self.ebpf)?)?;
        let careful = load::info(load::careful(&self.ebpf)?)?;
        let (of_fast, of_careful) = (fast.verified_instruction_count(), careful.verified_instruction_count());
        Ok(ProgramStatus {
            id: fast.id(),
            careful_id: careful.id(),
            verified_instructions: of_fast.zip(of_careful).map(|(fast, careful)| fast + careful),
            careful_verified_instructions: of_careful,
            jited_bytes: fast.size_jitted() + careful.size_jitted(),
            attached: self.attached()?,
        })
    }

    /// Runs the program once on a frame (`BPF_PROG_TEST_RUN`), as if it had come in by an interface of this network
    /// namespace; 0 names the loopback. Frames beyond one page become frames of several buffers. Redirects go nowhere.
    ///
    /// # Errors
    /// [`DatapathError`]: the program is not loaded, no such interface, or the kernel refuses the frame (14 bytes at least).
    pub fn test_run(&self, frame: &[u8], ingress_ifindex: u32) -> Result<TestRun, DatapathError> {
        let mut out = vec![0; frame.len() + GROWTH_MAX];
        let context = context(frame.len() as u32, ingress_ifindex);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = load::xdp(&self.ebpf)?
            .test_run(options)
            .map_err(|error| DatapathError::of("running the XDP program on a frame", &error))?;
        out.truncate(result.data_size_out as usize);
        Ok(TestRun { action: result.return_value, frame: out })
    }

    /// Runs the program on a frame and does what it decides (`BPF_F_TEST_XDP_LIVE_FRAMES`), as if the frame had just come
    /// in by an interface of this network namespace.
    ///
    /// # Errors
    /// [`DatapathError`]: the program is not loaded, no such interface, or the frame has less than 14 bytes or more than
    /// fit one page, about 3400.
    pub fn run_live(&self, frame: &[u8], ingress_ifindex: u32) -> Result<(), DatapathError> {
        let context = context(frame.len() as u32, ingress_ifindex);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::default()
        };
        let what = || format!("running the XDP program on a frame of interface {ingress_ifindex}");
        load::xdp(&self.ebpf)?.test_run(options).map(drop).map_err(|error| DatapathError::of(what(), &error))
    }
}

/// `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(length: u32, ingress_ifindex: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[4..8].copy_from_slice(&length.to_ne_bytes());
    bytes[12..16].copy_from_slice(&ingress_ifindex.to_ne_bytes());
    bytes
}
