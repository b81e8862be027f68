//! A job that is to end ends with everything it has started.

#[path = "yard/yard.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod yard;

use process::{AfterEnd, CgroupUse, Settings};
use std::io::Write as _;
use std::time::{Duration, Instant};
use yard::{Yard, await_output, eventually, finish, is_alive, zombies};

/// Prints the pids of 100 descendants: children, children of children, some in sessions of their own, some orphaned.
const SWARM: &str = r"#!/bin/bash
trap 'exit 7' TERM
sleep 1000 & echo pid $!
for i in 1 2 3 4 5 6 7 8 9 10; do
  ( for j in 1 2 3 4 5; do sleep 1000 & echo pid $!; done; echo pid $BASHPID; wait ) &
done
for i in 1 2 3 4 5 6 7 8 9; do
  # Their parent ends at once, so they are orphans.
  ( for j in 1 2 3; do sleep 1000 & echo pid $!; done )
done
for i in 1 2 3 4; do setsid sh -c 'echo pid $$; sleep 1000 & echo pid $!; wait' & done
# Daemons: a session of their own, orphans, all outputs closed.
for i in 1 2 3 4; do ( setsid sh -c 'echo pid $$; exec sleep 1000 >/dev/null 2>&1' & ) ; done
while [ ! -e go ]; do sleep 0.02; done
echo READY
while :; do sleep 0.1; done
";

