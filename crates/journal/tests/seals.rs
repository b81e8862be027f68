//! A start reads the snapshot and what follows it, not history; what it skips is checked when somebody reads it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use journal::{Journal, Kind, Options, ReadError, Record, inspect};

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, "agent:A");
    options.segment_bytes = 4 << 10;
    options.ring_bytes = 1 << 10;
    options
}

fn append(journal: &Journal, index: u64) {
    let (sender, receiver) = sync_channel(1);
    let (kind, key, body) = match index {
        0 => (
            Kind::Membership,
            0,
            Bytes::from_static(b"{\"members\":[1]}"),
        ),
        _ => (
            Kind::Events,
            index,
            Bytes::from(format!(
                "{{\"eventId\":{index},\"pad\":\"{}\"}}\n",
                "p".repeat(200)
            )),
        ),
    };
    let record = Record {
        index,
        term: 1 + index / 50,
        key,
        kind,
        body,
    };
    journal.append(vec![record], move |told| {
        sender.send(told).expect("the test waits");
    });
    receiver.recv().expect("told").expect("written");
    journal.commit(index + 1);
}

/// A journal of 200 records with a snapshot at event 100.
fn built(dir: &Path) -> Vec<PathBuf> {
    let (journal, _) = Journal::open(options(dir), |fault| panic!("{fault}")).expect("opens");
    for index in 0..200 {
        append(&journal, index);
    }
    journal
        .write_snapshot(100, None, |out| out.write_all(b"{}\n"))
        .expect("written");
    drop(journal);
    let info = inspect::info(dir).expect("whole");
    info.segments.into_iter().map(|s| s.file).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("there");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn s97_history_that_a_snapshot_covers_is_not_read_at_the_start_and_never_served_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let files = built(dir.path());
    flip(&files[1], 300);
    // The start needs nothing of this segment, so it does not read it …
    let (journal, recovered) =
        Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    assert_eq!(
        recovered.last.map(|p| (p.index, p.key, p.term)),
        Some((199, 199, 4))
    );
    assert_eq!(
        recovered.membership.unwrap().1,
        "{\"members\":[1]}",
        "known from a sealed segment"
    );
    assert_eq!(journal.terms(), [(1, 0), (2, 50), (3, 100), (4, 150)]);
    journal.commit(200);
    assert_eq!(
        journal
            .replay(100)
            .map(|r| r.unwrap().key)
            .collect::<Vec<_>>(),
        (101..200).collect::<Vec<_>>()
    );
    // … but a reader hears of the damage, and so does who verifies.
    let mut after = 0;
    let damage = loop {
        match journal.read_after(after, 500) {
            Ok(records) => after = records.last().expect("more to come").key,
            Err(ReadError::Damaged(damage)) => break damage,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(damage.path, files[1], "R7");
    assert!(!inspect::verify(dir.path()).unwrap().is_whole());
}

#[test]
fn damage_after_the_snapshot_refuses_the_start_whatever_the_seal_says() {
    let dir = tempfile::tempdir().unwrap();
    let files = built(dir.path());
    flip(&files[files.len() - 2], 300);
    assert!(Journal::open(options(dir.path()), |_| {}).is_err());
}

#[test]
fn a_damaged_or_missing_seal_only_costs_time() {
    let dir = tempfile::tempdir().unwrap();
    let files = built(dir.path());
    let seal = files[0].with_extension("seal");
    let whole = std::fs::read(&seal).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&seal, bytes).unwrap();
        let (journal, recovered) =
            Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
        assert_eq!(recovered.last.map(|p| p.index), Some(199));
        assert_eq!(journal.read(0, 3).unwrap().len(), 3);
    }
    std::fs::remove_file(&seal).unwrap();
    flip(&files[0], 60);
    let (journal, _) = Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    let found: Vec<_> = journal.damages().into_iter().map(|d| d.path).collect();
    assert_eq!(
        found,
        [files[0].clone()],
        "without its seal the segment is read, and what the snapshot covers is not needed"
    );
}

#[test]
fn s99_a_released_segment_takes_its_seal_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = built(dir.path());
    let (journal, _) = Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    let index = journal.releasable(u64::MAX).unwrap();
    let (sender, receiver) = sync_channel(1);
    journal.purge(index, 2, None, move |told| {
        sender.send(told).expect("the test waits");
    });
    receiver.recv().unwrap().unwrap();
    assert!(!files[0].exists() && !files[0].with_extension("seal").exists());
    let seals = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .is_ok_and(|e| e.path().extension().is_some_and(|x| x == "seal"))
        })
        .count();
    assert_eq!(seals, journal.standing().segments - 1);
}
