//! A disk that fails: at every call, with every kind of failure. R8: nothing is confirmed falsely, the journal stops,
//! and it is intact when the disk is well again.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a helper of a test fails as the test does"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc::sync_channel};

use bytes::Bytes;
use journal::{Disk, Fault, Journal, Kind, Options, Record};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// Fails at its `fail_at`th changing call and ever after; a failing write leaves half of its bytes, a failing sync
/// loses what was written since the last one, as kernels do.
struct FailingDisk {
    /// By inode: what is written and not synced.
    unsynced: Mutex<BTreeMap<u64, Vec<(u64, usize)>>>,
    calls: AtomicU64,
    fail_at: u64,
    errno: i32,
    once: bool,
}

impl FailingDisk {
    fn at(fail_at: u64, errno: i32, once: bool) -> Arc<Self> {
        Arc::new(Self {
            unsynced: Mutex::default(),
            calls: AtomicU64::new(0),
            fail_at,
            errno,
            once,
        })
    }

    fn check(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == self.fail_at || (call > self.fail_at && !self.once) {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        Ok(())
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.check()?;
        journal::RealDisk.create(path)
    }
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.allocate(file, bytes)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Err(error) = self.check() {
            journal::RealDisk.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        // Short writes are the rule on this disk.
        let written =
            journal::RealDisk.write_at(file, &bytes[..bytes.len().div_ceil(2)], offset)?;
        let mut unsynced = self.unsynced.lock().expect("nothing panics inside");
        unsynced
            .entry(file.metadata()?.ino())
            .or_default()
            .push((offset, written));
        Ok(written)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().expect("nothing panics inside");
        let written = unsynced.remove(&file.metadata()?.ino()).unwrap_or_default();
        if let Err(error) = self.check() {
            for (offset, bytes) in written {
                file.write_all_at(&vec![0; bytes], offset)?;
            }
            return Err(error);
        }
        journal::RealDisk.sync(file)
    }
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.set_len(file, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.remove(path)
    }
    fn sync_directory(&self, dir: &Path) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.sync_directory(dir)
    }
}

/// In memory where possible: these tests ask what is done after an error, not how fast a disk is.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a temporary directory")
}

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, "agent:A");
    options.segment_bytes = 2 << 10;
    options.ring_bytes = 1 << 10;
    options
}

fn event(index: u64) -> Record {
    let body = Bytes::from(format!(
        "{{\"eventId\":{index},\"pad\":\"{}\"}}\n",
        "y".repeat(150)
    ));
    Record {
        index,
        term: 1,
        key: index + 1,
        kind: Kind::Events,
        body,
    }
}

/// Each time in another one of the ways there are.
fn append(journal: &Journal, records: Vec<Record>) -> Result<(), Fault> {
    let (sender, receiver) = sync_channel(1);
    let way = records.last().map_or(0, |record| record.index % 3);
    let told = move |told| sender.send(told).expect("the test waits");
    match way {
        0 => journal.append(records, told),
        1 => journal.append_here(records, told),
        _ => {
            journal.append_deferred(records, told);
            journal.write_deferred();
        }
    }
    receiver.recv().expect("each callback is called")
}

/// What a run has been told.
#[derive(Default)]
struct Told {
    confirmed: u64,
    purged: Option<u64>,
    fault: Option<Fault>,
    hook: bool,
}

