//! The file that says which processes run, for the one who comes after a crash.
//! Always: a record is written before its process starts (without a pid), again when the pid is known, and freed when it has
//! ended; each is one `pwrite` of a fixed width, without sync, because only a crash of this process matters here: after a
//! crash of the machine no process is left. The file is locked as long as it is open, and shrinks when the last ones end.
//! Never here: what to do about the processes; see `leftovers`.
//!
//! ```text
//! header  0: "MSPROCS1"  8: ward's pid u32  12: 0  16: ward's start time u64  24: boot id, 36 characters     (128 bytes)
//! record  0: pid u32     4: state u8 (0 free, 1 starting, 2 running)  5: tag length u8   6: duration of the start u16
//!         8: time before the start u64                16: number u64 24: tag, at most 104 bytes of UTF-8
//!                                          (128 bytes, big-endian; times in clock ticks since boot)
//! ```

use crate::procfs::{self, Born, Identity};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MAGIC: &[u8; 8] = b"MSPROCS1";
const WIDTH: usize = 128;
const MAX_TAG: usize = WIDTH - 24;
/// The file is cut when so many records at its end are free; one by one would cost a change of the file's size per job.
const SHRINK_BY: usize = 64;
const STARTING: u8 = 1;
const RUNNING: u8 = 2;

/// A process that the predecessor was running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Unknown when the predecessor died during the start.
    pub(crate) process: Option<Born>,
    pub(crate) mark: String,
    pub(crate) tag: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the work directory {} is in use by another process", dir.display())]
    InUse { dir: PathBuf },
    #[error("the ledger of running processes {} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    slots: Mutex<Slots>,
    mark_prefix: String,
}

#[derive(Debug, Default)]
struct Slots {
    in_use: Vec<bool>,
    free: BTreeSet<usize>,
    in_file: usize,
    count: usize,
    next_number: u64,
}

/// A slot in the ledger and the number that makes the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    slot: usize,
    pub(crate) number: u64,
}

/// How long to wait for a lock whose owner is ending. The owner's guard, or a process that the owner was starting, may still hold the lock.
/// The kernel takes a while to end a large process, and the guard to end the jobs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for an owner that is alive. Not zero, because a process that has just been killed still appears alive for an instant.
const PATIENCE_WITH_THE_LIVING: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(5);

/// Opens and locks the file, and reads the records of the previous owner. Waits for an owner that is ending.
pub(crate) fn open(dir: &Path) -> Result<(File, Vec<Record>), LedgerError> {
    open_within(dir, PATIENCE)
}

fn open_within(dir: &Path, patience: Duration) -> Result<(File, Vec<Record>), LedgerError> {
    let path = dir.join("running");
    let failed = |source| LedgerError::File {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    lock(&file, dir, patience).map_err(|error| match error {
        TryLockError::WouldBlock => LedgerError::InUse {
            dir: dir.to_owned(),
        },
        TryLockError::Error(source) => failed(source),
    })?;
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok((file, parse(&bytes)))
}

/// Reads what the file says while its holder has it.
pub(crate) fn peek(dir: &Path) -> Result<Vec<Record>, LedgerError> {
    let path = dir.join("running");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(source) => Err(LedgerError::File { path, source }),
    }
}

