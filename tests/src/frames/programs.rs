//! Turns the object `balancer-bench` into programs that run another program on test frames: one after the other, or many in a row.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, TestRun as _, TestRunOptions, include_bytes_aligned,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use nix::time::{ClockId, clock_gettime};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/balancer-bench"));

/// XDP actions as test runs return them.
pub mod action {
    /// The frame is dropped, and the program broke.
    pub const ABORTED: u32 = 0;
    /// The frame is dropped.
    pub const DROP: u32 = 1;
    /// The frame goes to the host's stack.
    pub const PASS: u32 = 2;
    /// The frame leaves where it came in.
    pub const TX: u32 = 3;
    /// The frame leaves by another interface.
    pub const REDIRECT: u32 = 4;
}

/// Bytes by which a program may make a frame longer.
const GROWTH_MAX: usize = 256;
/// Repeats from which the two clocks are compared.
const REPEAT_CHECKED: u32 = 100_000;
/// Bytes of `struct xdp_md`.
const CONTEXT_BYTES: usize = 24;

/// The loaded object.
pub struct Programs {
    ebpf: Ebpf,
    under_test: ProgramArray<MapData>,
    template: Array<MapData, [u8; Template::BYTES]>,
}

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Restores the frame from the template and runs the program under test.
    Driver,
    /// Fills the headroom with 0xff and runs the program under test.
    Poison,
    /// Does nothing.
    Null,
    /// Writes a constant outer header.
    Encap,
}

impl Program {
    const ALL: [Self; 4] = [Self::Driver, Self::Poison, Self::Null, Self::Encap];

    const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Poison => "poison",
            Self::Null => "null",
            Self::Encap => "encap",
        }
    }
}

/// What the driver sends; see `balancer-ebpf/src/bin/bench.rs`.
#[derive(Clone, Debug)]
pub struct Template {
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Which headers are restored and which fields make a flow.
    pub kind: Kind,
    /// Number of flows, a power of two up to 2^19.
    pub flows: u32,
}

/// Kinds of template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A client's IPv4 TCP segment.
    Tcp4 = 0,
    /// A client's IPv4 UDP datagram.
    Udp4 = 1,
    /// A client's IPv6 TCP segment.
    Tcp6 = 2,
    /// A backend's IPv4 TCP segment in VXLAN over IPv4.
    Reply4 = 3,
}

impl Template {
    const HEADERS: usize = 80;
    const BYTES: usize = Self::HEADERS + 24;

    fn bytes(&self) -> [u8; Self::BYTES] {
        let from = if self.kind == Kind::Reply4 { 50 } else { 0 };
        let headers = &self.frame[from..];
        let copied = headers.len().min(Self::HEADERS);
        let mut bytes = [0; Self::BYTES];
        bytes[..copied].copy_from_slice(&headers[..copied]);
        bytes[88..96].copy_from_slice(&u64::from(self.flows - 1).to_ne_bytes());
        bytes[96..100].copy_from_slice(&(self.frame.len() as u32).to_ne_bytes());
        bytes[100..].copy_from_slice(&(self.kind as u32).to_ne_bytes());
        bytes
    }
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The XDP action of the last frame.
    pub action: u32,
    /// The last frame as the program left it.
    pub frame: Vec<u8>,
}

/// A frame and where it comes in.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The frame.
    pub frame: &'a [u8],
    /// Interface it comes in by.
    pub ingress: u32,
    /// Bytes of it that lie in the first buffer; all that fit when it is the frame's length.
    pub linear: usize,
}

impl Programs {
    /// Loads the object.
    ///
    /// # Errors
    /// The kernel's.
    pub fn load() -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("load the object balancer-bench")?;
        for program in Program::ALL {
            let xdp: &mut Xdp = ebpf.program_mut(program.name()).context(program.name())?.try_into()?;
            xdp.load().with_context(|| format!("load the program {}", program.name()))?;
        }
        let under_test = ProgramArray::try_from(ebpf.take_map("UNDER_TEST").context("map UNDER_TEST")?)?;
        let template = Array::try_from(ebpf.take_map("TEMPLATE").context("map TEMPLATE")?)?;
        Ok(Self { ebpf, under_test, template })
    }

    /// Makes `driver` and `poison` run this program.
    ///
    /// # Errors
    /// The kernel's.
    pub fn test(&mut self, program: &ProgramFd) -> Result<()> {
        self.under_test.set(0, program, 0).context("put the program under test into the program array")
    }

    /// The file of one of the object's own programs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn file(&self, program: Program) -> Result<ProgramFd> {
        Ok(self.xdp(program)?.fd()?.try_clone()?)
    }

    /// Sets what the driver sends, from its first flow on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_template(&mut self, template: &Template) -> Result<()> {
        ensure!(template.flows.is_power_of_two() && template.flows <= 1 << 19, "{} flows", template.flows);
        self.template.set(0, template.bytes(), 0).context("write the template")
    }

    /// Runs a program once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&self, program: Program, input: Input<'_>) -> Result<Ran> {
        let mut out = vec![0; input.frame.len() + GROWTH_MAX];
        let mut context_out = [0; CONTEXT_BYTES];
        let context = context(input);
        let options = TestRunOptions {
            data_in: Some(input.frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        };
        let result = self.xdp(program)?.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok(Ran { action: result.return_value, frame: out })
    }

    /// Runs a program on `repeat` frames in a row; the last action and nanoseconds for each frame.
    ///
    /// The kernel rounds its own figure down to a whole nanosecond, two per cent of a floor; the time is therefore
    /// this thread's CPU time, which leaves out what other processes take, and must not exceed the kernel's.
    ///
    /// # Errors
    /// The kernel's, or that the two clocks disagree.
    pub fn time(&self, program: Program, input: Input<'_>, repeat: u32) -> Result<(u32, f64)> {
        let context = context(input);
        let mut context_out = [0; CONTEXT_BYTES];
        let options = TestRunOptions {
            data_in: Some(input.frame),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            repeat,
            ..TestRunOptions::new()
        };
        let xdp = self.xdp(program)?;
        let before = thread_time()?;
        let result = xdp.test_run(options)?;
        let spent = (thread_time()? - before).as_secs_f64() * 1e9 / f64::from(repeat);
        // With few frames the system call itself counts more than they do.
        let kernel = result.duration.as_nanos() as f64;
        ensure!(repeat < REPEAT_CHECKED || kernel >= 0.8 * spent - 1.0, "{spent} ns a frame, the kernel says {kernel}");
        Ok((result.return_value, spent))
    }

    fn xdp(&self, program: Program) -> Result<&Xdp> {
        Ok(self.ebpf.program(program.name()).context(program.name())?.try_into()?)
    }
}

fn thread_time() -> Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}

/// `struct xdp_md` in: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(input: Input<'_>) -> [u8; CONTEXT_BYTES] {
    let mut context = [0; CONTEXT_BYTES];
    context[4..8].copy_from_slice(&(input.linear as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&input.ingress.to_ne_bytes());
    context
}
