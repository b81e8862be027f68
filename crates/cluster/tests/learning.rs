//! A member that is killed while it learns the log for the first time, at any of its disk changes, always joins in the end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing story ends with its place"
)]

#[path = "support/support.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::{Disk, Log, Options, RealDisk};
use support::{batch, until};
use tokio::task::JoinHandle;

/// A disk that fails from its `dies_at`th change on, as if the process had been killed there. A write in progress at that moment leaves
/// half of its bytes.
struct DyingDisk {
    changes: AtomicU64,
    dies_at: u64,
}

impl DyingDisk {
    fn new(dies_at: u64) -> Arc<Self> {
        Arc::new(Self {
            changes: AtomicU64::new(0),
            dies_at,
        })
    }

    fn change(&self) -> io::Result<()> {
        if self.changes.fetch_add(1, Ordering::SeqCst) >= self.dies_at {
            return Err(io::Error::other("the process is dead"));
        }
        Ok(())
    }

    fn has_died(&self) -> bool {
        self.changes.load(Ordering::SeqCst) > self.dies_at
    }
}

impl Disk for DyingDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.change()?;
        RealDisk.create(path)
    }
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.change()?;
        RealDisk.allocate(file, bytes)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Err(error) = self.change() {
            if self.changes.load(Ordering::SeqCst) == self.dies_at + 1 {
                file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            }
            return Err(error);
        }
        RealDisk.write_at(file, bytes, offset)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.change()?;
        RealDisk.sync(file)
    }
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.change()?;
        RealDisk.set_len(file, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealDisk.remove(path)
    }
    fn sync_directory(&self, dir: &Path) -> io::Result<()> {
        self.change()?;
        RealDisk.sync_directory(dir)
    }
}

fn options(dir: &Path, name: &str) -> Options {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 16 << 10;
    options.ring_bytes = 4 << 10;
    name.clone_into(&mut options.name);
    options.joins = name != "Primary";
    options
}

/// A connection between two members. Dropping this breaks it for both sides, as the end of the second member's process would.
struct Wire(JoinHandle<()>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn wire(active: &Log, other: &Log) -> Wire {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (active, other) = (active.clone(), other.clone());
    tokio::spawn(async move { drop(active.serve(near).await) });
    Wire(tokio::spawn(async move { drop(other.serve(far).await) }))
}

/// Lets the other member learn the log and gives it a vote, as the node of the active member does.
async fn take_in(active: &Log, other: &Log, newest: u64, story: &str) {
    let member = other.me().member;
    until(&format!("{story}: it is connected"), || {
        active
            .peers()
            .iter()
            .any(|peer| peer.hello.member == member && peer.is_connected)
    })
    .await;
    let (voters, learners) = active.members();
    if !learners.contains(&member) && !voters.contains(&member) {
        active.let_learn(member).await.unwrap();
    }
    until(&format!("{story}: it has everything"), || {
        *other.committed().borrow() == newest
            && active
                .peers()
                .iter()
                .any(|peer| peer.hello.member == member && !peer.is_lost)
    })
    .await;
    active
        .set_voters(BTreeSet::from([active.me().member, member]))
        .await
        .unwrap();
    until(&format!("{story}: it is a member"), || {
        other.members().0.contains(&member)
    })
    .await;
}

/// Runs a member that learns, until it has everything or its disk has died. Returns whether the disk has died.
async fn learn_and_die(active: &Log, dir: &Path, dies_at: u64) -> bool {
    let disk = DyingDisk::new(dies_at);
    let mut dying = options(dir, "Backup");
    dying.disk = Arc::clone(&disk) as Arc<dyn Disk>;
    let Ok(opened) = Log::open(dying).await else {
        assert!(disk.has_died());
        return true;
    };
    let log = opened.log;
    let wire = wire(active, &log);
    let member = log.me().member;
    let fault = log.fault();
    let learning = async {
        until("it is connected", || {
            active
                .peers()
                .iter()
                .any(|peer| peer.hello.member == member && peer.is_connected)
        })
        .await;
        active.let_learn(member).await.unwrap();
        let newest = *active.committed().borrow();
        until("it has learnt everything, or is dead", || {
            *log.committed().borrow() == newest || disk.has_died()
        })
        .await;
    };
    tokio::select! {
        () = learning => {}
        _ = fault => {}
    }
    drop(wire);
    log.shutdown().await;
    disk.has_died()
}

/// Returns an active member with events up to `newest`, of which those up to `released` are released.
async fn active_member(dir: &Path, newest: u64, released: u64) -> Log {
    let log = Log::open(options(dir, "Primary")).await.unwrap().log;
    for id in 1..=newest {
        log.append(batch(id)).await.unwrap();
        if id == released {
            log.write_snapshot(id, move |out| writeln!(out, "{{\"state\":{id}}}"))
                .await
                .unwrap();
        }
    }
    log.release(released).await;
    log
}

async fn dies_at_every_change(newest: u64, released: u64) {
    let mut dies_at = 0;
    loop {
        let dirs: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let active = active_member(dirs[0].path(), newest, released).await;
        let has_died = learn_and_die(&active, dirs[1].path(), dies_at).await;
        let story = format!("killed at change {dies_at} of its disk");
        let again = Log::open(options(dirs[1].path(), "Backup")).await;
        let again = again.unwrap_or_else(|error| panic!("{story}: {error}"));
        let wire = wire(&active, &again.log);
        take_in(&active, &again.log, newest, &story).await;
        let torn = again.log.torn_event_id();
        let mut reader = again.log.read_after(torn).unwrap();
        for id in torn + 1..=newest {
            assert_eq!(reader.next().await.unwrap(), batch(id), "{story}");
        }
        again.log.shutdown().await;
        drop(wire);
        active.shutdown().await;
        if !has_died {
            assert!(dies_at > 10, "{dies_at} changes");
            return;
        }
        dies_at += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_a_member_killed_at_any_change_of_its_disk_while_it_learns_the_log_joins_in_the_end() {
    dies_at_every_change(60, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_a_member_killed_at_any_change_of_its_disk_while_it_begins_with_a_snapshot_joins_in_the_end()
 {
    dies_at_every_change(90, 60).await;
}
