//! The log as a node holds it: cheap to clone, safe to use from many tasks.
//!
//! Always: batches reach the log in the order in which `append` was first polled, and their event ids rise.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::{Journal, SnapshotError, SnapshotFile};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::append::{AppendError, Batch};
use crate::leadership::{self, HandOver, Leadership};
use crate::member::Timing;
use crate::open::{OpenError, Opened, Replay};
use crate::options::Options;
use crate::peers::Peers;
use crate::raft::{Raft, StateMachine, membership_to_text};
use crate::reader::{Reader, Torn};
use crate::respond::Responder;
use crate::rules;
use crate::scrub;
use crate::status::Status;
use crate::stuck;

/// Bytes are counted in pieces of this size, so that the semaphore's 32-bit permits suffice.
const PERMIT_BYTES: usize = 1 << 10;

/// What an open log is made of.
pub(crate) struct Parts {
    pub(crate) journal: Arc<Journal>,
    pub(crate) raft: Raft,
    pub(crate) machine: StateMachine,
    pub(crate) fault: watch::Receiver<Option<String>>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) responder: Arc<Responder>,
}

/// A handle on the log.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) journal: Arc<Journal>,
    pub(crate) raft: Raft,
    machine: StateMachine,
    pub(crate) fault: watch::Receiver<Option<String>>,
    /// Turn to hand a batch over: holds the newest event id handed over.
    turn: Mutex<u64>,
    in_flight: Semaphore,
    batch_bytes_max: usize,
    released: AtomicU64,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) responder: Arc<Responder>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) timing: Timing,
    /// The newest attempt to make another member the active one.
    pub(crate) hand_over: watch::Sender<Option<HandOver>>,
    /// One snapshot, one release at a time.
    housekeeping: Mutex<()>,
    /// Changes each time a damaged place is found.
    damage_found: Arc<watch::Sender<u64>>,
}

impl Log {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Opens the log. Alone, it resolves when this member leads and can write; among others, [`Self::leadership`] tells who does.
    pub async fn open(options: Options) -> Result<Opened, OpenError> {
        crate::open::open(options).await
    }

    pub(crate) fn new(parts: Parts, options: &Options) -> Self {
        let Parts {
            journal,
            raft,
            machine,
            fault,
            peers,
            responder,
        } = parts;
        let newest = journal.standing().last_event_id;
        stuck::tell(&journal, options.dir.clone());
        scrub::begin(&journal, options.scrub);
        let damage_found = Arc::new(watch::Sender::new(0));
        let found = Arc::clone(&damage_found);
        journal.on_damage(move |_| found.send_modify(|count| *count += 1));
        let hand_over = watch::Sender::new(None);
        let shared = Shared {
            released: AtomicU64::new(journal.torn_event_id()),
            journal,
            leadership: leadership::follow(
                &raft,
                &machine,
                Arc::clone(&peers),
                hand_over.subscribe(),
            ),
            raft,
            machine,
            fault,
            turn: Mutex::new(newest),
            in_flight: Semaphore::new(options.in_flight_bytes.div_ceil(PERMIT_BYTES)),
            batch_bytes_max: options.in_flight_bytes.min(journal::BODY_BYTES_MAX),
            closed: watch::Sender::new(false),
            peers,
            responder,
            timing: options.timing,
            hand_over,
            housekeeping: Mutex::new(()),
            damage_found,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The log with its newest snapshot and what is known to be committed behind it.
    pub fn opened(&self) -> Opened {
        let snapshot = self.shared.journal.snapshot();
        let begin = snapshot.as_ref().map_or(0, SnapshotFile::event_id);
        Opened {
            log: self.clone(),
            replay: Replay {
                journal: Arc::clone(&self.shared.journal),
                records: self.shared.journal.replay(begin),
            },
            snapshot,
        }
    }

    /// Appends a batch; resolves when it is durable on a majority. Dropped before, the batch may still arrive.
    pub async fn append(&self, batch: Batch) -> Result<(), AppendError> {
        let shared = &self.shared;
        let bytes = batch.body.len();
        if bytes > shared.batch_bytes_max {
            return Err(AppendError::TooLarge {
                bytes,
                bytes_max: shared.batch_bytes_max,
            });
        }
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let (responder, answer) = ProgressResponder::complete_only();
        let permit = {
            let mut newest = shared.turn.lock().await;
            // What another member appended while it was active counts, too.
            *newest = newest.max(*shared.machine.committed().borrow());
            let last_event_id = batch.last_event_id;
            if last_event_id <= *newest {
                return Err(AppendError::NotRising {
                    last_event_id,
                    newest: *newest,
                });
            }
            let permit = shared
                .in_flight
                .acquire_many(permits)
                .await
                .map_err(|closed| self.stopped(&closed.to_string()))?;
            let handed = shared.raft.client_write_ff(batch, Some(responder)).await;
            handed.map_err(|fatal| self.stopped(&fatal.to_string()))?;
            *newest = last_event_id;
            permit
        };
        let answer = answer
            .await
            .map_err(|_gone| self.stopped("it was shut down"))?;
        drop(permit);
        match answer {
            Ok(_) => Ok(()),
            Err(ClientWriteError::ForwardToLeader(to)) => Err(AppendError::NotActive {
                leader: to.leader_id,
            }),
            Err(ClientWriteError::LogEntryDiscarded(to)) => Err(AppendError::Overtaken {
                leader: to.leader_id,
            }),
            Err(
                other @ (ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)),
            ) => Err(AppendError::Stopped {
                reason: other.to_string(),
            }),
        }
    }

    /// Why nothing can be appended any more: the journal's fault, when it has one.
    fn stopped(&self, otherwise: &str) -> AppendError {
        let fault = self.shared.fault.borrow().clone();
        AppendError::Stopped {
            reason: fault.unwrap_or_else(|| otherwise.to_owned()),
        }
    }

    /// Last committed event, as it rises.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.machine.committed()
    }