fn lock(file: &File, dir: &Path, patience: Duration) -> Result<(), TryLockError> {
    let begin = Instant::now();
    let mut well_since = None;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            result => return result,
        }
        let now = Instant::now();
        if holder(file).is_some_and(procfs::is_well) {
            if now >= *well_since.get_or_insert(now) + PATIENCE_WITH_THE_LIVING {
                return Err(TryLockError::WouldBlock);
            }
        } else {
            well_since = None;
        }
        if now >= begin + patience {
            return Err(TryLockError::WouldBlock);
        }
        if !is_told && now >= begin + PATIENCE_WITH_THE_LIVING {
            is_told = true;
            tracing::info!(dir = %dir.display(), ?patience, "the last owner of the work directory is ending; waiting for it");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns the process that has written the header of the file.
fn holder(file: &File) -> Option<Identity> {
    let mut header = [0; WIDTH];
    file.read_exact_at(&mut header, 0).ok()?;
    (header.starts_with(MAGIC) && header[24..60] == padded_boot_id()).then(|| Identity {
        pid: u32_at(&header, 8),
        start: u64_at(&header, 16),
    })
}

fn parse(bytes: &[u8]) -> Vec<Record> {
    let mut blocks = bytes.chunks_exact(WIDTH);
    let Some(header) = blocks.next() else {
        return vec![];
    };
    if !header.starts_with(MAGIC) {
        tracing::warn!("the ledger of running processes has no valid header and is ignored");
        return vec![];
    }
    // Pids and start times mean nothing after the machine has restarted.
    if header[24..60] != padded_boot_id() {
        return vec![];
    }
    let prefix = mark_prefix(Identity {
        pid: u32_at(header, 8),
        start: u64_at(header, 16),
    });
    blocks
        .filter_map(|block| parse_record(block, &prefix))
        .collect()
}

fn parse_record(block: &[u8], prefix: &str) -> Option<Record> {
    let (pid, after, number) = (u32_at(block, 0), u64_at(block, 8), u64_at(block, 16));
    let until = after.saturating_add(u64::from(u16::from_be_bytes([block[6], block[7]])));
    let process = match block[4] {
        STARTING => None,
        RUNNING => Some(Born { pid, after, until }),
        _ => return None,
    };
    let tag =
        String::from_utf8_lossy(&block[24..][..usize::from(block[5]).min(MAX_TAG)]).into_owned();
    Some(Record {
        process,
        mark: format!("{prefix}{number}"),
        tag,
    })
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(
        block[at..at + 4]
            .try_into()
            .expect("a record is wide enough"),
    )
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(
        block[at..at + 8]
            .try_into()
            .expect("a record is wide enough"),
    )
}

fn padded_boot_id() -> [u8; 36] {
    let mut bytes = [0; 36];
    let id = procfs::boot_id();
    let length = id.len().min(36);
    bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
    bytes
}

fn mark_prefix(ward: Identity) -> String {
    format!("{}-{}-", ward.pid, ward.start)
}

impl Ledger {
    /// Forgets the predecessor's records and begins anew.
    pub(crate) fn begin(file: File) -> io::Result<Self> {
        static WARDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let me = procfs::stat(std::process::id())
            .ok_or(io::ErrorKind::NotFound)?
            .id;
        let mut header = [0; WIDTH];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&me.pid.to_be_bytes());
        header[16..24].copy_from_slice(&me.start.to_be_bytes());
        header[24..60].copy_from_slice(&padded_boot_id());
        file.set_len(0)?;
        file.write_all_at(&header, 0)?;
        // Several wards in one process must not give out the same mark.
        let ward = WARDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let slots = Slots {
            next_number: ward << 40,
            ..Slots::default()
        };
        Ok(Self {
            file,
            slots: Mutex::new(slots),
            mark_prefix: mark_prefix(me),
        })
    }

    pub(crate) fn mark(&self, entry: Entry) -> String {
        format!("{}{}", self.mark_prefix, entry.number)
    }

    /// Takes a slot, unless `limit` are taken.
    pub(crate) fn starting(&self, tag: &str, limit: usize) -> io::Result<Option<Entry>> {
        let entry = {
            let mut slots = self.slots();
            if slots.count >= limit {
                return Ok(None);
            }
            slots.take()
        };
        let written = self.write(entry, None, tag);
        if written.is_err() {
            self.slots().release(entry.slot);
        }
        written.map(|()| Some(entry))
    }

    pub(crate) fn running(&self, entry: Entry, process: Born, tag: &str) -> io::Result<()> {
        self.write(entry, Some(process), tag)
    }

    pub(crate) fn ended(&self, entry: Entry) {
        // A failed write leaves a record of a process that is gone, which does no harm: nobody matches it.
        if let Err(error) = self.file.write_all_at(&[0; 8], offset(entry.slot)) {
            tracing::warn!(%error, "a record of the ledger of running processes cannot be freed");
        }
        let mut slots = self.slots();
        slots.release(entry.slot);
        if slots.in_file - slots.in_use.len() >= SHRINK_BY {
            self.cut(&mut slots);
        }
    }

    /// Cuts the free records from the end. Returns how many are in use.
    pub(crate) fn shrink(&self) -> usize {
        let mut slots = self.slots();
        if slots.in_file != slots.in_use.len() {
            self.cut(&mut slots);
        }
        slots.count
    }

    pub(crate) fn count(&self) -> usize {
        self.slots().count
    }

    fn cut(&self, slots: &mut Slots) {
        if let Err(error) = self.file.set_len(offset(slots.in_use.len())) {
            tracing::warn!(%error, "the ledger of running processes cannot be cut");
        }
        slots.in_file = slots.in_use.len();
    }

    fn write(&self, entry: Entry, process: Option<Born>, tag: &str) -> io::Result<()> {
        let mut block = [0; WIDTH];
        if let Some(process) = process {
            block[..4].copy_from_slice(&process.pid.to_be_bytes());
            // A start that takes longer was held up behind the moment that counts, in the exec.
            let duration = u16::try_from(process.until - process.after).unwrap_or(u16::MAX);
            block[6..8].copy_from_slice(&duration.to_be_bytes());
            block[8..16].copy_from_slice(&process.after.to_be_bytes());
        }
        let tag = &tag[..tag.floor_char_boundary(MAX_TAG)];
        block[4] = if process.is_some() { RUNNING } else { STARTING };
        block[5] = u8::try_from(tag.len()).unwrap_or(0);
        block[16..24].copy_from_slice(&entry.number.to_be_bytes());
        block[24..24 + tag.len()].copy_from_slice(tag.as_bytes());
        self.file.write_all_at(&block, offset(entry.slot))
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn take(&mut self) -> Entry {
        let slot = self.free.pop_first().unwrap_or_else(|| {
            self.in_use.push(false);
            self.in_use.len() - 1
        });
        self.in_use[slot] = true;
        self.in_file = self.in_file.max(self.in_use.len());
        self.count += 1;
        let number = self.next_number;
        self.next_number += 1;
        Entry { slot, number }
    }

    fn release(&mut self, slot: usize) {
        self.in_use[slot] = false;
        self.free.insert(slot);
        self.count -= 1;
        while self.in_use.last() == Some(&false) {
            self.in_use.pop();
            self.free.remove(&self.in_use.len());
        }
    }
}

fn offset(slot: usize) -> u64 {
    ((slot + 1) * WIDTH) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(dir: &Path) -> Ledger {
        Ledger::begin(open(dir).expect("the directory is ours").0).expect("the file can be written")
    }

    #[test]
    fn the_successor_reads_what_ran_and_what_was_starting() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = fresh(dir.path());
        let [a, b, c] = ["a", "b", "c"].map(|tag| {
            ledger
                .starting(tag, 9)
                .expect("written")
                .expect("below the limit")
        });
        let process = Born {
            pid: 7,
            after: 99,
            until: 101,
        };
        ledger.running(a, process, "a").expect("written");
        ledger
            .running(b, Born { pid: 8, ..process }, "b")
            .expect("written");
        ledger.ended(b);
        let marks = [ledger.mark(a), ledger.mark(c)];
        assert!(
            matches!(open(dir.path()), Err(LedgerError::InUse { .. })),
            "one at a time"
        );
        drop(ledger);

        let (_file, records) = open(dir.path()).expect("free again");
        let [mark_a, mark_c] = marks;
        let expected = [
            Record {
                process: Some(process),
                mark: mark_a,
                tag: "a".to_owned(),
            },
            Record {
                process: None,
                mark: mark_c,
                tag: "c".to_owned(),
            },
        ];
        assert_eq!(records, expected);
    }

    #[test]
    fn rc_05_the_file_has_a_fixed_width_and_shrinks_when_the_last_ones_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = fresh(dir.path());
        let length = || {
            std::fs::metadata(dir.path().join("running"))
                .expect("it is there")
                .len()
        };
        let entries: Vec<_> = (0..100)
            .map(|_| {
                ledger
                    .starting("x", 1000)
                    .expect("written")
                    .expect("below the limit")
            })
            .collect();
        assert_eq!(length(), 101 * 128);
        ledger.ended(entries[3]);
        assert_eq!(length(), 101 * 128, "a gap is kept for the next one");
        assert_eq!(
            ledger.starting("y", 1000).expect("written").map(|e| e.slot),
            Some(3)
        );
        for entry in &entries[20..] {
            ledger.ended(*entry);
        }
        assert!(length() <= 37 * 128, "the end was cut");
        for entry in &entries[..20] {
            ledger.ended(*entry);
        }
        assert_eq!(ledger.shrink(), 0);
        assert_eq!(length(), 128);
    }

    /// Returns the file whose lock is held by a process other than its owner, which has ended: by the owner's guard or a process that the
    /// owner was starting.
    fn held_for_a_dead_owner(dir: &Path) -> File {
        let (file, _) = open(dir).expect("the directory is ours");
        let mut header = [0; WIDTH];
        header[..8].copy_from_slice(MAGIC);
        // No process has this start time.
        header[8..12].copy_from_slice(&std::process::id().to_be_bytes());
        header[16..24].copy_from_slice(&1_u64.to_be_bytes());
        header[24..60].copy_from_slice(&padded_boot_id());
        file.write_all_at(&header, 0).expect("written");
        file
    }

    #[test]
    fn a_lock_that_outlives_its_owner_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = held_for_a_dead_owner(dir.path());
        let theirs = dir.path().to_owned();
        let successor = std::thread::spawn(move || open(&theirs).map(drop));
        // Longer than the wait for a living owner.
        std::thread::sleep(2 * PATIENCE_WITH_THE_LIVING);
        assert!(!successor.is_finished(), "it neither fails nor goes on");
        drop(held);
        successor.join().expect("no panic").expect("free by now");
    }

    #[test]
    fn an_owner_that_is_alive_is_not_waited_for_longer_than_an_instant() {
        let dir = tempfile::tempdir().expect("a directory");
        let _ledger = fresh(dir.path());
        let begin = Instant::now();
        // An owner that is ending would be waited for much longer than a test takes.
        let opened = open_within(dir.path(), Duration::from_hours(1));
        assert!(matches!(opened, Err(LedgerError::InUse { .. })));
        assert!(
            begin.elapsed() >= PATIENCE_WITH_THE_LIVING,
            "it may have been killed just now"
        );
    }

    #[test]
    fn the_holder_of_the_lock_is_believed_only_with_a_valid_header_of_this_boot() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = fresh(dir.path());
        let me = procfs::stat(std::process::id()).expect("we are running").id;
        assert_eq!(holder(&ledger.file), Some(me));
        let file = &ledger.file;
        file.write_all_at(b"0", 24).expect("another boot");
        file.write_all_at(b"!", 25).expect("another boot");
        assert_eq!(holder(file), None, "its pids belong to others by now");
        file.write_all_at(&padded_boot_id(), 24).expect("this boot");
        assert_eq!(holder(file), Some(me));
        file.write_all_at(b"X", 0).expect("another file");
        assert_eq!(holder(file), None, "no ledger");
        file.set_len(0).expect("cut");
        assert_eq!(holder(file), None, "nothing written yet");
    }

    #[test]
    fn no_mark_is_given_out_twice() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let mut marks = BTreeSet::new();
        for dir in &dirs {
            let ledger = fresh(dir.path());
            for _ in 0..3 {
                let entry = ledger.starting("a", 9).expect("written").expect("a slot");
                assert!(marks.insert(ledger.mark(entry)), "{marks:?}");
                ledger.ended(entry);
            }
        }
    }

    #[test]
    fn the_end_of_a_few_processes_does_not_change_the_size_of_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = fresh(dir.path());
        let length = || ledger.file.metadata().expect("it is open").len();
        let start = |_| ledger.starting("x", 999).expect("written").expect("a slot");
        let entries: Vec<_> = (0..100).map(start).collect();
        for entry in entries[37..].iter().rev() {
            ledger.ended(*entry);
            assert_eq!(length(), 101 * 128, "fewer than 64 have ended");
        }
        ledger.ended(entries[36]);
        assert_eq!(length(), 37 * 128, "64 have ended");
    }

    #[test]
    fn the_wait_for_a_lock_is_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let _held = held_for_a_dead_owner(dir.path());
        assert!(matches!(
            open_within(dir.path(), PAUSE),
            Err(LedgerError::InUse { .. })
        ));
    }

    #[test]
    fn the_ledger_of_an_earlier_boot_is_ignored() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = fresh(dir.path());
        let entry = ledger.starting("a", 9).expect("written").expect("a slot");
        let me = procfs::stat(std::process::id()).expect("we are running").id;
        let process = Born {
            pid: me.pid,
            after: me.start,
            until: me.start,
        };
        ledger.running(entry, process, "a").expect("written");
        drop(ledger);
        let path = dir.path().join("running");
        let mut bytes = std::fs::read(&path).expect("readable");
        assert_eq!(parse(&bytes).len(), 1, "of this boot");
        bytes[24..60].copy_from_slice(b"00000000-0000-0000-0000-000000000000");
        std::fs::write(&path, bytes).expect("writable");
        let (_file, records) = open(dir.path()).expect("free again");
        assert_eq!(records, [], "its pids belong to others by now");
    }

    #[test]
    fn a_limit_is_kept_and_a_long_tag_is_cut_at_a_character() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = fresh(dir.path());
        let tag = "€".repeat(60);
        assert!(ledger.starting(&tag, 1).expect("written").is_some());
        assert!(ledger.starting(&tag, 1).expect("not even tried").is_none());
        drop(ledger);
        let (_file, records) = open(dir.path()).expect("free again");
        assert_eq!(records[0].tag, "€".repeat(34));
    }
}
