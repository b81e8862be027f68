//! The event stream of a node: committed lines behind an event id, as the bytes they were written in (`engine.md` 6.5).
//!
//! Always: in order, without gap; an error comes before the first line with a status of its own, never in the middle. Lines are
//! looked into only where a reader asks for some types. Never here: who may read.

use crate::clock::{Clock, SystemClock};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use cluster::{Batch, Log, ReadError, Reader};
use futures::stream;
use model::{Event, EventId};
use net::{Closing, Pace, Problem, Refusal, Share, heartbeat, seconds, stream_response};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// A chunk that is being collected goes when it has so many bytes.
const COLLECTED_BYTES_MAX: usize = 1 << 20;

/// A strong flow of events, per second, where the reader does not say.
const PACE_FLOW: f64 = 8000.0;

/// What a reader asks for. Durations are decimal seconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventQuery {
    /// Events behind this one; the newest one if left out.
    pub after: Option<u64>,
    /// Names of events and groups, separated by commas.
    #[serde(rename = "return")]
    pub return_types: Option<String>,
    /// A sign of life after each silence of this length, and one at once.
    pub heartbeat: Option<f64>,
    /// The stream ends when so much time has gone.
    pub timeout: Option<f64>,
    /// The stream ends after so many events.
    pub limit: Option<usize>,
    /// Refuse if the first event is older.
    pub torn_older: Option<f64>,
    /// Collect events for so long after the first one.
    pub delay: Option<f64>,
    /// So long between two chunks of a strong flow ([`Pace`]).
    pub pace: Option<f64>,
    /// Events per second that are a strong flow.
    pub pace_flow: Option<f64>,
}

/// Returns the stream, or the reason why there is none. The stream keeps `share` until it ends.
pub async fn event_stream(
    log: &Log,
    query: &EventQuery,
    closing: Option<&Closing>,
    share: Option<Share>,
) -> Result<Response, Refusal> {
    let after = query.after.unwrap_or_else(|| *log.committed().borrow());
    let begin = position(log, EventId(after)).await?;
    let mut follower = Follower {
        reached: begin,
        present: *log.committed().borrow(),
        reader: log
            .read_after(begin)
            .map_err(|torn| torn_problem(EventId(after), EventId(torn.torn_event_id)))?,
        after,
        wanted: Wanted::from_names(query.return_types.as_deref())?,
        left: query.limit.unwrap_or(usize::MAX),
        deadline: seconds("timeout", query.timeout)?.map(|timeout| Instant::now() + timeout),
        delay: seconds("delay", query.delay)?.unwrap_or_default(),
        pace: seconds("pace", query.pace)?
            .map(|distance| Pace::new(distance, query.pace_flow.unwrap_or(PACE_FLOW))),
        first: None,
        gathered: Bytes::new(),
    };
    let heartbeat = heartbeat("heartbeat", query.heartbeat)?;
    let torn_older = seconds("tornOlder", query.torn_older)?;
    // Events on the disk may be damaged. This must be found before the response begins.
    let is_there_already = begin < follower.present;
    if heartbeat.is_none() || torn_older.is_some() || is_there_already {
        // Errors get a status only before the first byte, so the first event is waited for; not where it is only looked at.
        let patience = if heartbeat.is_some() {
            Some(Instant::now())
        } else {
            None
        };
        // A check for events that already exist does not wait to collect more.
        let delay = if patience.is_some() {
            std::mem::take(&mut follower.delay)
        } else {
            follower.delay
        };
        follower.first = follower.chunk_until(patience, closing).await;
        follower.delay = delay;
        if let (None, Some(error)) = (&follower.first, follower.reader.ended()) {
            return Err(unreadable(EventId(after), error));
        }
        if let (Some(age_max), Some(first)) =
            (torn_older, follower.first.as_deref().and_then(event_id_of))
        {
            let age = SystemClock.now().since(EventId(first).timestamp());
            if age > age_max {
                return Err(Problem::new(
                    "OldEventId",
                    format!("the first event {first} is {}s old", age.as_secs()),
                )
                .with("eventId", first.to_string())
                .into());
            }
        }
    }
    let lines = stream::unfold((follower, share), |(mut follower, share)| async move {
        let chunk = match follower.first.take() {
            Some(first) => first,
            None => follower.chunk().await?,
        };
        Some((chunk, (follower, share)))
    });
    Ok(stream_response(lines, heartbeat, closing))
}

