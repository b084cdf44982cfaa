//! Turns requests on a unix socket into the gateway's status and reloads: the daemon's side and the command line's.
//!
//! The protocol is HTTP/1.1, so that `curl --unix-socket` speaks it too: `GET /status` answers with the JSON of
//! [`Status`](crate::model::status::Status), `POST /reload` with 202.

mod client;
mod server;
mod socket;

pub use client::{AdminError, Client};
pub use server::Server;
pub use socket::BindError;

/// Where the status is.
const STATUS_PATH: &str = "/status";
/// Where a reload is asked for.
const RELOAD_PATH: &str = "/reload";
