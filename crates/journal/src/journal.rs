//! The journal as its user sees it: open, append, read, purge, snapshot.
//!
//! Always: appended records are readable at once, durable when the callback says so, and seen by readers of events
//! only below the committed index. The lock inside is held for moments, never while the disk works.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crate::counters::{Counters, Counts};
use crate::directory::{self, DirectoryLock};
use crate::fault::{Damage, Fault, OpenError, ReadError};
use crate::hard_state::{HardState, Position, Vote};
use crate::marker::{self, Marker};
use crate::record::{BODY_BYTES_MAX, Kind, Record};
use crate::recover::{self, Scan};
use crate::replay::Replay;
use crate::ring::Ring;
use crate::segment::{Segment, Step};
use crate::snapshot::{self, SnapshotError, SnapshotFile, SnapshotMeta};
use crate::storage::{Disk, RealDisk};
use crate::writer::{self, Done, Task, Writer};

/// Bound of the writer's queue. Bytes are bounded by the sender.
const TASKS_MAX: usize = 4096;

/// How a journal is kept.
#[derive(Clone)]
pub struct Options {
    /// Its directory, made when missing.
    pub dir: PathBuf,
    /// Whose it is, role and name.
    pub identity: String,
    /// Size of a segment file, reserved at once.
    pub segment_bytes: u64,
    /// Bytes of newest records kept in memory.
    pub ring_bytes: u64,
}

impl Options {
    /// The usual sizes: segments of 64 MiB, 16 MiB of newest records in memory.
    pub fn new(dir: impl Into<PathBuf>, identity: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            identity: identity.into(),
            segment_bytes: 64 << 20,
            ring_bytes: 16 << 20,
        }
    }
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Vote, and where the log begins.
    pub hard_state: HardState,
    /// Last record, when there is one.
    pub last: Option<Position>,
    /// Newest membership record of the log.
    pub membership: Option<(Position, String)>,
    /// Newest snapshot.
    pub snapshot: Option<SnapshotFile>,
    /// Bytes behind the last whole record that a crash left and that were cut off: file, offset.
    pub torn_tail: Option<(PathBuf, u64)>,
}

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

#[derive(Debug)]
struct Inner {
    segments: VecDeque<Segment>,
    ring: Ring,
    next_index: u64,
    synced_next: u64,
    committed_next: u64,
    committed_key: u64,
    terms: Vec<(u64, u64)>,
    hard_state: HardState,
    snapshot: Option<SnapshotFile>,
}

