//! Turns the kernel's stream of events into one question: what has to be read again?

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
};
use tokio::sync::Notify;

use super::{NetworkError, kernel::Task};

/// What has to be read again, the smallest first; a greater one includes the smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Nothing.
    #[default]
    Nothing,
    /// Neighbours.
    Neighbours,
    /// Links, rules, routes and neighbours.
    Everything,
    /// Everything, over a new connection: this one is gone.
    Lost,
}

/// A subscription. Events are drained as they come and only the greatest change is kept, so a flood of them costs no memory.
#[derive(Debug)]
pub(super) struct Events {
    pending: Arc<Pending>,
    _connection: Task,
    _reader: Task,
}

#[derive(Debug, Default)]
struct Pending {
    change: Mutex<Change>,
    arrived: Notify,
}

/// Everything that can change a route, a link or a neighbour.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

impl Events {
    /// Subscribes in the current network namespace.
    pub(super) fn open() -> Result<Self, NetworkError> {
        let (connection, handle, mut messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(NetworkError::Open)?;
        let pending = Arc::new(Pending::default());
        let reader = Arc::clone(&pending);
        let read = async move {
            // The connection would end if its handle went.
            let _handle = handle;
            while let Some((message, _)) = messages.next().await {
                reader.add(change_of(&message));
            }
            reader.add(Change::Lost);
        };
        Ok(Self { pending, _connection: Task::spawn(connection), _reader: Task::spawn(read) })
    }

    /// Waits until there is something to read again.
    pub(super) async fn changed(&self) {
        loop {
            let arrived = self.pending.arrived.notified();
            if self.pending.get() != Change::Nothing {
                return;
            }
            arrived.await;
        }
    }

    /// What has to be read again since the last call.
    pub(super) fn take(&self) -> Change {
        std::mem::take(&mut *self.pending.change.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the connection under the feet of whoever uses it.
    #[cfg(test)]
    pub(super) fn sever(&mut self) {
        self._connection = Task::spawn(async {});
    }

    /// Puts back what could not be read.
    pub(super) fn put_back(&self, change: Change) {
        self.pending.add(change);
    }
}

impl Pending {
    fn get(&self) -> Change {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, change: Change) {
        if change == Change::Nothing {
            return;
        }
        let mut pending = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        *pending = change.max(*pending);
        self.arrived.notify_one();
    }
}

fn change_of(message: &NetlinkMessage<RouteNetlinkMessage>) -> Change {
    let NetlinkPayload::InnerMessage(message) = &message.payload else {
        // An overrun (ENOBUFS): events were lost, so anything may have changed.
        return Change::Everything;
    };
    let (RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour)) = message else {
        return Change::Everything;
    };
    let family = neighbour.header.family;
    if family == AddressFamily::Inet || family == AddressFamily::Inet6 { Change::Neighbours } else { Change::Nothing }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::{neighbour::NeighbourMessage, route::RouteMessage};

    use super::*;

    fn check(message: NetlinkPayload<RouteNetlinkMessage>, expected: Change) {
        assert_eq!(change_of(&NetlinkMessage::new(Default::default(), message)), expected);
    }

    fn neighbour(family: AddressFamily) -> NetlinkPayload<RouteNetlinkMessage> {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message))
    }

    #[test]
    fn an_event_says_what_to_read_again() {
        check(neighbour(AddressFamily::Inet), Change::Neighbours);
        check(neighbour(AddressFamily::Inet6), Change::Neighbours);
        check(neighbour(AddressFamily::Bridge), Change::Nothing);
        check(NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(RouteMessage::default())), Change::Everything);
    }

    #[test]
    fn an_overrun_of_the_socket_reads_everything_again() {
        check(NetlinkPayload::Overrun(Vec::new()), Change::Everything);
    }

    #[test]
    fn the_greatest_pending_change_is_kept() {
        let pending = Pending::default();
        for change in [Change::Neighbours, Change::Everything, Change::Neighbours, Change::Nothing] {
            pending.add(change);
        }
        assert_eq!(pending.get(), Change::Everything);
    }
}
