//! Records and snapshots that are damaged while the journal does not read them. Reading and the scrub find the damage, which is named and
//! never served. Everything that does not need the damaged data continues.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does"
)]

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use journal::{Journal, Kind, OpenError, Options, ReadError, Record, Recovered, Scrub};

/// Length of the padding in each body. It is the same in all bodies, so that all records have the same length.
const PAD: usize = 200;

fn options(dir: &Path, segment_bytes: u64) -> Options {
    let mut options = Options::new(dir, "agent:A");
    options.segment_bytes = segment_bytes;
    options.ring_bytes = 1 << 10;
    options
}

fn open(dir: &Path, segment_bytes: u64) -> Result<(Journal, Recovered), OpenError> {
    Journal::open(options(dir, segment_bytes), |fault| panic!("{fault}"))
}

/// Returns the record with this index. Its event has the id `index + 1`.
fn event(index: u64) -> Record {
    let pad = "y".repeat(PAD);
    Record {
        index,
        term: 1,
        key: index + 1,
        kind: Kind::Events,
        body: Bytes::from(format!(
            "{{\"eventId\":{:06},\"pad\":\"{pad}\"}}\n",
            index + 1
        )),
    }
}

fn append(journal: &Journal, indices: std::ops::Range<u64>) {
    for index in indices {
        let (sender, receiver) = sync_channel(1);
        journal.append(vec![event(index)], move |told| sender.send(told).unwrap());
        receiver.recv().unwrap().unwrap();
        journal.commit(index + 1);
    }
}

fn snapshot(journal: &Journal, event_id: u64) {
    journal
        .write_snapshot(event_id, None, |out| {
            writeln!(out, "{{\"state\":{event_id}}}")
        })
        .unwrap();
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}

/// Changes one byte of the body of the event with this id, wherever it lies.
fn damage(dir: &Path, event_id: u64) -> PathBuf {
    let mark = format!("{{\"eventId\":{event_id:06},");
    for path in files(dir, "segment") {
        let bytes = std::fs::read(&path).unwrap();
        let mut places = bytes.windows(mark.len());
        if let Some(at) = places.position(|window| window == mark.as_bytes()) {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"#", (at + 30) as u64).unwrap();
            return path;
        }
    }
    panic!("event {event_id} is not there")
}

/// Returns all events after `after`, up to the first error.
fn read(journal: &Journal, mut after: u64) -> (Vec<u64>, Option<ReadError>) {
    let mut ids = Vec::new();
    loop {
        match journal.read_after(after, 1) {
            Ok(records) => {
                let Some(last) = records.last() else {
                    return (ids, None);
                };
                after = last.key;
                ids.extend(records.iter().map(|record| record.key));
            }
            Err(error) => return (ids, Some(error)),
        }
    }
}

fn is_damage_of(error: Option<ReadError>, path: &Path) -> bool {
    matches!(error, Some(ReadError::Damaged(damage)) if damage.path == path)
}

/// Returns a journal with a hundred records, and the count of its damage reports.
fn with_a_hundred(dir: &Path) -> (Journal, Arc<AtomicU64>) {
    let (journal, _) = open(dir, 64 << 10).unwrap();
    append(&journal, 0..100);
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    journal.on_damage(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (journal, told)
}

#[test]
fn each_reader_of_a_damaged_place_gets_an_error_and_all_others_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, told) = with_a_hundred(dir.path());
    let path = damage(dir.path(), 30);
    for _ in 0..3 {
        let (ids, error) = read(&journal, 0);
        assert_eq!(ids, (1..=29).collect::<Vec<_>>());
        assert!(is_damage_of(error, &path));
    }
    assert_eq!(told.load(Ordering::SeqCst), 1, "it is told once");
    assert_eq!(journal.damages().len(), 1);
    assert_eq!(journal.damages()[0].record, Some(29));
    let (ids, error) = read(&journal, 30);
    assert_eq!(ids, (31..=100).collect::<Vec<_>>());
    assert!(error.is_none(), "{error:?}");

    // A new snapshot contains the effect of the damaged record. The next start does not need that record, and knows of the damage.
    snapshot(&journal, 100);
    drop(journal);
    let (journal, recovered) = open(dir.path(), 64 << 10).unwrap();
    assert_eq!(recovered.last.unwrap().index, 99);
    assert_eq!(journal.damages().len(), 1);
    append(&journal, 100..120);
    journal.commit(120);
    let (ids, error) = read(&journal, 30);
    assert_eq!(ids, (31..=120).collect::<Vec<_>>());
    assert!(error.is_none(), "{error:?}");
    assert!(is_damage_of(read(&journal, 0).1, &path));
    assert_eq!(journal.superseded().unwrap().index, 99);
}

