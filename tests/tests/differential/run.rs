//! Turns steps into what the loaded program and the reference model make of them, and says where they differ.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Map, MapData, RingBuf};
use balancer_common::{abi::MAP_SLOW_PATH, record::RecordHead, verdict::Verdict};
use balancer_tests::{
    frames::{
        gateway::{Gateway, Outcome, Reasons},
        programs::{Input, action},
    },
    reference::{Arrival, Counters, Prediction, Record, Reference},
};
use balancer_user::model::Desired;

use super::{
    change::Change,
    crossing,
    frame::Side,
    story::{Frame, Step},
};

/// A loaded program and a model with the same history.
pub struct Run {
    gateway: Gateway,
    model: Reference,
    ring: RingBuf<MapData>,
    reasons: Reasons,
    told: Told,
    last: Option<Prediction>,
}

/// What was told.
#[derive(Debug, Default)]
pub struct Told {
    frames: u64,
    changes: u64,
    reasons: Reasons,
}

/// Where program and model differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(pub String);

/// Idle time of all flows, longer than any test.
const IDLE_S: u64 = 100_000;
/// Between two rounds of maintenance, so that each of them looks through the flows.
const ROUND_NS: u64 = 3_000_000_000;

/// A second's worth of a budget has to last for hours.
const SLOWER: u64 = 36_000;

impl Run {
    /// A gateway as [`world`](balancer_tests::frames::world) describes it, whose flows are never forgotten for their age.
    pub fn start() -> Result<Self> {
        let idle = std::time::Duration::from_secs(IDLE_S);
        let mut gateway = Gateway::with(|desired| {
            let timeouts = &mut desired.gateway.timeouts;
            (timeouts.tcp_idle, timeouts.tcp_closing, timeouts.udp_idle) = (idle, idle, idle);
        })?;
        gateway.slower = SLOWER;
        gateway.apply()?;
        let ports = [gateway.ports.public, gateway.ports.underlay];
        let model = Reference::new(&gateway.desired, &gateway.view, &ports);
        let ring = MapData::from_pin(gateway.pin_dir().join(MAP_SLOW_PATH)).context("the slow path's ring")?;
        let ring = RingBuf::try_from(Map::RingBuf(ring))?;
        let reasons = gateway.reasons()?;
        Ok(Self { gateway, model, ring, reasons, told: Told::default(), last: None })
    }

    /// What is wanted now.
    pub const fn desired(&self) -> &Desired {
        &self.gateway.desired
    }

    /// What became of the last step, if it was a frame.
    pub const fn last(&self) -> Option<&Prediction> {
        self.last.as_ref()
    }

    /// One step on both sides.
    pub fn step(&mut self, step: &Step) -> Result<(), Difference> {
        let made = match step {
            Step::Frame(frame) => self.frame(frame),
            Step::Change(changes) => self.change(changes),
        };
        made.map_err(|error| Difference(format!("{error:#}")))
    }

    /// Compares what is compared seldom.
    pub fn finish(mut self) -> Result<Told> {
        self.compare_counters()?;
        Ok(std::mem::take(&mut self.told))
    }

    fn frame(&mut self, frame: &Frame) -> Result<()> {
        let ports = self.gateway.ports;
        let ingress = match frame.side {
            Side::Public => ports.public,
            Side::Underlay => ports.underlay,
        };
        let arrival = Arrival { frame: &frame.bytes, first_buffer: frame.linear, ingress };
        let predicted = self.model.frame(arrival);
        let input = Input { frame: &frame.bytes, ingress, linear: frame.linear };
        let (outcome, reasons) = self.gateway.run_after(input, &self.reasons).context("run a frame")?;
        self.reasons = reasons;
        let record = self.record()?;
        self.told.frames += 1;
        *self.told.reasons.entry(outcome.reason).or_default() += 1;
        crossing::check(self.desired(), (&frame.bytes, &outcome))?;
        compare((&outcome, record.as_ref()), &predicted, frame)?;
        self.last = Some(predicted);
        Ok(())
    }

    /// What the program gave to the daemon, if it did.
    fn record(&mut self) -> Result<Option<Record>> {
        let Some(item) = self.ring.next() else { return Ok(None) };
        let (head, bytes) = item.split_at_checked(size_of::<RecordHead>()).context("a record without a head")?;
        let number = |at: usize| u32::from_ne_bytes(*head[at..].first_chunk().expect("a head has 64 bytes"));
        let frame = bytes.get(..number(0) as usize).context("a record that says too much")?.to_vec();
        Ok(Some(Record { kind: number(4), inner_mtu: number(12), frame }))
    }