/// Opens, appends 24 records in 16 groups over several segments, takes a snapshot and purges in between.
fn life(disk: Arc<FailingDisk>, dir: &Path) -> Told {
    let mut told = Told::default();
    let hook = Arc::new(AtomicBool::new(false));
    let on_fault = {
        let hook = Arc::clone(&hook);
        move |_: &Fault| hook.store(true, Ordering::SeqCst)
    };
    let Ok((journal, _)) = Journal::open_on(disk, options(dir), on_fault) else {
        return told;
    };
    let mut index = 0;
    for group in 0..16 {
        let records: Vec<Record> = (0..=group % 2).map(|n| event(index + n)).collect();
        index += records.len() as u64;
        match append(&journal, records) {
            Ok(()) => {
                assert!(
                    told.fault.is_none(),
                    "R8: a poisoned journal confirms nothing"
                );
                told.confirmed = index;
                journal.commit(index);
            }
            Err(fault) => told.fault = Some(told.fault.unwrap_or(fault)),
        }
        if group == 10
            && journal
                .write_snapshot(told.confirmed, None, |out| out.write_all(b"{}\n"))
                .is_ok()
        {
            // A snapshot that failed does not stop the journal.
            if let Some(upto) = journal.releasable(told.confirmed) {
                let (sender, receiver) = sync_channel(1);
                journal.purge(upto, 1, None, move |r| {
                    sender.send(r).expect("the test waits");
                });
                match receiver.recv().expect("each callback is called") {
                    Ok(()) => told.purged = Some(upto),
                    Err(fault) => told.fault = Some(fault),
                }
            }
        }
    }
    assert_eq!(journal.fault().is_some(), told.fault.is_some());
    drop(journal);
    told.hook = hook.load(Ordering::SeqCst);
    told
}

fn every_call_fails(errno: i32, once: bool) {
    let mut fail_at = 0;
    loop {
        let dir = scratch();
        let disk = FailingDisk::at(fail_at, errno, once);
        let told = life(Arc::clone(&disk), dir.path());
        assert_eq!(told.fault.is_some(), told.hook, "R8: the node is told");
        if let Some(fault) = &told.fault {
            assert_eq!(fault.errno(), Some(errno), "{fault}");
            assert!(
                fault
                    .to_string()
                    .contains(&dir.path().display().to_string()),
                "{fault}"
            );
            assert_eq!(fault.is_disk_full(), errno == ENOSPC);
        }
        // Space is back.
        let (journal, recovered) = Journal::open(options(dir.path()), |fault| panic!("{fault}"))
            .unwrap_or_else(|error| panic!("R8: call {fail_at}: {error}"));
        let next = recovered.last.map_or(0, |p| p.index + 1);
        assert!(
            next >= told.confirmed,
            "R8: call {fail_at}: {} confirmed, {next} there",
            told.confirmed
        );
        journal.commit(next);
        let mut expected = journal.torn_event_id() + 1;
        assert!(expected <= told.confirmed + 1 || told.confirmed == 0);
        for record in journal.replay(journal.torn_event_id()) {
            let record = record.unwrap();
            assert_eq!(record, event(expected - 1));
            expected += 1;
        }
        assert_eq!(expected, next + 1, "R8: the log is intact");
        append(&journal, vec![event(next)]).unwrap();
        if disk.calls.load(Ordering::SeqCst) <= fail_at {
            assert_eq!(
                told.confirmed, 24,
                "without a failure everything is confirmed"
            );
            assert!(told.purged.is_some());
            assert!(fail_at > 60, "{fail_at} calls");
            return;
        }
        fail_at += 1;
    }
}

#[test]
fn r8_a_full_disk_at_any_call_stops_the_journal_and_loses_nothing() {
    every_call_fails(ENOSPC, false);
}

#[test]
fn r8_a_failed_call_is_never_taken_for_done() {
    every_call_fails(EIO, false);
}

#[test]
fn r8_after_one_failed_write_or_sync_nothing_is_written_even_if_the_disk_is_well_again() {
    every_call_fails(EIO, true);
}

#[test]
fn a_full_disk_is_told_in_words_that_help() {
    let dir = scratch();
    // The open calls succeed; the write of the first append fails.
    let mut at = 0;
    let fault = loop {
        let fresh: PathBuf = dir.path().join(format!("run-{at}"));
        let told = life(FailingDisk::at(at, ENOSPC, false), &fresh);
        at += 1;
        if let Some(fault) = told.fault {
            break fault;
        }
    };
    let text = fault.to_string();
    assert!(
        text.contains(".segment") && text.contains("os error 28") && text.contains("make space"),
        "{text}"
    );
}