#[test]
fn each_damaged_place_of_a_file_is_read_around_and_the_file_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, told) = with_a_hundred(dir.path());
    let path = damage(dir.path(), 30);
    damage(dir.path(), 60);
    for (after, last) in [(0, 29), (30, 59)] {
        let (ids, error) = read(&journal, after);
        assert_eq!(ids, (after + 1..=last).collect::<Vec<_>>());
        assert!(is_damage_of(error, &path));
    }
    let (ids, error) = read(&journal, 60);
    assert_eq!(ids, (61..=100).collect::<Vec<_>>());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(journal.damages().len(), 1);
    assert_eq!(told.load(Ordering::SeqCst), 2, "each must be superseded");
}

/// Damages each record in turn. If a snapshot covers the record, the journal opens and has everything that is needed. Otherwise it does not
/// open.
fn every_record_is_damaged(segment_bytes: u64) {
    const SNAPSHOT: u64 = 25;
    const NEWEST: u64 = 40;
    for damaged in 1..NEWEST {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path(), segment_bytes).unwrap();
        append(&journal, 0..SNAPSHOT);
        snapshot(&journal, SNAPSHOT);
        append(&journal, SNAPSHOT..NEWEST);
        drop(journal);
        // Without seals every segment is read.
        for seal in files(dir.path(), "seal") {
            std::fs::remove_file(seal).unwrap();
        }
        let path = damage(dir.path(), damaged);
        let opened = open(dir.path(), segment_bytes);
        if damaged > SNAPSHOT {
            let refused = opened.map(drop).unwrap_err();
            assert!(
                matches!(&refused, OpenError::Damaged(damage) if damage.path == path),
                "event {damaged}: {refused}"
            );
            continue;
        }
        let (journal, recovered) = opened.unwrap_or_else(|e| panic!("event {damaged}: {e}"));
        assert_eq!(recovered.last.unwrap().index, NEWEST - 1, "event {damaged}");
        assert_eq!(journal.damages().len(), 1, "event {damaged}");
        journal.commit(NEWEST);
        let needed = journal.replay(SNAPSHOT).map(|r| r.unwrap().key);
        assert_eq!(
            needed.collect::<Vec<_>>(),
            (SNAPSHOT + 1..=NEWEST).collect::<Vec<_>>(),
            "event {damaged}"
        );
        let (before, error) = read(&journal, 0);
        assert_eq!(before, (1..damaged).collect::<Vec<_>>(), "event {damaged}");
        assert!(is_damage_of(error, &path), "event {damaged}");
        let (behind, error) = read(&journal, damaged);
        assert_eq!(
            behind,
            (damaged + 1..=NEWEST).collect::<Vec<_>>(),
            "event {damaged}: {error:?}"
        );
        append(&journal, NEWEST..NEWEST + 3);
        drop(journal);
        let (journal, recovered) = open(dir.path(), segment_bytes).unwrap();
        assert_eq!(recovered.last.unwrap().index, NEWEST + 2, "event {damaged}");
        drop(journal);
    }
}

#[test]
fn a_start_needs_nothing_of_what_a_snapshot_covers_in_one_segment() {
    every_record_is_damaged(64 << 10);
}

#[test]
fn a_start_needs_nothing_of_what_a_snapshot_covers_in_many_segments() {
    every_record_is_damaged(1 << 10);
}

#[test]
fn a_segment_file_that_is_missing_is_damage_that_a_snapshot_may_cover() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 1 << 10).unwrap();
    append(&journal, 0..30);
    snapshot(&journal, 30);
    append(&journal, 30..40);
    drop(journal);
    let segments = files(dir.path(), "segment");
    std::fs::remove_file(&segments[2]).unwrap();
    let (journal, _) = open(dir.path(), 1 << 10).unwrap();
    journal.commit(40);
    assert_eq!(journal.damages().len(), 1);
    let (before, error) = read(&journal, 0);
    assert!(matches!(error, Some(ReadError::Damaged(_))), "{error:?}");
    let last = before.last().copied().unwrap();
    assert_eq!(before, (1..=last).collect::<Vec<_>>());
    assert!((2..20).contains(&last), "{last}");
    assert_eq!(read(&journal, 30).0, (31..=40).collect::<Vec<_>>());
    drop(journal);
    std::fs::remove_file(segments.last().unwrap()).unwrap();
    assert!(open(dir.path(), 1 << 10).is_err(), "that one is needed");
}

