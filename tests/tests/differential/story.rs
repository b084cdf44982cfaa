//! Turns random choices into the next step of a story: mostly frames, now and then a change.

use std::fmt;

use super::{
    change::{self, Change},
    frame::{Maker, Side},
    random::Random,
    run::Run,
};

/// One step.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// A frame comes in.
    Frame(Frame),
    /// Something changes.
    Change(Vec<Change>),
}

/// A frame and where it comes in.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub side: Side,
    /// Bytes in the first buffer.
    pub linear: usize,
}

/// Steps between two changes, about.
const CHANGE_EVERY: usize = 110;

/// Who makes the story up.
pub struct Teller {
    random: Random,
    maker: Maker,
    began: bool,
}

impl Teller {
    pub fn new(random: Random) -> Self {
        Self { random, maker: Maker::default(), began: false }
    }

    pub fn next(&mut self, run: &Run) -> Step {
        if !std::mem::replace(&mut self.began, true) {
            return Step::Change(change::first(&mut self.random));
        }
        if self.random.one_in(CHANGE_EVERY) {
            let count = 1 + self.random.below(6);
            return Step::Change((0..count).map(|_| change::any(&mut self.random)).collect());
        }
        Step::Frame(self.maker.frame(&mut self.random, run.desired()))
    }

    /// Keeps what a frame became, for frames that answer it.
    pub fn learn(&mut self, run: &Run) {
        if let Some(prediction) = run.last() {
            self.maker.learn(prediction);
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(Frame { bytes, side, linear }) => {
                let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(formatter, "{side:?} {} bytes, {linear} in the first buffer: {}", bytes.len(), hex.concat())
            }
            Self::Change(changes) => write!(formatter, "{changes:?}"),
        }
    }
}
