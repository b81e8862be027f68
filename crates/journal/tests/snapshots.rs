//! Snapshots that are written, and those that are taken over from another member.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use journal::{
    Disk, Fault, Journal, Kind, Options, Position, ReadError, Record, Recovered, SnapshotError,
    Vote,
};

const ENOSPC: i32 = 28;
/// The event of the snapshot that is taken over.
const THEIRS: u64 = 30;

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 1 << 10;
    options.ring_bytes = 1 << 10;
    options
}

fn open(dir: &Path) -> (Journal, Recovered) {
    Journal::open(options(dir), |fault| panic!("{fault}")).unwrap()
}

/// The record with this index. Its event has the id `index + 1`.
fn event(index: u64, term: u64) -> Record {
    let pad = "y".repeat(200);
    Record {
        index,
        term,
        key: index + 1,
        kind: Kind::Events,
        body: Bytes::from(format!("{{\"eventId\":{},\"pad\":\"{pad}\"}}\n", index + 1)),
    }
}

fn without_events(index: u64, kind: Kind, body: &'static [u8]) -> Record {
    Record {
        kind,
        key: 0,
        body: Bytes::from_static(body),
        ..event(index, 1)
    }
}

type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// Whether what was begun has come to a good end.
fn is_done(begin: impl FnOnce(Done)) -> bool {
    let (sender, receiver) = sync_channel(1);
    begin(Box::new(move |told| sender.send(told.is_ok()).unwrap()));
    receiver.recv().unwrap_or(false)
}

fn append(journal: &Journal, records: Vec<Record>) {
    let next = records.last().unwrap().index + 1;
    assert!(is_done(|done| journal.append(records, done)));
    journal.commit(next);
}

/// The snapshot of another member that is far ahead.
fn theirs(dir: &Path) -> PathBuf {
    let (journal, _) = open(dir);
    append(&journal, (0..THEIRS).map(|i| event(i, 2)).collect());
    let body = |out: &mut dyn Write| out.write_all(b"{\"orderId\":\"A\"}\n{\"orderId\":\"B\"}\n");
    let members = Some("{\"members\":[1,2]}".to_owned());
    journal.write_snapshot(THEIRS, members, body).unwrap().path
}

/// The log of a member that is behind: nine records in three segments.
fn ours() -> Vec<Record> {
    let mut records = vec![without_events(0, Kind::Membership, b"{\"members\":[1]}")];
    records.extend((1..9).map(|i| event(i, 1)));
    records
}

fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let names = names.map(|e| e.file_name().into_string().unwrap());
    let mut found: Vec<_> = names
        .filter(|n| n.contains(".segment") || n.contains(".seal"))
        .collect();
    found.sort();
    found
}

/// A disk whose changing calls fail once so many have been made.
struct Failing(AtomicI64);

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(ENOSPC))
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.check()?;
        journal::RealDisk.create(path)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.check()?;
        journal::RealDisk.write_at(file, bytes, offset)
    }
    fn sync(&self, _: &File) -> io::Result<()> {
        self.check()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        journal::RealDisk.remove(path)
    }
    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.check()
    }
}

fn place() -> Position {
    Position {
        index: THEIRS - 1,
        term: 2,
        key: THEIRS,
    }
}

/// Checks a journal that has begun anew after the snapshot, and has no record yet.
fn check_begun_anew(dir: &Path, journal: &Journal) {
    assert_eq!(journal.bounds(), (THEIRS, THEIRS));
    assert!(journal.terms().is_empty(), "{:?}", journal.terms());
    assert_eq!(journal.torn_event_id(), THEIRS);
    assert_eq!(journal.committed_key(), THEIRS);
    assert_eq!(journal.standing().last_event_id, THEIRS);
    assert_eq!(journal.snapshot().unwrap().event_id(), THEIRS);
    let state = journal.hard_state();
    assert_eq!(state.purged, Some(place()));
    assert_eq!(state.membership.as_deref(), Some("{\"members\":[1,2]}"));
    assert!(journal.read(0, u64::MAX).unwrap().is_empty());
    let refused = journal.read_after(THEIRS - 1, 1);
    assert!(
        matches!(refused, Err(ReadError::Torn { torn_event_id }) if torn_event_id == THEIRS),
        "{refused:?}"
    );
    assert!(journal.read_after(THEIRS, 1).unwrap().is_empty());
    assert_eq!(segments(dir), [format!("log-{THEIRS:020}.segment")]);
}

