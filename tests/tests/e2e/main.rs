//! Turns a built daemon into proof: real clients and servers in lab namespaces, one behaviour per module.

mod backend_changes;
mod backend_states;
mod bad_config;
mod daemon_restart;
mod dns;
mod iperf;
mod ipv6_underlay;
mod lab;
mod large_download;
mod metrics;
mod next_hop;
mod no_backends;
mod ping_vip;
mod postgres;
mod projects_apart;
mod reload;
mod underlay_frames;
mod weights;