/// Checks that `after` can be read on from: the id of an event that is still there, or the place where the log is torn. The
/// answer is where reading begins.
pub async fn position(log: &Log, after: EventId) -> Result<u64, Refusal> {
    let torn = log.torn_event_id();
    let committed = *log.committed().borrow();
    if after.0 < torn {
        return Err(torn_problem(after, EventId(torn)));
    }
    if after.0 == torn || after.0 == committed {
        return Ok(after.0);
    }
    if after.0 < committed {
        let mut reader = log
            .read_after(after.0 - 1)
            .map_err(|torn| torn_problem(after, EventId(torn.torn_event_id)))?;
        let batch = reader.next().await;
        if let (None, Some(error)) = (&batch, reader.ended()) {
            return Err(unreadable(after, error));
        }
        if batch.is_some_and(|batch| {
            lines_of(&batch.body).any(|line| event_id_of(line) == Some(after.0))
        }) {
            return Ok(after.0);
        }
    }
    Err(Problem::new(
        "UnknownEventId",
        format!("there is no event {after} in this log"),
    )
    .with("eventId", after.to_string())
    .into())
}

/// Returns the refusal if the events after `after` cannot be read from the disk.
pub fn unreadable(after: EventId, error: &ReadError) -> Refusal {
    if let ReadError::Torn { torn_event_id } = error {
        return torn_problem(after, EventId(*torn_event_id));
    }
    let told = format!(
        "the events behind {after} cannot be read: {error}. They are not served; what is newer than the damaged place is"
    );
    let problem = Problem::new("JournalDamaged", told).with("after", after.to_string());
    problem.status(StatusCode::INTERNAL_SERVER_ERROR)
}

fn torn_problem(after: EventId, torn: EventId) -> Refusal {
    Problem::new(
        "EventSeqTorn",
        format!("the events behind {after} are gone, the log begins behind {torn}; take a snapshot and read on from there"),
    )
    .with("after", after.to_string())
    .with("tornEventId", torn.to_string())
    .into()
}

/// Which lines are passed on.
enum Wanted {
    All,
    Types(BTreeSet<&'static str>),
}

impl Wanted {
    fn from_names(names: Option<&str>) -> Result<Wanted, Refusal> {
        let Some(names) = names else {
            return Ok(Wanted::All);
        };
        let mut wanted = BTreeSet::new();
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            if name == "Event" {
                return Ok(Wanted::All);
            }
            if let Some((_, types)) = Event::GROUPS.iter().find(|(group, _)| *group == name) {
                wanted.extend(types.iter().copied());
                continue;
            }
            let mut known = Event::GROUPS.iter().flat_map(|(_, types)| types.iter());
            let known = known.find(|known| **known == name);
            let Some(known) = known else {
                return Err(Problem::new(
                    "InvalidParameter",
                    format!("return: no event or group is called {name:?}"),
                )
                .into());
            };
            wanted.insert(*known);
        }
        Ok(Wanted::Types(wanted))
    }

    fn takes(&self, line: &[u8]) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Types(types) => type_of(line).is_some_and(|name| types.contains(name)),
        }
    }
}

/// Reads on from an event id.
struct Follower {
    reader: Reader,
    /// What has been read.
    reached: u64,
    /// What was committed when the reader came: he gets it whatever his timeout is.
    present: u64,
    after: u64,
    wanted: Wanted,
    left: usize,
    deadline: Option<Instant>,
    delay: Duration,
    pace: Option<Pace>,
    first: Option<Bytes>,
    /// Lines that have been read and belong to the next chunk. The wait for more of them may be cancelled.
    gathered: Bytes,
}