    fn change(&mut self, changes: &[Change]) -> Result<()> {
        self.compare_counters()?;
        self.last = None;
        self.told.changes += 1;
        let gateway = &mut self.gateway;
        for change in changes {
            change.make(&mut gateway.desired, &mut gateway.view);
        }
        gateway.generation += 1;
        if changes.contains(&Change::Restart) {
            gateway.restart()?
        } else {
            gateway.apply()?
        };
        self.model.configure(&gateway.desired, &gateway.view);
        let ends = changes.contains(&Change::WindowsEnd);
        if ends || changes.contains(&Change::Maintain) {
            gateway.ahead_ns += if ends { 2 * IDLE_S * 1_000_000_000 } else { ROUND_NS };
            gateway.maintain()?;
            self.model.maintain(ends);
        }
        Ok(())
    }

    fn compare_counters(&self) -> Result<()> {
        let placement = self.gateway.reconciler.placement();
        for (place, (key, port, members)) in placement.service_ports.iter().zip(self.model.counters()) {
            let counted = self.gateway.datapath.service_counters(&[place.id])?;
            ensure!(counters(counted[0]) == port, "{key:?}: the program counted {:?}, expected {port:?}", counted[0]);
            for (place, (container, member)) in place.backends.iter().zip(members) {
                let counted = self.gateway.datapath.backend_counters(&[place.id])?;
                let same = counters(counted[0]) == member;
                ensure!(same, "{container} of {key:?}: the program counted {:?}, expected {member:?}", counted[0]);
            }
        }
        Ok(())
    }
}

const fn counters(of: balancer_common::abi::Counters) -> Counters {
    let balancer_common::abi::Counters { forward_packets, forward_bytes, reply_packets, reply_bytes } = of;
    Counters { forward_packets, forward_bytes, reply_packets, reply_bytes }
}

fn compare((outcome, record): (&Outcome, Option<&Record>), predicted: &Prediction, frame: &Frame) -> Result<()> {
    let expected = match predicted.verdict {
        Verdict::Pass(_) => action::PASS,
        Verdict::Drop(_) | Verdict::Careful(_) => action::DROP,
        Verdict::Transmit(_) => action::TX,
        Verdict::Redirect(_) => action::REDIRECT,
    };
    let reason = predicted.verdict.reason().name();
    let (is, should) = ((outcome.action, outcome.reason), (expected, reason));
    ensure!(is == should, "the program says {is:?}, expected {should:?}");
    if expected != action::DROP && !is_padding(&outcome.frame, &predicted.frame, frame) {
        let differ = first_difference(&outcome.frame, &predicted.frame);
        let frames = || format!("{}, expected {}", hex(&outcome.frame), hex(&predicted.frame));
        ensure!(outcome.frame == predicted.frame, "{reason}: the frame differs {differ}: {}", frames());
    }
    if !is_same(record, predicted.record.as_ref(), frame) {
        let of = |record: Option<&Record>| record.map(|record| (record.kind, record.inner_mtu, record.frame.len()));
        let (is, should) = (of(record), of(predicted.record.as_ref()));
        let frames = [record, predicted.record.as_ref()].map(|record| record.map_or(&[][..], |record| &record.frame));
        let differ = first_difference(frames[0], frames[1]);
        ensure!(
            false,
            "{reason}: the daemon gets (kind, MTU, bytes) {is:?}, expected {should:?}; the frame differs {differ}"
        );
    }
    Ok(())
}

/// Whether all that differs is padding that begins exactly where another buffer does. To see it would cost the fast program a helper
/// call for every frame; the lengths in the headers are right without it.
fn is_padding(is: &[u8], should: &[u8], frame: &Frame) -> bool {
    let padding = &frame.bytes[frame.linear..];
    !padding.is_empty() && is == [should, padding].concat()
}

/// Whether the daemon gets what it should, but for padding of that kind.
fn is_same(is: Option<&Record>, should: Option<&Record>, frame: &Frame) -> bool {
    let padded = |is: &Record, should: &Record| {
        is_padding(&is.frame, &should.frame, frame) && *is == Record { frame: is.frame.clone(), ..should.clone() }
    };
    is == should || is.zip(should).is_some_and(|(is, should)| padded(is, should))
}

fn first_difference(is: &[u8], should: &[u8]) -> String {
    let at = is.iter().zip(should).position(|(left, right)| left != right).unwrap_or(is.len().min(should.len()));
    let around = |bytes: &[u8]| hex(&bytes[at.saturating_sub(4).min(bytes.len())..(at + 8).min(bytes.len())]);
    format!(
        "at byte {at}: ..{}.. of {} bytes, expected ..{}.. of {}",
        around(is),
        is.len(),
        around(should),
        should.len()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Told {
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.changes += other.changes;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} frames, {} changes;", self.frames, self.changes)?;
        self.reasons
            .iter()
            .filter(|(_, count)| **count != 0)
            .try_for_each(|(reason, count)| write!(formatter, " {reason} {count}"))
    }
}
