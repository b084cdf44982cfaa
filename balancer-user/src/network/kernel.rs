//! Turns questions about links, routes and neighbours into the kernel's answers, over one netlink connection.

use std::{collections::BTreeMap, io, net::IpAddr, time::Duration};

use futures_util::{Stream, StreamExt};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
    neighbour::NeighbourMessage,
    rule::RuleMessage,
};
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
};
use tokio::task::JoinHandle;

use super::{
    NetworkError,
    facts::{Family, FamilyRoutes, NeighbourKey, Neighbours, Route, Way},
    link::LinkInfo,
    messages,
    routes::{TABLE_DEFAULT, TABLE_MAIN},
};

/// How long the kernel may take for the next part of an answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a dump is tried while the table changes under it.
const DUMP_ATTEMPTS: usize = 4;

/// Most entries of one table that are looked at. With as many routes in table main, the kernel is asked for every client.
pub(super) const ENTRIES_MAX: usize = 65_536;

/// A connection for questions. It is not subscribed to anything, because netlink tells an answer from an event only by a
/// sequence number, which another process's event can share.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: Handle,
    _connection: Task,
}

impl Kernel {
    /// Opens it in the current network namespace.
    pub(super) fn open() -> Result<Self, NetworkError> {
        let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check().map_err(NetworkError::Open)?;
        // The end of an answer is told from the end of the connection by its last message.
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        Ok(Self { handle, _connection: Task::spawn(connection) })
    }

