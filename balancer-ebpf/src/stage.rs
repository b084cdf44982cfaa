//! The stages: each turns the frame and the values of the stage before it into values for the next one, or ends with a verdict.

pub mod classify;
pub mod conntrack;
pub mod decap;
pub mod emit;
pub mod encap;
pub mod error;
pub mod fragment;
pub mod guard;
pub mod icmp;
pub mod length;
pub mod mss;
pub mod parse;
pub mod reply;
pub mod reset;
pub mod rewrite;
pub mod select;
