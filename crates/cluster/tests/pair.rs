//! A pair and its watch: joining, losing, following, switching, coming back.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing story ends with its place"
)]

#[path = "support/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cluster::{AppendError, LinkEnd, Log, Options, Part, ProcessRun, Role};
use support::{Wire, batch, until, wire};

fn options(dir: &Path, name: &str, part: Part) -> Options {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 64 << 10;
    options.ring_bytes = 16 << 10;
    name.clone_into(&mut options.name);
    options.part = part;
    options.joins = name != "Primary";
    options
}

async fn member(dir: &Path, name: &str, part: Part) -> Log {
    Log::open(options(dir, name, part)).await.unwrap().log
}

fn role(log: &Log) -> Role {
    log.leadership().borrow().role
}

async fn read_all(log: &Log, count: u64) -> Vec<u64> {
    read_after(log, 0, count).await
}

async fn read_after(log: &Log, event_id: u64, count: u64) -> Vec<u64> {
    let mut reader = log.read_after(event_id).unwrap();
    let mut ids = Vec::new();
    while (ids.len() as u64) < count {
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
        ids.push(next.expect("in time").expect("goes on").last_event_id);
    }
    ids
}

struct Pair {
    dirs: [tempfile::TempDir; 3],
    a: Log,
    b: Log,
    watch: Log,
    ab: Wire,
    aw: Wire,
    bw: Wire,
}

async fn pair() -> Pair {
    let dirs = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    for id in 1..=50 {
        a.append(batch(id)).await.unwrap();
    }
    let b = member(dirs[1].path(), "Backup", Part::Data).await;
    let watch = member(dirs[2].path(), "watch", Part::Watch).await;
    let (ab, aw, bw) = (wire(&a, &b), wire(&a, &watch), wire(&b, &watch));
    until("both are connected", || a.peers().len() == 2).await;
    couple(&a, &[&b, &watch]).await;
    Pair {
        dirs,
        a,
        b,
        watch,
        ab,
        aw,
        bw,
    }
}

