//! Turns a config into running packet forwarding: the library behind the `balancer` binary.

pub mod cli;
pub mod config;
pub mod model;
pub mod store;
