//! Turns what can stop a reconcile into one error that a caller can match.

use std::{io, net::IpAddr};

/// Why the maps do not say yet what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// More service ports and VIPs than `SERVICES` has entries (`abi::SERVICES_MAX`).
    #[error("{wanted} service ports and VIPs are wanted, and the map has room for {limit}")]
    TooManyServices {
        /// How many are wanted.
        wanted: usize,
        /// How many fit.
        limit: usize,
    },
    /// More projects than `POLICIES` has entries for (`abi::PROJECTS_MAX`).
    #[error("{wanted} projects are wanted, and the map has room for {limit}")]
    TooManyProjects {
        /// How many are wanted.
        wanted: usize,
        /// How many fit.
        limit: usize,
    },
    /// More backends than `BACKENDS` has free entries (`abi::BACKENDS_MAX`).
    #[error(
        "{wanted} backends are wanted, and the map has room for {limit}, less those freed in the last seconds ({withheld})"
    )]
    TooManyBackends {
        /// How many are wanted.
        wanted: usize,
        /// How many fit.
        limit: usize,
        /// Ids that are free soon.
        withheld: usize,
    },
    /// More hosts than `HOSTS` has entries (`abi::HOSTS_MAX`).
    #[error("{wanted} hosts are wanted, and the map has room for {limit}")]
    TooManyHosts {
        /// How many are wanted.
        wanted: usize,
        /// How many fit.
        limit: usize,
    },
    /// A bucket of an index and the one it spills into are full.
    #[error("no room in the {index} index for {address} port {port} protocol {protocol}: both of its buckets are full")]
    IndexFull {
        /// Which index.
        index: &'static str,
        /// The VIP or the container's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// IP protocol number.
        protocol: u8,
    },
    /// The kernel refused.
    #[error("cannot {step}: {source}")]
    Tables {
        /// What was being done.
        step: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Says what was being done when the kernel refused.
pub(super) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, ReconcileError>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str) -> Result<T, ReconcileError> {
        self.map_err(|source| ReconcileError::Tables { step, source })
    }
}
