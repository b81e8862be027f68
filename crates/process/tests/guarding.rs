//! The guard with real processes: it ends the jobs of a ward that is gone or stands still, and of no other.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world fails at that line"
)]

use process::{
    CgroupUse, Environment, Event, ExitStatus, Launch, OutputSettings, Running, Settings, Ward,
    guard, steady_time,
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
