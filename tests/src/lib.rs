//! Turns lab namespaces into the servers, clients and measurements that the end-to-end tests share.

pub mod bench;
pub mod capture;
pub mod client;
pub mod frames;
pub mod load;
pub mod server;
pub mod status;
pub mod web;
