//! Records that another member has not, and that are taken back.

#![expect(clippy::unwrap_used, reason = "a failing story ends with its place")]

use std::path::Path;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use journal::{Journal, Kind, Options, Record};

const RECORDS: u64 = 150;

fn record(index: u64) -> Record {
    Record {
        index,
        term: 1,
        key: 10 * (index + 1),
        kind: Kind::Events,
        body: Bytes::from("x".repeat(1 << 10)),
    }
}

fn append(journal: &Journal, records: Vec<Record>) {
    let (sender, receiver) = sync_channel(1);
    journal.append(records, move |told| sender.send(told).unwrap());
    receiver.recv().unwrap().unwrap();
}

fn opened(dir: &Path) -> Journal {
    let options = Options::new(dir, "controller:Controller");
    Journal::open(options, |fault| panic!("{fault}")).unwrap().0
}

/// A member that was cut off begins anew as a standby: it knows of nothing that it is committed, takes back what only itself has, and
/// reads its log from the beginning as the active member tells it how far it is committed.
#[test]
fn s53_who_begins_anew_and_takes_back_a_record_anywhere_reads_its_whole_log() {
    let memory = Path::new("/dev/shm");
    let dir = tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    append(&opened(dir.path()), (0..RECORDS).map(record).collect());
    for from in (1..RECORDS).rev() {
        let journal = opened(dir.path());
        let (sender, receiver) = sync_channel(1);
        journal.truncate(from, move |told| sender.send(told).unwrap());
        receiver.recv().unwrap().unwrap();
        append(&journal, vec![record(from)]);
        for index in 0..=from {
            journal.commit_record(index, record(index).key);
        }
        let read = journal.read_after(0, usize::MAX).unwrap();
        let indexes: Vec<u64> = read.iter().map(|record| record.index).collect();
        assert_eq!(
            indexes,
            (0..=from).collect::<Vec<_>>(),
            "taken back from {from} on"
        );
    }
}
