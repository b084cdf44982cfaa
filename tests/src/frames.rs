//! Turns the loaded program and crafted frames into actions and bytes that a test can compare.

pub mod checksums;
pub mod clock;
pub mod gateway;
pub mod overlay;
pub mod packet;
pub mod programs;
pub mod reshape;
pub mod world;
