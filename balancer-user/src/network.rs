//! Turns the kernel's routes and neighbours into [`NetworkView`], the way to every host and to the clients, and keeps it true.
//!
//! It is the only user of rtnetlink. Events only say that something changed; what is so now is always read from the kernel,
//! so a lost or misread event costs at most 30 seconds (`SAFETY_READ`).

mod events;
mod facts;
mod follow;
mod kernel;
mod link;
mod messages;
mod resolve;
mod routes;
#[cfg(test)]
mod tests;
mod view;

use std::{collections::BTreeSet, io, net::IpAddr};

use tokio::sync::watch;

pub use self::link::{LinkInfo, link_info};
use self::{follow::Follower, kernel::Task};
use crate::model::NetworkView;

/// What the view is asked to cover; the routes to clients are always in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// VTEP addresses of the container hosts.
    pub vteps: BTreeSet<IpAddr>,
}

/// The task that follows the kernel. Dropping it ends the task.
///
/// The neighbours it keeps resolved stay marked as managed in the kernel after that, as the pinned datapath goes on
/// sending to them. Neighbours that leave [`Wanted`] while the task runs are released.
#[derive(Debug)]
pub struct Network {
    _follower: Task,
}

impl Network {
    /// Reads the current network namespace once, then follows it in a task of the current tokio runtime (time and I/O enabled).
    ///
    /// The view is replaced only by one that differs. Its routes are complete from the first value on; MACs that the kernel
    /// does not know yet come as soon as they are resolved. The task also ends when the sender of `wanted` goes.
    ///
    /// # Errors
    ///
    /// When the netlink sockets cannot be opened or the first read fails. Later failures are logged and retried: the last view stays.
    pub async fn start(wanted: watch::Receiver<Wanted>) -> Result<(Self, watch::Receiver<NetworkView>), NetworkError> {
        let (view, receiver) = watch::channel(NetworkView::default());
        let follower = Follower::open(wanted, view).await?;
        Ok((Self { _follower: Task::spawn(follower.run()) }, receiver))
    }
}

/// Why the kernel's routes or neighbours are not known.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The connection ended before the answer was complete.
    #[error("the netlink connection closed during {request}")]
    Closed {
        /// What was asked.
        request: &'static str,
    },
    /// The kernel did not answer within 5 seconds (`REPLY_TIMEOUT`).
    #[error("no netlink answer to {request}")]
    Timeout {
        /// What was asked.
        request: &'static str,
    },
    /// The kernel answered with an error.
    #[error("the kernel refused {request}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// The kernel's error number.
        source: io::Error,
    },
    /// The tables changed under every one of 4 reads (`DUMP_ATTEMPTS`).
    #[error("the kernel's tables kept changing during {request}")]
    Interrupted {
        /// What was asked.
        request: &'static str,
    },
    /// The kernel knows no interface of that name.
    #[error("no interface is named {name}")]
    NoLink {
        /// The name.
        name: String,
    },
}