    /// A reader of the committed batches that contain events after `event_id`; goes on live.
    pub fn read_after(&self, event_id: u64) -> Result<Reader, Torn> {
        let torn_event_id = self.torn_event_id();
        if event_id < torn_event_id {
            return Err(Torn { torn_event_id });
        }
        Ok(Reader::new(
            Arc::clone(&self.shared),
            event_id,
            self.committed(),
        ))
    }

    /// Events up to this one are gone from the log.
    pub fn torn_event_id(&self) -> u64 {
        self.shared.journal.torn_event_id()
    }

    /// Writes a snapshot of the state as of `last_event_id`, the last event of a committed batch. `write` gives
    /// the state as JSON lines, on a thread of its own; appends go on meanwhile. Dropped, it is finished all the same.
    pub async fn write_snapshot(
        &self,
        last_event_id: u64,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), SnapshotError> {
        let log = self.clone();
        let writing = async move { log.snapshot(last_event_id, write).await };
        let failed = |error: String| SnapshotError::Body(std::io::Error::other(error));
        // A panic while the state is written fails only this snapshot. The log is unchanged.
        tasks::spawn_contained("snapshot-file", writing)
            .await
            .map_err(|cancelled| failed(cancelled.to_string()))?
            .map_err(|tasks::Panicked| failed("the state cannot be written".to_owned()))?
    }

    async fn snapshot(
        &self,
        last_event_id: u64,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), SnapshotError> {
        let _turn = self.shared.housekeeping.lock().await;
        let journal = Arc::clone(&self.shared.journal);
        let membership = membership_to_text(&self.shared.machine.applied().membership);
        let writing = tasks::spawn_blocking(move || {
            journal.write_snapshot(last_event_id, Some(membership), write)
        });
        let file = writing
            .await
            .map_err(|e| SnapshotError::Body(std::io::Error::other(e)))??;
        // Openraft learns that a snapshot exists, which allows it to purge. A stopped one needs no telling.
        if self.shared.raft.trigger().snapshot().await.is_ok() {
            self.wait_for(|m| m.snapshot.is_some_and(|id| id.index >= file.meta.index))
                .await;
        }
        Ok(())
    }

    /// Returns the directory of the log.
    pub fn dir(&self) -> &Path {
        self.shared.journal.dir()
    }

    /// Returns the last event before the newest `bytes` bytes of the log, rounded to whole segments. 0 if the log is not longer.
    pub fn last_event_id_beyond(&self, bytes: u64) -> u64 {
        self.shared.journal.last_key_beyond(bytes)
    }

    /// Everything up to `until_event_id` is confirmed by all who want it: whole segments up to there go, as far as
    /// a snapshot covers them of which everything is confirmed. Dropped, it is finished all the same.
    pub async fn release(&self, until_event_id: u64) {
        let log = self.clone();
        if let Err(error) =
            tasks::spawn("purge", async move { log.let_go(until_event_id).await }).await
        {
            tracing::warn!(%error, "nothing was released; the next release makes up for it");
        }
    }

    async fn let_go(&self, until_event_id: u64) {
        let shared = &self.shared;
        let released = shared
            .released
            .fetch_max(until_event_id, Ordering::AcqRel)
            .max(until_event_id);
        let _turn = shared.housekeeping.lock().await;
        let Some(index) = shared.journal.releasable(released) else {
            return;
        };
        if shared
            .journal
            .superseded()
            .is_some_and(|place| index <= place.index)
        {
            // Consensus already treats these entries as purged. Only their files remain.
            let membership = membership_to_text(&shared.machine.applied().membership);
            let (sender, done) = tokio::sync::oneshot::channel();
            shared
                .journal
                .purge_superseded(index, Some(membership), move |told| {
                    // The receiver is gone when the node ends.
                    drop(sender.send(told));
                });
            // An I/O error of the journal is reported by `fault`.
            drop(done.await);
        } else if let Err(error) = shared.raft.trigger().purge_log(index).await {
            tracing::debug!(%error, "a stopped log releases nothing");
            return;
        }
        self.wait_for(|m| m.purged.is_some_and(|id| id.index >= index))
            .await;
        let journal = Arc::clone(&shared.journal);
        let tidied = tasks::spawn_blocking(move || journal.tidy_snapshots()).await;
        if let Err(error) = tidied {
            tracing::warn!(%error, "old snapshots were not removed; they do no harm");
        }
    }

