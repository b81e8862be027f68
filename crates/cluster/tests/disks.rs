//! A disk that fails, is full, is slow or never returns, on the active member, the standby and the watch in turn.
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
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::{AppendError, Disk, Log, Options, Part, PeerStatus, RealDisk, Role};
use support::{batch, until};
use tokio::task::JoinHandle;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A real disk with a switch for each kind of trouble.
#[derive(Default)]
struct Trouble {
    sync: AtomicI32,
    write: AtomicI32,
    allocate: AtomicI32,
    /// Milliseconds that a sync takes longer.
    slow: AtomicU64,
    /// No sync comes back.
    hangs: AtomicBool,
}

fn refused(switch: &AtomicI32) -> io::Result<()> {
    match switch.load(Ordering::SeqCst) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

impl Disk for Trouble {
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        refused(&self.allocate)?;
        RealDisk.allocate(file, bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        let slow = self.slow.load(Ordering::SeqCst);
        if slow > 0 {
            std::thread::sleep(Duration::from_millis(slow));
        }
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        refused(&self.sync)?;
        RealDisk.sync(file)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        refused(&self.write)?;
        RealDisk.write_at(file, bytes, offset)
    }
}

/// A member, its disk, and whether its log has told its node to end.
struct Node {
    dir: tempfile::TempDir,
    name: &'static str,
    part: Part,
    disk: Arc<Trouble>,
    log: Log,
}

fn options(dir: &Path, name: &str, part: Part, disk: &Arc<Trouble>) -> Options {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 64 << 10;
    options.ring_bytes = 16 << 10;
    name.clone_into(&mut options.name);
    options.part = part;
    options.joins = name != "Primary";
    options.disk = Arc::clone(disk) as Arc<dyn Disk>;
    options
}

async fn open(dir: &Path, name: &str, part: Part, disk: &Arc<Trouble>) -> Log {
    Log::open(options(dir, name, part, disk)).await.unwrap().log
}

impl Node {
    async fn new(name: &'static str, part: Part) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Trouble::default());
        let log = open(dir.path(), name, part, &disk).await;
        Self {
            dir,
            name,
            part,
            disk,
            log,
        }
    }

    fn role(&self) -> Role {
        self.log.leadership().borrow().role
    }

    fn sees(&self, other: &Node) -> PeerStatus {
        let peers = self.log.peers().into_iter();
        let mut seen = peers.filter(|peer| peer.hello.name == other.name);
        seen.next().unwrap()
    }

    /// As the service manager does after the process has ended with 98.
    async fn start_again(self) -> Self {
        self.log.shutdown().await;
        let log = open(self.dir.path(), self.name, self.part, &self.disk).await;
        Self { log, ..self }
    }

    /// The log has told its node to end, within a second.
    async fn ends(&self) -> String {
        tokio::time::timeout(Duration::from_secs(1), self.log.fault())
            .await
            .unwrap_or_else(|_| panic!("R8: {} goes on", self.name))
    }
}

/// A connection between two members. Both sides see it break when this is dropped, as when one's process ends.
struct Wire(JoinHandle<()>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn wire(a: &Node, b: &Node) -> Wire {
    let (near, mut near_middle) = tokio::io::duplex(64 << 10);
    let (far, mut far_middle) = tokio::io::duplex(64 << 10);
    let (a, b) = (a.log.clone(), b.log.clone());
    tokio::spawn(async move { drop(a.serve(near).await) });
    tokio::spawn(async move { drop(b.serve(far).await) });
    Wire(tokio::spawn(async move {
        drop(tokio::io::copy_bidirectional(&mut near_middle, &mut far_middle).await);
    }))
}

struct Pair {
    active: Node,
    standby: Node,
    watch: Node,
    active_standby: Wire,
    active_watch: Wire,
    standby_watch: Wire,
}

async fn pair() -> Pair {
    let active = Node::new("Primary", Part::Data).await;
    let standby = Node::new("Backup", Part::Data).await;
    let watch = Node::new("watch", Part::Watch).await;
    let pair = Pair {
        active_standby: wire(&active, &standby),
        active_watch: wire(&active, &watch),
        standby_watch: wire(&standby, &watch),
        active,
        standby,
        watch,
    };
    until("both are connected", || pair.active.log.peers().len() == 2).await;
    let mut voters = BTreeSet::from([pair.active.log.me().member]);
    for other in [&pair.standby, &pair.watch] {
        pair.active
            .log
            .let_learn(other.log.me().member)
            .await
            .unwrap();
        voters.insert(other.log.me().member);
    }
    until("the others have caught up", || {
        pair.active.log.peers().iter().all(|peer| !peer.is_lost)
    })
    .await;
    pair.active.log.set_voters(voters).await.unwrap();
    for id in 1..=20 {
        pair.active.log.append(batch(id)).await.unwrap();
    }
    pair
}

async fn ids(log: &Log, count: usize) -> Vec<u64> {
    let mut reader = log.read_after(0).unwrap();
    let mut ids = Vec::new();
    while ids.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
        ids.push(next.unwrap().unwrap().last_event_id);
    }
    ids
}

async fn the_active_members_disk(set: impl Fn(&Trouble), heal: impl Fn(&Trouble), errno: &str) {
    let Pair {
        active,
        standby,
        watch,
        active_standby,
        active_watch,
        standby_watch,
    } = pair().await;
    set(&active.disk);
    // Until the first write that the disk refuses; what the others have is acknowledged rightly meanwhile.
    let mut acknowledged = 20;
    let told = loop {
        match active.log.append(batch(acknowledged + 1)).await {
            Ok(()) => acknowledged += 1,
            Err(told) => break told,
        }
    };
    assert!(
        matches!(&told, AppendError::Stopped { reason } if reason.contains(errno)),
        "{told}"
    );
    assert!(active.ends().await.contains(errno));
    assert!(!active.log.may_answer());
    // Exit code 98: the connections break.
    drop((active_standby, active_watch));
    let begun = Instant::now();
    until("the standby follows", || standby.role() == Role::Active).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let count = usize::try_from(acknowledged).unwrap();
    assert_eq!(
        ids(&standby.log, count).await,
        (1..=acknowledged).collect::<Vec<_>>(),
        "nothing acknowledged is lost"
    );
    standby.log.append(batch(100_000)).await.unwrap();

    heal(&active.disk);
    let back = active.start_again().await;
    let _wires = (wire(&back, &standby), wire(&back, &watch), standby_watch);
    until("it is in sync again", || !standby.sees(&back).is_lost).await;
    assert_eq!(back.role(), Role::Standby);
    until("it has the newest", || {
        *back.log.committed().borrow() == 100_000
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_failed_sync_of_the_active_member_stops_it_and_the_other_follows() {
    the_active_members_disk(
        |disk| disk.sync.store(EIO, Ordering::SeqCst),
        |disk| disk.sync.store(0, Ordering::SeqCst),
        "os error 5",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_full_disk_of_the_active_member_stops_it_and_the_other_follows() {
    // Space is reserved by segments: that is where a full disk is met.
    the_active_members_disk(
        |disk| disk.allocate.store(ENOSPC, Ordering::SeqCst),
        |disk| disk.allocate.store(0, Ordering::SeqCst),
        "os error 28",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_member_that_is_started_while_its_disk_is_still_full_says_so_and_starts_when_there_is_room()
 {
    let pair = pair().await;
    pair.standby.disk.allocate.store(ENOSPC, Ordering::SeqCst);
    for id in 21..=400 {
        pair.active.log.append(batch(id)).await.unwrap();
    }
    pair.standby.ends().await;
    drop((pair.active_standby, pair.standby_watch));
    let Node {
        dir,
        name,
        part,
        disk,
        log,
    } = pair.standby;
    log.shutdown().await;
    for id in 401..=403 {
        let Err(error) = Log::open(options(dir.path(), name, part, &disk)).await else {
            panic!("there is no room")
        };
        let text = error.to_string();
        assert!(
            text.contains("os error 28") && text.contains("make space"),
            "{text}"
        );
        pair.active.log.append(batch(id)).await.unwrap();
    }
    disk.allocate.store(0, Ordering::SeqCst);
    let log = open(dir.path(), name, part, &disk).await;
    let back = Node {
        dir,
        name,
        part,
        disk,
        log,
    };
    let _wires = (wire(&pair.active, &back), wire(&back, &pair.watch));
    let begun = Instant::now();
    until("it is in sync again", || !pair.active.sees(&back).is_lost).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "R8");
}

async fn the_standbys_disk(set: impl Fn(&Trouble), heal: impl Fn(&Trouble), errno: &str) {
    let pair = pair().await;
    set(&pair.standby.disk);
    for id in 21..=400 {
        pair.active.log.append(batch(id)).await.unwrap();
    }
    assert!(pair.standby.ends().await.contains(errno));
    drop((pair.active_standby, pair.standby_watch));
    pair.active.log.append(batch(401)).await.unwrap();
    assert!(
        pair.active.sees(&pair.standby).is_lost,
        "ClusterPassiveLost"
    );
    assert_eq!(pair.active.role(), Role::Active);

    heal(&pair.standby.disk);
    let back = pair.standby.start_again().await;
    let _wires = (
        wire(&pair.active, &back),
        wire(&back, &pair.watch),
        pair.active_watch,
    );
    until("it is in sync again", || !pair.active.sees(&back).is_lost).await;
    pair.active.log.append(batch(402)).await.unwrap();
    assert_eq!(ids(&back.log, 402).await, (1..=402).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_failed_sync_of_the_standby_stops_it_and_the_active_member_goes_on() {
    the_standbys_disk(
        |disk| disk.sync.store(EIO, Ordering::SeqCst),
        |disk| disk.sync.store(0, Ordering::SeqCst),
        "os error 5",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_full_disk_of_the_standby_stops_it_and_the_active_member_goes_on() {
    the_standbys_disk(
        |disk| disk.allocate.store(ENOSPC, Ordering::SeqCst),
        |disk| disk.allocate.store(0, Ordering::SeqCst),
        "os error 28",
    )
    .await;
}

async fn the_watchs_disk(errno: i32) {
    let pair = pair().await;
    pair.watch.disk.sync.store(errno, Ordering::SeqCst);
    for id in 21..=60 {
        pair.active.log.append(batch(id)).await.unwrap();
    }
    assert!(
        pair.watch
            .ends()
            .await
            .contains(&format!("os error {errno}"))
    );
    drop((pair.active_watch, pair.standby_watch));
    for id in 61..=80 {
        pair.active.log.append(batch(id)).await.unwrap();
    }
    assert!(!pair.active.sees(&pair.standby).is_lost, "still coupled");
    until("the third vote is missing, and shown so", || {
        !pair.active.sees(&pair.watch).is_connected
    })
    .await;

    pair.watch.disk.sync.store(0, Ordering::SeqCst);
    let back = pair.watch.start_again().await;
    let _wires = (
        wire(&pair.active, &back),
        wire(&pair.standby, &back),
        pair.active_standby,
    );
    until("the watch is back", || !pair.active.sees(&back).is_lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_failed_disk_of_the_watch_stops_it_and_the_pair_stays_coupled() {
    the_watchs_disk(EIO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_full_disk_of_the_watch_stops_it_and_the_pair_stays_coupled() {
    the_watchs_disk(ENOSPC).await;
}

/// How long appends take, one after the other, for some time: half of them no longer than this.
async fn latency(log: &Log, next: &mut u64, during: Duration) -> Duration {
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < during {
        let started = Instant::now();
        log.append(batch(*next)).await.unwrap();
        took.push(started.elapsed());
        *next += 1;
    }
    took.sort();
    took[took.len() / 2]
}

/// A hundred times slower than a good disk.
const SLOW: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_standby_with_a_slow_disk_is_lost_after_a_while_and_comes_back_when_the_disk_is_well()
{
    let pair = pair().await;
    let log = &pair.active.log;
    let mut next = 21;
    pair.standby.disk.slow.store(SLOW, Ordering::SeqCst);
    latency(log, &mut next, Duration::from_secs(3)).await;
    let seen = pair.active.sees(&pair.standby);
    assert!(seen.is_lost && seen.is_slow, "{seen:?}");
    let without = latency(log, &mut next, Duration::from_secs(2)).await;
    assert!(without < Duration::from_millis(SLOW / 2), "{without:?}");
    let seen = pair.active.sees(&pair.standby);
    assert!(seen.is_lost, "still slow: it is not tried over and over");
    assert!(seen.is_connected, "it goes on learning");

    pair.standby.disk.slow.store(0, Ordering::SeqCst);
    let begun = Instant::now();
    while pair.active.sees(&pair.standby).is_lost {
        latency(log, &mut next, Duration::from_millis(100)).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "it stays lost");
    }
    assert!(!pair.active.sees(&pair.standby).is_slow);
    let standby = &pair.standby.log;
    until("it has everything", || {
        *standby.committed().borrow() == next - 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_slow_disk_of_the_active_member_is_made_up_for_by_the_two_others() {
    let pair = pair().await;
    pair.active.disk.slow.store(4 * SLOW, Ordering::SeqCst);
    let took = latency(&pair.active.log, &mut 21, Duration::from_secs(3)).await;
    assert!(took < Duration::from_millis(2 * SLOW), "{took:?}");
    assert_eq!(pair.active.role(), Role::Active);
    assert!(pair.active.log.may_answer());
    assert!(!pair.active.sees(&pair.standby).is_lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_slow_disk_of_the_watch_is_not_noticed_while_the_pair_is_coupled() {
    let pair = pair().await;
    pair.watch.disk.slow.store(4 * SLOW, Ordering::SeqCst);
    let took = latency(&pair.active.log, &mut 21, Duration::from_secs(3)).await;
    assert!(took < Duration::from_millis(2 * SLOW), "{took:?}");
    assert!(!pair.active.sees(&pair.standby).is_lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_the_active_member_that_never_returns_is_told_and_what_was_acknowledged_lies_on_it_later()
 {
    let pair = pair().await;
    let disk = Arc::clone(&pair.active.disk);
    disk.hangs.store(true, Ordering::SeqCst);
    let log = &pair.active.log;
    let mut next = 21;
    let took = latency(log, &mut next, Duration::from_secs(1)).await;
    assert!(took < Duration::from_millis(2 * SLOW), "{took:?}");
    assert_eq!(log.disk_is_stuck(), None, "it may be slow");
    until("it is told", || log.disk_is_stuck().is_some()).await;
    assert_eq!(pair.standby.log.disk_is_stuck(), None);
    latency(log, &mut next, Duration::from_millis(100)).await;
    assert!(log.may_answer() && !pair.active.sees(&pair.standby).is_lost);

    disk.hangs.store(false, Ordering::SeqCst);
    until("it is over", || log.disk_is_stuck().is_none()).await;
    let back = pair.active.start_again().await;
    let _wires = (wire(&back, &pair.standby), wire(&back, &pair.watch));
    let count = usize::try_from(next - 1).unwrap();
    assert_eq!(ids(&back.log, count).await, (1..next).collect::<Vec<_>>());
}
