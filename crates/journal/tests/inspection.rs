//! What an operator sees with `mainspring journal cat|verify|info`, also while the node writes.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use journal::{Journal, Kind, Options, Record, inspect};

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, "agent:A");
    options.segment_bytes = 4 << 10;
    options
}

fn append(journal: &Journal, index: u64) {
    let (sender, receiver) = sync_channel(1);
    let key = (index + 1) * 10;
    let body = Bytes::from(format!(
        "{{\"eventId\":{}}}\n{{\"eventId\":{key}}}\n",
        key - 5
    ));
    let record = Record {
        index,
        term: 1,
        key,
        kind: Kind::Events,
        body,
    };
    journal.append(vec![record], move |told| {
        sender.send(told).expect("the test waits");
    });
    receiver.recv().expect("told").expect("written");
    journal.commit(index + 1);
}

#[test]
fn a_live_directory_is_shown_without_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    for index in 0..200 {
        append(&journal, index);
    }
    journal
        .write_snapshot(1500, None, |out| out.write_all(b"{}\n{}\n"))
        .unwrap();

    let mut text = Vec::new();
    assert_eq!(inspect::cat(dir.path(), 1990, &mut text).unwrap(), 2000);
    assert_eq!(text, b"{\"eventId\":1995}\n{\"eventId\":2000}\n");
    text.clear();
    assert_eq!(inspect::cat(dir.path(), 0, &mut text).unwrap(), 2000);
    // This is `mainspring journal cat DIR | head`: the journal is not the cause of the error.
    let (read, mut closed) = std::io::pipe().unwrap();
    drop(read);
    let told = inspect::cat(dir.path(), 0, &mut closed).unwrap_err();
    assert!(
        matches!(&told, inspect::CatError::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe),
        "{told}"
    );
    assert_eq!(text.split(|b| *b == b'\n').count(), 401);

    let report = inspect::verify(dir.path()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(
        (report.records, report.snapshots, report.last_event_id),
        (200, 1, 2000)
    );

    let info = inspect::info(dir.path()).unwrap();
    assert_eq!(info.identity.as_deref(), Some("agent:A"));
    assert!(
        info.last_opened_by
            .unwrap()
            .contains(&std::process::id().to_string())
    );
    assert_eq!(
        (info.first_event_id, info.last_event_id, info.torn_tail),
        (Some(5), 2000, None)
    );
    assert!(info.segments.len() > 2);
    assert_eq!(info.segments.iter().map(|s| s.records).sum::<u64>(), 200);
    assert_eq!(
        (info.snapshots[0].event_id, info.snapshots[0].lines),
        (1500, 2)
    );
}

#[test]
fn verify_beside_a_writing_node_finds_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for index in 0..600 {
                append(&journal, index);
            }
        });
        let mut looks = 0;
        while !writing.is_finished() || looks < 3 {
            let report = inspect::verify(dir.path()).unwrap();
            assert!(report.is_whole(), "{report:?}");
            looks += 1;
        }
    });
}

#[test]
fn verify_names_a_damaged_record_in_the_middle_and_the_journal_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    for index in 0..100 {
        append(&journal, index);
    }
    drop(journal);
    let info = inspect::info(dir.path()).unwrap();
    let victim = &info.segments[0].file;
    let mut bytes = std::fs::read(victim).unwrap();
    bytes[1000] ^= 4;
    std::fs::write(victim, &bytes).unwrap();
    let report = inspect::verify(dir.path()).unwrap();
    assert_eq!(report.damages.len(), 1);
    let name = victim.file_name().unwrap().to_str().unwrap();
    assert!(report.damages[0].contains(name), "{report:?}");
    let Err(error) = Journal::open(options(dir.path()), |_| {}) else {
        panic!("S97: damage is skipped")
    };
    let text = error.to_string();
    assert!(
        text.contains(name) && text.contains("damaged at byte") && text.contains("journal verify"),
        "{text}"
    );
    assert_eq!(
        std::fs::read(victim).unwrap(),
        bytes,
        "a refused journal is left as it is"
    );
}

#[test]
fn a_torn_tail_is_told_and_then_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    append(&journal, 0);
    drop(journal);
    let segment = inspect::info(dir.path()).unwrap().segments.remove(0);
    let file = std::fs::File::options()
        .write(true)
        .open(&segment.file)
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"MSJ\x01half a record", segment.bytes)
        .unwrap();
    let torn = inspect::info(dir.path()).unwrap().torn_tail.unwrap();
    assert_eq!(
        (torn.file, torn.offset),
        (segment.file.clone(), segment.bytes)
    );
    let (journal, recovered) =
        Journal::open(options(dir.path()), |fault| panic!("{fault}")).unwrap();
    assert_eq!(recovered.torn_tail, Some((segment.file, segment.bytes)));
    append(&journal, 1);
    drop(journal);
    assert_eq!(inspect::info(dir.path()).unwrap().torn_tail, None);
}
