//! The open connections of a server, and which of them make room for others.
//!
//! Always: a new connection is accepted. If there are too many, the oldest one of an unauthenticated client is closed for it, so such
//! clients cannot keep users or other components from connecting. A user with too many connections loses the oldest one that is idle.
//! Never here: sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use hyper::StatusCode;
use hyper::http::Extensions;
use hyper::http::request::Parts;
use tokio_util::sync::CancellationToken;

use crate::problem::{Problem, Refusal};

/// The sender of a request, as far as it matters for sharing scarce resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// An unauthenticated client. All such clients of one address count as one caller.
    Stranger(IpAddr),
    /// A user.
    User(Arc<str>),
    /// Another component: a Controller, a Director, a member of the cluster, a watch.
    Part,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Caller, Self::Rejection> {
        Ok(Caller::of(&parts.extensions))
    }
}

impl Caller {
    /// Returns the caller that was identified for this request, or a stranger.
    pub fn of(extensions: &Extensions) -> Caller {
        let identified = extensions.get::<Caller>().cloned();
        identified.unwrap_or_else(|| {
            let peer = extensions.get::<crate::PeerIdentity>();
            // A router that is called without a server, as in a test, has no address.
            Caller::Stranger(peer.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| {
                peer.addr.ip()
            }))
        })
    }

    /// Records the sender of this request. Its connection no longer counts as a stranger's. Refuses a user who has too many connections.
    pub fn identify(self, extensions: &mut Extensions) -> Result<(), Refusal> {
        if let Some(connection) = extensions.get::<Connection>() {
            connection.identify(&self)?;
        }
        extensions.insert(self);
        Ok(())
    }
}

/// The bounds of a server's connections. Those of other components are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Connections of strangers in total.
    pub(crate) strangers: usize,
    /// Connections of strangers from one address.
    pub(crate) strangers_of_address: usize,
    /// Connections of users in total.
    pub(crate) users: usize,
    /// Connections of one user.
    pub(crate) one_user: usize,
}

impl ConnectionLimits {
    /// Divides this number of connections into the bounds.
    pub(crate) fn of(connections: usize) -> ConnectionLimits {
        let share = |part: usize| (connections / part).max(1);
        ConnectionLimits {
            strangers: share(4),
            strangers_of_address: share(8),
            users: (connections - connections / 4).max(1),
            one_user: share(2),
        }
    }
}

/// The open connections of one server.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    limits: ConnectionLimits,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// By id, so the oldest comes first.
    strangers: BTreeMap<u64, Stranger>,
    by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// Connections of users.
    users: BTreeMap<u64, UserConnection>,
    by_user: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// Connections closed to make room since the last call of `take_closed`.
    closed: u64,
}

struct Stranger {
    address: IpAddr,
    close: CancellationToken,
}

struct UserConnection {
    user: Arc<str>,
    close: CancellationToken,
    requests: Arc<AtomicUsize>,
}

impl UserConnection {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }
}

impl Table {
    fn remove_user(&mut self, id: u64) -> Option<UserConnection> {
        let connection = self.users.remove(&id)?;
        if let Some(of_user) = self.by_user.get_mut(&connection.user) {
            of_user.remove(&id);
            if of_user.is_empty() {
                self.by_user.remove(&connection.user);
            }
        }
        Some(connection)
    }

    /// Closes the connection and returns whether there was one.
    fn close_user(&mut self, id: Option<u64>) -> bool {
        let Some(connection) = id.and_then(|id| self.remove_user(id)) else {
            return false;
        };
        connection.close.cancel();
        true
    }

    /// The oldest connection of this user that is idle.
    fn idle_of(&self, user: &str) -> Option<u64> {
        let ids = self.by_user.get(user)?.iter().copied();
        ids.into_iter()
            .find(|id| self.users.get(id).is_some_and(UserConnection::is_idle))
    }

    /// The oldest connection of any user that is idle.
    fn idle(&self) -> Option<u64> {
        let mut users = self.users.iter();
        users
            .find(|(_, connection)| connection.is_idle())
            .map(|(id, _)| *id)
    }

    fn remove_stranger(&mut self, id: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&id)?;
        if let Some(of_address) = self.by_address.get_mut(&stranger.address) {
            of_address.remove(&id);
            if of_address.is_empty() {
                self.by_address.remove(&stranger.address);
            }
        }
        Some(stranger)
    }

    fn close_stranger(&mut self, id: Option<u64>) {
        if let Some(stranger) = id.and_then(|id| self.remove_stranger(id)) {
            stranger.close.cancel();
            self.closed += 1;
        }
    }
}

/// A connection, as its server and its requests see it. Dropping the last clone removes it from the count.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Entry>);

struct Entry {
    id: u64,
    shared: Arc<Shared>,
    is_identified: AtomicBool,
    /// The number of requests whose answers have not been written completely.
    requests: Arc<AtomicUsize>,
    close: CancellationToken,
}

