//! What a journal still knows after it was closed and opened again.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use journal::{Fault, Journal, Kind, Options, Record, Recovered, Vote, inspect};

/// So many events fill a segment to its last byte.
const FULL: u64 = 4;

fn open(dir: &Path) -> (Journal, Recovered) {
    let mut options = Options::new(dir, "agent:A");
    options.segment_bytes = FULL * event(0).disk_bytes();
    options.ring_bytes = 1 << 10;
    Journal::open(options, |fault| panic!("{fault}")).unwrap()
}

/// The record with this index. Its event has the id `index + 1`.
fn event(index: u64) -> Record {
    let pad = "y".repeat(200);
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

type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

fn wait(begin: impl FnOnce(Done)) {
    let (sender, receiver) = sync_channel(1);
    begin(Box::new(move |told| sender.send(told).unwrap()));
    receiver.recv().unwrap().unwrap();
}

/// A journal of forty committed events, all of them in its snapshot.
fn with_forty(dir: &Path) -> Journal {
    let (journal, _) = open(dir);
    wait(|done| journal.append((0..40).map(event).collect(), done));
    journal.commit(40);
    snapshot(&journal, 40);
    journal
}

fn snapshot(journal: &Journal, event_id: u64) {
    let body = |out: &mut dyn std::io::Write| out.write_all(b"{}\n");
    journal.write_snapshot(event_id, None, body).unwrap();
}

fn purge(journal: &Journal, index: u64, membership: Option<&str>) {
    wait(|done| journal.purge(index, 1, membership.map(str::to_owned), done));
}

fn files_of_the_log(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let is_of_log = |path: &PathBuf| {
        let extension = path.extension();
        extension.is_some_and(|e| e == "segment" || e == "seal")
    };
    let mut found: Vec<_> = entries.filter(is_of_log).collect();
    found.sort();
    found
}

#[test]
fn a_confirmed_vote_is_still_given_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = None;
    for (term, committed) in [(2, false), (2, true), (3, false)] {
        let (journal, recovered) = open(dir.path());
        assert_eq!(recovered.hard_state.vote, given);
        let vote = Vote {
            term,
            node: term,
            committed,
        };
        wait(|done| journal.save_vote(vote, done));
        given = Some(vote);
        assert_eq!(journal.vote(), given);
    }
    assert_eq!(open(dir.path()).0.vote(), given);
}

#[test]
fn an_entry_of_each_kind_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let without_events = |index, kind, body| Record {
        kind,
        key: 0,
        body: Bytes::from_static(body),
        ..event(index)
    };
    let members = b"{\"members\":[1,2]}";
    let records = vec![
        without_events(0, Kind::Membership, members),
        without_events(1, Kind::Blank, b""),
        event(2),
        without_events(3, Kind::Blank, b""),
    ];
    let (journal, _) = open(dir.path());
    wait(|done| journal.append(records.clone(), done));
    drop(journal);
    let (journal, recovered) = open(dir.path());
    assert_eq!(journal.read(0, u64::MAX).unwrap(), records);
    let (place, membership) = recovered.membership.unwrap();
    assert_eq!((place.index, membership.as_bytes()), (0, &members[..]));
    let last = recovered.last.unwrap();
    assert_eq!((last.index, last.key), (3, 3));
    journal.commit(4);
    let replayed: Vec<Record> = journal.replay(0).map(Result::unwrap).collect();
    assert_eq!(replayed, [event(2)], "only events are replayed");
}

#[test]
fn a_segment_is_filled_to_its_last_byte_and_a_record_that_fits_nowhere_has_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let large = Record {
        body: Bytes::from("z".repeat(5000)),
        ..event(9)
    };
    let mut records: Vec<Record> = (0..9).map(event).collect();
    records.extend([large, event(10), event(11)]);
    wait(|done| journal.append(records.clone(), done));
    drop(journal);
    let info = inspect::info(dir.path()).unwrap();
    let counts: Vec<u64> = info.segments.iter().map(|s| s.records).collect();
    assert_eq!(counts, [FULL, FULL, 1, 1, 2]);
    let (journal, _) = open(dir.path());
    assert_eq!(journal.read(0, u64::MAX).unwrap(), records);
}

#[test]
fn a_purge_moves_the_beginning_of_the_log_forward_and_never_back() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_forty(dir.path());
    purge(&journal, 15, Some("one"));
    purge(&journal, 7, Some("none"));
    let state = journal.hard_state();
    assert_eq!(state.purged.unwrap().index, 15);
    assert_eq!(state.membership.as_deref(), Some("one"));
    assert_eq!(journal.bounds(), (16, 40));
    purge(&journal, 23, None);
    assert_eq!(journal.bounds(), (24, 40));
    drop(journal);
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.hard_state.purged.unwrap().index, 23);
    assert_eq!(recovered.hard_state.membership.as_deref(), Some("one"));
    assert_eq!(journal.bounds(), (24, 40));
    assert_eq!(journal.torn_event_id(), 24);
}