/// Appends after the snapshot, and checks that all of it is there after a restart.
fn check_goes_on(dir: &Path, journal: Journal) {
    append(&journal, vec![event(THEIRS, 3), event(THEIRS + 1, 3)]);
    drop(journal);
    let (journal, recovered) = open(dir);
    let last = recovered.last.unwrap();
    assert_eq!((last.index, last.term, last.key), (31, 3, 32));
    assert_eq!(
        recovered.membership, None,
        "the old log's members are of the past"
    );
    assert_eq!(recovered.snapshot.unwrap().event_id(), THEIRS);
    assert_eq!(journal.terms(), [(3, THEIRS)]);
    journal.commit(THEIRS + 2);
    let replayed: Vec<Record> = journal.replay(THEIRS).map(Result::unwrap).collect();
    assert_eq!(replayed, [event(THEIRS, 3), event(THEIRS + 1, 3)]);
}

#[test]
fn a_member_that_takes_over_a_snapshot_goes_on_after_it_and_has_nothing_of_its_old_log() {
    let (donor, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = theirs(donor.path());
    let (journal, _) = open(dir.path());
    append(&journal, ours());
    let vote = Vote {
        term: 2,
        node: 1,
        committed: true,
    };
    assert!(is_done(|done| journal.save_vote(vote, done)));
    assert!(segments(dir.path()).len() >= 5);
    let received = dir.path().join("received");
    std::fs::copy(&file, &received).unwrap();
    assert!(is_done(|done| {
        let taken = journal.install(&received, done).unwrap();
        assert_eq!((taken.event_id(), taken.line_count), (THEIRS, 2));
    }));
    assert!(!received.exists());
    check_begun_anew(dir.path(), &journal);
    assert_eq!(journal.vote(), Some(vote));
    check_goes_on(dir.path(), journal);
}

#[test]
fn a_crash_at_any_step_of_taking_over_a_snapshot_leaves_the_old_log_or_the_new_beginning() {
    let donor = tempfile::tempdir().unwrap();
    let file = theirs(donor.path());
    let (mut old, mut new) = (0, 0);
    for steps in 0..100 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing(AtomicI64::new(i64::MAX)));
        let on = Arc::clone(&disk) as Arc<dyn Disk>;
        let (journal, _) = Journal::open_on(on, options(dir.path()), |_| {}).unwrap();
        append(&journal, ours());
        let received = dir.path().join("received");
        std::fs::copy(&file, &received).unwrap();
        disk.0.store(steps, Ordering::SeqCst);
        let is_whole = is_done(|done| drop(journal.install(&received, done)));
        drop(journal);
        let (journal, recovered) = open(dir.path());
        if recovered.last == Some(place()) {
            new += 1;
            assert_eq!(recovered.membership, None, "after {steps} steps");
            check_begun_anew(dir.path(), &journal);
            check_goes_on(dir.path(), journal);
        } else {
            old += 1;
            assert!(!is_whole && new == 0, "after {steps} steps");
            assert_eq!(recovered.last.unwrap().index, 8, "after {steps} steps");
            assert_eq!(journal.read(0, u64::MAX).unwrap(), ours());
        }
        assert!(steps < 99, "it never comes to its end");
        if is_whole {
            break;
        }
    }
    assert!(old >= 2 && new >= 10, "{old}, {new}");
}

#[test]
fn what_is_no_whole_snapshot_is_not_taken_over_and_the_place_is_named() {
    let donor = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(theirs(donor.path())).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let [header, first, second, end] = lines[..] else {
        unreachable!("a header, two lines and an end: {whole}")
    };
    let (body, closing) = (header.len(), whole.len() - end.len());
    let missing = "the closing line is missing or";
    let cases = [
        (String::new(), 0, "the file is empty".to_owned()),
        (
            whole.replace("Mainspring.Snapshot\"", "Other\""),
            0,
            "not a snapshot of a version known here".to_owned(),
        ),
        (
            whole.replace("\"version\":1", "\"version\":2"),
            0,
            "not a snapshot of a version known here".to_owned(),
        ),
        (
            whole[1..].to_owned(),
            0,
            "the header line is not readable".to_owned(),
        ),
        (header.to_owned(), body, format!("{missing} cut off")),
        (
            whole[..whole.len() - 1].to_owned(),
            closing,
            format!("{missing} cut off"),
        ),
        (
            whole[..closing].to_owned(),
            closing - second.len(),
            format!("{missing} not readable"),
        ),
        (
            whole.replace("Mainspring.SnapshotEnd", "Mainspring.Other"),
            closing,
            format!("{missing} not readable"),
        ),
        (
            format!("{header}{second}{end}"),
            closing - first.len(),
            "1 lines instead of 2".to_owned(),
        ),
        (
            whole.replace("\"A\"", "\"C\""),
            closing,
            "the checksum does not fit".to_owned(),
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    append(&journal, ours());
    let received = dir.path().join("received");
    for (text, offset, what) in cases {
        std::fs::write(&received, &text).unwrap();
        let refused = journal.install(&received, |_| {}).unwrap_err().to_string();
        let expected = format!("is damaged at byte {offset}: {what}");
        assert!(refused.contains(&expected), "{refused}, not {expected}");
        assert!(
            refused.contains(&received.display().to_string()),
            "{refused}"
        );
    }
    assert_eq!(journal.snapshot(), None);
    assert_eq!(journal.read(0, u64::MAX).unwrap(), ours());
}

#[test]
fn a_snapshot_has_all_lines_that_were_written_and_is_found_as_it_was() {
    let many = format!("{{\"orderId\":\"{}\"}}\n", "a".repeat(40)).repeat(20_000);
    for body in ["", "{\"a\":1}\n", "{\"a\":1}\n{\"b\":2}", &many] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path());
        append(&journal, ours());
        let written = journal
            .write_snapshot(5, None, |out| out.write_all(body.as_bytes()))
            .unwrap();
        assert_eq!(written.bytes, written.path.metadata().unwrap().len());
        let lines: Vec<String> = written.lines().unwrap().map(Result::unwrap).collect();
        assert_eq!(lines, body.lines().collect::<Vec<_>>());
        assert_eq!(written.line_count, lines.len() as u64);
        drop(journal);
        let (journal, recovered) = open(dir.path());
        assert_eq!(recovered.snapshot.as_ref(), Some(&written));
        assert_eq!(journal.snapshot(), Some(written));
    }
}

