//! Turns the project's commands into processes: what `cargo xtask` does, and the parts of it that the tests use too.

pub mod bench;
pub mod build_ebpf;
pub mod check;
pub mod cli;
pub mod ebpf;
pub mod fuzz;
pub mod house;
pub mod lab;
pub mod layers;
pub mod process;
pub mod run;
pub mod setup;
pub mod source;
pub mod test;
pub mod workspace;
