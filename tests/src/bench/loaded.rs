//! Turns a case into a sample: the balancer loaded twice, with few and with many service ports, and the driver in front of it.

use std::{net::IpAddr, time::Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use balancer_user::{
    datapath::object,
    model::{Desired, Protocol, tables::Tables as _},
};

use super::{
    cases::{Case, Subject, Traffic},
    stack::{self, STACK_MAX},
    tables,
};
use crate::frames::{
    checksums,
    gateway::{Gateway, program_file},
    overlay::outer_port,
    programs::{Input, Program, Programs, action},
    world::{Shape, backend, service_port},
};

/// Backends of every measured service port.
const BACKENDS: u8 = 8;
/// Class of the measured tables: 65 537 slots.
const TABLE_CLASS: usize = 4;
/// Service ports where there are many.
const MANY: usize = 10_000;
/// Flows whose frames are looked at before anything is measured.
const CHECKED: usize = 64;

/// Everything that is loaded.
pub struct Loaded {
    few: Subjected,
    many: Subjected,
    programs: Programs,
}

/// Short RCU grace periods: each table that is put into a map of maps waits for one, and 10 000 of ordinary length take
/// minutes. Over before anything is measured.
struct Expedited;

impl Expedited {
    const SWITCH: &str = "/sys/kernel/rcu_expedited";

    fn begin() -> Result<Self> {
        std::fs::write(Self::SWITCH, "1").context(Self::SWITCH)?;
        Ok(Self)
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(Self::SWITCH, "0") {
            eprintln!("{} stays at 1: {error}", Self::SWITCH);
        }
    }
}

/// A gateway and its program.
struct Subjected {
    gateway: Gateway,
    file: ProgramFd,
}

impl Loaded {
    /// Loads and fills.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> Result<Self> {
        let _fast = Expedited::begin()?;
        let few = Subjected::new(|_| {})?;
        let many = Subjected::new(publish_many)?;
        ensure!(few.gateway.ports == many.gateway.ports, "the namespaces differ");
        Ok(Self { few, many, programs: Programs::load()? })
    }

    /// What the kernel says about the program, for people.
    ///
    /// # Errors
    /// The kernel's.
    pub fn facts(&self) -> Result<Vec<String>> {
        let status = self.few.gateway.datapath.status()?;
        let verified = status.verified_instructions.unwrap_or(0);
        let careful = status.careful_verified_instructions.unwrap_or(0);
        let names = ["balancer", "careful"];
        let depths = stack::depths(object(), &names)?;
        let instructions = [verified - careful, careful];
        let each = names.iter().zip(instructions).zip(depths);
        let mut facts: Vec<String> = each
            .map(|((name, instructions), depth)| {
                format!("program {name}: {instructions} instructions verified, {depth} of {STACK_MAX} bytes of stack")
            })
            .collect();
        facts.push(format!("both: {} bytes of machine code", status.jited_bytes));
        Ok(facts)
    }

    /// Whether the frames of a case come out right, so that a wrong config cannot look fast.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self, case: &Case) -> Result<()> {
        let template = case.template();
        self.prepare(case)?;
        for flow in 0..CHECKED {
            let input = self.input(case, &template.frame);
            let ran = self.programs.run(Program::Driver, input)?;
            ensure!(ran.action == action_of(case), "flow {flow}: action {}", ran.action);
            if case.is_floor() {
                continue;
            }
            let wrong = checksums::wrong(&ran.frame);
            ensure!(wrong.is_empty(), "flow {flow}: wrong checksums {wrong:?}");
            if flow == 0 {
                ensure!(expected(case, &ran.frame).contains(&ran.frame), "the first frame is {:02x?}", ran.frame);
            }
        }
        Ok(())
    }

    /// Nanoseconds for each of `frames` frames, and a warm-up before.
    ///
    /// # Errors
    /// The kernel's, or another end than the case's was counted.
    pub fn sample(&mut self, case: &Case, frames: u32) -> Result<f64> {
        let template = case.template();
        self.prepare(case)?;
        self.programs.time(Program::Driver, self.input(case, &template.frame), case.flows)?;
        let before = self.counted(case)?;
        let (action, ns) = self.programs.time(Program::Driver, self.input(case, &template.frame), frames)?;
        ensure!(action == action_of(case), "action {action}");
        let counted = self.counted(case)? - before;
        ensure!(case.is_floor() || counted == u64::from(frames), "{counted} of {frames} frames were {}", reason(case));
        Ok(ns)
    }

    /// Milliseconds for handing a table of 65 537 slots to the kernel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hand_over(&mut self) -> Result<f64> {
        let datapath = &mut self.few.gateway.datapath;
        let slots = tables::slots();
        let spare = datapath.services_len() - 1;
        let before = Instant::now();
        datapath.put_table(TABLE_CLASS, spare, &slots)?;
        let spent = before.elapsed();
        datapath.drop_table(TABLE_CLASS, spare)?;
        Ok(spent.as_secs_f64() * 1e3)
    }

    fn prepare(&mut self, case: &Case) -> Result<()> {
        let file = match case.subject {
            Subject::Floor(program) => self.programs.file(program)?,
            Subject::Few => self.few.file.try_clone()?,
            Subject::Many => self.many.file.try_clone()?,
        };
        self.programs.test(&file)?;
        self.programs.set_template(&case.template())
    }

    /// Frames come in by the interface they leave by, so that the action is a transmission and no redirect.
    fn input<'a>(&self, case: &Case, frame: &'a [u8]) -> Input<'a> {
        let ports = self.few.gateway.ports;
        let ingress = if case.traffic == Traffic::Reply { ports.public } else { ports.underlay };
        Input { frame, ingress, linear: frame.len() }
    }

    fn counted(&self, case: &Case) -> Result<u64> {
        let gateway = if case.subject == Subject::Many { &self.many.gateway } else { &self.few.gateway };
        gateway.reasons()?.get(reason(case)).copied().context("no such reason")
    }
}

