//! Follows the Controller's event stream: counts events by type, and keeps the lines of some types.
//!
//! Always: cheap, a look for the type and no parsing; an order that fails, stops or breaks ends the waiting with its line.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memchr::{memchr_iter, memmem};

use super::http::Connection;

const BAD: [&str; 4] = [
    "OrderFailed",
    "OrderStopped",
    "OrderBroken",
    "AgentEventRejected",
];

/// Reads in a thread of its own until it is dropped.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    stream: TcpStream,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    counts: BTreeMap<String, u64>,
    /// When the newest event of a type was read.
    kept_types: Vec<&'static str>,
    kept: Vec<String>,
    trouble: Option<String>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Follows from now on.
    pub(crate) fn start(address: SocketAddr, token: &str) -> Result<Follower> {
        let mut connection = Connection::open(address, token)?;
        let stream = connection.begin_stream("/controller/api/event?heartbeat=10")?;
        let shared = Arc::new(Shared::default());
        let follower = Follower {
            shared: Arc::clone(&shared),
            stream,
        };
        std::thread::spawn(move || {
            if let Err(error) = follow(&mut connection, &shared) {
                shared.seen().trouble = Some(format!("the event stream has ended: {error:#}"));
                shared.changed.notify_all();
            }
        });
        Ok(follower)
    }

    /// From now on, lines of these types are kept.
    pub(crate) fn keep(&self, types: &[&'static str]) {
        types.clone_into(&mut self.shared.seen().kept_types);
    }

    /// The lines kept so far; they are kept no longer.
    pub(crate) fn take_kept(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.seen().kept)
    }

    /// How many events of a type there were.
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.shared.seen().counts.get(kind).copied().unwrap_or(0)
    }

    /// Waits until there were so many events of a type; the moment that was seen.
    pub(crate) fn await_count(&self, kind: &str, count: u64, within: Duration) -> Result<Instant> {
        let deadline = Instant::now() + within;
        let mut seen = self.shared.seen();
        loop {
            let so_far = seen.counts.get(kind).copied().unwrap_or(0);
            if so_far >= count {
                return Ok(Instant::now());
            }
            if let Some(trouble) = &seen.trouble {
                bail!("{trouble}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("only {so_far} of {count} {kind} have come within {within:?}");
            }
            seen = self
                .shared
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The reading thread ends with its connection.
        let _closed = self.stream.shutdown(Shutdown::Both);
    }
}

fn follow(connection: &mut Connection, shared: &Shared) -> Result<()> {
    let type_field = memmem::Finder::new(b"\"TYPE\":\"");
    let mut bytes = Vec::new();
    loop {
        if !connection
            .chunk(&mut bytes)
            .context("the connection broke")?
        {
            bail!("the Controller has closed it");
        }
        let mut seen = shared.seen();
        let mut start = 0;
        for end in memchr_iter(b'\n', &bytes) {
            take(&mut seen, &bytes[start..end], &type_field);
            start = end + 1;
        }
        drop(seen);
        bytes.drain(..start);
        shared.changed.notify_all();
    }
}

fn take(seen: &mut Seen, line: &[u8], type_field: &memmem::Finder<'_>) {
    let Some(at) = type_field.find(line) else {
        return;
    };
    let rest = &line[at + 8..];
    let length = memchr::memchr(b'"', rest).unwrap_or(rest.len());
    let Ok(kind) = std::str::from_utf8(&rest[..length]) else {
        return;
    };
    if let Some(count) = seen.counts.get_mut(kind) {
        *count += 1;
    } else {
        seen.counts.insert(kind.to_owned(), 1);
    }
    if BAD.contains(&kind) && seen.trouble.is_none() {
        seen.trouble = Some(format!("trouble: {}", String::from_utf8_lossy(line)));
    }
    if seen.kept_types.contains(&kind) {
        seen.kept.push(String::from_utf8_lossy(line).into_owned());
    }
}
