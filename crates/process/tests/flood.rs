//! A job that floods its output does so in bounded memory. Alone in its process, because it is the whole process that is measured.

#[path = "yard/yard.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod yard;

use process::{Event, Settings};
use std::time::Duration;
use yard::{PATIENCE, Yard, await_output, finish};

#[tokio::test]
async fn a_flooding_job_blocks_in_bounded_memory_and_can_be_killed() {
    let yard = Yard::open(Settings::default());
    let mut running = yard.start("exec yes").await;
    await_output(&mut running, "y\n").await;
    let before = resident_kib();
    // Nobody pulls: the job must come to stand, and we must not grow.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let written = written_bytes(running.pid());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(written_bytes(running.pid()), written, "it stands");
    // A slow reader takes 50 MB piece by piece.
    let mut taken = 0;
    while taken < 50_000_000 {
        let Some(Event::Output { text, .. }) = running.next().await else {
            panic!("`yes` ends only when it is killed")
        };
        taken += text.len();
    }
    assert!(
        resident_kib() < before + 8 * 1024,
        "memory does not grow with the output: {before} KiB before"
    );
    running.kill();
    let run = tokio::time::timeout(PATIENCE, finish(running))
        .await
        .expect("it ends");
    assert_eq!(run.status.expect("ended").signal, Some(9));
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it is in there");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

fn written_bytes(pid: u32) -> String {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("its counters");
    io.lines()
        .find(|line| line.starts_with("wchar"))
        .expect("it is in there")
        .to_owned()
}
