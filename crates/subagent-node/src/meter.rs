//! How busy this machine is, as `/proc` tells it.
//!
//! Always: three short files once per sign of life that goes to the Director anyway; nothing wakes up for it. Never here: what a
//! Director makes of it.

use model::Metering;
use std::fs;
use std::time::Duration;
use tokio::time::Instant;

/// A measurement is worth telling again after this time.
pub const METERING_PERIOD: Duration = Duration::from_secs(1);

/// Measures; remembers what the processors had done at the last time.
#[derive(Debug, Default)]
pub struct Meter {
    processors: Option<Ticks>,
    measured_at: Option<Instant>,
}

/// The time of all processors since the machine's start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Meter {
    /// Measures now. What cannot be read is zero or nothing.
    pub fn measure(&mut self) -> Metering {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let before = self.processors;
        self.processors = ticks(&text("/proc/stat"));
        self.measured_at = Some(Instant::now());
        let memory = text("/proc/meminfo");
        Metering {
            cpu_load: before.zip(self.processors).and_then(|(a, b)| load(a, b)),
            committed_virtual_memory_size: address_space(&text("/proc/self/stat")).unwrap_or(0),
            // What caches hold is given to whoever needs it.
            free_memory_size: kibibytes(&memory, "MemAvailable:").unwrap_or(0),
            total_memory_size: kibibytes(&memory, "MemTotal:").unwrap_or(0),
        }
    }

    /// Measures if the last time is long ago.
    pub fn measure_if_due(&mut self) -> Option<Metering> {
        let is_due = self
            .measured_at
            .is_none_or(|at| at.elapsed() >= METERING_PERIOD);
        is_due.then(|| self.measure())
    }
}

/// The part of the time that was not idle.
fn load(before: Ticks, now: Ticks) -> Option<f64> {
    let all = now.all.checked_sub(before.all)?;
    let idle = now.idle.checked_sub(before.idle)?.min(all);
    if all == 0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of some seconds are few, and the load is an estimate"
    )]
    let used = (all - idle) as f64 / all as f64;
    Some(used)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what guests take stands in user.
fn ticks(stat: &str) -> Option<Ticks> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let counts: Vec<u64> = fields
        .split_ascii_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let idle = counts.get(3)? + counts.get(4).unwrap_or(&0);
    Some(Ticks {
        idle,
        all: counts.iter().sum(),
    })
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// Field 23 of `/proc/<pid>/stat`, counted behind the name, which may hold anything.
fn address_space(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(20)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_the_part_of_the_time_that_was_not_idle() {
        let before = ticks("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\n").expect("a line");
        let now = ticks("cpu  160 0 60 820 60 0 0 0 9 0\n").expect("a line");
        assert_eq!(load(before, now), Some(0.7));
        assert_eq!(load(now, now), None, "no time has passed");
        assert_eq!(load(now, before), None, "counters have gone back");
    }

    #[test]
    fn this_machine_can_be_measured_and_not_too_often() {
        let mut meter = Meter::default();
        let first = meter.measure_if_due().expect("never measured before");
        assert_eq!(first.cpu_load, None, "one look shows no load");
        assert!(first.total_memory_size >= first.free_memory_size && first.free_memory_size > 0);
        assert!(first.committed_virtual_memory_size > 0);
        assert_eq!(meter.measure_if_due(), None);
    }
}
