//! Types and pure logic shared by the eBPF programs and the daemon: no I/O, no allocation, no standard library.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod budget;
pub mod case;
pub mod checksum;
pub mod conntrack;
pub mod flow;
pub mod fragment;
pub mod id;
pub mod index;
pub mod maglev;
pub mod range;
pub mod record;
pub mod service;
pub mod source;
pub mod verdict;
pub mod wire;