    /// Waits until openraft's figures show it, or openraft has stopped.
    async fn wait_for(
        &self,
        is_reached: impl Fn(&openraft::RaftMetrics<crate::raft::Types>) -> bool,
    ) {
        let mut metrics = self.shared.raft.metrics();
        loop {
            {
                let seen = metrics.borrow_watched();
                if is_reached(&seen) || seen.running_state.is_err() {
                    return;
                }
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where the log stands.
    pub fn status(&self) -> Status {
        let standing = self.shared.journal.standing();
        let Leadership { role, term, .. } = {
            let hand_over = *self.shared.hand_over.borrow();
            leadership::leadership_of(&self.shared.raft, &self.shared.machine, hand_over)
        };
        Status {
            role,
            term,
            segments: standing.segments,
            bytes: standing.bytes,
            torn_event_id: standing.torn_event_id,
            last_event_id: standing.last_event_id,
            committed_event_id: self.shared.journal.committed_key(),
            released_event_id: self.shared.released.load(Ordering::Acquire),
            snapshot_event_id: standing.snapshot_event_id,
            counts: standing.counts,
            damages: self.damages(),
            fault: self.shared.fault.borrow().clone(),
        }
    }

    /// Returns a description of each damaged file of the journal.
    pub fn damages(&self) -> Vec<String> {
        let damages = self.shared.journal.damages().into_iter();
        damages.map(|damage| damage.to_string()).collect()
    }

    /// Changes each time a damaged place is found.
    pub fn damage_found(&self) -> watch::Receiver<u64> {
        self.shared.damage_found.subscribe()
    }

    /// Returns whether this member's journal is damaged and the other members can spare this one while it learns the log again.
    pub fn may_learn_anew(&self) -> bool {
        let (voters, _) = self.members();
        let peers = self.peers().into_iter();
        let connected: Vec<u64> = peers
            .filter(|peer| peer.is_connected && voters.contains(&peer.hello.member))
            .map(|peer| peer.hello.member)
            .collect();
        let active = self.leadership().borrow().active;
        let has_active = active.is_some_and(|active| connected.contains(&active));
        !self.damages().is_empty()
            && voters.contains(&self.me().member)
            && rules::may_learn_anew(has_active, voters.len(), connected.len())
    }

    /// Makes other members begin with the newest snapshot, which contains the state from the damaged files. Events outside of the damaged
    /// places can still be read.
    pub async fn supersede_damage(&self) {
        let shared = &self.shared;
        let _turn = shared.housekeeping.lock().await;
        let Some(snapshot) = shared.journal.snapshot() else {
            return;
        };
        let index = snapshot.meta.index;
        if let Err(error) = shared.raft.trigger().purge_log(index).await {
            tracing::debug!(%error, "a stopped log supersedes nothing");
            return;
        }
        self.wait_for(|m| m.purged.is_some_and(|id| id.index >= index))
            .await;
        tracing::info!(
            event_id = snapshot.meta.event_id,
            "the newest snapshot supersedes the damaged part of the log: another member begins with it"
        );
    }

    /// For how long a write has not come back from this member's disk, when that is longer than a disk may take.
    pub fn disk_is_stuck(&self) -> Option<Duration> {
        stuck::stuck_for(&self.shared.journal)
    }

    /// Resolves with the reason when the log has stopped by itself: the journal is poisoned, or consensus gave up.
    /// Then the node must end. Never resolves otherwise, not even at `shutdown`.
    pub fn fault(&self) -> impl Future<Output = String> + Send + 'static {
        let mut fault = self.shared.fault.clone();
        let mut metrics = self.shared.raft.metrics();
        let closed = self.shared.closed.subscribe();
        let consensus = async move {
            loop {
                let stopped = metrics
                    .borrow_watched()
                    .running_state
                    .as_ref()
                    .err()
                    .map(ToString::to_string);
                if let Some(reason) = stopped
                    && !*closed.borrow()
                {
                    return reason;
                }
                if metrics.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        async move {
            let journal = async move {
                if let Ok(reason) = fault.wait_for(Option::is_some).await {
                    return reason.clone().unwrap_or_default();
                }
                std::future::pending().await
            };
            tokio::select! {
                // The journal's reason is the better one: consensus stops because of it.
                biased;
                reason = journal => reason,
                reason = consensus => reason,
            }
        }
    }

    /// Stops consensus, finishes what is queued, ends the writer thread. Readers end.
    pub async fn shutdown(self) {
        self.shared.closed.send_replace(true);
        if let Err(error) = self.shared.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end in order");
        }
        let journal = Arc::clone(&self.shared.journal);
        if let Err(error) = tasks::spawn_blocking(move || journal.stop()).await {
            tracing::warn!(%error, "the journal's thread did not end in order");
        }
    }
}
