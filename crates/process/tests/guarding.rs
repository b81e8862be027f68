//! The guard with real processes: it ends the jobs of a ward that is gone or stands still, and of no other.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world fails at that line"
)]

use process::{
    CgroupUse, Environment, Event, ExitStatus, Guard, GuardProgram, Launch, OutputSettings,
    Running, Settings, Ward, guard, steady_time,
};
use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn ward(dir: &Path) -> Ward {
    let settings = Settings {
        cgroups: CgroupUse::Off,
        ..Settings::default()
    };
    Ward::open(dir, settings).unwrap().0
}

async fn sleeper(ward: &Ward) -> Running {
    let launch = Launch {
        program: "/bin/sleep".into(),
        args: vec!["600".into()],
        env: Environment::Only(Vec::new()),
        dir: "/".into(),
        tag: "A#1".to_owned(),
    };
    let output = OutputSettings {
        max_characters: 100,
        max_delay: Duration::from_millis(100),
    };
    ward.start(launch, output).await.unwrap()
}

async fn end_of(mut running: Running) -> ExitStatus {
    let end = async {
        loop {
            if let Some(Event::Ended(status)) = running.next().await {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s140_a_guard_that_hears_nothing_in_time_ends_the_jobs_of_a_ward_that_stands_still() {
    let dir = tempfile::TempDir::new().unwrap();
    let ward = ward(dir.path());
    let running = sleeper(&ward).await;
    let (mut says, hears) = UnixStream::pair().unwrap();
    let work = dir.path().to_owned();
    let guarding = std::thread::spawn(move || guard(&work, BufReader::new(hears)));
    let begin = steady_time();
    for _ in 0..3 {
        let until = steady_time() + Duration::from_millis(700);
        writeln!(says, "until {}", until.as_millis()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(ward.running_count(), 1, "it is well as long as it says so");
    }
    let status = end_of(running).await;
    assert_eq!(status.signal, Some(9));
    assert!(steady_time() >= begin + Duration::from_millis(1200));
    drop(says);
    let ended = guarding.join().unwrap().unwrap();
    assert!(
        ended.jobs.is_empty(),
        "nothing is left, and the ward has its lock: {ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_does_not_end_the_jobs_before_the_time_that_it_was_told() {
    let dir = tempfile::TempDir::new().unwrap();
    let ward = ward(dir.path());
    let running = sleeper(&ward).await;
    let (mut says, hears) = UnixStream::pair().unwrap();
    let work = dir.path().to_owned();
    let guarding = std::thread::spawn(move || guard(&work, BufReader::new(hears)));
    // Longer than the time after which it looks at the clock again.
    let until = steady_time() + Duration::from_millis(5500);
    writeln!(says, "until {}", until.as_millis()).unwrap();
    assert_eq!(end_of(running).await.signal, Some(9));
    assert!(steady_time() + Duration::from_millis(1) >= until);
    drop(says);
    guarding.join().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_lets_alone_what_a_successor_runs() {
    let dir = tempfile::TempDir::new().unwrap();
    let ward = ward(dir.path());
    let running = sleeper(&ward).await;
    let (says, hears) = UnixStream::pair().unwrap();
    let work = dir.path().to_owned();
    let guarding = std::thread::spawn(move || guard(&work, BufReader::new(hears)));
    // Its own ward is gone, as far as it knows; whoever has the lock now is another one.
    drop(says);
    guarding.join().unwrap().unwrap();
    assert_eq!(ward.running_count(), 1);
    drop(running);
}

/// Waits until the file has this many lines, and returns the lines.
async fn lines(file: &Path, count: usize) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count && text.ends_with('\n') {
            return lines;
        }
        assert!(tokio::time::Instant::now() < deadline, "{lines:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_killed_is_replaced_and_its_successor_gets_the_last_message() {
    let dir = tempfile::TempDir::new().unwrap();
    let heard = dir.path().join("heard");
    // A guard that records its pid and its input.
    let script = r#"echo "$$" >>"$0/heard"; while read -r line; do echo "$line" >>"$0/heard"; done; echo end >>"$0/heard""#;
    let program = GuardProgram {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
    };
    let guard = Guard::start(program, dir.path()).unwrap();
    guard.say(Some(Duration::from_secs(1234)));
    let first = lines(&heard, 2).await;
    assert_eq!(first[1], "until 1234000");
    let kill = |pid: &str| {
        let killed = std::process::Command::new("kill")
            .args(["-9", pid])
            .status();
        assert!(killed.unwrap().success());
    };
    kill(&first[0]);
    // No message is sent meanwhile. A Subagent in its Director's process may have no message for days.
    let second = lines(&heard, 4).await;
    assert_ne!(second[2], second[0], "another process");
    assert_eq!(second[3], "until 1234000");
    guard.say(None);
    let third = lines(&heard, 5).await;
    assert_eq!(third[4], "free");
    kill(&third[2]);
    let fourth = lines(&heard, 7).await;
    assert_eq!(fourth[6], "free");
    drop(guard);
    let fifth = lines(&heard, 8).await;
    assert_eq!(fifth[7], "end", "there is nothing to guard any more");
}
