//! Crash states and damage, enumerated over small journals: each either recovers to an allowed state or is named.

#![expect(
    clippy::unwrap_in_result,
    reason = "a helper of a test fails as the test does"
)]

use std::os::unix::fs::FileExt;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::*;
use crate::record::{HEADER_BYTES, Kind, Record};
use crate::snapshot::{self, SnapshotFile, SnapshotMeta};
use crate::storage::RealDisk;
use crate::{HardState, marker};
use crate::{Journal, Options};

/// In memory where possible: these tests read and write hundreds of thousands of states.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a temporary directory")
}

/// A journal of groups of one to three records, each group written by one write and one sync.
struct Built {
    dir: tempfile::TempDir,
    records: Vec<Record>,
    /// Index after the last record of each group.
    group_ends: Vec<u64>,
}

fn built(segment_bytes: u64, groups: u64, body_bytes: usize) -> Built {
    let dir = scratch();
    let mut options = Options::new(dir.path(), "controller:Controller");
    options.segment_bytes = segment_bytes;
    let (journal, _) = Journal::open(options, |fault| panic!("{fault}")).unwrap();
    let mut records = Vec::new();
    let mut group_ends = Vec::new();
    for group in 0..groups {
        let mut batch = Vec::new();
        for _ in 0..=group % 3 {
            let index = (records.len() + batch.len()) as u64;
            let (kind, key, body) = if index == 0 {
                (Kind::Membership, 0, Bytes::from_static(b"{}"))
            } else {
                let text = format!(
                    "{{\"eventId\":{},\"pad\":\"{}\"}}\n",
                    index * 10,
                    "x".repeat(body_bytes)
                );
                (Kind::Events, index * 10, Bytes::from(text))
            };
            batch.push(Record {
                index,
                term: 1 + group / 4,
                key,
                kind,
                body,
            });
        }
        let (sender, receiver) = sync_channel(1);
        records.extend(batch.iter().cloned());
        journal.append(batch, move |told| sender.send(told).unwrap());
        receiver.recv().unwrap().unwrap();
        group_ends.push(records.len() as u64);
    }
    Built {
        dir,
        records,
        group_ends,
    }
}

fn recovered(dir: &Path, promised: u64) -> Result<Vec<Record>, Damage> {
    match scan(dir, None, promised, None, to_work) {
        Ok(scan) => {
            let mut records = Vec::new();
            for segment in &scan.segments {
                let mut walk = segment.walk();
                while let Step::Record { record, .. } = walk.step().unwrap() {
                    records.push(record);
                }
            }
            assert_eq!(records.len() as u64, scan.next_index);
            Ok(records)
        }
        Err(OpenError::Damaged(damage)) => Err(damage),
        Err(other) => panic!("{other}"),
    }
}

/// Start, length, index of each record of a file.
fn spans(path: &Path, first_index: u64) -> Vec<(u64, u64, u64)> {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut walk = Walk::new(path.to_owned(), Arc::new(file), 0, length, first_index);
    let mut spans = Vec::new();
    loop {
        let start = walk.offset;
        let Step::Record { record, .. } = walk.step().unwrap() else {
            return spans;
        };
        spans.push((start, record.disk_bytes(), record.index));
    }
}

#[test]
fn r6_every_prefix_of_the_last_segment_recovers_to_its_whole_records() {
    let built = built(2 << 10, 14, 40);
    let dir = built.dir.path();
    let (first_index, path) = segment::list(dir).unwrap().pop().unwrap();
    let spans = spans(&path, first_index);
    let full = std::fs::read(&path).unwrap();
    let end = spans
        .last()
        .map(|(start, length, _)| start + length)
        .unwrap();
    let mut states = 0;
    for length in 0..=usize::try_from(end).unwrap() {
        let whole = spans
            .iter()
            .filter(|(start, bytes, _)| start + bytes <= length as u64)
            .count() as u64;
        let whole = first_index + whole;
        for padded in [false, true] {
            let mut bytes = full[..length].to_vec();
            if padded {
                bytes.resize(full.len(), 0);
            }
            std::fs::write(&path, &bytes).unwrap();
            for promised in 0..=built.records.len() as u64 {
                let told = recovered(dir, promised);
                if promised <= whole {
                    let kept = usize::try_from(whole).unwrap();
                    assert_eq!(
                        told.as_deref(),
                        Ok(&built.records[..kept]),
                        "R6: cut at {length}"
                    );
                } else {
                    let damage =
                        told.expect_err("R6: a promised record is missing and nobody says so");
                    assert_eq!(damage.path, path);
                }
                states += 1;
            }
        }
    }
    assert!(states > 5_000, "{states}");
}