async fn swarm_is_gone_after_a_kill(cgroups: CgroupUse) {
    let yard = Yard::open(Settings {
        cgroups,
        ..Settings::default()
    });
    let mut running = yard.start(SWARM).await;
    // Everybody has said its pid before READY, except that the daemons are not waited for.
    tokio::time::sleep(Duration::from_millis(700)).await;
    yard::write(&yard.dir.path().join("go"), "");
    let output = await_output(&mut running, "READY").await;
    let pids: Vec<u32> = output
        .lines()
        .filter_map(|line| line.strip_prefix("pid "))
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert_eq!(pids.len(), 100, "{output}");
    assert!(pids.iter().all(|pid| is_alive(*pid)));

    running.kill();
    let run = finish(running).await;
    assert_eq!(run.code(), Some(137));
    let alive: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
    assert!(
        alive.is_empty(),
        "S140, OC-08: when the job is told as ended, nothing of it lives: {alive:?}"
    );
    eventually("no zombie of the swarm is left", || zombies().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oc_08_a_hundred_descendants_are_gone_after_the_kill() {
    swarm_is_gone_after_a_kill(CgroupUse::Auto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oc_08_a_hundred_descendants_are_gone_also_without_control_groups() {
    swarm_is_gone_after_a_kill(CgroupUse::Off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_a_mark_cannot_flee_from_its_control_group() {
    let yard = Yard::open(Settings::default());
    if !yard.ward.has_cgroups() {
        println!("this host has no control groups");
        return;
    }
    // By then the job is in its group. The daemon has another session, another parent and an empty environment.
    let mut running =
        yard.start("sleep 0.5; (env -i setsid /bin/sh -c 'echo pid $$; exec sleep 1000 >/dev/null 2>&1' &); sleep 1000").await;
    let output = await_output(&mut running, "\n").await;
    let pid = output
        .trim()
        .trim_start_matches("pid ")
        .parse()
        .expect("a pid");
    running.kill();
    assert_eq!(finish(running).await.code(), Some(137));
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn oc_08_after_sigterm_the_job_lives_as_long_as_a_descendant_holds_its_output() {
    let yard = Yard::open(Settings::default());
    let script = "#!/bin/bash\ntrap 'exit 7' TERM\nsleep 1000 & echo pid $!; setsid sleep 1000 & echo pid $!; echo READY; wait";
    let mut running = yard.start(script).await;
    let output = await_output(&mut running, "READY").await;
    running.terminate();
    let early = tokio::time::timeout(Duration::from_millis(400), running.next()).await;
    assert!(early.is_err(), "it has not ended: {early:?}");
    running.kill();
    let run = finish(running).await;
    assert_eq!(
        run.code(),
        Some(7),
        "the main process ended in its own way before"
    );
    for pid in output.lines().filter_map(|line| line.strip_prefix("pid ")) {
        assert!(!is_alive(pid.parse().expect("a pid")), "{pid} is gone");
    }
}

#[tokio::test]
async fn oc_05_a_script_that_ignores_sigterm_lives_until_it_is_killed() {
    let yard = Yard::open(Settings::default());
    let mut running = yard
        .start(
            "trap '' TERM; echo READY; i=0; while [ $i -lt 1000 ]; do sleep 0.1; i=$((i+1)); done",
        )
        .await;
    await_output(&mut running, "READY").await;
    running.terminate();
    let early = tokio::time::timeout(Duration::from_millis(500), running.next()).await;
    assert!(early.is_err(), "it has not ended: {early:?}");
    assert!(!running.has_main_ended());
    running.kill();
    assert_eq!(finish(running).await.code(), Some(137));
}

#[tokio::test]
async fn oc_06_a_trap_may_write_and_exit_with_zero() {
    let yard = Yard::open(Settings::default());
    let mut running = yard
        .start("trap 'echo bye; exit 0' TERM; echo READY; while :; do sleep 0.05; done")
        .await;
    await_output(&mut running, "READY").await;
    running.terminate();
    let run = finish(running).await;
    assert_eq!((run.stdout.as_str(), run.code()), ("bye\n", Some(0)));
}

/// Runs another story of this file in a PID namespace. The leader of the process group is outside of it, as after `docker exec`.
#[test]
fn a_job_is_killed_also_where_the_process_group_has_no_number() {
    let apart = |program: &std::path::Path, args: &[&str]| {
        std::process::Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--", "/bin/sh", "-c"])
            .args([r#""$@"; exit $?"#, "sh"])
            .arg(program)
            .args(args)
            .output()
    };
    if !apart("true".as_ref(), &[]).is_ok_and(|ended| ended.status.success()) {
        let line = "\nSKIPPED: no right to make a PID namespace\n";
        std::io::stdout()
            .write_all(line.as_bytes())
            .expect("a line on stdout");
        return;
    }
    let me = std::env::current_exe().expect("our own path");
    let story = ["--exact", "a_terminated_job_leaves_nobody_behind"];
    let ended = apart(&me, &story).expect("unshare runs");
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_job_leaves_nobody_behind() {
    let yard = Yard::open(Settings::default());
    let script =
        "#!/bin/bash\nsetsid sleep 1000 >/dev/null 2>&1 & echo pid $!; echo READY; exec sleep 1000";
    let mut running = yard.start(script).await;
    let output = await_output(&mut running, "READY").await;
    let pid = output
        .lines()
        .find_map(|line| line.strip_prefix("pid "))
        .expect("told")
        .parse()
        .expect("a pid");
    running.terminate();
    let run = finish(running).await;
    assert_eq!(run.status.expect("ended").signal, Some(15));
    assert!(
        !is_alive(pid),
        "S141: although it does not hold the outputs"
    );
}

async fn daemon_after_a_normal_end(after_end: AfterEnd) -> (Yard, u32) {
    let yard = Yard::open(Settings {
        after_end,
        ..Settings::default()
    });
    let run = yard
        .run("setsid sleep 1000 >/dev/null 2>&1 & echo $!; sleep 0.3")
        .await
        .expect("it starts");
    assert_eq!(run.code(), Some(0));
    let pid = run.stdout.trim().parse().expect("a pid");
    (yard, pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_a_job_has_started_survives_the_jobs_normal_end_and_the_ward() {
    let (yard, pid) = daemon_after_a_normal_end(AfterEnd::LeaveDaemons).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_alive(pid));
    let Yard { ward, dir, .. } = yard;
    drop(ward);
    let (_ward, leftovers) =
        process::Ward::open(&dir.path().join("work"), Settings::default()).expect("free again");
    assert_eq!(leftovers, process::Leftovers::default());
    assert!(is_alive(pid));
    kill(pid);
    eventually("it is reaped, too", || {
        zombies().is_empty() && !is_alive(pid)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_does_not_survive_where_that_is_not_wanted() {
    let (_yard, pid) = daemon_after_a_normal_end(AfterEnd::EndAll).await;
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn after_sigkill_a_foreign_holder_of_the_output_is_not_waited_for() {
    let yard = Yard::open(Settings {
        cgroups: CgroupUse::Off,
        // The outputs are closed after the time that is set for that, and not when this is reported.
        worry_after_exit: Duration::from_hours(1),
        ..Settings::default()
    });
    let drain = yard::write(&yard.dir.path().join("holder"), "");
    // Somebody who is no descendant of the job holds its output: another job that opens it by /proc.
    let mut victim = yard.start("echo READY; exec sleep 1000").await;
    await_output(&mut victim, "READY").await;
    let holder = yard
        .start(&format!(
            "exec 3>/proc/{}/fd/1; echo held > {}; exec sleep 1000",
            victim.pid(),
            drain.display()
        ))
        .await;
    eventually("the output is held", || {
        std::fs::read(&drain).is_ok_and(|content| !content.is_empty())
    })
    .await;
    let begin = Instant::now();
    victim.kill();
    assert_eq!(finish(victim).await.code(), Some(137));
    assert!(
        begin.elapsed() >= Duration::from_millis(500),
        "the time that is set for it"
    );
    assert!(is_alive(holder.pid()), "a stranger is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_waits_for_is_killed_and_reaped() {
    let yard = Yard::open(Settings::default());
    let running = yard.start("sleep 1000 & sleep 1000").await;
    let pid = running.pid();
    drop(running);
    eventually("it is gone and reaped", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    })
    .await;
    assert_eq!(yard.ward.running_count(), 0);
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
}

/// Creates a yard without control groups, in which only the search of the process tree finds the processes.
fn without_cgroups() -> Yard {
    Yard::open(Settings {
        cgroups: CgroupUse::Off,
        ..Settings::default()
    })
}

fn pid_in(output: &str) -> u32 {
    let line = output.lines().find_map(|line| line.strip_prefix("pid "));
    let pid = line.and_then(|pid| pid.trim().parse().ok());
    pid.expect("the script says a pid")
}

/// Returns whether the process is our child, because its parent has ended.
fn is_orphan(pid: u32) -> bool {
    yard::children()
        .iter()
        .any(|stat| stat.starts_with(&format!("{pid} ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_in_the_jobs_session_is_found_without_its_group_and_its_mark() {
    let yard = without_cgroups();
    let script = "#!/bin/bash\nset -m\n(env -i /bin/bash -c 'echo pid $$; exec sleep 1000 >/dev/null 2>&1' &)\nsleep 1000";
    let mut running = yard.start(script).await;
    let pid = pid_in(&await_output(&mut running, "\n").await);
    eventually("its parent has ended", || is_orphan(pid)).await;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let group = stat.rsplit_once(") ").expect("a stat line").1;
    let group: u32 = group
        .split(' ')
        .nth(2)
        .expect("its group")
        .parse()
        .expect("a number");
    assert_ne!(group, running.pid(), "a group of its own");
    running.kill();
    assert_eq!(finish(running).await.code(), Some(137));
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descendant_is_remembered_when_the_main_process_ends_after_sigterm() {
    let yard = without_cgroups();
    let script = "#!/bin/bash\ntrap 'exit 7' TERM\nenv -i setsid /bin/sh -c 'echo pid $$; sleep 1000' & wait";
    let mut running = yard.start(script).await;
    let pid = pid_in(&await_output(&mut running, "\n").await);
    running.terminate();
    eventually("the main process has ended", || running.has_main_ended()).await;
    eventually("only the memory leads to it", || is_orphan(pid)).await;
    running.kill();
    assert_eq!(finish(running).await.code(), Some(7));
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_of_another_job_survives_the_kill() {
    let yard = without_cgroups();
    // Both outlive their parents in sessions of their own, so that only the mark says which job they belong to.
    let script = "(setsid /bin/sh -c 'echo pid $$; exec sleep 1000 >/dev/null 2>&1' &); sleep 1000";
    let [mut one, mut other] = [yard.start(script).await, yard.start(script).await];
    let orphan = pid_in(&await_output(&mut one, "\n").await);
    let spared = pid_in(&await_output(&mut other, "\n").await);
    for pid in [orphan, spared] {
        eventually("its parent has ended", || is_orphan(pid)).await;
    }
    one.kill();
    assert_eq!(finish(one).await.code(), Some(137));
    assert!(!is_alive(orphan));
    assert!(is_alive(spared) && is_alive(other.pid()));
    other.kill();
    assert_eq!(finish(other).await.code(), Some(137));
    assert!(!is_alive(spared));
}

/// Returns whether this host has control groups that we may make.
fn host_has_cgroups() -> bool {
    // Pids are not enough for this: tests in several PID namespaces may share the control groups.
    let dir = tempfile::tempdir().expect("a directory");
    let unique = dir.path().file_name().expect("it has a name").display();
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .any(|mount| {
            let has_groups = std::path::Path::new(mount).join("cgroup.procs").exists();
            let probe = format!("{mount}/mainspring-test-{unique}");
            let can_be_made = has_groups
                && std::fs::create_dir(&probe).is_ok()
                && std::fs::exists(format!("{probe}/cgroup.kill")).is_ok_and(|is_so| is_so);
            drop(std::fs::remove_dir(&probe));
            can_be_made
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_group_of_a_job_is_there_while_it_runs_and_is_removed_afterwards() {
    let yard = without_cgroups();
    assert!(!yard.ward.has_cgroups(), "they are switched off");
    assert!(!yard.dir.path().join("work/running.cgroup").exists());
    drop(yard);
    if !host_has_cgroups() {
        println!("this host has no control groups");
        return;
    }
    let yard = Yard::open(Settings::default());
    assert!(yard.ward.has_cgroups());
    let root = std::fs::read_to_string(yard.dir.path().join("work/running.cgroup"));
    let root = std::path::PathBuf::from(root.expect("it is written down for a successor"));
    let count = || {
        let entries = std::fs::read_dir(&root).expect("it is there").flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"))
            .count()
    };
    let [killed, mut ending] = [
        yard.start("sleep 1000 & exec sleep 1000").await,
        yard.start("read line </dev/null; while [ ! -e go ]; do sleep 0.01; done")
            .await,
    ];
    eventually("both have a control group", || count() == 2).await;
    assert!(!ending.has_main_ended());
    killed.kill();
    assert_eq!(finish(killed).await.code(), Some(137));
    eventually("that of the killed job is gone", || count() == 1).await;
    yard::write(&yard.dir.path().join("go"), "");
    while ending.next().await.is_some() {}
    eventually("that of the other job is gone", || count() == 0).await;
    drop(ending);
    drop(yard);
    assert!(!root.exists(), "nothing is left on the host");
}
