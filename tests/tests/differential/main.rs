//! Turns seeds into stories of frames and changes that the loaded program and the reference model must tell alike. Needs root.
//!
//! `BALANCER_DIFFERENTIAL_SEED` tells one story again; `BALANCER_TEST_LONG` tells a million frames in place of fifty thousand.

mod back;
mod change;
mod client;
mod crossing;
mod frame;
mod mutate;
mod odd;
mod random;
mod run;
mod shrink;
mod story;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Result, bail};

use self::{
    random::Random,
    run::{Run, Told},
    story::Teller,
};

/// Names a seed to tell again, decimal or `0x` and hexadecimal.
const SEED_VARIABLE: &str = "BALANCER_DIFFERENTIAL_SEED";
/// Lets tests take minutes.
const LONG_VARIABLE: &str = "BALANCER_TEST_LONG";
/// Steps of the ordinary run: 50 000 frames, as one step in a hundred is a change.
const FRAMES: usize = 52_000;
/// Steps of the long one: 1 000 000 frames.
const FRAMES_LONG: usize = 1_020_000;
/// Steps of one story, which one gateway tells.
const STORY: usize = 2_500;
/// Stories that are told at once: most of the time of a change is waited for the kernel.
const TELLERS: usize = 4;
/// The seed of the first story of a run that names none; each run tells the same ones.
const FIRST_SEED: u64 = 0x0ba1_a9ce;

#[test]
fn program_does_with_every_frame_what_the_papers_say() -> Result<()> {
    if let Ok(seed) = env::var(SEED_VARIABLE) {
        return tell(number(&seed)?).map(|_| ());
    }
    let frames = if env::var_os(LONG_VARIABLE).is_some() { FRAMES_LONG } else { FRAMES };
    let next = AtomicU64::new(0);
    let tellers = || -> Result<Told> {
        let mut told = Told::default();
        loop {
            let story = next.fetch_add(1, Ordering::Relaxed);
            if story >= frames.div_ceil(STORY) as u64 {
                return Ok(told);
            }
            told.add(&tell(FIRST_SEED + story).inspect_err(|_| next.store(u64::MAX / 2, Ordering::Relaxed))?);
        }
    };
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..TELLERS).map(|_| scope.spawn(tellers)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a teller gives its errors back")).collect::<Vec<_>>()
    });
    let mut told = Told::default();
    for part in all {
        told.add(&part?);
    }
    println!("{told}");
    Ok(())
}

/// Tells the story of one seed; one that the program tells otherwise is made short first.
fn tell(seed: u64) -> Result<Told> {
    let mut run = Run::start()?;
    let mut teller = Teller::new(Random::new(seed));
    let mut story = Vec::new();
    for _ in 0..STORY {
        let step = teller.next(&run);
        story.push(step.clone());
        if let Err(difference) = run.step(&step) {
            drop(run);
            let short = shrink::run(story, &difference);
            bail!("{SEED_VARIABLE}={seed:#x}\n{short}");
        }
        teller.learn(&run);
    }
    run.finish().with_context(|| format!("{SEED_VARIABLE}={seed:#x}, at the end"))
}

fn number(text: &str) -> Result<u64> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.with_context(|| format!("{SEED_VARIABLE}={text}: a number, or 0x and hexadecimal digits"))
}