#[test]
fn r6_a_group_whose_pieces_reach_the_disk_in_any_order_recovers_to_what_was_confirmed() {
    const PIECE: usize = 32;
    let built = built(1 << 20, 9, 30);
    let dir = built.dir.path();
    let (_, path) = segment::list(dir).unwrap().pop().unwrap();
    let full = std::fs::read(&path).unwrap();
    let spans = spans(&path, 0);
    let mut states = 0u64;
    let mut group_start = 0;
    for group_end in &built.group_ends {
        let from = spans
            .get(group_start)
            .map(|s| usize::try_from(s.0).unwrap())
            .unwrap();
        let last = spans[usize::try_from(group_end - 1).unwrap()];
        let to = usize::try_from(last.0 + last.1).unwrap();
        // Pieces are cut at fixed places of the file, as sectors are.
        let pieces: Vec<(usize, usize)> = (from / PIECE..=(to - 1) / PIECE)
            .map(|p| ((p * PIECE).max(from), ((p + 1) * PIECE).min(to)))
            .collect();
        assert!(pieces.len() < 15);
        for subset in 0..1u32 << pieces.len() {
            let mut bytes = full[..from].to_vec();
            bytes.resize(full.len().min(from + 4096), 0);
            for (number, (start, end)) in pieces.iter().enumerate() {
                if subset & (1 << number) != 0 {
                    bytes[*start..*end].copy_from_slice(&full[*start..*end]);
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            // The marker says no more than what was synced, and perhaps less.
            for promised in [0, group_start as u64] {
                let records =
                    recovered(dir, promised).unwrap_or_else(|damage| panic!("R6: {damage}"));
                assert!(
                    records.len() >= group_start,
                    "R6: confirmed records are lost"
                );
                assert_eq!(records, built.records[..records.len()], "R6");
                states += 1;
            }
        }
        group_start = usize::try_from(*group_end).unwrap();
    }
    assert!(states > 3_000, "{states}");
}

#[test]
fn r7_every_flipped_bit_is_named_or_harmless() {
    let built = built(2 << 10, 14, 40);
    let dir = built.dir.path();
    let promised = marker::read(dir);
    assert_eq!(promised, built.records.len() as u64);
    let files = segment::list(dir).unwrap();
    assert!(files.len() >= 2);
    let last_group = usize::try_from(built.group_ends[built.group_ends.len() - 2]).unwrap();
    for (first_index, path) in &files {
        let spans = spans(path, *first_index);
        let bytes = std::fs::read(path).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let at = (bit / 8) as u64;
            let flipped = bytes[bit / 8] ^ (1 << (bit % 8));
            file.write_all_at(&[flipped], at).unwrap();
            let hit = spans
                .iter()
                .find(|(start, length, _)| (*start..start + length).contains(&at));
            let told = recovered(dir, promised);
            if let Some((start, _, _)) = hit {
                let damage = told.expect_err("R7: a damaged record is served");
                assert_eq!(
                    (&damage.path, damage.offset),
                    (path, *start),
                    "R7: {damage}"
                );
            } else {
                assert_eq!(
                    told.as_deref(),
                    Ok(&built.records[..]),
                    "R7: reserved space, bit {bit}"
                );
            }
            // Should the marker be lost as well, nothing but the newest group can go unnoticed.
            if bit % 16 == 0
                && let Ok(records) = recovered(dir, 0)
            {
                assert!(records.len() >= last_group, "R7: confirmed records vanish");
                assert_eq!(records, built.records[..records.len()], "R7");
            }
            file.write_all_at(&bytes[bit / 8..=bit / 8], at).unwrap();
        }
    }
}

#[test]
fn r7_zeroed_and_swapped_blocks_are_named() {
    const BLOCK: usize = 4096;
    let built = built(64 << 10, 60, 700);
    let dir = built.dir.path();
    let promised = marker::read(dir);
    for (first_index, path) in segment::list(dir).unwrap() {
        let end = spans(&path, first_index)
            .last()
            .map_or(0, |(start, length, _)| start + length);
        let bytes = std::fs::read(&path).unwrap();
        let blocks = usize::try_from(end).unwrap().div_ceil(BLOCK);
        let check = |damaged: &[u8], what: &str| {
            std::fs::write(&path, damaged).unwrap();
            let damage = recovered(dir, promised).expect_err("R7: a damaged block is served");
            assert_eq!(damage.path, path, "R7: {what}: {damage}");
            if let Ok(records) = recovered(dir, 0) {
                assert_eq!(records, built.records[..records.len()], "R7: {what}");
            }
        };
        for block in 0..blocks {
            let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(bytes.len()));
            let mut zeroed = bytes.clone();
            zeroed[from..to].fill(0);
            check(&zeroed, "a zeroed block");
            for other in block + 1..blocks.min(block + 4) {
                let (other_from, other_to) =
                    (other * BLOCK, ((other + 1) * BLOCK).min(bytes.len()));
                if other_to - other_from != BLOCK {
                    continue;
                }
                let mut swapped = bytes.clone();
                swapped[from..to].copy_from_slice(&bytes[other_from..other_to]);
                swapped[other_from..other_to].copy_from_slice(&bytes[from..to]);
                check(&swapped, "swapped blocks");
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn r7_a_missing_segment_is_named() {
    let built = built(2 << 10, 20, 40);
    let dir = built.dir.path();
    let promised = marker::read(dir);
    let files = segment::list(dir).unwrap();
    assert!(files.len() >= 3);
    for (_, path) in &files {
        let bytes = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        recovered(dir, promised).expect_err("R7: a missing segment goes unnoticed");
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(recovered(dir, promised), Ok(built.records));
}

#[test]
fn r7_every_flipped_bit_of_vote_and_snapshot_is_named() {
    let dir = scratch();
    let state = HardState {
        vote: Some(crate::Vote {
            term: 3,
            node: 1,
            committed: true,
        }),
        purged: Some(Position {
            index: 10,
            term: 2,
            key: 100,
        }),
        membership: Some("{\"members\":[1]}".to_owned()),
    };
    state.write(&RealDisk, dir.path()).unwrap();
    assert_eq!(HardState::read(dir.path()).unwrap(), Some(state));
    flip_all(&dir.path().join(crate::hard_state::STATE_FILE), || {
        HardState::read(dir.path()).is_err()
    });

    let disk: Arc<dyn crate::storage::Disk> = Arc::new(RealDisk);
    let meta = SnapshotMeta::new(100, 10, 2, None);
    let body =
        |out: &mut dyn std::io::Write| out.write_all(b"{\"orderId\":\"A\"}\n{\"orderId\":\"B\"}\n");
    let written = snapshot::write(&disk, dir.path(), meta, body).unwrap();
    assert_eq!(
        SnapshotFile::check(&written.path).unwrap(),
        Ok(written.clone())
    );
    assert_eq!(written.line_count, 2);
    flip_all(&written.path, || {
        SnapshotFile::check(&written.path).unwrap().is_err()
    });
    let bytes = std::fs::read(&written.path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&written.path, &bytes[..length]).unwrap();
        assert!(
            SnapshotFile::check(&written.path).unwrap().is_err(),
            "R6: cut at {length}"
        );
    }
}

fn flip_all(path: &Path, is_named: impl Fn() -> bool) {
    let bytes = std::fs::read(path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, &flipped).unwrap();
        assert!(is_named(), "R7: bit {bit} of {}", path.display());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_marker_that_is_not_readable_promises_nothing() {
    let dir = scratch();
    let marker = marker::Marker::open(dir.path()).unwrap();
    marker.set(&RealDisk, 1234).unwrap();
    assert_eq!(marker::read(dir.path()), 1234);
    flip_all(&dir.path().join(marker::MARKER_FILE), || {
        marker::read(dir.path()) == 0
    });
}

#[test]
fn the_header_is_as_long_as_the_documentation_says() {
    assert_eq!(HEADER_BYTES, 48);
}