#[test]
fn a_snapshot_stands_at_the_last_record_that_adds_no_later_event_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let records = vec![
        event(0, 1),
        event(1, 1),
        without_events(2, Kind::Blank, b""),
        event(3, 4),
        event(4, 4),
    ];
    assert!(is_done(|done| journal.append(records, done)));
    journal.commit(4);
    let write = |event_id| journal.write_snapshot(event_id, None, |out| out.write_all(b"{}\n"));
    let refused = write(5).unwrap_err();
    assert!(
        matches!(
            refused,
            SnapshotError::NotCommitted {
                event_id: 5,
                committed: 4
            }
        ),
        "{refused}"
    );
    for (event_id, index, term) in [(2, 2, 1), (2, 2, 1), (4, 3, 4)] {
        let meta = write(event_id).unwrap().meta;
        assert_eq!(
            (meta.event_id, meta.index, meta.term),
            (event_id, index, term)
        );
    }
    let refused = write(2).unwrap_err();
    assert!(
        matches!(
            refused,
            SnapshotError::Older {
                event_id: 2,
                newest: 4
            }
        ),
        "{refused}"
    );
}

#[test]
fn a_snapshot_that_fails_leaves_no_file_and_says_whether_the_disk_or_the_state_is_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing(AtomicI64::new(i64::MAX)));
    let on = Arc::clone(&disk) as Arc<dyn Disk>;
    let opened = Journal::open_on(on, options(dir.path()), |fault| panic!("{fault}"));
    let (journal, _) = opened.unwrap();
    append(&journal, ours());
    let much = vec![b' '; 1 << 20];
    let files = || {
        let names = std::fs::read_dir(dir.path()).unwrap();
        let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.starts_with("snapshot")).count()
    };
    let refused = journal.write_snapshot(5, None, |out| {
        out.write_all(&much)?;
        Err(io::Error::other("an order cannot be written"))
    });
    let refused = refused.unwrap_err();
    assert!(matches!(refused, SnapshotError::Body(_)), "{refused}");
    assert!(refused.to_string().contains("an order cannot be written"));
    assert_eq!(files(), 0);
    // The file is made, and the disk is full at the first write of the state.
    disk.0.store(2, Ordering::SeqCst);
    let refused = journal.write_snapshot(5, None, |out| {
        out.write_all(&much)?;
        out.write_all(&much)
    });
    disk.0.store(i64::MAX, Ordering::SeqCst);
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, SnapshotError::Fault(fault)
            if fault.is_disk_full() && fault.path.to_string_lossy().contains("snapshot-")),
        "{refused}"
    );
    assert_eq!(journal.snapshot(), None);
    assert!(journal.fault().is_none(), "the journal goes on");
    append(&journal, vec![event(9, 1)]);
}

#[test]
fn a_member_without_events_that_crashed_before_its_log_began_anew_does_so_at_the_next_start() {
    let (donor, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = theirs(donor.path());
    let (journal, _) = open(dir.path());
    append(
        &journal,
        vec![
            without_events(0, Kind::Membership, b"{\"members\":[1]}"),
            without_events(1, Kind::Blank, b""),
        ],
    );
    drop(journal);
    std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.last, Some(place()));
    assert_eq!(recovered.membership, None);
    check_begun_anew(dir.path(), &journal);
    check_goes_on(dir.path(), journal);
}
