//! The journal as its user sees it: append, commit, purge, snapshot. See `open` and `reading` for the rest.
//!
//! Always: appended records are readable at once, durable when the callback says so, and seen by readers of events
//! only below the committed index.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::counters::Counts;
use crate::directory::DirectoryLock;
use crate::fault::{Damage, Fault, ReadError};
use crate::hard_state::{HardState, Position, Vote, latest};
use crate::kept::OlderSnapshot;
use crate::pen::Pen;
use crate::record::{BODY_BYTES_MAX, Record};
use crate::ring::Ring;
use crate::shared::Shared;
use crate::snapshot::{self, SnapshotError, SnapshotFile, SnapshotMeta};
use crate::writer::{Done, Task};

/// A caller writes no more than this on a thread of its own ([`Journal::append_here`]).
const HERE_BYTES_MAX: u64 = 64 << 10;
/// A caller waits for no disk whose newest flush took longer.
const QUICK_SYNC: Duration = Duration::from_millis(1);

/// Where a journal stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Segment files.
    pub segments: usize,
    /// Bytes of records in them.
    pub bytes: u64,
    /// First event id that may still be there: everything up to this one is gone.
    pub torn_event_id: u64,
    /// Last event written.
    pub last_event_id: u64,
    /// Event of the newest snapshot, 0 when there is none.
    pub snapshot_event_id: u64,
    /// Counts since the start.
    pub counts: Counts,
}

/// The writer thread and the lock of the directory: they end together, the lock last.
pub(crate) struct Running {
    pub(crate) thread: JoinHandle<()>,
    pub(crate) lock: DirectoryLock,
}

/// An open journal. Closing is dropping: the writer finishes what it has and ends.
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: SyncSender<Task>,
    pub(crate) pen: Arc<Mutex<Pen>>,
    /// What waits for [`Journal::write_deferred`].
    pub(crate) deferred: Mutex<Vec<Task>>,
    pub(crate) running: Mutex<Option<Running>>,
}

impl Journal {
    /// Appends records that follow the log's end without a gap. They are readable at once; `done` hears from the
    /// writer's thread when they are durable. One caller at a time.
    pub fn append(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        self.take_in(&records);
        self.send(|done| Task::Append { records, done }, Box::new(done));
    }

    /// The same, but the caller waits for the disk, and `done` hears before this returns, if that is sooner than to wake the writer and
    /// be woken by it: when the records are few, nothing else waits to be written and the newest flush was quick.
    pub fn append_here(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        self.write_deferred();
        let Some(mut pen) = self.pen_for(&records) else {
            self.append(records, done);
            return;
        };
        self.take_in(&records);
        let writing = self.shared.counters.writing();
        let told = pen.write_group(&records);
        drop(writing);
        if let Err(fault) = &told {
            self.shared.poison(fault);
        }
        drop(pen);
        done(told);
    }

    /// The same, but the disk is left alone until [`Self::write_deferred`], or until anything goes to the disk behind these records:
    /// the caller has something more urgent to do first, as to send them to others.
    pub fn append_deferred(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        self.take_in(&records);
        let done = Box::new(done);
        self.deferred().push(Task::Append { records, done });
    }

    /// Gives to the disk what was deferred.
    pub fn write_deferred(&self) {
        let mut deferred = self.deferred();
        // Under the lock, so that whoever comes next comes behind them.
        for task in deferred.drain(..) {
            self.hand_over(task);
        }
    }

