//! Reads committed batches from an `EventId` on and goes on live.
//!
//! Always: in order, without gap or repeat, never beyond the committed index. Dropping a reader, or the future of
//! `next`, loses nothing: the place moves only when a batch is handed out.

use std::collections::VecDeque;
use std::sync::Arc;

use journal::{ReadError, Record};
use tokio::sync::watch;

use crate::append::Batch;
use crate::log::Shared;

/// How much is read ahead at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The events asked for were released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events up to {torn_event_id} were released from the journal")]
pub struct Torn {
    /// Last event that is gone.
    pub torn_event_id: u64,
}

/// Follows the log.
pub struct Reader {
    shared: Arc<Shared>,
    after: u64,
    ahead: VecDeque<Record>,
    committed: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    ended: Option<ReadError>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, after: u64, committed: watch::Receiver<u64>) -> Self {
        let closed = shared.closed.subscribe();
        Self {
            shared,
            after,
            ahead: VecDeque::new(),
            committed,
            closed,
            ended: None,
        }
    }

    /// The next batch with events after the ones before; waits for it. `None` when the log was shut down, or when
    /// reading broke off: then [`Self::ended`] says why.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            if let Some(record) = self.ahead.pop_front() {
                self.after = record.key;
                return Some(Batch {
                    last_event_id: record.key,
                    body: record.body,
                });
            }
            if self.ended.is_some() || *self.closed.borrow() {
                return None;
            }
            let committed = *self.committed.borrow_and_update();
            if committed > self.after {
                match self.read().await {
                    Ok(records) => self.ahead = records.into(),
                    Err(error) => self.ended = Some(error),
                }
                if !self.ahead.is_empty() || self.ended.is_some() {
                    continue;
                }
            }
            tokio::select! {
                changed = self.committed.changed() => if changed.is_err() { return None },
                changed = self.closed.changed() => if changed.is_err() { return None },
            }
        }
    }

    /// Why reading broke off, when it did: released under a slow reader, or damaged on disk.
    pub fn ended(&self) -> Option<&ReadError> {
        self.ended.as_ref()
    }

    async fn read(&self) -> Result<Vec<Record>, ReadError> {
        let after = self.after;
        if self.shared.journal.is_in_memory(after) {
            return self.shared.journal.read_after(after, CHUNK_BYTES);
        }
        let shared = Arc::clone(&self.shared);
        let read = tasks::spawn_blocking(move || shared.journal.read_after(after, CHUNK_BYTES));
        match read.await {
            Ok(records) => records,
            // A blocking task is cancelled only when the runtime ends, and then nobody reads.
            Err(_cancelled) => Ok(Vec::new()),
        }
    }
}
