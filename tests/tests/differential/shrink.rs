//! Turns a story that program and model tell differently into a short one that they still do (delta debugging, Zeller 1999).

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::{
    run::{Difference, Run},
    story::Step,
};

/// How long it may take.
const TIME_MAX: Duration = Duration::from_secs(120);

/// The short story, and what is wrong with it.
pub fn run(story: Vec<Step>, difference: &Difference) -> String {
    let began = Instant::now();
    let (mut story, mut difference) = (story, difference.clone());
    let mut chunk = story.len() / 2;
    while chunk > 0 && began.elapsed() < TIME_MAX {
        let mut from = 0;
        while from < story.len() && began.elapsed() < TIME_MAX {
            let mut shorter = story.clone();
            // The last step is the one that differs.
            let end = (from + chunk).min(story.len() - 1);
            if from >= end {
                break;
            }
            shorter.drain(from..end);
            match differs(&shorter) {
                Some((length, other)) => {
                    shorter.truncate(length);
                    (story, difference) = (shorter, other);
                }
                None => from += chunk,
            }
        }
        chunk /= 2;
    }
    let mut text = format!("{}\n{} steps of the story are enough:\n", difference.0, story.len());
    for step in &story {
        // Writing into a string cannot fail.
        let _written = writeln!(text, "    {step:?}");
    }
    text
}

/// After how many steps program and model differ, and how.
fn differs(story: &[Step]) -> Option<(usize, Difference)> {
    let mut run = Run::start().ok()?;
    for (position, step) in story.iter().enumerate() {
        if let Err(difference) = run.step(step) {
            return Some((position + 1, difference));
        }
    }
    None
}
