//! Turns lab namespaces into the servers, clients and measurements that the end-to-end tests share.

pub mod bench;
pub mod capture;
pub mod client;
pub mod conformance;
pub mod datagram;
pub mod echoes;
pub mod frames;
pub mod load;
pub mod python;
pub mod raw;
pub mod reference;
pub mod server;
pub mod status;
pub mod transfer;
pub mod web;