impl Subjected {
    fn new(change: impl FnOnce(&mut Desired)) -> Result<Self> {
        let gateway = Gateway::with(|desired| {
            desired.service_ports = measured();
            change(desired);
        })?;
        let id = gateway.datapath.status()?.id;
        Ok(Self { gateway, file: program_file(id)? })
    }
}

/// The service ports that the cases send to.
fn measured() -> Vec<balancer_user::model::ServicePort> {
    let ipv4 = Shape { vip_ipv4: true, underlay_ipv4: true };
    let ipv6 = Shape { vip_ipv4: false, underlay_ipv4: true };
    let keys =
        [(ipv4, (Protocol::Tcp, 80), 8080), (ipv4, (Protocol::Udp, 53), 5353), (ipv6, (Protocol::Tcp, 80), 8080)];
    keys.map(|(shape, key, port)| {
        let backends = (1..=BACKENDS).map(|number| backend(shape, 0, (number, port))).collect();
        let mut service_port = service_port(shape, 0, key, backends);
        service_port.table_class = TABLE_CLASS;
        service_port
    })
    .to_vec()
}

/// Service ports of other VIPs, each with two backends.
fn publish_many(desired: &mut Desired) {
    let shape = Shape { vip_ipv4: true, underlay_ipv4: true };
    for number in 0..MANY - desired.service_ports.len() {
        let [_, _, high, low] = (number as u32).to_be_bytes();
        let backends = [0, 128].map(|half| {
            let mut other = backend(shape, 1, (1, 8080));
            other.address = IpAddr::from([10, 2 + half, high, low]);
            other
        });
        let mut other = service_port(shape, 1, (Protocol::Tcp, 80), backends.to_vec());
        other.vip = IpAddr::from([100, 64, high, low]);
        other.service = format!("other-{number}");
        desired.service_ports.push(other);
    }
}

fn action_of(case: &Case) -> u32 {
    if case.traffic == Traffic::Stranger { action::PASS } else { action::TX }
}

fn reason(case: &Case) -> &'static str {
    match case.traffic {
        Traffic::Established | Traffic::Syn | Traffic::Udp | Traffic::Established6 => "forwarded",
        Traffic::Reply => "replied",
        Traffic::Stranger => "not_ours",
    }
}

/// What the first frame may become: one frame for each backend.
fn expected(case: &Case, ran: &[u8]) -> Vec<Vec<u8>> {
    let (shape, mut packet) = (case.shape(), case.packet());
    match case.traffic {
        Traffic::Stranger => vec![packet.bytes()],
        Traffic::Reply => vec![shape.returned(0, &packet, 80).bytes()],
        Traffic::Established | Traffic::Syn | Traffic::Udp | Traffic::Established6 => {
            if case.traffic == Traffic::Syn {
                let mss = shape.inner_mtu() - 40;
                packet.tcp().options[2..4].copy_from_slice(&mss.to_be_bytes());
            }
            let port = if case.traffic == Traffic::Udp { 5353 } else { 8080 };
            let overlay = shape.overlay(0, packet.traffic_class, outer_port(ran, true));
            let to = |number| overlay.around(&shape.delivered(0, &packet, (number, port)).bytes()).bytes();
            (1..=BACKENDS).map(to).collect()
        }
    }
}
