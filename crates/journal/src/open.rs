//! Opens a journal: takes the directory, reads what is there, mends a torn tail, starts the writer.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock};

use crate::counters::Counters;
use crate::damaged::{self, Damaged};
use crate::directory;
use crate::fault::{Damage, Fault, OpenError};
use crate::hard_state::{HardState, Position};
use crate::journal::{Journal, Running};
use crate::kept::Kept;
use crate::marker::{self, Marker};
use crate::pen::{self, Pen};
use crate::recover::{self, Scan};
use crate::ring::Ring;
use crate::seal;
use crate::segment;
use crate::shared::{Inner, Shared};
use crate::snapshot::{self, SnapshotFile};
use crate::storage::{Disk, RealDisk};
use crate::writer::Writer;

/// Bound of the writer's queue. Bytes are bounded by the sender.
const TASKS_MAX: usize = 4096;
/// Stack size of the writer's thread.
const STACK_BYTES: usize = 2 << 20;

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
    /// What was let go must be in a snapshot. Only who has no state, as a watch, needs none.
    pub has_state: bool,
}

impl Options {
    /// The usual sizes: segments of 64 MiB, 16 MiB of newest records in memory.
    pub fn new(dir: impl Into<PathBuf>, identity: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            identity: identity.into(),
            segment_bytes: 64 << 20,
            ring_bytes: 16 << 20,
            has_state: true,
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
        let mut hard_state = hard_state_of(&*disk, &dir)?;
        let (snapshot, unreadable) = newest_snapshot(&dir)?;
        let snapshots = Kept::found(&dir, snapshot.clone())
            .map_err(|e| Fault::new("list the directory", &dir, e))?;
        let place_of = |file: &SnapshotFile| Position {
            index: file.meta.index,
            term: file.meta.term,
            key: file.meta.event_id,
        };
        // A snapshot that was written before the first record covers nothing, because no record has its index.
        let covered = snapshot
            .as_ref()
            .map(place_of)
            .filter(|place| place.index > 0 || place.key > 0);
        let scan = |purged| {
            let promised = marker::read(&dir);
            recover::scan(&dir, purged, promised, covered, recover::to_work)
        };
        let mut scan_found = scan(hard_state.purged)?;
        if let (Some(file), Some(place)) = (&snapshot, covered)
            && place.index >= scan_found.next_index
        {
            // A snapshot of another member was installed, and a crash happened before the log was restarted after it.
            hard_state.purged = Some(place);
            hard_state.membership = file.meta.membership.clone().or(hard_state.membership);
            hard_state.write(&*disk, &dir)?;
            scan_found = scan(hard_state.purged)?;
        }
        let scan = scan_found;
        if options.has_state
            && let Err(missing) = check_begin(&dir, &hard_state, snapshot.as_ref(), &scan)
        {
            return Err(unreadable.into_iter().next().map_or(missing, Into::into));
        }
        for damage in &unreadable {
            tracing::error!(%damage, "a snapshot is damaged; the start does not use it, and it is renamed and kept for inspection");
            let aside = damage.path.with_extension("damaged");
            disk.rename(&damage.path, &aside)
                .map_err(|e| Fault::new("rename", &damage.path, e))?;
        }
        // Where the log is damaged, consensus cannot read it before the snapshot.
        let mut damages = scan.damages;
        damages.extend(damaged::remembered(&dir));
        let superseded = covered.filter(|_| !damages.is_empty());
        for path in &scan.obsolete {
            disk.remove(path)
                .map_err(|e| Fault::new("remove", path, e))?;
            seal::remove(&*disk, path);
        }
        let last = scan.terms.last().map(|(term, _)| Position {
            index: scan.next_index - 1,
            term: *term,
            key: scan.last_key,
        });
        let last = [last, hard_state.purged, superseded];
        let recovered = Recovered {
            hard_state: hard_state.clone(),
            last: last.into_iter().flatten().max_by_key(|p| (p.term, p.index)),
            membership: scan.membership,
            snapshot,
            torn_tail: scan.torn.as_ref().map(|t| (t.path.clone(), t.offset)),
        };
        let shared = Arc::new(Shared {
            options,
            disk,
            counters: Counters::new(),
            damaged: Damaged::new(dir.clone()),
            inner: Mutex::new(Inner {
                segments: scan.segments,
                ring: Ring::new(scan.last_key),
                next_index: scan.next_index,
                synced_next: scan.next_index,
                committed_next: hard_state.purged.map_or(0, |p| p.index + 1),
                committed_key: hard_state.purged.map_or(0, |p| p.key),
                terms: scan.terms,
                hard_state,
                snapshots,
                superseded,
            }),
            queued: AtomicUsize::new(0),
            fault: OnceLock::new(),
            on_fault: Box::new(on_fault),
        });
        if let Some(torn) = &scan.torn {
            tracing::warn!(file = %torn.path.display(), offset = torn.offset, what = torn.what,
                "cut back a torn tail: its records were never confirmed");
            let segment = shared.last_segment().expect("a torn tail has its segment");
            pen::cut(&shared, &segment, torn.offset)?;
        }
        for damage in &damages {
            shared.note_damage(damage);
        }
        prepare_active(&shared)?;
        let marker_path = dir.join(marker::MARKER_FILE);
        let marker = Marker::open(&dir).map_err(|e| Fault::new("open", &marker_path, e))?;
        let (tasks, receiver) = sync_channel(TASKS_MAX);
        let pen = Arc::new(Mutex::new(Pen {
            shared: Arc::clone(&shared),
            marker,
            buffer: Vec::new(),
        }));
        let writer = Writer {
            shared: Arc::clone(&shared),
            tasks: receiver,
            pen: Arc::clone(&pen),
        };
        let thread = tasks::spawn_thread("journal", STACK_BYTES, move || writer.run())
            .map_err(|e| Fault::new("start the writer thread of", &dir, e))?;
        Ok((
            Self {
                shared,
                tasks,
                pen,
                deferred: Mutex::default(),
                running: Mutex::new(Some(Running { thread, lock })),
            },
            recovered,
        ))
    }
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
    let files = segment::list(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
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

/// Returns the newest intact snapshot, and the damage of newer ones.
fn newest_snapshot(dir: &Path) -> Result<(Option<SnapshotFile>, Vec<Damage>), OpenError> {
    let files = snapshot::list(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
    let mut unreadable = Vec::new();
    for (_, path) in files.iter().rev() {
        match SnapshotFile::check(path)? {
            Ok(file) => return Ok((Some(file), unreadable)),
            Err(damage) => unreadable.push(damage),
        }
    }
    Ok((None, unreadable))
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
        let segment = pen::begin_segment(shared, next_index)?;
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