impl Follower {
    async fn chunk_until(
        &mut self,
        patience: Option<Instant>,
        closing: Option<&Closing>,
    ) -> Option<Bytes> {
        let closed = async {
            match closing {
                Some(closing) => closing.0.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let waited = async {
            match patience {
                // A moment is enough for what is there already.
                Some(patience) => {
                    tokio::time::sleep_until(patience + Duration::from_millis(100)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            chunk = self.chunk() => chunk,
            () = closed => None,
            () = waited => None,
        }
    }

    /// Returns the next requested lines, or `None` at the end. If the future is dropped, the next call returns what it has read.
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            if self.gathered.is_empty() {
                if self.left == 0 {
                    return None;
                }
                let batch = self.next_batch().await?;
                self.gathered = self.take(&batch.body);
                continue;
            }
            if !self.delay.is_zero() || self.pace.is_some() {
                let mut until = Instant::now() + self.delay;
                if let Some(pace) = &self.pace {
                    until = until.max(pace.next());
                }
                self.collect(until).await;
            }
            let chunk = std::mem::take(&mut self.gathered);
            if let Some(pace) = &mut self.pace {
                pace.sent(lines_of(&chunk).count(), Instant::now());
            }
            return Some(chunk);
        }
    }

    async fn next_batch(&mut self) -> Option<Batch> {
        let batch = match self.deadline {
            // Reading from the disk takes its time; only waiting for what is not there yet has an end.
            Some(deadline) if self.reached >= self.present => {
                tokio::time::timeout_at(deadline, self.reader.next())
                    .await
                    .ok()
                    .flatten()?
            }
            _ => self.reader.next().await?,
        };
        self.reached = batch.last_event_id;
        Some(batch)
    }

    /// Adds the requested lines of the batches that arrive before `until`.
    async fn collect(&mut self, until: Instant) {
        while self.left > 0
            && self.gathered.len() < COLLECTED_BYTES_MAX
            && let Ok(Some(batch)) = tokio::time::timeout_at(until, self.reader.next()).await
        {
            let more = self.take(&batch.body);
            // Copies only the first time. After that the memory has no other owner.
            let mut gathered = Vec::from(std::mem::take(&mut self.gathered));
            gathered.extend_from_slice(&more);
            self.gathered = gathered.into();
        }
    }

    /// What is wanted of a batch. Nothing is copied where all of the rest is wanted.
    fn take(&mut self, body: &Bytes) -> Bytes {
        let mut begin = 0;
        for line in lines_of(body) {
            if event_id_of(line).is_some_and(|id| id > self.after) {
                break;
            }
            begin += line.len();
        }
        let rest = body.slice(begin..);
        if matches!(self.wanted, Wanted::All) && self.left == usize::MAX {
            return rest;
        }
        let mut taken = Vec::new();
        for line in lines_of(&rest)
            .filter(|line| self.wanted.takes(line))
            .take(self.left)
        {
            taken.push(line);
        }
        if self.left != usize::MAX {
            self.left -= taken.len();
        }
        taken.concat().into()
    }
}

/// Lines with their ends.
fn lines_of(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split_inclusive(|byte| *byte == b'\n')
}

/// Our own lines begin with `{"eventId":NUMBER`.
fn event_id_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"eventId\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The value of `TYPE`. Quotes inside a key are escaped, so the first match is the event's own.
fn type_of(line: &[u8]) -> Option<&str> {
    const MARK: &[u8] = b"\"TYPE\":\"";
    let begin = line.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let end = begin + line[begin..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&line[begin..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::Options;

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_that_were_read_before_a_look_was_broken_off_come_next() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path(), "controller:test");
        let log = Log::open(options).await.unwrap().log;
        let mut expected = String::new();
        for id in 1..=3 {
            let line = format!("{{\"eventId\":{id}}}\n");
            expected.push_str(&line);
            let body = line.into();
            let last_event_id = id;
            log.append(Batch {
                last_event_id,
                body,
            })
            .await
            .unwrap();
        }
        let mut follower = Follower {
            reached: 0,
            present: 3,
            reader: log.read_after(0).unwrap(),
            after: 0,
            wanted: Wanted::All,
            left: usize::MAX,
            deadline: None,
            // Longer than a look takes.
            delay: Duration::from_mins(1),
            pace: None,
            first: None,
            gathered: Bytes::new(),
        };
        let look = follower.chunk_until(Some(Instant::now()), None).await;
        assert_eq!(look, None, "it is broken off while it waits for more");
        follower.delay = Duration::ZERO;
        let chunk = follower.chunk().await.unwrap();
        assert_eq!(chunk, expected, "what it had read is not lost");
        drop(follower);
        log.shutdown().await;
    }
}
