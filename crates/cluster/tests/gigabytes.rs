//! S97: a log of two gigabytes that nobody has confirmed is opened and read within bounds that do not depend on its size.
//!
//! Always: alone in its process, because the memory of the process is measured. The bounds are of memory and of bytes read, not of time, so
//! that a busy machine does not matter. `examples/large_log.rs` has the figures of larger logs.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failing story ends with its place")]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use cluster::{Batch, Log, Options};

/// The size of the log in bytes.
const LOG: u64 = 2 << 30;
/// Bytes of a batch, and so of an event.
const BATCH: usize = 4 << 20;
/// How much of the log comes after the snapshot.
const TAIL: u64 = 32 << 20;
/// How much memory opening and reading may take.
const MEMORY_MAX: u64 = 160 << 20;
/// How many segments a start may read. The tail lies in two at most; each is checked, and then replayed.
const SEGMENTS_READ_MAX: u64 = 4;

fn options(dir: &Path) -> Options {
    Options::new(dir, "agent:large")
}

/// Returns a number of a file in `/proc/self`, in the unit of that file.
fn number(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The memory of this process now, in bytes. From now on, the peak is measured anew.
fn memory_from_now_on() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    number("status", "VmRSS:") << 10
}

fn peak() -> u64 {
    number("status", "VmHWM:") << 10
}

async fn write(dir: &Path) -> u64 {
    let log = Log::open(options(dir)).await.unwrap().log;
    let (mut id, mut written) = (0, 0);
    let pad = "a line of output of a job that ran while nobody listened; ".repeat(BATCH / 58);
    while written < LOG {
        id += 1;
        let line = format!(
            "{{\"eventId\":{id},\"Key\":\"order-{id}\",\"TYPE\":\"OrderStdoutWritten\",\"chunk\":\"{pad}\"}}\n"
        );
        written += line.len() as u64;
        let body = Bytes::from(line);
        let batch = Batch {
            last_event_id: id,
            body,
        };
        log.append(batch).await.unwrap();
        if written >= LOG - TAIL && log.status().snapshot_event_id == 0 {
            let write = log.write_snapshot(id, |out| out.write_all(b"{\"state\":\"small\"}\n"));
            write.await.unwrap();
        }
    }
    log.shutdown().await;
    id
}

#[tokio::test]
async fn s97_a_log_of_gigabytes_is_opened_and_read_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let last = write(dir.path()).await;

    let before = memory_from_now_on();
    let read_before = number("io", "rchar:");
    let opened = Log::open(options(dir.path())).await.unwrap();
    let mut replayed = 0;
    for batch in opened.replay {
        replayed += batch.unwrap().body.len() as u64;
    }
    let read = number("io", "rchar:") - read_before;
    assert!(
        replayed <= TAIL + 2 * BATCH as u64,
        "S97: only what follows the snapshot is replayed: {replayed} bytes"
    );
    let read_max = SEGMENTS_READ_MAX * options(dir.path()).segment_bytes;
    assert!(
        read <= read_max,
        "S97: the start has read {read} bytes, more than {read_max}"
    );
    let grown = peak().saturating_sub(before);
    assert!(
        grown <= MEMORY_MAX,
        "S97: the start has taken {grown} bytes"
    );

    // A receiver that was away all the time catches up.
    let before = memory_from_now_on();
    let mut reader = opened.log.read_after(0).unwrap();
    let (mut reached, mut bytes) = (0, 0);
    while reached < last {
        let batch = reader.next().await.unwrap();
        assert_eq!(batch.last_event_id, reached + 1, "S97: nothing is missing");
        reached = batch.last_event_id;
        bytes += batch.body.len() as u64;
    }
    assert!(bytes >= LOG, "S97: all of it was read: {bytes} bytes");
    let grown = peak().saturating_sub(before);
    assert!(
        grown <= MEMORY_MAX,
        "S97: catching up has taken {grown} bytes"
    );
    opened.log.shutdown().await;
}
