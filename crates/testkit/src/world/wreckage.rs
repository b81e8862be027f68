//! What is left of a world: processes that carry its mark in their environment.
//!
//! Always: every node gets the mark, and its jobs inherit it, so that none can hide, not even behind a new session.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that marks the processes of a world.
pub const WORLD_VARIABLE: &str = "TESTKIT_WORLD";

/// The processes, zombies excepted, that carry this mark.
pub fn processes_of(mark: &str) -> Vec<i32> {
    let wanted = format!("{WORLD_VARIABLE}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| has_mark(*pid, &wanted))
        .collect();
    found.sort_unstable();
    found
}

/// Ends them all, again and again until none is left: a process may start another one meanwhile.
pub(crate) fn clear(mark: &str) {
    for _ in 0..50 {
        let found = processes_of(mark);
        if found.is_empty() {
            return;
        }
        for pid in found {
            // It may have ended by itself.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn has_mark(pid: i32, wanted: &str) -> bool {
    // A zombie has no environment any more, so it is not found.
    let path = PathBuf::from(format!("/proc/{pid}/environ"));
    std::fs::read(path).is_ok_and(|environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    })
}
