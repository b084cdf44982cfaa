//! Turns crafted frames and the loaded program into one sentence a test: what comes out, byte for byte. Needs root.

mod balancing;
mod checksums_stay_right;
mod draining_and_death;
mod echo;
mod expired;
mod forward;
mod generations;
mod lengths;
mod mss;
mod no_backend;
mod not_ours;
mod outer_header;
mod reply;
mod reply_refused;
mod several_buffers;
mod table_swap;
mod vlan;