/// Marks a request as in progress until it is dropped.
pub(crate) struct ActiveRequest(Arc<AtomicUsize>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Connections {
        Connections(Arc::new(Shared {
            limits,
            table: Mutex::default(),
        }))
    }

    /// Registers a new connection, and closes the oldest connections of strangers that exceed a bound.
    pub(crate) fn admit(&self, address: IpAddr) -> Connection {
        let close = CancellationToken::new();
        let mut table = lock(&self.0.table);
        let id = table.next;
        table.next += 1;
        table.strangers.insert(
            id,
            Stranger {
                address,
                close: close.clone(),
            },
        );
        let of_address = table.by_address.entry(address).or_default();
        of_address.insert(id);
        if of_address.len() > self.0.limits.strangers_of_address {
            let oldest = of_address.first().copied();
            table.close_stranger(oldest);
        }
        if table.strangers.len() > self.0.limits.strangers {
            let oldest = table.strangers.keys().next().copied();
            table.close_stranger(oldest);
        }
        drop(table);
        Connection(Arc::new(Entry {
            id,
            shared: Arc::clone(&self.0),
            is_identified: AtomicBool::new(false),
            requests: Arc::default(),
            close,
        }))
    }

    /// Closes the oldest connection of a stranger, because the system is short of a resource.
    pub(crate) fn close_oldest(&self) {
        let mut table = lock(&self.0.table);
        let oldest = table.strangers.keys().next().copied();
        table.close_stranger(oldest);
    }

    /// Returns the number of connections closed since the last call.
    pub(crate) fn take_closed(&self) -> u64 {
        std::mem::take(&mut lock(&self.0.table).closed)
    }
}

impl Connection {
    /// Returns whether a request on this connection has been authenticated.
    pub(crate) fn is_identified(&self) -> bool {
        self.0.is_identified.load(Ordering::Relaxed)
    }

    /// Marks a request as in progress until the returned value is dropped.
    pub(crate) fn busy(&self) -> ActiveRequest {
        let requests = Arc::clone(&self.0.requests);
        requests.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(requests)
    }

    /// Resolves when the connection must close to make room.
    pub(crate) async fn closed(&self) {
        self.0.close.cancelled().await;
    }

