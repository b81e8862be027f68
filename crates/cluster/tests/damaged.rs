//! A log that is damaged while its member is active: a member with an empty disk still learns it, and no member ends.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing story ends with its place"
)]

#[path = "support/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use cluster::{Log, Options, ReadError, Role, ScrubPace, set_aside};
use support::{batch, until, wire};
use tokio::task::JoinHandle;

fn options(dir: &Path, name: &str) -> Options {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 64 << 10;
    options.ring_bytes = 2 << 10;
    name.clone_into(&mut options.name);
    options.joins = name != "Primary";
    options
}

/// Changes one byte of an event on the disk.
fn damage(dir: &Path, id: u64) {
    let mark = format!("{{\"eventId\":{id},");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let mut places = bytes.windows(mark.len());
        if let Some(at) = places.position(|window| window == mark.as_bytes()) {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"#", (at + 30) as u64).unwrap();
            return;
        }
    }
    panic!("event {id} is not there");
}

/// Does what the node does when damage is found: writes a snapshot of the state and supersedes the damage.
fn supersede_when_found(log: &Log) -> JoinHandle<()> {
    let log = log.clone();
    let mut found = log.damage_found();
    tokio::spawn(async move {
        while found.changed().await.is_ok() {
            let at = *log.committed().borrow();
            log.write_snapshot(at, move |out| writeln!(out, "{{\"state\":{at}}}"))
                .await
                .unwrap();
            log.supersede_damage().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_an_empty_disk_learns_from_one_whose_log_is_damaged_and_nobody_ends() {
    let dirs: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = Log::open(options(dirs[0].path(), "Primary"))
        .await
        .unwrap()
        .log;
    for id in 1..=300 {
        a.append(batch(id)).await.unwrap();
    }
    // Readers have not confirmed any of it.
    a.release(0).await;
    damage(dirs[0].path(), 40);
    let superseding = supersede_when_found(&a);
    let b = Log::open(options(dirs[1].path(), "Backup"))
        .await
        .unwrap()
        .log;
    let _wire = wire(&a, &b);
    until("it is connected", || a.peers().len() == 1).await;
    a.let_learn(b.me().member).await.unwrap();
    until("it has everything", || *b.committed().borrow() == 300).await;
    let voters = BTreeSet::from([a.me().member, b.me().member]);
    a.set_voters(voters).await.unwrap();
    a.append(batch(301)).await.unwrap();
    until("it has the newest", || *b.committed().borrow() == 301).await;
    let told = a.status();
    assert_eq!((told.role, told.fault), (Role::Active, None));
    assert_eq!(told.damages.len(), 1);
    assert_eq!(a.torn_event_id(), 0, "no event was let go for it");
    let mut reader = a.read_after(0).unwrap();
    for id in 1..40 {
        assert_eq!(reader.next().await, Some(batch(id)));
    }
    assert_eq!(reader.next().await, None);
    assert!(matches!(reader.ended(), Some(ReadError::Damaged(_))));
    let mut reader = a.read_after(40).unwrap();
    for id in 41..=301 {
        assert_eq!(reader.next().await, Some(batch(id)));
    }
    let snapshot = b.opened().snapshot.unwrap();
    assert!(snapshot.event_id() >= 300, "{}", snapshot.event_id());

    // Confirmed segments are released as usual, the damaged one included.
    for id in 302..=600 {
        a.append(batch(id)).await.unwrap();
    }
    a.write_snapshot(600, |out| out.write_all(b"{}\n"))
        .await
        .unwrap();
    a.release(600).await;
    assert!(a.torn_event_id() > 40);
    assert!(a.damages().is_empty(), "{:?}", a.damages());
    superseding.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scrub_reports_damage_that_no_reader_has_met() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), "Primary");
    options.scrub = ScrubPace {
        every: Duration::from_millis(20),
        pause: Duration::from_millis(1),
        piece_bytes: 8 << 10,
    };
    let log = Log::open(options).await.unwrap().log;
    for id in 1..=100 {
        log.append(batch(id)).await.unwrap();
    }
    damage(dir.path(), 20);
    let mut found = log.damage_found();
    until("it is found", || found.has_changed().unwrap()).await;
    found.mark_unchanged();
    assert_eq!(log.status().damages.len(), 1);
    log.append(batch(101)).await.unwrap();
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_set_aside_is_kept_and_its_directory_never_begins_a_log_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let log = Log::open(options(&state, "Primary")).await.unwrap().log;
    log.append(batch(1)).await.unwrap();
    let number = log.me().member;
    log.shutdown().await;
    let aside = set_aside(&state).unwrap();
    let mode = std::fs::metadata(&state).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it is its owner's only");
    assert!(aside.join("member").exists(), "it is kept for inspection");
    let anew = Log::open(options(&state, "Primary")).await.unwrap().log;
    assert_ne!(
        anew.me().member,
        number,
        "it is another member for the votes"
    );
    assert_ne!(anew.leadership().borrow().role, Role::Active);
    assert!(anew.members().0.is_empty(), "it waits to be taken in");
    anew.shutdown().await;
    // A crash between the two renames.
    std::fs::rename(&state, dir.path().join("state.anew")).unwrap();
    let anew = Log::open(options(&state, "Primary")).await.unwrap().log;
    assert!(anew.members().0.is_empty(), "it still waits to be taken in");
    anew.shutdown().await;
    for _ in 0..3 {
        set_aside(&state).unwrap();
    }
    let kept = std::fs::read_dir(dir.path()).unwrap();
    let kept = kept.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("damaged")
    });
    assert_eq!(kept.count(), 2, "a bad disk does not become full by that");
}
