//! Turns the gateway's status into Prometheus text, and serves it to whoever scrapes.

mod exposition;
mod families;
mod server;

pub use server::serve;

use crate::model::status::Status;

/// Content type of [`text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Every metric of the gateway in the text format 0.0.4. Series are there exactly as long as their object is in `status`.
#[must_use]
pub fn text(status: &Status) -> String {
    exposition::render(families::FAMILIES, status)
}

#[cfg(test)]
mod tests;
