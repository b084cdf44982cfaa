//! Turns the loaded program into what `status` shows of it, and a crafted frame into what the program makes of it.

use aya::{TestRunOptions, programs::TestRun as _};

use super::{Datapath, attach::Attached, error::DatapathError, load};

/// What the kernel knows about the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStatus {
    /// Its id.
    pub id: u32,
    /// Instructions that the verifier walked through; none on kernels before 5.16.
    pub verified_instructions: Option<u32>,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Where it runs.
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

impl Datapath {
    /// What the kernel knows about the program.
    ///
    /// # Errors
    /// [`DatapathError`]: it is not loaded.
    pub fn status(&self) -> Result<ProgramStatus, DatapathError> {
        let info = load::info(load::xdp(&self.ebpf)?)?;
        Ok(ProgramStatus {
            id: info.id(),
            verified_instructions: info.verified_instruction_count(),
            jited_bytes: info.size_jitted(),
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
}

/// `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(length: u32, ingress_ifindex: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[4..8].copy_from_slice(&length.to_ne_bytes());
    bytes[12..16].copy_from_slice(&ingress_ifindex.to_ne_bytes());
    bytes
}