    /// All interfaces, by index.
    pub(super) async fn links(&self) -> Result<BTreeMap<u32, LinkInfo>, NetworkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let links = self.dump("links", RouteNetlinkMessage::GetLink(message), |answer| {
            let RouteNetlinkMessage::NewLink(link) = answer else { return None };
            Some(messages::link(&link))
        });
        Ok(links.await?.into_iter().map(|link| (link.ifindex, link)).collect())
    }

    /// The interface of that name.
    pub(super) async fn link(&self, name: &str) -> Result<LinkInfo, NetworkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let no_link = || NetworkError::NoLink { name: name.to_owned() };
        match self.ask("a link", RouteNetlinkMessage::GetLink(message)).await {
            Ok(RouteNetlinkMessage::NewLink(link)) => Ok(messages::link(&link)),
            Err(error) if refused_with(&error, &NO_LINK) => Err(no_link()),
            Err(error) => Err(error),
            Ok(_) => Err(no_link()),
        }
    }

    /// Rules and routes of one family. A family or table that the kernel does not have is empty.
    pub(super) async fn family_routes(&self, family: Family) -> Result<FamilyRoutes, NetworkError> {
        let mut question = RuleMessage::default();
        question.header.family = family.into();
        let rules = self.dump("rules", RouteNetlinkMessage::GetRule(question), |answer| {
            let RouteNetlinkMessage::NewRule(rule) = answer else { return None };
            Some(messages::rule(&rule))
        });
        let rules = absent_is_empty(rules.await)?;
        let main = self.table(family, TABLE_MAIN).await?;
        let after_main = !self.table(family, TABLE_DEFAULT).await?.is_empty();
        Ok(FamilyRoutes { rules, main_overflow: main.len() >= ENTRIES_MAX, main, after_main })
    }

    async fn table(&self, family: Family, table: u32) -> Result<Vec<Route>, NetworkError> {
        let question = RouteNetlinkMessage::GetRoute(messages::table_question(family, table));
        let routes = self.dump("routes", question, |answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
            messages::route(&route)
        });
        absent_is_empty(routes.await)
    }

    /// All neighbours of both families.
    pub(super) async fn neighbours(&self) -> Result<Neighbours, NetworkError> {
        let mut all = Neighbours::new();
        for family in [Family::Ipv4, Family::Ipv6] {
            let mut question = NeighbourMessage::default();
            question.header.family = family.into();
            let neighbours = self.dump("neighbours", RouteNetlinkMessage::GetNeighbour(question), |answer| {
                let RouteNetlinkMessage::NewNeighbour(neighbour) = answer else { return None };
                messages::neighbour(&neighbour)
            });
            all.extend(absent_is_empty(neighbours.await)?);
        }
        Ok(all)
    }

    /// How the kernel would go to an address now, by its rules, routes and path MTU cache; none without a route.
    pub(super) async fn way_to(&self, address: IpAddr) -> Result<Option<Way>, NetworkError> {
        match self.ask("a route", RouteNetlinkMessage::GetRoute(messages::way_question(address))).await {
            Ok(RouteNetlinkMessage::NewRoute(route)) => Ok(messages::way(&route, address)),
            Err(error) if !refused_with(&error, &NO_ROUTE) => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Has the kernel resolve a neighbour and keep it so. `exists` says whether the table had an entry when it was read.
    ///
    /// A PERMANENT entry would lose that state by this request (net/core/neighbour.c, `__neigh_update`), so an entry that has
    /// come up since is left alone. What remains is an entry that became PERMANENT between the last read and now.
    pub(super) async fn resolve(&self, key: NeighbourKey, exists: bool) -> Result<(), NetworkError> {
        let request = RouteNetlinkMessage::NewNeighbour(messages::neighbour_request(key, true));
        let flags = if exists { NLM_F_CREATE } else { NLM_F_CREATE | NLM_F_EXCL };
        match self.tell("resolving a neighbour", request, flags).await {
            Err(error) if refused_with(&error, &[Errno::EEXIST]) => Ok(()),
            outcome => outcome,
        }
    }

    /// Ends what [`Kernel::resolve`] began; the entry stays and ages like any other.
    pub(super) async fn release(&self, key: NeighbourKey) -> Result<(), NetworkError> {
        let request = RouteNetlinkMessage::NewNeighbour(messages::neighbour_request(key, false));
        match self.tell("releasing a neighbour", request, 0).await {
            Err(error) if refused_with(&error, &[Errno::ENOENT, Errno::ENODEV]) => Ok(()),
            outcome => outcome,
        }
    }

    /// Ends the connection under the feet of whoever uses it.
    #[cfg(test)]
    pub(super) fn sever(&mut self) {
        self._connection = Task::spawn(async {});
    }

    /// Reads a whole table, at most [`ENTRIES_MAX`] entries of it; again when it changed meanwhile.
    async fn dump<T>(
        &self,
        request: &'static str,
        question: RouteNetlinkMessage,
        convert: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, NetworkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut answers = self.send(request, question.clone(), NLM_F_DUMP)?;
            let mut entries = Vec::new();
            let mut interrupted = false;
            loop {
                let answer = next(request, &mut answers).await?;
                interrupted |= answer.interrupted;
                let Some(message) = answer.message else { break };
                if entries.len() < ENTRIES_MAX {
                    entries.extend(convert(message));
                }
            }
            if !interrupted {
                return Ok(entries);
            }
        }
        Err(NetworkError::Interrupted { request })
    }

    /// Asks for one object.
    async fn ask(
        &self,
        request: &'static str,
        question: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, NetworkError> {
        let mut answers = self.send(request, question, 0)?;
        next(request, &mut answers).await?.message.ok_or(NetworkError::Closed { request })
    }

    /// Has one object changed.
    async fn tell(&self, request: &'static str, change: RouteNetlinkMessage, flags: u16) -> Result<(), NetworkError> {
        let mut answers = self.send(request, change, NLM_F_ACK | flags)?;
        while next(request, &mut answers).await?.message.is_some() {}
        Ok(())
    }

    fn send(&self, request: &'static str, message: RouteNetlinkMessage, flags: u16) -> Result<Answers, NetworkError> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        let answers = self.handle.clone().request(message).map_err(|_| NetworkError::Closed { request })?;
        Ok(Box::pin(answers))
    }
}

type Answers = std::pin::Pin<Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send>>;

/// One part of an answer.
struct Answer {
    /// The object; none at the end.
    message: Option<RouteNetlinkMessage>,
    /// The table changed while it was read.
    interrupted: bool,
}

async fn next(request: &'static str, answers: &mut Answers) -> Result<Answer, NetworkError> {
    let waited = tokio::time::timeout(REPLY_TIMEOUT, answers.next()).await;
    let message = waited.map_err(|_| NetworkError::Timeout { request })?.ok_or(NetworkError::Closed { request })?;
    let interrupted = message.header.flags & NLM_F_DUMP_INTR != 0;
    let code = match message.payload {
        NetlinkPayload::InnerMessage(message) => return Ok(Answer { message: Some(message), interrupted }),
        NetlinkPayload::Error(error) => error.code.map_or(0, i32::from),
        NetlinkPayload::Done(done) => done.code,
        NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => return Err(NetworkError::Interrupted { request }),
    };
    if code < 0 {
        return Err(NetworkError::Refused { request, source: io::Error::from_raw_os_error(code.saturating_neg()) });
    }
    Ok(Answer { message: None, interrupted })
}

/// How the kernel says that there is no way: no route, or one that refuses (unreachable, prohibit, blackhole).
const NO_ROUTE: [Errno; 5] =
    [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EACCES, Errno::EINVAL, Errno::EAFNOSUPPORT];
/// How it says that there is no such interface; the third for names that none can have.
const NO_LINK: [Errno; 3] = [Errno::ENODEV, Errno::ENXIO, Errno::ERANGE];
/// How it says that it lacks the family or the table.
const ABSENT: [Errno; 3] = [Errno::ENOENT, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP];

fn refused_with(error: &NetworkError, errors: &[Errno]) -> bool {
    let NetworkError::Refused { source, .. } = error else {
        return false;
    };
    source.raw_os_error().is_some_and(|code| errors.contains(&Errno::from_raw(code)))
}

fn absent_is_empty<T>(dumped: Result<Vec<T>, NetworkError>) -> Result<Vec<T>, NetworkError> {
    match dumped {
        Err(error) if refused_with(&error, &ABSENT) => Ok(Vec::new()),
        dumped => dumped,
    }
}

/// A task that ends when its owner goes.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    /// Starts it on the current runtime.
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
