//! The events of a Controller as its readers see them, kept as they come.
//!
//! Always: in the order of arrival, with the numbers that readers resume by. Whoever waits for an event is woken by each new one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number.
    pub event_id: u64,
    /// When it happened, in milliseconds since the epoch.
    pub at: i64,
    /// To whom.
    pub key: String,
    /// What: its `TYPE`.
    pub kind: String,
    /// All of it.
    pub json: Value,
}

impl Seen {
    /// Reads a line of an event stream.
    pub fn from_line(line: &[u8]) -> Result<Seen> {
        let json: Value = serde_json::from_slice(line)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(line)))?;
        let event_id = json["eventId"]
            .as_u64()
            .with_context(|| format!("no eventId in {json}"))?;
        let at = json["timestamp"]
            .as_i64()
            .unwrap_or_else(|| i64::try_from(event_id / 1000).unwrap_or(i64::MAX));
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Ok(Seen {
            event_id,
            at,
            key: text("Key"),
            kind: text("TYPE"),
            json,
        })
    }

    /// Whether an order is the one to whom it happened.
    pub fn is_of_order(&self) -> bool {
        self.kind.starts_with("Order")
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.json)
    }
}

/// The events so far. Clones are the same history.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Mutex<Vec<Seen>>,
    length: watch::Sender<usize>,
}

impl Default for History {
    fn default() -> Self {
        History(Arc::new(Inner {
            events: Mutex::default(),
            length: watch::Sender::new(0),
        }))
    }
}

impl History {
    /// All events so far.
    pub fn all(&self) -> Vec<Seen> {
        self.events().clone()
    }

    /// The number of the newest event.
    pub fn last_event_id(&self) -> u64 {
        self.events().last().map_or(0, |seen| seen.event_id)
    }

    /// How many events have come.
    pub fn count(&self) -> usize {
        self.events().len()
    }

    /// The events of one order.
    pub fn of_order(&self, id: &str) -> Vec<Seen> {
        let is_wanted = |seen: &&Seen| seen.key == id && seen.is_of_order();
        self.events().iter().filter(is_wanted).cloned().collect()
    }

    /// What the jobs of an order wrote to standard output.
    pub fn stdout_of(&self, id: &str) -> String {
        self.events()
            .iter()
            .filter(|seen| seen.kind == "OrderStdoutWritten" && seen.key == id)
            .filter_map(|seen| seen.json["chunk"].as_str())
            .collect()
    }

    pub(crate) fn push(&self, seen: Seen) {
        let length = {
            let mut events = self.events();
            events.push(seen);
            events.len()
        };
        self.0.length.send_replace(length);
    }

    /// Waits until the events satisfy `look`, which gives its finding; none if they do not in time.
    pub async fn wait_for<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&[Seen]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut length = self.0.length.subscribe();
        loop {
            length.borrow_and_update();
            if let Some(found) = look(&self.events()) {
                return Some(found);
            }
            if !matches!(timeout_at(deadline, length.changed()).await, Ok(Ok(()))) {
                return look(&self.events());
            }
        }
    }

    fn events(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
