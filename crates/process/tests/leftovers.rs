//! What a ward leaves when it is killed is found and ended by the next one.

#[path = "yard/yard.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod yard;

use process::{Leftovers, OpenError, Settings, Ward, end_leftovers, find_leftovers, guard};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use yard::{eventually, is_alive};

/// The main process ignores SIGTERM, starts a child, one in another session, and one that nothing but the mark leads to.
const JOB: &str = "trap '' TERM; sleep 1000 & echo $! >> PIDS; setsid sleep 1000 & echo $! >> PIDS; \
    (setsid sh -c 'echo $$ >> PIDS; exec sleep 1000' &); echo $$ >> PIDS; while :; do sleep 1; done";

struct Crash {
    _dir: tempfile::TempDir,
    work: PathBuf,
    pids: Vec<u32>,
}

/// A ward with ten jobs of four processes each, killed by SIGKILL.
async fn crash() -> Crash {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let work = dir.path().join("work");
    let list = yard::write(&dir.path().join("pids"), "");
    let script = JOB.replace("PIDS", &list.to_string_lossy());
    let mut ward = start_ward(&work, &vec![script; 10]);
    let read = || std::fs::read_to_string(&list).expect("it is there");
    eventually("all processes have told their pid", || {
        read().lines().count() == 40
    })
    .await;
    // Some get into their control group before the crash.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let pids: Vec<u32> = read()
        .lines()
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert!(
        matches!(
            Ward::open(&work, Settings::default()),
            Err(OpenError::Ledger(_))
        ),
        "one ward at a time"
    );
    ward.kill().expect("it is ours");
    ward.wait().expect("it is ours");
    assert!(
        pids.iter().all(|pid| is_alive(*pid)),
        "a crash leaves the jobs running"
    );
    Crash {
        _dir: dir,
        work,
        pids,
    }
}

fn start_ward(work: &Path, scripts: &[String]) -> Child {
    // cargo builds the examples next to the tests.
    let me = std::env::current_exe().expect("our own path");
    let target = me
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    let mut command = Command::new(target.join("examples/abandoned_ward"));
    command
        .arg(work)
        .args(scripts)
        .spawn()
        .expect("the example is built with the tests")
}

fn check(leftovers: &Leftovers, crash: &Crash) {
    let mut tags: Vec<_> = leftovers.jobs.iter().map(|job| job.tag.clone()).collect();
    tags.sort();
    let expected: Vec<_> = (0..10).map(|i| format!("job {i}")).collect();
    assert_eq!(tags, expected);
    let found: Vec<_> = leftovers.jobs.iter().flat_map(|job| &job.pids).collect();
    assert!(
        crash.pids.iter().all(|pid| found.contains(&pid)),
        "each process is told"
    );
    assert_eq!(leftovers.survivors, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rc_05_the_processes_of_a_killed_ward_are_ended_by_its_successor() {
    let crash = crash().await;
    check(
        &find_leftovers(&crash.work).expect("nobody uses it"),
        &crash,
    );
    assert!(
        crash.pids.iter().all(|pid| is_alive(*pid)),
        "looking changes nothing"
    );

    let (ward, leftovers) = Ward::open(&crash.work, Settings::default()).expect("nobody uses it");
    check(&leftovers, &crash);
    assert!(
        !crash.pids.iter().any(|pid| is_alive(*pid)),
        "S142: they are gone before the successor starts anything"
    );
    drop(ward);
    let (_ward, leftovers) = Ward::open(&crash.work, Settings::default()).expect("nobody uses it");
    assert_eq!(leftovers, Leftovers::default(), "nothing is found twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn s140_the_guard_ends_the_jobs_of_a_ward_that_is_gone() {
    let crash = crash().await;
    // The guard's input has ended, as after the end of the guarded process.
    let ended = guard(&crash.work, std::io::empty()).expect("nobody uses it");
    check(&ended, &crash);
    assert!(!crash.pids.iter().any(|pid| is_alive(*pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn s142_a_successor_that_comes_while_the_guard_ends_the_jobs_waits_for_it() {
    let crash = crash().await;
    let work = crash.work.clone();
    let guarding = std::thread::spawn(move || guard(&work, std::io::empty()));
    // Repeated starts, as by a service manager. Each start finally finds the directory free.
    for _ in 0..20 {
        let (_ward, _leftovers) =
            Ward::open(&crash.work, Settings::default()).expect("free within a moment");
        assert!(!crash.pids.iter().any(|pid| is_alive(*pid)));
    }
    guarding.join().expect("no panic").expect("it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn rc_05_the_tool_gives_leftovers_the_delay_before_sigkill() {
    let crash = crash().await;
    let begin = Instant::now();
    let leftovers = end_leftovers(&crash.work, Duration::from_millis(300)).expect("nobody uses it");
    check(&leftovers, &crash);
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "they ignore SIGTERM"
    );
    assert!(!crash.pids.iter().any(|pid| is_alive(*pid)));
    assert_eq!(
        find_leftovers(&crash.work).expect("nobody uses it"),
        Leftovers::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_got_the_pid_of_a_leftover_is_not_touched() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let work = dir.path().join("work");
    let list = yard::write(&dir.path().join("pids"), "");
    let mut ward = start_ward(
        &work,
        &[format!("echo $$ > {}; exec sleep 1000", list.display())],
    );
    eventually("it runs", || {
        std::fs::read_to_string(&list).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    ward.kill().expect("it is ours");
    ward.wait().expect("it is ours");
    drop(end_leftovers(&work, Duration::ZERO).expect("nobody uses it"));

    // The record of another life, naming a process that runs now but with an earlier start time and an unknown mark.
    let mut bystander = start_ward(&dir.path().join("other"), &[]);
    let ledger = dir.path().join("other/running");
    eventually("it has begun its ledger", || ledger.exists()).await;
    let mut record = vec![0; 256];
    record[..8].copy_from_slice(b"MSPROCS1");
    record[8..12].copy_from_slice(&4_000_000_u32.to_be_bytes());
    record[24..60].copy_from_slice(
        std::fs::read("/proc/sys/kernel/random/boot_id").expect("readable")[..36].as_ref(),
    );
    record[128..132].copy_from_slice(&bystander.id().to_be_bytes());
    record[132] = 2;
    record[136..144].copy_from_slice(&1_u64.to_be_bytes());
    std::fs::write(work.join("running"), record).expect("writable");
    let (_ward, leftovers) = Ward::open(&work, Settings::default()).expect("nobody uses it");
    assert_eq!(leftovers, Leftovers::default());
    assert!(is_alive(bystander.id()));
    bystander.kill().expect("it is ours");
    bystander.wait().expect("it is ours");
    drop(end_leftovers(&dir.path().join("other"), Duration::ZERO).expect("nobody uses it"));
}