#[test]
fn the_end_of_the_log_may_be_damaged_when_the_newest_snapshot_has_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 64 << 10).unwrap();
    append(&journal, 0..40);
    snapshot(&journal, 40);
    drop(journal);
    damage(dir.path(), 38);
    damage(dir.path(), 39);
    damage(dir.path(), 40);
    let (journal, recovered) = open(dir.path(), 64 << 10).unwrap();
    assert_eq!(recovered.last.unwrap().index, 39);
    assert_eq!(journal.damages().len(), 1);
    append(&journal, 40..50);
    journal.commit(50);
    assert_eq!(
        journal
            .replay(40)
            .map(|r| r.unwrap().key)
            .collect::<Vec<_>>(),
        (41..=50).collect::<Vec<_>>()
    );
    drop(journal);
    let (journal, recovered) = open(dir.path(), 64 << 10).unwrap();
    assert_eq!(recovered.last.unwrap().index, 49);
    journal.commit(50);
    assert_eq!(read(&journal, 40).0, (41..=50).collect::<Vec<_>>());
}

#[test]
fn a_damaged_snapshot_is_set_aside_where_the_log_or_an_older_one_has_its_state() {
    for older in [0, 20] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path(), 64 << 10).unwrap();
        append(&journal, 0..20);
        if older > 0 {
            snapshot(&journal, older);
        }
        append(&journal, 20..40);
        snapshot(&journal, 40);
        drop(journal);
        let newest = files(dir.path(), "jsonl").pop().unwrap();
        std::fs::write(&newest, "{}\n").unwrap();
        let (journal, recovered) = open(dir.path(), 64 << 10).unwrap();
        assert_eq!(recovered.snapshot.map_or(0, |file| file.event_id()), older);
        assert_eq!(files(dir.path(), "damaged").len(), 1, "it is kept");
        journal.commit(40);
        let replayed = journal.replay(older).map(|r| r.unwrap().key);
        assert_eq!(
            replayed.collect::<Vec<_>>(),
            (older + 1..=40).collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_scrub_finds_damage_that_no_reader_has_met() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 4 << 10).unwrap();
    append(&journal, 0..50);
    snapshot(&journal, 40);
    let whole_pass = |journal: &Journal| {
        let mut pass = Scrub::default();
        let mut pieces = 0;
        while !journal.scrub(&mut pass, 1 << 10).unwrap() {
            pieces += 1;
            assert!(pieces < 1000, "a pass comes to its end");
        }
        pieces
    };
    assert!(whole_pass(&journal) > 5);
    assert!(journal.damages().is_empty(), "{:?}", journal.damages());
    let segments: Vec<PathBuf> = [3, 30].map(|id| damage(dir.path(), id)).into();
    let file = files(dir.path(), "jsonl").pop().unwrap();
    std::fs::write(&file, "{}\n").unwrap();
    whole_pass(&journal);
    let found: Vec<PathBuf> = journal.damages().into_iter().map(|d| d.path).collect();
    let mut expected = segments;
    expected.push(file);
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_pass_of_the_scrub_ends_while_records_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 64 << 10).unwrap();
    append(&journal, 0..50);
    let mut pass = Scrub::default();
    let mut newest = 50;
    // Each piece is shorter than what is appended in the meantime.
    while !journal.scrub(&mut pass, 1 << 10).unwrap() {
        append(&journal, newest..newest + 10);
        newest += 10;
        assert!(newest < 500, "the pass does not end");
    }
    assert!(journal.damages().is_empty(), "{:?}", journal.damages());
}

#[test]
fn a_closed_segment_that_was_cut_is_read_although_it_has_a_seal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    append(&journal, 0..40);
    snapshot(&journal, 40);
    append(&journal, 40..50);
    drop(journal);
    let first = files(dir.path(), "segment").remove(0);
    let length = first.metadata().unwrap().len();
    let file = std::fs::File::options().write(true).open(&first).unwrap();
    file.set_len(length - 10).unwrap();
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    let found: Vec<PathBuf> = journal.damages().into_iter().map(|d| d.path).collect();
    assert_eq!(found, [first]);
}