/// What the journal and its writer thread have in common.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) counters: Counters,
    inner: Mutex<Inner>,
    fault: OnceLock<Fault>,
    on_fault: Box<dyn Fn(&Fault) + Send + Sync>,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing inside panics halfway; should it, the numbers are still the best there are.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.options.dir
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().cloned()
    }

    pub(crate) fn poison(&self, fault: &Fault) {
        if self.fault.set(fault.clone()).is_ok() {
            (self.on_fault)(fault);
        }
    }

    pub(crate) fn active(&self) -> (PathBuf, Arc<File>, u64) {
        let inner = self.inner();
        let segment = inner
            .segments
            .back()
            .expect("an open journal has a segment");
        (
            segment.path.clone(),
            Arc::clone(&segment.file),
            segment.bytes,
        )
    }

    pub(crate) fn active_bytes(&self) -> u64 {
        self.inner().segments.back().map_or(0, |s| s.bytes)
    }

    pub(crate) fn last_segment(&self) -> Option<Segment> {
        self.inner().segments.back().cloned()
    }

    pub(crate) fn on_synced(&self, records: &[Record]) {
        let mut inner = self.inner();
        let segment = inner
            .segments
            .back_mut()
            .expect("an open journal has a segment");
        for record in records {
            segment.note(record.key, record.disk_bytes());
        }
        inner.synced_next = segment.next_index;
        inner.evict(self.options.ring_bytes);
    }

    pub(crate) fn push_segment(&self, segment: Segment) {
        self.inner().segments.push_back(segment);
    }

    /// Last `EventId` before the end of the segments: where a new segment at `first_index` begins.
    pub(crate) fn key_before(&self, index: u64) -> u64 {
        let inner = self.inner();
        let before = inner.segments.iter().rev().find(|s| s.next_index <= index);
        before.map_or_else(
            || inner.hard_state.purged.map_or(0, |p| p.key),
            |s| s.key_upto,
        )
    }

    /// Takes the last segment out when it begins at or after `index` and another one stands before it.
    pub(crate) fn pop_segment_from(&self, index: u64) -> Option<PathBuf> {
        let mut inner = self.inner();
        if inner.segments.len() < 2 || inner.segments.back()?.first_index < index {
            return None;
        }
        inner.segments.pop_back().map(|s| s.path)
    }

    pub(crate) fn truncated(&self, index: u64, offset: u64, key_upto: u64) {
        let mut inner = self.inner();
        if let Some(segment) = inner.segments.back_mut() {
            segment.cut(index, offset, key_upto);
        }
        inner.synced_next = inner.synced_next.min(index);
    }

    pub(crate) fn purge_segments(&self, upto_index: u64) -> Vec<PathBuf> {
        let mut inner = self.inner();
        let mut paths = Vec::new();
        while inner.segments.len() > 1
            && let Some(front) = inner.segments.front()
            && front.next_index <= upto_index + 1
        {
            paths.extend(inner.segments.pop_front().map(|s| s.path));
        }
        paths
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.inner().hard_state.clone()
    }

    pub(crate) fn set_hard_state(&self, state: HardState) {
        self.inner().hard_state = state;
    }
}

impl Inner {
    fn evict(&mut self, ring_bytes: u64) {
        let pinned = self.synced_next.min(self.committed_next);
        self.ring.evict(ring_bytes, pinned);
    }

    fn torn_event_id(&self) -> u64 {
        self.segments.front().map_or(0, |s| s.key_before)
    }
}

/// An open journal. Closing is dropping: the writer finishes what it has and ends.
pub struct Journal {
    shared: Arc<Shared>,
    tasks: SyncSender<Task>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _lock: DirectoryLock,
}

