//! Turns desired states, in memory and through a model of the datapath, into what happens to flows.

mod datapath;
mod fake;
mod lab;
mod policies;
mod property;
mod ranges;
mod rules;
mod scale;
mod world;