    /// Counts the connection for its first authenticated caller. Later callers on it, as behind a proxy, change nothing.
    pub(crate) fn identify(&self, caller: &Caller) -> Result<(), Refusal> {
        let entry = &self.0;
        if self.is_identified() || matches!(caller, Caller::Stranger(_)) {
            return Ok(());
        }
        let limits = &entry.shared.limits;
        let mut table = lock(&entry.shared.table);
        if let Caller::User(user) = caller {
            let count = table.by_user.get(user).map_or(0, BTreeSet::len);
            let idle = table.idle_of(user);
            if count >= limits.one_user && !table.close_user(idle) {
                let message = format!(
                    "user {user} has {count} connections to this server, and none is idle; close some"
                );
                return Err(Problem::new("TooManyConnections", message)
                    .with("limit", limits.one_user.to_string())
                    .status(StatusCode::TOO_MANY_REQUESTS));
            }
            let idle = table.idle();
            if table.users.len() >= limits.users && !table.close_user(idle) {
                let message =
                    "users have as many connections to this server as it keeps; try again later";
                return Err(Problem::new("TooManyConnections", message)
                    .with("limit", limits.users.to_string())
                    .status(StatusCode::SERVICE_UNAVAILABLE));
            }
            let of_user = table.by_user.entry(Arc::clone(user)).or_default();
            of_user.insert(entry.id);
            let connection = UserConnection {
                user: Arc::clone(user),
                close: entry.close.clone(),
                requests: Arc::clone(&entry.requests),
            };
            table.users.insert(entry.id, connection);
        }
        table.remove_stranger(entry.id);
        entry.is_identified.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = lock(&self.shared.table);
        table.remove_stranger(self.id);
        table.remove_user(self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        strangers: 4,
        strangers_of_address: 2,
        users: 3,
        one_user: 2,
    };

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn is_closed(connection: &Connection) -> bool {
        connection.0.close.is_cancelled()
    }

    fn user(name: &str) -> Caller {
        Caller::User(name.into())
    }

    #[test]
    fn strangers_and_users_share_the_connections_of_a_server() {
        let limits = |connections| {
            let limits = ConnectionLimits::of(connections);
            (
                limits.strangers,
                limits.strangers_of_address,
                limits.users,
                limits.one_user,
            )
        };
        assert_eq!(limits(1000), (250, 125, 750, 500));
        assert_eq!(limits(1), (1, 1, 1, 1));
        assert_eq!(limits(0), (1, 1, 1, 1));
    }

    #[test]
    fn the_oldest_stranger_makes_room_when_the_system_is_short() {
        let connections = Connections::new(LIMITS);
        connections.close_oldest();
        assert_eq!(connections.take_closed(), 0, "nobody is there");
        let known = connections.admit(address(1));
        known.identify(&user("anna")).unwrap();
        let strangers = [connections.admit(address(2)), connections.admit(address(3))];
        connections.close_oldest();
        assert!(!is_closed(&known));
        assert_eq!(strangers.each_ref().map(is_closed), [true, false]);
        assert_eq!(connections.take_closed(), 1);
    }

    #[test]
    fn a_connection_counts_for_its_first_authenticated_caller() {
        let connections = Connections::new(LIMITS);
        let connection = connections.admit(address(1));
        assert!(!connection.is_identified());
        let stranger = Caller::Stranger(address(1));
        connection.identify(&stranger).unwrap();
        assert!(!connection.is_identified(), "a stranger proves nothing");
        connection.identify(&user("anna")).unwrap();
        assert!(connection.is_identified());
        connection.identify(&user("bob")).unwrap();
        let table = lock(&connections.0.table);
        let users: Vec<_> = table.by_user.keys().map(|user| &**user).collect();
        assert_eq!((users, table.users.len()), (vec!["anna"], 1));
        assert!(table.strangers.is_empty() && table.by_address.is_empty());
    }

    #[test]
    fn strangers_of_one_address_push_out_their_own_oldest() {
        let connections = Connections::new(LIMITS);
        let other = connections.admit(address(2));
        let own: Vec<_> = (0..4).map(|_| connections.admit(address(1))).collect();
        let closed: Vec<bool> = own.iter().map(is_closed).collect();
        assert_eq!(closed, [true, true, false, false]);
        assert!(!is_closed(&other), "another address has its own share");
        assert_eq!(connections.take_closed(), 2);
        assert_eq!(connections.take_closed(), 0);
    }

    #[test]
    fn strangers_of_many_addresses_push_out_the_oldest_of_all_and_no_user() {
        let connections = Connections::new(LIMITS);
        let (known, part) = (connections.admit(address(1)), connections.admit(address(1)));
        known.identify(&user("anna")).unwrap();
        part.identify(&Caller::Part).unwrap();
        let strangers: Vec<_> = (10..16).map(|n| connections.admit(address(n))).collect();
        let closed: Vec<bool> = strangers.iter().map(is_closed).collect();
        assert_eq!(closed, [true, true, false, false, false, false]);
        assert!(!is_closed(&known) && !is_closed(&part));
    }

    #[test]
    fn a_connection_that_ends_is_no_longer_counted() {
        let connections = Connections::new(LIMITS);
        for _ in 0..10 {
            let (a, b) = (connections.admit(address(1)), connections.admit(address(1)));
            a.identify(&user("anna")).unwrap();
            b.identify(&user("anna")).unwrap();
            assert!(!is_closed(&a) && !is_closed(&b));
        }
        assert_eq!(connections.take_closed(), 0);
        let table = lock(&connections.0.table);
        assert!(table.strangers.is_empty() && table.by_address.is_empty());
        assert!(table.by_user.is_empty() && table.users.is_empty());
    }

    #[test]
    fn users_are_bounded_each_and_in_total_and_parts_are_not() {
        let connections = Connections::new(LIMITS);
        let open = |caller: Caller| {
            let connection = connections.admit(address(1));
            let busy = connection.busy();
            let identified = connection.identify(&caller);
            let status = identified.map_err(|refusal| refusal.status.as_u16());
            (connection, status, busy)
        };
        let anna: Vec<_> = (0..3).map(|_| open(user("anna"))).collect();
        assert_eq!(anna[1].1, Ok(()));
        assert_eq!(anna[2].1, Err(429));
        let bob = open(user("bob"));
        assert_eq!(bob.1, Ok(()));
        assert_eq!(open(user("carl")).1, Err(503));
        let parts: Vec<_> = (0..100).map(|_| open(Caller::Part)).collect();
        assert!(parts.iter().all(|(_, identified, _)| identified.is_ok()));
    }

    #[test]
    fn a_user_with_too_many_connections_loses_the_oldest_idle_one() {
        let connections = Connections::new(LIMITS);
        let open = |user: &str| {
            let connection = connections.admit(address(1));
            connection.identify(&Caller::User(user.into())).unwrap();
            connection
        };
        let (first, second) = (open("anna"), open("anna"));
        let busy = first.busy();
        let third = open("anna");
        assert!(!is_closed(&first), "it is in use");
        assert!(is_closed(&second));
        drop(busy);
        let bob = open("bob");
        let carl = open("carl");
        let closed = [&first, &third, &bob, &carl].map(is_closed);
        assert_eq!(closed, [true, false, false, false], "the oldest of all");
    }
}
