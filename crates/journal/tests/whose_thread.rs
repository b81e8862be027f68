//! Who writes: the writer's thread, the caller's own, or nobody yet. What is confirmed is the same.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use journal::{Disk, Fault, Journal, Kind, Options, Record, Vote};

/// Notes whose thread has flushed, and takes its time for it.
#[derive(Default)]
struct Noting {
    takes: AtomicU64,
    flushed_by: Mutex<Vec<ThreadId>>,
}

impl Disk for Noting {
    fn sync(&self, file: &File) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.takes.load(Ordering::SeqCst)));
        let me = std::thread::current().id();
        self.flushed_by.lock().unwrap().push(me);
        journal::RealDisk.sync(file)
    }
}

impl Noting {
    fn was_this_thread(&self) -> bool {
        self.flushed_by.lock().unwrap().last() == Some(&std::thread::current().id())
    }

    fn flushes(&self) -> usize {
        self.flushed_by.lock().unwrap().len()
    }
}

fn opened(dir: &Path) -> (Arc<Noting>, Journal) {
    let disk = Arc::new(Noting::default());
    let options = Options::new(dir, "agent:A");
    let (journal, _) = Journal::open_on(Arc::clone(&disk) as Arc<dyn Disk>, options, |fault| {
        panic!("{fault}")
    })
    .unwrap();
    (disk, journal)
}

fn memory() -> tempfile::TempDir {
    // A flush must be quick here, whatever the machine does besides.
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn event(index: u64, bytes: usize) -> Vec<Record> {
    vec![Record {
        index,
        term: 1,
        key: index + 1,
        kind: Kind::Events,
        body: Bytes::from("x".repeat(bytes)),
    }]
}

fn answer() -> (
    impl FnOnce(Result<(), Fault>) + Send + 'static,
    Receiver<bool>,
) {
    let (sender, receiver) = sync_channel(1);
    let told = move |told: Result<(), Fault>| sender.send(told.is_ok()).unwrap();
    (told, receiver)
}

#[test]
fn who_follows_writes_little_itself_as_long_as_the_disk_is_quick() {
    let dir = memory();
    let (disk, journal) = opened(dir.path());
    let mut index = 0..;
    let mut here = |bytes| {
        let (told, answer) = answer();
        journal.append_here(event(index.next().unwrap(), bytes), told);
        let is_told = answer.try_recv().is_ok();
        assert!(is_told || answer.recv().unwrap());
        assert!(
            is_told || !disk.was_this_thread(),
            "told before the call returns"
        );
        disk.was_this_thread()
    };
    assert!(!here(10), "nobody knows yet how quick the disk is");
    // A busy machine may make a flush slow now and then.
    assert!((0..1000).any(|_| here(10)), "little and quick");
    assert!(!here(100 << 10), "much is the writer's");
    disk.takes.store(5, Ordering::SeqCst);
    here(10);
    assert!(
        (0..5).all(|_| !here(10)),
        "a slow disk keeps nobody up twice"
    );
    disk.takes.store(0, Ordering::SeqCst);
    assert!((0..1000).any(|_| here(10)), "quick again");
}

#[test]
fn what_is_deferred_can_be_read_at_once_and_goes_to_the_disk_before_anything_behind_it() {
    let dir = memory();
    let (disk, journal) = opened(dir.path());
    let before = disk.flushes();
    let (told, deferred) = answer();
    journal.append_deferred(event(0, 10), told);
    assert_eq!(journal.read(0, u64::MAX).unwrap().len(), 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(disk.flushes(), before, "the disk is left alone");
    assert!(deferred.try_recv().is_err());
    let (told, vote) = answer();
    let given = Vote {
        term: 2,
        node: 1,
        committed: false,
    };
    journal.save_vote(given, told);
    assert!(vote.recv().unwrap());
    assert!(deferred.try_recv().unwrap(), "confirmed before the vote");
    let (told, last) = answer();
    journal.append_deferred(event(1, 10), told);
    journal.stop();
    assert!(last.try_recv().unwrap(), "an end in order writes it");
}