#[test]
fn a_record_that_is_older_than_the_one_before_it_is_damage() {
    for (term, key) in [(2, 3), (1, 60), (2, 50)] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path(), 64 << 10).unwrap();
        append(&journal, 0..5);
        for (index, term, key) in [(5, 2, 50), (6, term, key)] {
            let (sender, receiver) = sync_channel(1);
            let record = Record {
                term,
                key,
                ..event(index)
            };
            journal.append(vec![record], move |told| sender.send(told).unwrap());
            receiver.recv().unwrap().unwrap();
        }
        drop(journal);
        let refused = open(dir.path(), 64 << 10).map(drop).unwrap_err();
        assert!(refused.to_string().contains("older"), "{refused}");
    }
}

#[test]
fn without_the_snapshot_of_its_purged_records_a_journal_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    append(&journal, 0..40);
    snapshot(&journal, 40);
    let upto = journal.releasable(40).unwrap();
    let (sender, receiver) = sync_channel(1);
    journal.purge(upto, 1, None, move |told| sender.send(told).unwrap());
    receiver.recv().unwrap().unwrap();
    drop(journal);
    let file = files(dir.path(), "jsonl").pop().unwrap();
    std::fs::rename(&file, dir.path().join("elsewhere")).unwrap();
    let refused = open(dir.path(), 2 << 10).map(drop).unwrap_err();
    assert!(
        refused.to_string().contains("the snapshot is missing"),
        "{refused}"
    );
    std::fs::rename(dir.path().join("elsewhere"), &file).unwrap();
    drop(open(dir.path(), 2 << 10).unwrap());
}

#[test]
fn a_segment_that_is_written_to_again_has_no_seal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    // None of these records is committed.
    for index in 0..40 {
        let (sender, receiver) = sync_channel(1);
        journal.append(vec![event(index)], move |told| sender.send(told).unwrap());
        receiver.recv().unwrap().unwrap();
    }
    assert!(!files(dir.path(), "seal").is_empty());
    let (sender, receiver) = sync_channel(1);
    journal.truncate(2, move |told| sender.send(told).unwrap());
    receiver.recv().unwrap().unwrap();
    assert_eq!(files(dir.path(), "segment").len(), 1);
    assert!(files(dir.path(), "seal").is_empty());
}

/// A disk that records the order of flushes and trims.
#[derive(Default)]
struct NotingDisk(std::sync::Mutex<Vec<(&'static str, u64)>>);

impl NotingDisk {
    fn note(&self, what: &'static str, file: &std::fs::File) {
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        self.0.lock().unwrap().push((what, inode));
    }
}

impl journal::Disk for NotingDisk {
    fn sync(&self, file: &std::fs::File) -> std::io::Result<()> {
        self.note("sync", file);
        Ok(())
    }
    fn set_len(&self, file: &std::fs::File, bytes: u64) -> std::io::Result<()> {
        self.note("trim", file);
        file.set_len(bytes)
    }
}

#[test]
fn a_closed_segment_is_trimmed_and_then_flushed_before_the_next_one_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(NotingDisk::default());
    let on_disk = Arc::clone(&disk) as Arc<dyn journal::Disk>;
    let opened = Journal::open_on(on_disk, options(dir.path(), 2 << 10), |f| panic!("{f}"));
    let (journal, _) = opened.unwrap();
    append(&journal, 0..40);
    drop(journal);
    let noted = disk.0.lock().unwrap().clone();
    let trims: Vec<usize> = (0..noted.len())
        .filter(|at| noted[*at].0 == "trim")
        .collect();
    assert!(trims.len() > 2);
    for at in trims {
        assert_eq!(noted.get(at + 1), Some(&("sync", noted[at].1)));
    }
}

#[test]
fn damage_that_was_found_in_files_which_a_start_does_not_read_is_remembered_once_per_file() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    append(&journal, 0..40);
    snapshot(&journal, 40);
    // Two places of the first file, and one of another.
    let first = damage(dir.path(), 2);
    assert_eq!(damage(dir.path(), 4), first);
    let other = damage(dir.path(), 12);
    let mut pass = Scrub::default();
    for after in [0, 2, 4, 8] {
        drop(read(&journal, after));
    }
    while !journal.scrub(&mut pass, 1 << 20).unwrap() {}
    let found = journal.damages();
    let places: Vec<_> = found.iter().map(|d| (d.path.clone(), d.record)).collect();
    assert_eq!(places, [(first.clone(), Some(1)), (other, Some(11))]);
    drop(journal);
    for _ in 0..3 {
        let (journal, _) = open(dir.path(), 2 << 10).unwrap();
        assert_eq!(journal.damages(), found, "known without reading the files");
        assert_eq!(journal.superseded().unwrap().index, 39);
    }
    let noted = std::fs::read_to_string(dir.path().join("damaged")).unwrap();
    assert_eq!(noted.lines().count(), 2, "{noted}");

    // A file that is gone has no damage any more.
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    let (sender, receiver) = sync_channel(1);
    let upto = 9;
    journal.releasable(40).unwrap();
    journal.purge(upto, 1, None, move |told| sender.send(told).unwrap());
    receiver.recv().unwrap().unwrap();
    assert!(!first.exists());
    drop(journal);
    let (journal, _) = open(dir.path(), 2 << 10).unwrap();
    assert_eq!(journal.damages(), found[1..]);
}

