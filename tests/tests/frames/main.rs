//! Turns crafted frames and the loaded program into one sentence a test: what comes out, byte for byte. Needs root.

mod balancing;
mod budgets;
mod careful_program;
mod checksums_stay_right;
mod draining_and_death;
mod dsr;
mod echo;
mod expired;
mod forward;
mod fragments;
mod generations;
mod headers;
mod icmp_errors;
mod lengths;
mod mss;
mod no_backend;
mod not_ours;
mod outer_header;
mod port_ranges;
mod reply;
mod reply_refused;
mod several_buffers;
mod sources;
mod table_swap;
mod too_big;
mod vlan;
