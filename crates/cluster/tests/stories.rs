//! A node's life with its log: write, crash, come back, read on, let go.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::{AppendError, Batch, JournalError, Log, OpenError, Opened, Options, Role};

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 64 << 10;
    options
}

fn batch(id: u64) -> Batch {
    Batch {
        last_event_id: id,
        body: Bytes::from(format!("{{\"eventId\":{id},\"TYPE\":\"OrderMoved\"}}\n")),
    }
}

fn big_batch(id: u64, bytes: usize) -> Batch {
    Batch {
        last_event_id: id,
        body: Bytes::from(format!(
            "{{\"eventId\":{id},\"pad\":\"{}\"}}\n",
            "x".repeat(bytes)
        )),
    }
}

fn replayed(opened: &mut Opened) -> Vec<u64> {
    opened
        .replay
        .by_ref()
        .map(|b| b.expect("the log is whole").last_event_id)
        .collect()
}

/// A copy of the directory as a crash would leave it: the log goes on meanwhile, the copy does not see it.
fn copied(dir: &Path) -> (tempfile::TempDir, PathBuf) {
    let to = tempfile::tempdir().expect("a temporary directory");
    let path = to.path().join("log");
    std::fs::create_dir(&path).expect("a fresh directory");
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), path.join(entry.file_name())).expect("copied");
    }
    (to, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn s53_what_was_appended_is_replayed_after_a_crash_and_after_an_orderly_stop() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Log::open(options(dir.path())).await.unwrap();
    assert_eq!(opened.log.status().role, Role::Active);
    for id in 1..=100 {
        opened.log.append(batch(id)).await.unwrap();
    }
    assert_eq!(*opened.log.committed().borrow(), 100);
    let (_keep, crashed) = copied(dir.path());
    opened.log.shutdown().await;
    for path in [crashed.as_path(), dir.path()] {
        let mut opened = Log::open(options(path)).await.unwrap();
        assert_eq!(replayed(&mut opened), (1..=100).collect::<Vec<_>>(), "S53");
        assert_eq!(*opened.log.committed().borrow(), 100);
        opened.log.append(batch(101)).await.unwrap();
        opened.log.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_can_be_written_within_a_blink() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let opened = Log::open(options(dir.path())).await.unwrap();
    opened.log.append(batch(1)).await.unwrap();
    let took = started.elapsed();
    opened.log.shutdown().await;
    let again = Instant::now();
    let opened = Log::open(options(dir.path())).await.unwrap();
    opened.log.append(batch(2)).await.unwrap();
    let fault = opened.log.fault();
    println!("first start {took:?}, restart {:?}", again.elapsed());
    // The goal is 100 ms; the bound leaves room for a machine that compiles meanwhile.
    assert!(took < Duration::from_secs(2), "{took:?}");
    opened.log.shutdown().await;
    let told = tokio::time::timeout(Duration::from_millis(50), fault).await;
    assert!(told.is_err(), "an orderly end is no fault: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_in_flight_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Log::open(options(dir.path())).await.unwrap();
    let appends = (1..=500).map(|id| {
        let log = opened.log.clone();
        async move { log.append(batch(id)).await }
    });
    let told = futures::future::join_all(appends).await;
    assert!(told.iter().all(Result::is_ok));
    let counts = opened.log.status().counts;
    assert!(
        counts.syncs < 300,
        "P7: {} syncs for 500 appends in flight",
        counts.syncs
    );
    assert!(matches!(
        opened.log.append(batch(500)).await,
        Err(AppendError::NotRising { newest: 500, .. })
    ));
    let mut reader = opened.log.read_after(0).unwrap();
    for id in 1..=500 {
        assert_eq!(reader.next().await.unwrap().last_event_id, id);
    }
    opened.log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s43_a_reader_resumes_without_gap_or_repeat_from_memory_and_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.ring_bytes = 8 << 10;
    let opened = Log::open(options.clone()).await.unwrap();
    let log = opened.log;
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            for id in 1..=2000 {
                log.append(big_batch(id * 10, 200)).await.unwrap();
            }
        }
    });
    let mut seen = Vec::new();
    while seen.last() != Some(&20_000) {
        // A receiver that loses its connection now and then and comes back with the last event it has.
        let mut reader = log.read_after(seen.last().copied().unwrap_or(0)).unwrap();
        for _ in 0..70 {
            if seen.last() == Some(&20_000) {
                break;
            }
            seen.push(reader.next().await.unwrap().last_event_id);
        }
    }
    writer.await.unwrap();
    let expected: Vec<u64> = (1..=2000).map(|id| id * 10).collect();
    assert_eq!(seen, expected, "S43");
    // An id inside a batch gives the batch that contains the next event.
    assert_eq!(
        log.read_after(9995)
            .unwrap()
            .next()
            .await
            .unwrap()
            .last_event_id,
        10_000
    );
    assert_eq!(
        log.read_after(10_000)
            .unwrap()
            .next()
            .await
            .unwrap()
            .last_event_id,
        10_010
    );
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_hears_of_the_next_batch_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    let mut reader = log.read_after(0).unwrap();
    let waiting = tokio::spawn(async move { (reader.next().await, reader.next().await) });
    tokio::task::yield_now().await;
    log.append(batch(7)).await.unwrap();
    log.clone().shutdown().await;
    let (first, end) = waiting.await.unwrap();
    // The end may win over a batch that was not fetched yet, never the other way round.
    assert!(first.is_none_or(|b| b.last_event_id == 7));
    assert!(end.is_none());
    assert!(matches!(
        log.append(batch(8)).await,
        Err(AppendError::Stopped { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn s44_s55_s99_only_what_is_confirmed_and_covered_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    for id in 1..=1000 {
        log.append(big_batch(id, 1000)).await.unwrap();
    }
    let full = log.status();
    assert!(full.segments > 10);
    log.release(1000).await;
    assert_eq!(
        log.status().segments,
        full.segments,
        "S55: no snapshot covers anything yet"
    );
    log.write_snapshot(600, |out| out.write_all(b"{\"state\":600}\n"))
        .await
        .unwrap();
    log.release(300).await;
    // 1000 was confirmed before and stays confirmed; the snapshot is what limits now.
    let after = log.status();
    assert!(after.segments < full.segments, "S99: disk use falls");
    assert!(
        after.torn_event_id <= 600 && after.torn_event_id > 500,
        "S44: {after:?}"
    );
    assert!(log.read_after(10).is_err());
    let first = log
        .read_after(after.torn_event_id)
        .unwrap()
        .next()
        .await
        .unwrap();
    assert_eq!(first.last_event_id, after.torn_event_id + 1);
    let files = std::fs::read_dir(dir.path()).unwrap();
    let is_segment = |path: PathBuf| path.extension().is_some_and(|e| e == "segment");
    let segments = files
        .filter(|e| is_segment(e.as_ref().unwrap().path()))
        .count();
    assert_eq!(segments, after.segments, "S99: the files are gone");
    let (_keep, crashed) = copied(dir.path());
    log.shutdown().await;
    for path in [crashed.as_path(), dir.path()] {
        let mut opened = Log::open(options(path)).await.unwrap();
        let snapshot = opened.snapshot.clone().unwrap();
        assert_eq!(snapshot.event_id(), 600);
        let lines: Vec<String> = snapshot.lines().unwrap().map(Result::unwrap).collect();
        assert_eq!(lines, ["{\"state\":600}"]);
        assert_eq!(replayed(&mut opened), (601..=1000).collect::<Vec<_>>());
        assert_eq!(opened.log.torn_event_id(), after.torn_event_id);
        opened.log.append(batch(1001)).await.unwrap();
        opened.log.write_snapshot(1001, |_| Ok(())).await.unwrap();
        opened.log.release(1001).await;
        assert!(opened.log.status().segments <= 2, "S99: back to base line");
        opened.log.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_waits_for_the_slowest_confirmation() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    for id in 1..=500 {
        log.append(big_batch(id, 1000)).await.unwrap();
        if [180, 500].contains(&id) {
            log.write_snapshot(id, |_| Ok(())).await.unwrap();
        }
    }
    log.release(170).await;
    assert_eq!(
        log.torn_event_id(),
        0,
        "whoever begins with a snapshot needs 171"
    );
    log.release(200).await;
    let torn = log.torn_event_id();
    assert!(torn > 100 && torn <= 180, "S44: {torn}");
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_does_not_hold_up_appends() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    log.append(batch(1)).await.unwrap();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let writing = tokio::spawn({
        let log = log.clone();
        async move {
            log.write_snapshot(1, move |out| {
                out.write_all(b"{\"half\":1}\n")?;
                wait.recv().map_err(std::io::Error::other)?;
                out.write_all(b"{\"half\":2}\n")
            })
            .await
        }
    });
    for id in 2..=200 {
        log.append(batch(id)).await.unwrap();
    }
    assert_eq!(
        log.status().snapshot_event_id,
        0,
        "a snapshot is visible when complete"
    );
    let (_keep, crashed) = copied(dir.path());
    go.send(()).unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(log.status().snapshot_event_id, 1);
    log.shutdown().await;

    let opened = Log::open(options(&crashed)).await.unwrap();
    assert!(opened.snapshot.is_none(), "half a snapshot is none");
    opened.log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_and_a_foreign_node_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    let Err(OpenError::Journal(error @ JournalError::InUse { .. })) =
        Log::open(options(dir.path())).await
    else {
        panic!("a directory in use is opened");
    };
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
    log.shutdown().await;
    let mut foreign = options(dir.path());
    foreign.identity = "agent:A".to_owned();
    let Err(OpenError::Journal(error @ JournalError::Foreign { .. })) = Log::open(foreign).await
    else {
        panic!("a foreign directory is opened");
    };
    let text = error.to_string();
    assert!(
        text.contains("controller:Controller") && text.contains("agent:A"),
        "{text}"
    );
    let other = options(dir.path());
    std::fs::write(other.dir.join("member"), "2\n").unwrap();
    assert!(matches!(
        Log::open(other).await,
        Err(OpenError::NotAMember { node_id: 2, .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_an_idle_log_does_not_sync() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    log.append(batch(1)).await.unwrap();
    // The duration of the write in progress does not matter.
    let counts = || {
        let mut counts = log.status().counts;
        counts.writing_micros = 0;
        counts
    };
    let before = counts();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counts(), before, "P12: no flush when idle");
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_directory_without_its_members_number_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Log::open(options(dir.path())).await.unwrap();
    opened.log.shutdown().await;
    std::fs::remove_file(dir.path().join("member")).unwrap();
    let refused = Log::open(options(dir.path())).await.map(drop);
    assert!(
        matches!(&refused, Err(error @ OpenError::NoNumber { .. }) if error.to_string().contains("`member` is missing")),
        "{refused:?}"
    );
}
