//! Turns a config into running packet forwarding: the library behind the `balancer` binary.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod metrics;
pub mod model;
pub mod network;
pub mod reconcile;
pub mod store;