/// The length of each record on the disk, and how many of them a segment of this size has.
const RECORD: u64 = 276;
const SMALL: u64 = 1 << 10;
const IN_SMALL: u64 = SMALL / RECORD;

/// Writes twelve records into segments of three, with a snapshot at this event, and returns the segments.
fn with_twelve(dir: &Path, snapshot_at: u64) -> Vec<PathBuf> {
    let (journal, _) = open(dir, SMALL).unwrap();
    assert_eq!((event(0).disk_bytes(), IN_SMALL), (RECORD, 3));
    append(&journal, 0..snapshot_at);
    snapshot(&journal, snapshot_at);
    append(&journal, snapshot_at..12);
    files(dir, "segment")
}

#[test]
fn what_is_lost_before_a_segment_is_covered_exactly_when_the_snapshot_has_the_last_of_it() {
    for is_file_missing in [false, true] {
        for snapshot_at in [5, 6, 7] {
            let dir = tempfile::tempdir().unwrap();
            let segments = with_twelve(dir.path(), snapshot_at);
            for seal in files(dir.path(), "seal") {
                std::fs::remove_file(seal).unwrap();
            }
            // Either the last record of the second segment, or all of it.
            let (path, record) = if is_file_missing {
                std::fs::remove_file(&segments[1]).unwrap();
                (&segments[2], 3)
            } else {
                damage(dir.path(), 6);
                (&segments[1], 5)
            };
            let opened = open(dir.path(), SMALL);
            if snapshot_at < 6 {
                let refused = opened.map(drop).unwrap_err();
                assert!(
                    matches!(&refused, OpenError::Damaged(damage) if damage.path == *path && damage.record == Some(record)),
                    "{refused}"
                );
                continue;
            }
            let (journal, recovered) = opened.unwrap();
            assert_eq!(recovered.last.unwrap().index, 11);
            let found = journal.damages();
            assert_eq!(found.len(), 1);
            assert_eq!((&found[0].path, found[0].record), (path, Some(record)));
            journal.commit(12);
            let (ids, error) = read(&journal, 6);
            assert_eq!(ids, (7..=12).collect::<Vec<_>>());
            assert!(error.is_none(), "{error:?}");
            let (ids, error) = read(&journal, 0);
            assert_eq!(ids, (1..=record).collect::<Vec<_>>());
            assert!(matches!(error, Some(ReadError::Damaged(_))), "{error:?}");
        }
    }
}

#[test]
fn the_very_last_record_may_be_damaged_exactly_when_the_snapshot_has_it() {
    for snapshot_at in [11, 12] {
        let dir = tempfile::tempdir().unwrap();
        let segments = with_twelve(dir.path(), snapshot_at);
        damage(dir.path(), 12);
        let opened = open(dir.path(), SMALL);
        if snapshot_at < 12 {
            let refused = opened.map(drop).unwrap_err().to_string();
            let missing = "record 11 was confirmed as durable and is missing or damaged";
            assert!(refused.contains(missing), "{refused}");
            assert!(
                refused.contains(&segments[3].display().to_string()),
                "{refused}"
            );
            continue;
        }
        let (journal, recovered) = opened.unwrap();
        assert_eq!(recovered.last.unwrap().index, 11);
        let found = journal.damages();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, segments[3]);
        assert_eq!((found[0].record, found[0].offset), (Some(11), 2 * RECORD));
        append(&journal, 12..14);
        assert_eq!(read(&journal, 12).0, [13, 14]);
    }
}