async fn couple(active: &Log, others: &[&Log]) {
    let mut voters = BTreeSet::from([active.me().member]);
    for other in others {
        active.let_learn(other.me().member).await.unwrap();
        voters.insert(other.me().member);
    }
    until("the others have caught up", || {
        active.peers().iter().all(|peer| !peer.is_lost)
    })
    .await;
    active.set_voters(voters).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_a_running_single_member_becomes_a_pair_and_both_have_every_event() {
    let pair = pair().await;
    for id in 51..=200 {
        pair.a.append(batch(id)).await.unwrap();
    }
    assert_eq!(read_all(&pair.b, 200).await, (1..=200).collect::<Vec<_>>());
    assert_eq!(role(&pair.b), Role::Standby);
    assert!(matches!(
        pair.b.append(batch(201)).await,
        Err(AppendError::NotActive { .. })
    ));
    assert!(pair.a.may_answer());
    assert!(!pair.b.may_answer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s30_when_the_active_member_is_cut_off_the_other_follows_with_everything_acknowledged() {
    let Pair {
        dirs: _dirs,
        a,
        b,
        watch,
        ab,
        aw,
        bw,
    } = pair().await;
    for id in 51..=100 {
        a.append(batch(id)).await.unwrap();
    }
    drop((ab, aw));
    until("the other is active", || role(&b) == Role::Active).await;
    assert_eq!(read_all(&b, 100).await, (1..=100).collect::<Vec<_>>());
    b.append(batch(102)).await.unwrap();

    // The old one is alive, but nobody agrees with it any more.
    until("the old one may not answer", || !a.may_answer()).await;
    let stale = tokio::time::timeout(Duration::from_millis(500), a.append(batch(101))).await;
    assert!(
        !matches!(stale, Ok(Ok(()))),
        "S2: nothing is acknowledged twice over"
    );

    // It finds its place by itself, and what it could not replicate was never visible.
    let (_ab, _aw) = (wire(&a, &b), wire(&a, &watch));
    until("the old one follows", || role(&a) == Role::Standby).await;
    b.append(batch(103)).await.unwrap();
    let mut reader = a.read_after(100).unwrap();
    for id in [102, 103] {
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
        assert_eq!(next.unwrap().unwrap().last_event_id, id);
    }
    drop(bw);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_goes_on_without_its_standby_and_the_standby_may_not_follow_until_it_has_caught_up()
{
    let Pair {
        dirs: _dirs,
        a,
        b,
        watch,
        ab,
        aw,
        bw,
    } = pair().await;
    drop((ab, bw));
    for id in 51..=80 {
        a.append(batch(id)).await.unwrap();
    }
    let lost = a
        .peers()
        .into_iter()
        .find(|peer| peer.hello.name == "Backup");
    assert!(lost.unwrap().is_lost, "ClusterPassiveLost");
    // Now the active one is cut off as well: the standby lacks events that were acknowledged.
    drop(aw);
    let _bw = wire(&b, &watch);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_ne!(role(&b), Role::Active, "S133: not in sync, so no fail-over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s133_the_active_part_is_handed_over_by_command() {
    let pair = pair().await;
    pair.a.hand_over_to(pair.b.me().member).await.unwrap();
    until("the other is active", || role(&pair.b) == Role::Active).await;
    until("this one follows", || role(&pair.a) == Role::Standby).await;
    pair.b.append(batch(51)).await.unwrap();
    assert_eq!(read_all(&pair.a, 51).await.last(), Some(&51));
    assert_ne!(role(&pair.watch), Role::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s133_a_member_that_was_started_again_a_moment_ago_takes_over_when_it_is_asked() {
    let Pair {
        dirs,
        a,
        b,
        watch,
        ab,
        aw: _aw,
        bw,
    } = pair().await;
    let term = a.status().term;
    drop((ab, bw));
    b.shutdown().await;
    let b = member(dirs[1].path(), "Backup", Part::Data).await;
    let _wires = (wire(&a, &b), wire(&b, &watch));
    until("it has everything, as the active one sees it", || {
        let mut peers = a.peers().into_iter();
        peers.any(|peer| peer.hello.name == "Backup" && peer.is_connected && !peer.is_lost)
    })
    .await;
    a.hand_over_to(b.me().member).await.unwrap();
    assert!(a.another_is_active(Duration::from_secs(10)).await);
    until("the other is active", || role(&b) == Role::Active).await;
    assert_eq!(b.status().term, term + 1);
    assert!(b.was_handed_over(), "and knows how it became so");
    assert!(!a.was_handed_over());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_an_empty_disk_learns_from_a_snapshot_when_the_log_no_longer_begins_at_the_beginning()
 {
    let dirs: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    for id in 1..=1000 {
        a.append(batch(id)).await.unwrap();
    }
    a.write_snapshot(900, |out| out.write_all(b"{\"state\":900}\n"))
        .await
        .unwrap();
    a.release(900).await;
    assert!(a.torn_event_id() > 0, "the log's beginning is gone");

    let b = member(dirs[1].path(), "Backup", Part::Data).await;
    let ab = wire(&a, &b);
    until("it is connected", || a.peers().len() == 1).await;
    couple(&a, &[&b]).await;
    a.append(batch(1001)).await.unwrap();
    until("it has the newest", || *b.committed().borrow() == 1001).await;
    let opened = b.opened();
    let lines: Vec<_> = opened
        .snapshot
        .expect("it has the snapshot")
        .lines()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(lines, ["{\"state\":900}"]);
    let ids: Vec<u64> = opened.replay.map(|b| b.unwrap().last_event_id).collect();
    assert_eq!(ids, (901..=1001).collect::<Vec<_>>());

    // It comes back from its disk as what it is.
    drop(ab);
    b.shutdown().await;
    let b = member(dirs[1].path(), "Backup", Part::Data).await;
    let _ab = wire(&a, &b);
    a.append(batch(1002)).await.unwrap();
    until("it has caught up", || *b.committed().borrow() == 1002).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_a_reader_who_lags_finds_his_events_at_a_member_that_began_with_a_snapshot() {
    let dirs: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    for id in 1..=1000 {
        a.append(batch(id)).await.unwrap();
        if [300, 600, 900].contains(&id) {
            a.write_snapshot(id, move |out| writeln!(out, "{{\"state\":{id}}}"))
                .await
                .unwrap();
        }
    }
    // The reader has confirmed less than the newest snapshots contain.
    a.release(500).await;
    let torn = a.torn_event_id();
    assert!(
        (1..=300).contains(&torn),
        "the log goes on from 300: {torn}"
    );

    let b = member(dirs[1].path(), "Backup", Part::Data).await;
    let ab = wire(&a, &b);
    until("it is connected", || a.peers().len() == 1).await;
    couple(&a, &[&b]).await;
    until("it has the newest", || *b.committed().borrow() == 1000).await;
    assert_eq!(b.opened().snapshot.map(|file| file.event_id()), Some(300));
    let ids = read_after(&b, 500, 500).await;
    assert_eq!(ids, (501..=1000).collect::<Vec<_>>());

    // When he has caught up, the older snapshots go, also after a restart.
    drop(ab);
    a.shutdown().await;
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    let _ab = wire(&a, &b);
    until("somebody is active", || {
        [&a, &b].iter().any(|member| role(member) == Role::Active)
    })
    .await;
    for member in [&a, &b] {
        member.release(1000).await;
    }
    let torn = a.torn_event_id();
    assert!(
        (301..=900).contains(&torn),
        "the log goes on from 900: {torn}"
    );
    assert_eq!(a.opened().snapshot.map(|file| file.event_id()), Some(900));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_active_under_several_terms_comes_back_from_its_disk_as_the_one_that_follows()
 {
    let Pair {
        dirs,
        a,
        b,
        watch,
        ab,
        aw,
        bw,
    } = pair().await;
    for (turn, (from, to)) in (0_u64..).zip([(&a, &b), (&b, &a), (&a, &b)]) {
        for id in 0..10 {
            from.append(batch(100 + turn * 10 + id)).await.unwrap();
        }
        from.hand_over_to(to.me().member).await.unwrap();
        until("the other is active", || role(to) == Role::Active).await;
    }
    drop((ab, aw));
    a.shutdown().await;
    b.append(batch(200)).await.unwrap();
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    let _wires = (wire(&a, &b), wire(&a, &watch));
    b.append(batch(201)).await.unwrap();
    until("it has the newest", || *a.committed().borrow() == 201).await;
    assert_eq!(role(&a), Role::Standby);
    let ids = read_all(&a, 82).await;
    assert_eq!(ids.last(), Some(&201));
    drop(bw);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_member_that_began_alone_may_be_told_later_that_it_joins() {
    let pair = pair().await;
    drop((pair.ab, pair.aw));
    let number = pair.a.me().member;
    pair.a.shutdown().await;
    let mut joining = options(pair.dirs[0].path(), "Primary", Part::Data);
    joining.joins = true;
    let a = Log::open(joining).await.unwrap().log;
    assert_eq!(a.me().member, number, "its directory is the same");
    let _wires = (wire(&a, &pair.b), wire(&a, &pair.watch));
    until("one of them is active", || {
        role(&a) == Role::Active || role(&pair.b) == Role::Active
    })
    .await;
    drop(pair.bw);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_fall_together_the_pair_stands_up_by_itself() {
    let Pair {
        dirs,
        a,
        b,
        watch,
        ab,
        aw,
        bw,
    } = pair().await;
    for id in 51..=100 {
        a.append(batch(id)).await.unwrap();
    }
    drop((ab, aw, bw));
    for log in [a, b, watch] {
        log.shutdown().await;
    }
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    let b = member(dirs[1].path(), "Backup", Part::Data).await;
    let watch = member(dirs[2].path(), "watch", Part::Watch).await;
    let _wires = (wire(&a, &b), wire(&a, &watch), wire(&b, &watch));
    until("one is active", || {
        role(&a) == Role::Active || role(&b) == Role::Active
    })
    .await;
    let active = if role(&a) == Role::Active { &a } else { &b };
    active.append(batch(101)).await.unwrap();
    for log in [&a, &b] {
        assert_eq!(read_all(log, 101).await, (1..=101).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_keeps_no_event() {
    let pair = pair().await;
    let mut big = batch(51);
    big.body = Bytes::from(vec![b'x'; 1 << 20]);
    pair.a.append(big).await.unwrap();
    until("the watch has the entry", || {
        pair.a
            .peers()
            .iter()
            .any(|peer| peer.hello.part == Part::Watch && !peer.is_lost)
    })
    .await;
    assert!(pair.watch.status().bytes < 64 << 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_directory_that_was_not_told_to_join_does_so_when_the_others_have_the_log() {
    let Pair {
        dirs: _dirs,
        a,
        b,
        watch,
        ab,
        aw,
        bw: _bw,
    } = pair().await;
    drop((ab, aw));
    let before = a.me().member;
    a.shutdown().await;
    until("the other is active", || role(&b) == Role::Active).await;

    let empty = tempfile::tempdir().unwrap();
    let mut wiped = options(empty.path(), "Primary", Part::Data);
    assert!(!wiped.joins);
    cluster::join_if_begun(&mut wiped, &[&b, &watch], |other: &&Log| {
        let (near, far) = tokio::io::duplex(64 << 10);
        let other = (*other).clone();
        tokio::spawn(async move { drop(other.serve(far).await) });
        std::future::ready(Some(near))
    })
    .await;
    assert!(wiped.joins, "a second log of this name must not begin");
    assert_eq!(b.peers().len(), 2, "whoever only asks is no member");

    let a = Log::open(wiped).await.unwrap().log;
    assert_ne!(a.me().member, before, "it is another member for the votes");
    let _wires = (wire(&a, &b), wire(&a, &watch));
    b.let_learn(a.me().member).await.unwrap();
    until("it has everything", || *a.committed().borrow() == 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_member_of_a_new_cluster_begins_though_nobody_else_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = options(dir.path(), "Primary", Part::Data);
    let unreachable = |_: &&str| std::future::ready(None::<tokio::io::DuplexStream>);
    let begun = std::time::Instant::now();
    cluster::join_if_begun(&mut first, &["one", "two"], unreachable).await;
    assert!(!first.joins && begun.elapsed() < Duration::from_secs(5));
    let log = Log::open(first).await.unwrap().log;
    assert_eq!(role(&log), Role::Active);
    log.shutdown().await;
    // From now on it has a log, and asks nobody.
    let mut again = options(dir.path(), "Primary", Part::Data);
    let begun = std::time::Instant::now();
    cluster::join_if_begun(&mut again, &["one"], unreachable).await;
    assert!(!again.joins && begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_other_times_are_refused_in_words_and_a_watch_follows_the_members_times() {
    let dirs: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = member(dirs[0].path(), "Primary", Part::Data).await;
    let mut slower = options(dirs[1].path(), "Backup", Part::Data);
    slower.timing.silence_min *= 4;
    slower.timing.silence_max *= 4;
    let b = Log::open(slower).await.unwrap().log;
    let (near, far) = tokio::io::duplex(64 << 10);
    // Whoever reads faster refuses.
    let ends = tokio::join!(a.serve(near), b.serve(far));
    let told = format!("{} {}", ends.0, ends.1);
    assert!(
        told.contains("600ms") && told.contains("150ms") && told.contains("cluster.silence"),
        "{told}"
    );
    assert!(a.peers().is_empty());

    let watch = member(dirs[2].path(), "watch", Part::Watch).await;
    let _wires = (wire(&a, &watch), wire(&b, &watch));
    until("both are connected", || watch.peers().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_reach_a_cluster_of_the_same_name_by_mistake_leave_it_and_theirs_as_they_are()
{
    let ours = pair().await;
    let theirs_dir = tempfile::tempdir().unwrap();
    let theirs = member(theirs_dir.path(), "Primary", Part::Data).await;
    for id in 1..=3 {
        theirs.append(batch(1_000 + id)).await.unwrap();
    }
    // Our Primary is gone, and at its address is another Controller of that name.
    drop((ours.ab, ours.aw));
    ours.a.shutdown().await;
    let _wires = (wire(&ours.b, &theirs), wire(&ours.watch, &theirs));
    until("the Backup follows", || role(&ours.b) == Role::Active).await;
    for id in 1..=100 {
        ours.b.append(batch(50 + id)).await.unwrap();
        theirs.append(batch(1_003 + id)).await.unwrap();
    }
    assert!(theirs.peers().is_empty(), "nobody is taken in there");
    assert!(!ours.b.was_removed() && !ours.watch.was_removed());
    assert_eq!(role(&theirs), Role::Active);
    assert_eq!(
        read_all(&theirs, 103).await,
        (1_001..=1_103).collect::<Vec<_>>()
    );
    assert_eq!(read_all(&ours.b, 150).await, (1..=150).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_directory_that_joins_still_does_so_when_it_is_opened_again_before_it_was_taken_in()
 {
    let Pair {
        dirs: _dirs, a, b, ..
    } = pair().await;
    let empty = tempfile::tempdir().unwrap();
    let ask = async || {
        let mut wiped = options(empty.path(), "Primary", Part::Data);
        cluster::join_if_begun(&mut wiped, &[&a, &b], |other: &&Log| {
            let (near, far) = tokio::io::duplex(64 << 10);
            let other = (*other).clone();
            tokio::spawn(async move { drop(other.serve(far).await) });
            std::future::ready(Some(near))
        })
        .await;
        wiped
    };
    let first = ask().await;
    assert!(first.joins);
    let log = Log::open(first).await.unwrap().log;
    let number = log.me().member;
    log.shutdown().await;
    let again = ask().await;
    assert!(again.joins, "a second log of this name must not begin");
    let log = Log::open(again).await.unwrap().log;
    assert_eq!(log.me().member, number, "it is the same member");
    assert_ne!(role(&log), Role::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_just_taken_in_does_not_believe_a_member_that_has_not_heard_of_it_yet() {
    let pair = pair().await;
    let dir = tempfile::tempdir().unwrap();
    let third = member(dir.path(), "Third", Part::Data).await;
    let (_at, _bt) = (wire(&pair.a, &third), wire(&pair.b, &third));
    until("both are connected", || third.peers().len() == 2).await;
    // The Backup knows of the members before, and of no other until it hears the active one again.
    drop(pair.ab);
    pair.a.let_learn(third.me().member).await.unwrap();
    let is_taken_in = || third.members().1.contains(&third.me().member);
    until("it has heard that it is taken in", is_taken_in).await;
    assert!(!third.was_removed(), "by one that knows less");

    let _ab = wire(&pair.a, &pair.b);
    let told = || {
        let peers = third.peers().into_iter();
        let mut backup = peers.filter(|peer| peer.hello.name == "Backup");
        let members = backup.next().unwrap().hello.members;
        members.contains(&third.me().member)
    };
    until("the Backup says so, too", told).await;
    assert!(!third.was_removed());

    let [a, b, watch] = [&pair.a, &pair.b, &pair.watch].map(|log| log.me().member);
    let with_it = [a, b, watch, third.me().member];
    pair.a.set_voters(with_it.into()).await.unwrap();
    assert!(!third.was_removed());
    pair.a.set_voters([a, b, watch].into()).await.unwrap();
    until("it hears of its removal", || third.was_removed()).await;
    assert!(!pair.b.was_removed() && !pair.watch.was_removed());
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_members_directory_is_refused_as_long_as_the_original_is_connected() {
    let pair = pair().await;
    let dir = tempfile::tempdir().unwrap();
    copy_files(pair.dirs[1].path(), dir.path());
    let mut copied = options(dir.path(), "Backup", Part::Data);
    copied.run = Some(ProcessRun {
        id: "copy".to_owned(),
        place: "http://copy:1".to_owned(),
    });
    let copy = Log::open(copied).await.unwrap().log;
    let (near, far) = tokio::io::duplex(1 << 16);
    let ends = tokio::join!(pair.a.serve(near), copy.serve(far));
    assert!(
        matches!(ends, (LinkEnd::Double(_), LinkEnd::Double(_))),
        "{ends:?}"
    );
    let process = format!("process {}", std::process::id());
    for log in [&pair.a, &copy] {
        let told = log.double().expect("it is reported");
        assert!(
            told.contains("http://copy:1") && told.contains(&process),
            "{told}"
        );
    }
    pair.a.append(batch(51)).await.unwrap();
    assert_eq!(read_after(&pair.b, 50, 1).await, [51]);

    // After the original has ended, the next process is its successor.
    pair.b.shutdown().await;
    until("the original is gone", || {
        pair.a
            .peers()
            .iter()
            .all(|peer| peer.hello.name != "Backup" || !peer.is_connected)
    })
    .await;
    let _wire = wire(&pair.a, &copy);
    until("the successor is connected", || {
        pair.a.peers().iter().any(|peer| {
            let run = peer.hello.run.as_ref();
            peer.is_connected && run.is_some_and(|run| run.id == "copy")
        })
    })
    .await;
}