#[test]
fn what_was_purged_counts_as_committed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_forty(dir.path());
    // This record is the second of its segment, so the segment stays.
    purge(&journal, 17, None);
    drop(journal);
    let (journal, _) = open(dir.path());
    let read = journal.read_after(16, usize::MAX).unwrap();
    let ids: Vec<u64> = read.iter().map(|record| record.key).collect();
    assert_eq!(ids, [17, 18], "the rest waits until it is told");
    journal.commit(40);
    let replayed: Vec<u64> = journal.replay(16).map(|r| r.unwrap().key).collect();
    assert_eq!(replayed, (17..=40).collect::<Vec<_>>());
}

#[test]
fn the_files_that_an_interrupted_purge_left_are_removed_and_the_log_begins_where_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_forty(dir.path());
    let before = files_of_the_log(dir.path());
    let saved: Vec<_> = before
        .into_iter()
        .map(|path| (std::fs::read(&path).unwrap(), path))
        .collect();
    purge(&journal, 15, None);
    drop(journal);
    let after = files_of_the_log(dir.path());
    for (bytes, path) in &saved {
        if !path.exists() {
            std::fs::write(path, bytes).unwrap();
        }
    }
    assert!(files_of_the_log(dir.path()).len() >= after.len() + 8);
    let (journal, recovered) = open(dir.path());
    assert_eq!(files_of_the_log(dir.path()), after);
    assert_eq!(journal.bounds(), (16, 40));
    assert_eq!(recovered.last.unwrap().index, 39);
    assert_eq!(journal.terms(), [(1, 16)]);
    assert_eq!(journal.read(0, u64::MAX).unwrap().len(), 24);
}

#[test]
fn a_log_whose_files_are_all_gone_is_not_taken_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_forty(dir.path());
    purge(&journal, 15, None);
    drop(journal);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            // The newest snapshot has all records, but this one, of a member that is behind, has not.
            std::fs::remove_file(path).unwrap();
        }
    }
    let donor = tempfile::tempdir().unwrap();
    let (older, _) = open(donor.path());
    wait(|done| older.append((0..20).map(event).collect(), done));
    older.commit(20);
    snapshot(&older, 20);
    let file = older.snapshot().unwrap().path;
    std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    let segments = files_of_the_log(dir.path());
    for path in &segments {
        std::fs::remove_file(path).unwrap();
    }
    let mut options = Options::new(dir.path(), "agent:A");
    options.segment_bytes = FULL * event(0).disk_bytes();
    let refused = Journal::open(options, |_| {}).map(drop).unwrap_err();
    let text = refused.to_string();
    let first = dir.path().join("log-00000000000000000016.segment");
    assert!(text.contains(&first.display().to_string()), "{text}");
    assert!(
        text.contains("record 16 was confirmed") && text.contains("before 40"),
        "{text}"
    );
}

#[test]
fn a_snapshot_from_before_the_first_record_covers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    snapshot(&journal, 0);
    drop(journal);
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.last, journal.bounds()), (None, (0, 0)));
    assert_eq!(recovered.hard_state.purged, None);
    wait(|done| journal.append(vec![event(0)], done));
    drop(journal);
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.last.unwrap().index, 0);
    assert_eq!(journal.read(0, 1).unwrap(), [event(0)]);
}

#[test]
fn a_snapshot_of_the_first_record_alone_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    wait(|done| journal.append(vec![event(0)], done));
    journal.commit(1);
    snapshot(&journal, 1);
    wait(|done| journal.append(vec![event(1), event(2)], done));
    drop(journal);
    let path = files_of_the_log(dir.path()).remove(0);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"#", 100).unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.last.unwrap().index, 2);
    let damages = journal.damages();
    assert_eq!(damages.len(), 1);
    assert_eq!((&damages[0].path, damages[0].record), (&path, Some(0)));
    assert!(
        damages[0].what.contains("records 0 to 0 are damaged"),
        "{}",
        damages[0]
    );
}

#[test]
fn a_snapshot_covers_the_records_before_it_even_when_they_have_no_event() {
    let donor = tempfile::tempdir().unwrap();
    let (journal, _) = open(donor.path());
    let blank = |index| Record {
        key: 0,
        kind: Kind::Blank,
        body: Bytes::new(),
        ..event(index)
    };
    wait(|done| journal.append((0..3).map(blank).collect(), done));
    journal.commit(3);
    snapshot(&journal, 0);
    let file = journal.snapshot().unwrap().path;
    // A member that took it over crashed before its log began anew after it.
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.last.unwrap().index, 2);
    assert_eq!(journal.bounds(), (3, 3));
}

#[test]
fn the_segment_being_written_stays_for_readers_even_if_all_of_it_is_purged() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_forty(dir.path());
    purge(&journal, 39, None);
    assert_eq!(journal.bounds(), (36, 40));
    drop(journal);
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.last.unwrap().index, 39);
    assert_eq!(journal.bounds(), (36, 40));
    let read = journal.read_after(36, usize::MAX).unwrap();
    assert_eq!(read, (36..40).map(event).collect::<Vec<_>>());
}