#[test]
fn damage_is_named_with_its_place_and_all_records_that_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 64 << 10).unwrap();
    append(&journal, 0..30);
    snapshot(&journal, 30);
    drop(journal);
    for id in [10, 11, 12] {
        damage(dir.path(), id);
    }
    let (journal, _) = open(dir.path(), 64 << 10).unwrap();
    let found = journal.damages();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].record, found[0].offset), (Some(9), 9 * RECORD));
    assert!(found[0].what.contains("records 9 to 11"), "{}", found[0]);
    journal.commit(30);
    assert_eq!(read(&journal, 12).0, (13..=30).collect::<Vec<_>>());
}

#[test]
fn a_replay_has_what_is_committed_and_ends_at_the_first_damaged_place() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), SMALL).unwrap();
    append(&journal, 0..20);
    let (sender, receiver) = sync_channel(1);
    let waiting = (20..25).map(event).collect();
    journal.append(waiting, move |told| sender.send(told).unwrap());
    receiver.recv().unwrap().unwrap();
    for after in [0, 5, 6, 19, 20, 25] {
        let ids: Vec<u64> = journal.replay(after).map(|r| r.unwrap().key).collect();
        assert_eq!(ids, (after + 1..=20).collect::<Vec<_>>());
    }
    let path = damage(dir.path(), 8);
    let mut replay = journal.replay(2);
    for id in 3..8 {
        assert_eq!(replay.next().unwrap().unwrap().key, id);
    }
    assert!(is_damage_of(replay.next().unwrap().err(), &path));
    assert!(replay.next().is_none() && replay.next().is_none());
}

/// A start believes a seal only if it fits its file, the files around it and the snapshot. Damage shows what it has read.
#[test]
fn a_seal_with_any_number_that_does_not_fit_is_not_believed() {
    let changes = [
        ("", "", 6, true),
        ("", "", 5, false),
        ("\"firstIndex\":3", "\"firstIndex\":2", 6, false),
        ("\"nextIndex\":6", "\"nextIndex\":7", 6, false),
        ("\"bytes\":828", "\"bytes\":552", 6, false),
        ("\"keyBefore\":3", "\"keyBefore\":2", 6, false),
        ("\"keyUpto\":6", "\"keyUpto\":7", 6, false),
    ];
    for (from, to, snapshot_at, is_believed) in changes {
        let dir = tempfile::tempdir().unwrap();
        let segments = with_twelve(dir.path(), snapshot_at);
        let path = segments[1].with_extension("seal");
        let seal = std::fs::read_to_string(&path).unwrap();
        let (line, _) = seal.split_once('\n').unwrap();
        assert!(line.contains(from), "{line}");
        let line = line.replacen(from, to, 1);
        let crc = crc32fast::hash(line.as_bytes());
        std::fs::write(&path, format!("{line}\n{crc:08x}\n")).unwrap();
        damage(dir.path(), 5);
        let (journal, recovered) = open(dir.path(), SMALL).unwrap();
        assert_eq!(recovered.last.unwrap().index, 11);
        let known = journal.damages().into_iter().map(|d| d.path);
        let known: Vec<_> = known.collect();
        let expected = if is_believed {
            vec![]
        } else {
            vec![segments[1].clone()]
        };
        assert_eq!(known, expected, "{to} with a snapshot at {snapshot_at}");
        journal.commit(12);
        assert!(is_damage_of(read(&journal, 3).1, &segments[1]));
        assert_eq!(read(&journal, 5).0, (6..=12).collect::<Vec<_>>());
    }
}

#[test]
fn damage_that_reaches_beyond_the_snapshot_refuses_the_start() {
    for (last, is_covered) in [(6, true), (7, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path(), 64 << 10).unwrap();
        append(&journal, 0..6);
        snapshot(&journal, 6);
        append(&journal, 6..12);
        drop(journal);
        for id in 5..=last {
            damage(dir.path(), id);
        }
        let opened = open(dir.path(), 64 << 10).map(drop);
        assert_eq!(opened.is_ok(), is_covered, "up to event {last}: {opened:?}");
    }
}
