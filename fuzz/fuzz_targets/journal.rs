//! The reader of journals: whatever bytes lie on disk, opening ends in a log that is a beginning of the true one, or in an error.
//! Always: after one damaged place of up to four bytes (a burst that the checksum must see), and after cutting or overwriting the last
//! segment's end, nothing false is served; and as long as the marker promises the records, none is missing without an error.
//!
//! A small true journal is made once. An input says what happens to its files: flags, file, place, four bytes to flip, where to cut,
//! and the bytes that then follow the cut.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use journal::{Journal, Kind, Options, Record, Vote, inspect};
use libfuzzer_sys::fuzz_target;

const IDENTITY: &str = "controller/fuzz";
const SNAPSHOT: [&str; 2] = ["{\"TYPE\":\"Order\"}", "{\"TYPE\":\"Agent\"}"];
const MARKER_FILE: &str = "synced";

/// The true journal: its files and its records.
struct Original {
    files: Vec<(String, Vec<u8>)>,
    records: Vec<Record>,
}

fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let dir = room().join("original");
        drop(fs::remove_dir_all(&dir));
        let records: Vec<Record> = (0..30).map(record).collect();
        let (journal, _) = Journal::open(options(&dir), |_| {}).expect("a new journal opens");
        journal.save_vote(
            Vote {
                term: 1,
                node: 1,
                committed: true,
            },
            |done| done.expect("a vote is saved"),
        );
        for (at, group) in records.chunks(3).enumerate() {
            let (told, heard) = std::sync::mpsc::sync_channel(1);
            journal.append(group.to_vec(), move |done| {
                told.send(done).expect("somebody listens")
            });
            heard
                .recv()
                .expect("the writer answers")
                .expect("the disk is fine");
            let next = group.last().map_or(0, |record| record.index + 1);
            journal.commit(next);
            if at == 5 {
                let event_id = journal.committed_key();
                let lines = SNAPSHOT.join("\n") + "\n";
                journal
                    .write_snapshot(event_id, None, |file| file.write_all(lines.as_bytes()))
                    .expect("a snapshot is written");
            }
        }
        drop(journal);
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&dir)
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (name_of(&path), fs::read(&path).expect("a readable file")))
            .collect();
        files.sort();
        fs::remove_dir_all(&dir).expect("the directory can go");
        Original { files, records }
    })
}

fn record(index: u64) -> Record {
    let kind = match index {
        0 => Kind::Membership,
        1 | 15 => Kind::Blank,
        _ => Kind::Events,
    };
    let body = match kind {
        Kind::Blank => String::new(),
        Kind::Membership => "{\"members\":[1]}".to_owned(),
        Kind::Events => format!(
            "{{\"eventId\":{index}0,\"text\":\"{}\"}}\n",
            "x".repeat(index as usize * 3)
        ),
    };
    let key = if kind == Kind::Events { index * 10 } else { 0 };
    Record {
        index,
        term: 1 + index / 15,
        key,
        kind,
        body: Bytes::from(body),
    }
}

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 1024,
        ring_bytes: 1024,
        ..Options::new(dir, IDENTITY)
    }
}

/// In memory where there is such a file system: the disk has nothing to add here.
fn room() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    room.join(format!("mainspring-fuzz-{}", std::process::id()))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .expect("a file has a name")
        .to_string_lossy()
        .into_owned()
}

fuzz_target!(|input: &[u8]| {
    let Some((head, junk)) = input.split_at_checked(10) else {
        return;
    };
    let original = original();
    let (without_marker, with_cut) = (head[0] & 1 != 0, head[0] & 2 != 0);
    let chosen = usize::from(head[1]) % original.files.len();
    let place = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let cut = usize::from(u16::from_le_bytes([head[8], head[9]]));

    let dir = room().join("mutant");
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).expect("room for the mutant");
    let last = original
        .files
        .iter()
        .filter(|(name, _)| name.ends_with(".segment"))
        .map(|(name, _)| name)
        .next_back();
    let mut marker_is_true = !without_marker;
    for (at, (name, bytes)) in original.files.iter().enumerate() {
        let mut bytes = bytes.clone();
        if at == chosen && !bytes.is_empty() {
            let place = place % bytes.len();
            for (byte, flip) in bytes[place..].iter_mut().zip(&head[4..8]) {
                *byte ^= flip;
            }
        }
        if with_cut && Some(name) == last {
            bytes.truncate(cut % (bytes.len() + 1));
            bytes.extend_from_slice(junk);
        }
        if name == MARKER_FILE {
            if without_marker {
                continue;
            }
            marker_is_true &= bytes == original.files[at].1;
        }
        fs::write(dir.join(name), bytes).expect("room for a file");
    }

    // Operators look with these at what would not open.
    drop(inspect::verify(&dir));
    drop(inspect::info(&dir));
    drop(inspect::cat(&dir, 0, &mut std::io::sink()));

    let Ok((journal, recovered)) = Journal::open(options(&dir), |_| {}) else {
        return;
    };
    let (start, end) = journal.bounds();
    assert_eq!(start, 0, "nothing was purged");
    let true_end = original.records.len() as u64;
    assert!(
        !marker_is_true || end >= true_end,
        "S53: a promised record is missing and nobody says so: {end}"
    );
    // Junk may be a true record in the right place; only the fuzzer knows.
    let records = match journal.read(0, end.min(true_end)) {
        Ok(records) => records,
        // Segments that a snapshot covers are not scanned at the start: damage there is named to whoever reads it.
        Err(journal::ReadError::Damaged(_)) if recovered.snapshot.is_some() => Vec::new(),
        Err(error) => panic!("what was accepted can be read: {error}"),
    };
    let is_false = |(found, wanted): &(&Record, &Record)| found != wanted;
    if let Some((found, wanted)) = records.iter().zip(&original.records).find(is_false) {
        assert!(
            with_cut && !junk.is_empty(),
            "R7: served {found:?} instead of {wanted:?}"
        );
    }
    if let Some(snapshot) = recovered.snapshot {
        let lines: Result<Vec<String>, _> = snapshot.lines().and_then(Iterator::collect);
        assert_eq!(lines.expect("a checked snapshot is readable"), SNAPSHOT);
    }
});
