//! When a snapshot is due, and its writing beside the loop.
//!
//! Always: one at a time, from a clone of the committed state, so that nothing waits for it. Never here: the bytes on disk.

use crate::recovery::Recovered;
use crate::{Limits, Machine};
use cluster::Log;
use model::EventId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The end of a snapshot's writing.
pub(crate) type Taken = Result<(), String>;

type Reply = oneshot::Sender<Taken>;

/// Watches the growth of the log and writes snapshots.
pub(crate) struct Snapshots {
    log: Log,
    limits: Limits,
    writing: Option<JoinHandle<Result<Result<(), String>, tasks::Panicked>>>,
    /// Those who wait for the snapshot that is being written.
    waiting: Vec<Reply>,
    /// Those who wait for the next one.
    wanted: Vec<Reply>,
    /// The event of the newest one, written or being written.
    newest: Option<EventId>,
    newest_bytes: u64,
    /// Counted by the one that is being written.
    written: Arc<AtomicU64>,
    grown_bytes: u64,
    grown_events: u64,
    begun_at: Instant,
    /// Whether part of the log is damaged, so that the next snapshot must supersede it.
    supersedes: bool,
}

impl Snapshots {
    pub(crate) fn new<M>(log: Log, limits: Limits, recovered: &Recovered<M>) -> Snapshots {
        Snapshots {
            supersedes: !log.damages().is_empty(),
            log,
            limits,
            writing: None,
            waiting: Vec::new(),
            wanted: Vec::new(),
            newest: recovered.snapshot,
            newest_bytes: recovered.snapshot_bytes,
            written: Arc::default(),
            grown_bytes: recovered.tail_bytes,
            grown_events: recovered.tail_events,
            begun_at: Instant::now(),
        }
    }

    /// A batch has been committed.
    pub(crate) fn grown(&mut self, bytes: usize, events: usize) {
        self.grown_bytes += bytes as u64;
        self.grown_events += events as u64;
    }

    /// Requests a snapshot that supersedes the damage in the log. The state contains the effect of the damaged records.
    pub(crate) fn supersede(&mut self) {
        self.supersedes = true;
    }

    /// Somebody asks for one.
    pub(crate) fn want(&mut self, reply: Reply) {
        self.wanted.push(reply);
    }

    /// How long until the period ends, if there is a reason for a snapshot then.
    pub(crate) fn due_in(&self) -> Duration {
        if self.grown_events == 0 {
            return Duration::MAX;
        }
        self.limits
            .snapshot_period
            .saturating_sub(self.begun_at.elapsed())
    }

    pub(crate) fn begin_if_due<M: Machine>(&mut self, machine: &M, at: EventId) {
        if self.writing.is_some() {
            return;
        }
        let by_size = self.grown_bytes > self.limits.snapshot_bytes
            && self.grown_bytes > 2 * self.newest_bytes;
        if by_size || self.supersedes || !self.wanted.is_empty() || self.due_in().is_zero() {
            self.begin(machine, at);
        }
    }

    fn begin<M: Machine>(&mut self, machine: &M, at: EventId) {
        self.waiting.append(&mut self.wanted);
        self.begun_at = Instant::now();
        let supersedes = std::mem::take(&mut self.supersedes);
        if self.newest == Some(at) && !supersedes {
            // Nothing has happened since.
            self.answer(&Ok(()));
            return;
        }
        self.newest = Some(at);
        self.grown_bytes = 0;
        self.grown_events = 0;
        let written = Arc::clone(&self.written);
        let (log, state) = (self.log.clone(), machine.clone());
        self.writing = Some(tasks::spawn_contained("snapshot", async move {
            let lines = move |out: &mut dyn std::io::Write| {
                let mut bytes = 0;
                for line in state.snapshot() {
                    bytes += line.len() as u64 + 1;
                    out.write_all(line.as_bytes())?;
                    out.write_all(b"\n")?;
                }
                written.store(bytes, Ordering::Relaxed);
                Ok(())
            };
            log.write_snapshot(at.0, lines)
                .await
                .map_err(|error| error.to_string())?;
            // This applies to every snapshot: an earlier one that was written for this purpose may have failed.
            if !log.damages().is_empty() {
                log.supersede_damage().await;
            }
            Ok(())
        }));
    }

    /// Waits for the end of the one that is being written; for ever if there is none. May be dropped.
    pub(crate) async fn taken(&mut self) -> Taken {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let written = match writing.await {
            Ok(Ok(written)) => written,
            // The panic is in the log. It must not end the node, because a restarted node would have the same state.
            Ok(Err(tasks::Panicked)) => Err("writing it has panicked".to_owned()),
            Err(cancelled) => Err(cancelled.to_string()),
        };
        self.writing = None;
        match written {
            Ok(()) => {
                self.newest_bytes = self.written.load(Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "no snapshot was written; the log is kept until one is");
                self.newest = None;
                Err(error)
            }
        }
    }

    /// Tells those who wait for the one that has just been written.
    pub(crate) fn answer(&mut self, taken: &Taken) {
        // The event that tells of it is no reason for another one.
        if taken.is_ok() {
            self.grown_events = self.grown_events.saturating_sub(1);
        }
        for reply in self.waiting.drain(..) {
            // Whoever asked may be gone.
            let _unheard = reply.send(taken.clone());
        }
    }

    /// Waits for the one that is being written and writes the last one.
    pub(crate) async fn finish<M: Machine>(
        &mut self,
        machine: &M,
        at: EventId,
        suppress: bool,
    ) -> Taken {
        if self.writing.is_some() {
            let taken = self.taken().await;
            self.answer(&taken);
        }
        if suppress {
            let refused = Err("the node is shutting down".to_owned());
            self.waiting.append(&mut self.wanted);
            self.answer(&refused);
            return Ok(());
        }
        self.begin(machine, at);
        if self.writing.is_none() {
            return Ok(());
        }
        let taken = self.taken().await;
        self.answer(&taken);
        taken
    }
}