impl Journal {
    /// Opens the journal on the real disk. `on_fault` is told once when the journal is poisoned.
    pub fn open(
        options: Options,
        on_fault: impl Fn(&Fault) + Send + Sync + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(RealDisk), options, on_fault)
    }

    /// Opens the journal on a given disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        on_fault: impl Fn(&Fault) + Send + Sync + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        let dir = options.dir.clone();
        let lock = directory::take(&*disk, &dir, &options.identity)?;
        remove_temporary_files(&*disk, &dir)?;
        let hard_state = hard_state_of(&*disk, &dir)?;
        let snapshot = newest_snapshot(&dir)?;
        let scan = recover::scan(
            &dir,
            hard_state.purged,
            marker::read(&dir),
            recover::to_work,
        )?;
        check_begin(&dir, &hard_state, snapshot.as_ref(), &scan)?;
        for path in &scan.obsolete {
            disk.remove(path)
                .map_err(|e| Fault::new("remove", path, e))?;
        }
        let last = scan.terms.last().map(|(term, _)| Position {
            index: scan.next_index - 1,
            term: *term,
            key: scan.last_key,
        });
        let recovered = Recovered {
            hard_state: hard_state.clone(),
            last: last.or(hard_state.purged),
            membership: scan.membership,
            snapshot: snapshot.clone(),
            torn_tail: scan.torn.as_ref().map(|t| (t.path.clone(), t.offset)),
        };
        let shared = Arc::new(Shared {
            options,
            disk,
            counters: Counters::default(),
            inner: Mutex::new(Inner {
                segments: scan.segments,
                ring: Ring::new(scan.last_key),
                next_index: scan.next_index,
                synced_next: scan.next_index,
                committed_next: hard_state.purged.map_or(0, |p| p.index + 1),
                committed_key: hard_state.purged.map_or(0, |p| p.key),
                terms: scan.terms,
                hard_state,
                snapshot,
            }),
            fault: OnceLock::new(),
            on_fault: Box::new(on_fault),
        });
        if let Some(torn) = &scan.torn {
            tracing::warn!(file = %torn.path.display(), offset = torn.offset, what = torn.what,
                "cut back a torn tail: its records were never confirmed");
            let segment = shared.last_segment().expect("a torn tail has its segment");
            writer::cut(&shared, &segment, torn.offset)?;
        }
        prepare_active(&shared)?;
        let marker_path = dir.join(marker::MARKER_FILE);
        let marker = Marker::open(&dir).map_err(|e| Fault::new("open", &marker_path, e))?;
        let (tasks, receiver) = sync_channel(TASKS_MAX);
        let writer = Writer {
            shared: Arc::clone(&shared),
            tasks: receiver,
            marker,
            buffer: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|e| Fault::new("start the writer thread of", &dir, e))?;
        Ok((
            Self {
                shared,
                tasks,
                thread: Mutex::new(Some(thread)),
                _lock: lock,
            },
            recovered,
        ))
    }

    /// Appends records that follow the log's end without a gap. They are readable at once; `done` hears from the
    /// writer's thread when they are durable. One caller at a time.
    pub fn append(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        {
            let mut inner = self.shared.inner();
            for record in &records {
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
        self.send(|done| Task::Append { records, done }, Box::new(done));
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
        self.send(
            |done| Task::Purge {
                upto,
                membership,
                done,
            },
            Box::new(done),
        );
    }

    fn send(&self, task: impl FnOnce(Done) -> Task, done: Done) {
        if let Some(fault) = self.shared.fault() {
            done(Err(fault));
            return;
        }
        if let Err(refused) = self.tasks.send(task(done)) {
            // Only a panicked writer lets go of its end.
            let fault = Fault::new(
                "append to",
                self.shared.dir(),
                std::io::Error::other("the writer thread is gone"),
            );
            self.shared.poison(&fault);
            drop(refused);
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

    /// Vote, and where the log begins.
    pub fn hard_state(&self) -> HardState {
        self.shared.hard_state()
    }

    /// The records from `start` to before `end`, as far as they are in the log. May read from disk.
    pub fn read(&self, start: u64, end: u64) -> Result<Vec<Record>, ReadError> {
        let (segments, in_memory, disk_end) = {
            let inner = self.shared.inner();
            let ring_first = inner.ring.first_index().unwrap_or(inner.next_index);
            let in_memory: Vec<Record> = inner
                .ring
                .range(start.max(ring_first), end)
                .cloned()
                .collect();
            let disk_end = end.min(ring_first);
            let segments: Vec<Segment> = inner
                .segments
                .iter()
                .filter(|s| s.next_index > start && s.first_index < disk_end)
                .cloned()
                .collect();
            (segments, in_memory, disk_end)
        };
        let mut records = Vec::new();
        for segment in segments {
            let mut walk = segment.walk_from_index(start);
            while walk.next_index < disk_end {
                let Some(record) = step(&mut walk)? else {
                    break;
                };
                if record.index >= start {
                    records.push(record);
                }
            }
        }
        records.extend(in_memory);
        Ok(records)
    }

    /// Committed records with events after `key`, oldest first, until they have `bytes_max` bytes or more.
    /// Empty when there are none yet. Reads from disk unless [`Self::is_in_memory`].
    pub fn read_after(&self, key: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let (segments, committed_next) = {
            let inner = self.shared.inner();
            let torn_event_id = inner.torn_event_id();
            if key < torn_event_id {
                return Err(ReadError::Torn { torn_event_id });
            }
            if key >= inner.ring.floor_key() {
                let held = inner
                    .ring
                    .after_key(key)
                    .take_while(|r| r.index < inner.committed_next);
                return Ok(bounded(held.cloned().map(Ok), bytes_max)?);
            }
            let segments: Vec<Segment> = inner
                .segments
                .iter()
                .filter(|s| s.key_upto > key)
                .take(2)
                .cloned()
                .collect();
            (segments, inner.committed_next)
        };
        bounded(
            Replay::new(segments.into_iter(), key, committed_next),
            bytes_max,
        )
    }

    /// Whether everything after `key` is in memory.
    pub fn is_in_memory(&self, key: u64) -> bool {
        key >= self.shared.inner().ring.floor_key()
    }

    /// Whether the records from `index` on are in memory.
    pub fn holds_in_memory(&self, index: u64) -> bool {
        let inner = self.shared.inner();
        inner.ring.first_index().unwrap_or(inner.next_index) <= index
    }

    /// All committed batches after `key`, streamed from disk; meant for the start of a node.
    pub fn replay(&self, key: u64) -> Replay {
        let inner = self.shared.inner();
        Replay::new(
            inner.segments.iter().cloned(),
            key,
            inner.committed_next.min(inner.synced_next),
        )
    }

    /// Events up to this one are gone.
    pub fn torn_event_id(&self) -> u64 {
        self.shared.inner().torn_event_id()
    }

    /// Last record up to which whole segments may go, when all events up to `until_key` are confirmed:
    /// only what the newest snapshot covers, never the segment being written.
    pub fn releasable(&self, until_key: u64) -> Option<u64> {
        let inner = self.shared.inner();
        let covered = inner.snapshot.as_ref()?.meta.index;
        let closed = inner.segments.len().saturating_sub(1);
        let gone = inner.segments.iter().take(closed);
        let last = gone
            .take_while(|s| s.key_upto <= until_key && s.next_index <= covered + 1)
            .last()?;
        last.next_index.checked_sub(1)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<SnapshotFile> {
        self.shared.inner().snapshot.clone()
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
        self.shared.inner().snapshot = Some(file.clone());
        self.remove_old_snapshots(&file);
        Ok(file)
    }

    /// The last committed record without events after `event_id`.
    fn place_of(&self, event_id: u64) -> Result<(u64, u64), ReadError> {
        let committed_next = self.shared.inner().committed_next;
        let following = self.read_after(event_id, 1)?;
        let next = following.first().map_or(committed_next, |r| r.index);
        let index = next.saturating_sub(1);
        let inner = self.shared.inner();
        let term = inner
            .terms
            .iter()
            .rev()
            .find(|(_, first)| *first <= index)
            .map(|(term, _)| *term);
        let term = term
            .or(inner.hard_state.purged.map(|p| p.term))
            .unwrap_or(0);
        Ok((index, term))
    }

    /// The one before the newest stays as long as the log after it is complete.
    fn remove_old_snapshots(&self, newest: &SnapshotFile) {
        let purged_key = self.torn_event_id();
        let Ok(files) = snapshot::list(self.shared.dir()) else {
            return;
        };
        let old: Vec<_> = files
            .into_iter()
            .filter(|(event_id, _)| *event_id < newest.event_id())
            .collect();
        let keep = old
            .last()
            .filter(|(event_id, _)| *event_id >= purged_key)
            .map(|(event_id, _)| *event_id);
        for (event_id, path) in old {
            if Some(event_id) != keep
                && let Err(error) = self.shared.disk.remove(&path)
            {
                tracing::warn!(file = %path.display(), %error, "cannot remove an old snapshot; it does no harm");
            }
        }
    }

    /// Removes snapshots that the log no longer continues.
    pub fn remove_useless_snapshots(&self) {
        if let Some(newest) = self.snapshot() {
            self.remove_old_snapshots(&newest);
        }
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
            snapshot_event_id: inner.snapshot.as_ref().map_or(0, SnapshotFile::event_id),
            counts: self.shared.counters.counts(),
        }
    }

    /// Finishes what is queued and ends the writer thread.
    pub fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A writer that is gone already needs no telling; a panicked one has told through the hook.
            drop(self.tasks.send(Task::Stop));
            drop(thread.join());
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

fn step(walk: &mut crate::segment::Walk) -> Result<Option<Record>, ReadError> {
    let offset = walk.offset;
    match walk.step().map_err(|e| Fault::new("read", &walk.path, e))? {
        Step::Record { record, .. } => Ok(Some(record)),
        Step::End => Ok(None),
        Step::Zeros => Err(Damage::new(&walk.path, offset, "zeros instead of a record").into()),
        Step::Bad(what) => Err(Damage::new(&walk.path, offset, what).into()),
    }
}

fn bounded(
    records: impl Iterator<Item = Result<Record, ReadError>>,
    bytes_max: usize,
) -> Result<Vec<Record>, ReadError> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for record in records {
        let record = record?;
        if record.kind != Kind::Events {
            continue;
        }
        bytes += record.body.len();
        taken.push(record);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(taken)
}

fn remove_temporary_files(disk: &dyn Disk, dir: &Path) -> Result<(), Fault> {
    let entries = std::fs::read_dir(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
    for entry in entries {
        let path = entry
            .map_err(|e| Fault::new("list the directory", dir, e))?
            .path();
        if path.extension().is_some_and(|e| e == "tmp") {
            disk.remove(&path)
                .map_err(|e| Fault::new("remove", &path, e))?;
        }
    }
    Ok(())
}

fn hard_state_of(disk: &dyn Disk, dir: &Path) -> Result<HardState, OpenError> {
    if let Some(state) = HardState::read(dir)? {
        return Ok(state);
    }
    let files = crate::segment::list(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
    if !files.is_empty() {
        let path = dir.join(crate::hard_state::STATE_FILE);
        return Err(
            Damage::new(&path, 0, "the file is missing although there are segments").into(),
        );
    }
    let state = HardState::default();
    state.write(disk, dir)?;
    Ok(state)
}

fn newest_snapshot(dir: &Path) -> Result<Option<SnapshotFile>, OpenError> {
    let files = snapshot::list(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
    let Some((_, path)) = files.last() else {
        return Ok(None);
    };
    Ok(Some(SnapshotFile::check(path)??))
}

/// What was purged must be in a snapshot.
fn check_begin(
    dir: &Path,
    hard_state: &HardState,
    snapshot: Option<&SnapshotFile>,
    scan: &Scan,
) -> Result<(), OpenError> {
    let Some(purged) = hard_state.purged else {
        return Ok(());
    };
    if snapshot.is_some_and(|s| s.meta.index >= purged.index) {
        debug_assert!(scan.next_index > purged.index);
        return Ok(());
    }
    let what = format!(
        "the snapshot is missing that covers the log up to record {}",
        purged.index
    );
    Err(Damage::new(dir, 0, what).into())
}

/// Sees to it that there is a segment to append to, with its space reserved.
fn prepare_active(shared: &Shared) -> Result<(), OpenError> {
    let Some(segment) = shared.last_segment() else {
        let next_index = shared.inner().next_index;
        let segment = writer::begin_segment(shared, next_index)?;
        shared.push_segment(segment);
        return Ok(());
    };
    let length = segment
        .file
        .metadata()
        .map_err(|e| Fault::new("read", &segment.path, e))?
        .len();
    if length < shared.options.segment_bytes {
        shared
            .disk
            .allocate(&segment.file, shared.options.segment_bytes)
            .map_err(|e| Fault::new("reserve space for", &segment.path, e))?;
        shared
            .disk
            .sync(&segment.file)
            .map_err(|e| Fault::new("sync", &segment.path, e))?;
    }
    Ok(())
}