    fn deferred(&self) -> MutexGuard<'_, Vec<Task>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pen, when it is free and these records are written in a moment.
    fn pen_for(&self, records: &[Record]) -> Option<MutexGuard<'_, Pen>> {
        let bytes: u64 = records.iter().map(Record::disk_bytes).sum();
        let is_quick = |took: Duration| took < QUICK_SYNC;
        let is_little = bytes <= HERE_BYTES_MAX
            && self.shared.active_bytes() + bytes <= self.shared.options.segment_bytes;
        if !is_little || !self.shared.counters.last_sync().is_some_and(is_quick) {
            return None;
        }
        let pen = self.pen.try_lock().ok()?;
        let is_next = self.shared.queued.load(Ordering::Acquire) == 0;
        (is_next && self.shared.fault().is_none() && self.running().is_some()).then_some(pen)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, records: &[Record]) {
        let mut inner = self.shared.inner();
        for record in records {
            assert_eq!(
                record.index, inner.next_index,
                "records follow each other without a gap"
            );
            assert!(
                record.body.len() <= BODY_BYTES_MAX,
                "the caller bounds a body"
            );
            if inner
                .terms
                .last()
                .is_none_or(|(term, _)| *term < record.term)
            {
                inner.terms.push((record.term, record.index));
            }
            inner.next_index += 1;
            inner.ring.push(record.clone());
        }
    }

    /// Makes a vote durable.
    pub fn save_vote(&self, vote: Vote, done: impl FnOnce(Result<(), Fault>) + Send + 'static) {
        let change = Box::new(move |state: &mut HardState| state.vote = Some(vote));
        self.send(|done| Task::Remember { change, done }, Box::new(done));
    }

    /// Takes back all records from `index` on; they must not be committed.
    pub fn truncate(&self, index: u64, done: impl FnOnce(Result<(), Fault>) + Send + 'static) {
        {
            let mut inner = self.shared.inner();
            assert!(
                index >= inner.committed_next,
                "committed records are never taken back"
            );
            inner.next_index = inner.next_index.min(index);
            inner.ring.truncate(index);
            inner.terms.retain(|(_, first)| *first < index);
        }
        self.send(
            |done| Task::Truncate {
                from_index: index,
                done,
            },
            Box::new(done),
        );
    }

    /// Lets the records up to `index` go: whole segments leave the disk.
    pub fn purge(
        &self,
        index: u64,
        term: u64,
        membership: Option<String>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        let key = {
            let inner = self.shared.inner();
            let closed = inner.segments.len().saturating_sub(1);
            let gone = inner
                .segments
                .iter()
                .take(closed)
                .take_while(|s| s.next_index <= index + 1)
                .last();
            gone.map_or(inner.torn_event_id(), |s| s.key_upto)
        };
        let upto = Position { index, term, key };
        if self.is_superseding(upto) {
            done(Ok(()));
            return;
        }
        self.send(
            |done| Task::Purge {
                upto,
                membership,
                done,
            },
            Box::new(done),
        );
    }

    /// Returns whether consensus purges entries because of damage while readers still need their events. If so, records the place and keeps
    /// the files. The place is kept in memory only, because the next start finds the damage again.
    fn is_superseding(&self, upto: Position) -> bool {
        if !self.shared.options.has_state || self.shared.damages().is_empty() {
            return false;
        }
        let mut inner = self.shared.inner();
        let may_go = inner.may_go().unwrap_or_default();
        let is_so = upto.index < inner.next_index && upto.index > may_go;
        if is_so {
            inner.superseded = latest(Some(upto), inner.superseded);
        }
        is_so
    }

    /// Removes the files up to `index`. This is for entries that consensus has already purged because of damage.
    pub fn purge_superseded(
        &self,
        index: u64,
        membership: Option<String>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        let term = self.shared.inner().term_of(index);
        self.purge(index, term, membership, done);
    }

    /// Returns the place up to which consensus treats the log as purged because of damage. Readers of events may still read around the
    /// damage.
    pub fn superseded(&self) -> Option<Position> {
        self.shared.inner().superseded
    }

    /// Returns the damage that was found in the existing files.
    pub fn damages(&self) -> Vec<Damage> {
        self.shared.damages()
    }

    /// Records the damage that a [`Replay`](crate::Replay) has reported. Other errors are ignored.
    pub fn take_note(&self, error: &ReadError) {
        if let ReadError::Damaged(damage) = error {
            self.shared.note_damage(damage);
        }
    }

    /// Calls `told` for each damaged place: at once for each file already found, and later for each new place. Only the first listener is kept.
    pub fn on_damage(&self, told: impl Fn(&Damage) + Send + Sync + 'static) {
        self.shared.damaged.tell(Box::new(told));
    }

    fn send(&self, task: impl FnOnce(Done) -> Task, done: Done) {
        self.write_deferred();
        self.hand_over(task(done));
    }

    fn hand_over(&self, task: Task) {
        if let Some(fault) = self.shared.fault() {
            task.refuse(&fault);
            return;
        }
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        if let Err(refused) = self.tasks.send(task) {
            self.shared.finished(1);
            // Only a panicked writer lets go of its end.
            let fault = Fault::new(
                "append to",
                self.shared.dir(),
                std::io::Error::other("the writer thread is gone"),
            );
            self.shared.poison(&fault);
            refused.0.refuse(&fault);
        }
    }

    /// Everything below `next_index` is committed: readers of events may see it. Returns the last committed event.
    pub fn commit(&self, next_index: u64) -> u64 {
        let mut inner = self.shared.inner();
        if next_index > inner.committed_next {
            let key = inner.ring.key_upto(next_index - 1);
            // Not in memory means not newer than the ring: committed by a former run.
            let key = key.unwrap_or(inner.ring.floor_key());
            inner.committed_next = next_index;
            inner.committed_key = inner.committed_key.max(key);
            inner.evict(self.shared.options.ring_bytes);
        }
        inner.committed_key
    }

    /// The same for a record whose last event is known, as it is when records on disk prove to be committed one by one.
    pub fn commit_record(&self, index: u64, key: u64) -> u64 {
        let mut inner = self.shared.inner();
        if index >= inner.committed_next {
            inner.committed_next = index + 1;
            inner.committed_key = inner.committed_key.max(key);
            inner.evict(self.shared.options.ring_bytes);
        }
        inner.committed_key
    }

    /// Takes over a snapshot of another member, a file beside the journal's own, and begins the log anew behind it: everything
    /// written before is gone. `done` hears when that is durable. Blocks while the file is checked.
    pub fn install(
        &self,
        received: &Path,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) -> Result<SnapshotFile, SnapshotError> {
        let file = snapshot::adopt(&*self.shared.disk, self.shared.dir(), received)?;
        self.restart_behind(
            Position {
                index: file.meta.index,
                term: file.meta.term,
                key: file.meta.event_id,
            },
            file.meta.membership.clone(),
            Some(file.clone()),
            done,
        );
        self.remove_useless_snapshots(file.meta.index);
        Ok(file)
    }

    /// Begins the log anew behind a place, as if everything up to there had been purged.
    pub fn restart_behind(
        &self,
        place: Position,
        membership: Option<String>,
        snapshot: Option<SnapshotFile>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        {
            let mut inner = self.shared.inner();
            inner.ring = Ring::new(place.key);
            inner.terms.clear();
            inner.next_index = place.index + 1;
            inner.committed_next = place.index + 1;
            inner.committed_key = place.key;
            if let Some(file) = snapshot {
                inner.snapshots.push(file);
            }
        }
        self.send(
            |done| Task::Restart {
                place,
                membership,
                done,
            },
            Box::new(done),
        );
    }

    /// Last committed event.
    pub fn committed_key(&self) -> u64 {
        self.shared.inner().committed_key
    }

    /// First and next index of the log.
    pub fn bounds(&self) -> (u64, u64) {
        let inner = self.shared.inner();
        (
            inner
                .segments
                .front()
                .map_or(inner.next_index, |s| s.first_index),
            inner.next_index,
        )
    }

    /// Each term with its first index, oldest first.
    pub fn terms(&self) -> Vec<(u64, u64)> {
        self.shared.inner().terms.clone()
    }

    /// The newest vote given.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.inner().hard_state.vote
    }

    /// Vote, and where the log begins.
    pub fn hard_state(&self) -> HardState {
        self.shared.hard_state()
    }

    /// Events up to this one are gone.
    pub fn torn_event_id(&self) -> u64 {
        self.shared.inner().torn_event_id()
    }

    /// Last record up to which whole segments may go, when all events up to `until_key` are confirmed:
    /// only what a snapshot covers of which all events are confirmed, too, never the segment being written. So whoever
    /// begins with that snapshot ([`Self::snapshot_to_begin_with`]) has every event that is not confirmed.
    pub fn releasable(&self, until_key: u64) -> Option<u64> {
        let mut inner = self.shared.inner();
        inner.snapshots.release(until_key);
        inner.may_go()
    }

    /// Returns the directory of the journal.
    pub fn dir(&self) -> &Path {
        self.shared.dir()
    }

    /// Returns the last key of the newest segment that is not wholly within the newest `bytes` bytes of the log. Returns 0 if there is
    /// none.
    pub fn last_key_beyond(&self, bytes: u64) -> u64 {
        let inner = self.shared.inner();
        let mut newer = 0_u64;
        for segment in inner.segments.iter().rev() {
            newer = newer.saturating_add(segment.bytes);
            if newer > bytes {
                return segment.key_upto;
            }
        }
        0
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<SnapshotFile> {
        self.shared.inner().snapshots.newest().cloned()
    }

    /// The snapshot for a member that the log begins too late for: no event after it is gone, none up to it is waited for.
    pub fn snapshot_to_begin_with(&self) -> Option<OlderSnapshot> {
        let inner = self.shared.inner();
        let begin = latest(inner.hard_state.purged, inner.superseded);
        inner.snapshots.to_begin_with(begin.map_or(0, |p| p.index))
    }

    /// Writes a snapshot of the state as of `event_id`, which must be the last event of a committed batch.
    /// Runs on the caller's thread and does not hold up appends. Older snapshots that no longer help are removed.
    pub fn write_snapshot(
        &self,
        event_id: u64,
        membership: Option<String>,
        body: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<SnapshotFile, SnapshotError> {
        let committed = self.committed_key();
        if event_id > committed {
            return Err(SnapshotError::NotCommitted {
                event_id,
                committed,
            });
        }
        let before = self.snapshot();
        if let Some(newest) = before.as_ref().map(SnapshotFile::event_id)
            && newest > event_id
        {
            return Err(SnapshotError::Older { event_id, newest });
        }
        let (index, term) = self.place_of(event_id)?;
        let meta = SnapshotMeta::new(event_id, index, term, membership);
        let file = snapshot::write(&self.shared.disk, self.shared.dir(), meta, body)?;
        self.shared.inner().snapshots.push(file.clone());
        self.tidy_snapshots();
        Ok(file)
    }

    /// The last committed record without events after `event_id`.
    fn place_of(&self, event_id: u64) -> Result<(u64, u64), ReadError> {
        let committed_next = self.shared.inner().committed_next;
        let following = self.read_after(event_id, 1)?;
        let next = following.first().map_or(committed_next, |r| r.index);
        let index = next.saturating_sub(1);
        Ok((index, self.shared.inner().term_of(index)))
    }

    /// Removes the snapshots that are of no use any more, now that the records up to `purged` are gone.
    fn remove_useless_snapshots(&self, purged: u64) {
        let useless = self.shared.inner().snapshots.take_useless(purged);
        for path in useless {
            if let Err(error) = self.shared.disk.remove(&path) {
                tracing::warn!(file = %path.display(), %error, "cannot remove an old snapshot; it does no harm");
            }
        }
    }

    /// Removes snapshots that the log no longer continues, or that are older than what everybody has confirmed.
    pub fn tidy_snapshots(&self) {
        let purged = self.hard_state().purged.map_or(0, |p| p.index);
        self.remove_useless_snapshots(purged);
    }

    /// Why the journal is poisoned, when it is.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.fault()
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        let inner = self.shared.inner();
        Standing {
            segments: inner.segments.len(),
            bytes: inner.segments.iter().map(|s| s.bytes).sum(),
            torn_event_id: inner.torn_event_id(),
            last_event_id: inner.ring.last_key(),
            snapshot_event_id: inner.snapshots.newest().map_or(0, SnapshotFile::event_id),
            counts: self.shared.counters.counts(),
        }
    }

    /// Finishes what is queued, ends the writer thread, gives the directory free. Reading goes on as long as wanted.
    pub fn stop(&self) {
        let running = self.running().take();
        let Some(Running { thread, lock }) = running else {
            return;
        };
        self.write_deferred();
        // A writer that is gone already needs no telling; a panicked one has told through the hook.
        drop(self.tasks.send(Task::Stop));
        drop(thread.join());
        // Somebody may still be writing on a thread of their own.
        drop(self.pen.lock());
        drop(lock);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}
