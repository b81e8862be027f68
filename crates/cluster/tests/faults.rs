//! A log whose disk fails: nobody is told a lie, the node is told to end, and the next start has what was confirmed.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::{AppendError, Batch, Disk, Log, OpenError, Options, Role};

/// Fails syncs, or writes, with a number as soon as it is set.
#[derive(Default)]
struct Switch {
    sync: AtomicI32,
    write: AtomicI32,
}

fn refused(switch: &AtomicI32) -> io::Result<()> {
    match switch.load(Ordering::SeqCst) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

impl Disk for Switch {
    fn sync(&self, file: &File) -> io::Result<()> {
        refused(&self.sync)?;
        cluster::RealDisk.sync(file)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        refused(&self.write)?;
        cluster::RealDisk.write_at(file, bytes, offset)
    }
}

fn options(dir: &Path) -> Options {
    Options::new(dir, "agent:A")
}

fn batch(id: u64) -> Batch {
    Batch {
        last_event_id: id,
        body: Bytes::from(format!("{{\"eventId\":{id}}}\n")),
    }
}

async fn poisoned(set: impl Fn(&Switch), errno_text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Switch::default());
    let mut faulty = options(dir.path());
    faulty.disk = Arc::clone(&disk) as Arc<dyn Disk>;
    let log = Log::open(faulty).await.unwrap().log;
    for id in 1..=20 {
        log.append(batch(id)).await.unwrap();
    }
    let fault = log.fault();
    set(&disk);
    let started = Instant::now();
    let told = log.append(batch(21)).await;
    let Err(AppendError::Stopped { reason }) = told else {
        panic!("R8: confirmed falsely: {told:?}")
    };
    assert!(
        reason.contains(errno_text) && reason.contains(".segment"),
        "{reason}"
    );
    assert!(
        tokio::time::timeout(Duration::from_secs(1), fault)
            .await
            .unwrap()
            .contains(errno_text)
    );
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "R8: the node is told at once"
    );
    // The disk is well again, but what it holds is not known: nothing more is written.
    disk.sync.store(0, Ordering::SeqCst);
    disk.write.store(0, Ordering::SeqCst);
    assert!(
        log.append(batch(22)).await.is_err(),
        "a failed sync is not repeated as if nothing had been lost"
    );
    assert_eq!(*log.committed().borrow(), 20);
    assert!(log.status().fault.is_some());
    assert_eq!(log.status().role, Role::Stopped);
    let released = tokio::time::timeout(Duration::from_secs(5), log.release(20)).await;
    assert!(released.is_ok(), "a stopped log does not hang");
    log.shutdown().await;

    let opened = Log::open(options(dir.path())).await.unwrap();
    let ids: Vec<u64> = opened.replay.map(|b| b.unwrap().last_event_id).collect();
    assert!(
        ids == (1..=20).collect::<Vec<_>>() || ids == (1..=21).collect::<Vec<_>>(),
        "S53: {ids:?}"
    );
    opened.log.append(batch(30)).await.unwrap();
    opened.log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_failed_sync_stops_the_log() {
    poisoned(|disk| disk.sync.store(5, Ordering::SeqCst), "os error 5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_full_disk_stops_the_log() {
    poisoned(|disk| disk.write.store(28, Ordering::SeqCst), "os error 28").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_snapshot_on_a_full_disk_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Switch::default());
    let mut faulty = options(dir.path());
    faulty.disk = Arc::clone(&disk) as Arc<dyn Disk>;
    let log = Log::open(faulty).await.unwrap().log;
    log.append(batch(1)).await.unwrap();
    disk.write.store(28, Ordering::SeqCst);
    let error = log
        .write_snapshot(1, |out| out.write_all(&vec![b'x'; 1 << 20]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("os error 28"), "{error}");
    disk.write.store(0, Ordering::SeqCst);
    log.append(batch(2)).await.unwrap();
    log.write_snapshot(2, |out| out.write_all(b"{}\n"))
        .await
        .unwrap();
    assert!(
        log.write_snapshot(3, |_| Ok(())).await.is_err(),
        "event 3 is not committed"
    );
    assert!(
        log.write_snapshot(1, |_| Ok(())).await.is_err(),
        "there is a newer one"
    );
    let error = log
        .write_snapshot(2, |_| Err(io::Error::other("the state is locked")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the state is locked"), "{error}");
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_in_the_middle_refuses_to_open_and_a_torn_tail_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(options(dir.path())).await.unwrap().log;
    for id in 1..=50 {
        log.append(batch(id)).await.unwrap();
    }
    log.shutdown().await;
    let segment = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "segment"))
        .unwrap();
    let whole = std::fs::read(&segment).unwrap();
    let mut bytes = whole.clone();
    bytes[600] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let Err(OpenError::Journal(error)) = Log::open(options(dir.path())).await else {
        panic!("served damaged")
    };
    assert!(
        error.to_string().contains(segment.to_str().unwrap()),
        "{error}"
    );

    let mut bytes = whole;
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    bytes[end..end + 20].copy_from_slice(b"MSJ\x01 never confirmed");
    std::fs::write(&segment, &bytes).unwrap();
    let opened = Log::open(options(dir.path())).await.unwrap();
    assert_eq!(opened.replay.count(), 50);
    opened.log.append(batch(51)).await.unwrap();
    opened.log.shutdown().await;
}
