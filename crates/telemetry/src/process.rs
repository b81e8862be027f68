//! The metrics of this process, whatever part it runs: version, memory, processor, descriptors, dropped log lines and panics of tasks.
//!
//! Always: metrics of the process have the names that Prometheus' own libraries use (`process_…`), so that existing dashboards show them.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::names;
use crate::outlet::dropped_log_lines;
use crate::page::Page;

impl Page {
    /// Adds the metrics of this process to the page. A metric that the system does not provide is left out.
    pub fn put_process(&mut self) {
        let version = env!("CARGO_PKG_VERSION");
        self.put(names::BUILD_INFO, &[("version", version)], 1);
        self.put(names::LOG_LINES_DROPPED, &[], dropped_log_lines());
        // This counter exists from the start with the value 0, so that the first panic shows as an increase.
        let mut panics = tasks::panics();
        panics.entry("request".to_owned()).or_insert(0);
        for (task, count) in panics {
            self.put(names::TASK_PANICS, &[("task", &task)], count);
        }
        if let Some(pages) = resident_pages() {
            let bytes = pages * rustix::param::page_size() as u64;
            self.put(names::PROCESS_MEMORY, &[], bytes);
        }
        if let Some(stat) = Stat::read() {
            self.put(names::PROCESS_CPU, &[], stat.cpu_seconds);
            self.put(names::PROCESS_THREADS, &[], stat.threads);
            if let Some(boot) = boot_time() {
                let started = boot + stat.started_after_boot;
                self.put(names::PROCESS_START_TIME, &[], started);
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of the descriptors is that of the directory itself.
            let open = open.count().saturating_sub(1);
            self.put(names::PROCESS_OPEN_DESCRIPTORS, &[], open);
        }
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            self.put(names::PROCESS_MAX_DESCRIPTORS, &[], limit);
        }
    }
}

fn resident_pages() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns the time at which the system was booted, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

struct Stat {
    cpu_seconds: f64,
    threads: u64,
    /// In seconds.
    started_after_boot: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Parses a line as described in proc(5). The name of the program, in parentheses, may contain anything.
    fn parse(text: &str) -> Option<Stat> {
        let (_, behind) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        // The first of these fields is field 3 of the line.
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are a hundred or a thousand ticks a second"
        )]
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Some(Stat {
            cpu_seconds: (ticks(14)? + ticks(15)?) / per_second,
            threads: fields.get(20 - 3)?.parse().ok()?,
            started_after_boot: ticks(22)? / per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_of_the_process_itself() {
        let mut page = Page::new("C");
        page.put_process();
        let text = page.render();
        for name in [
            "mainspring_build_info{node=\"C\",version=",
            "mainspring_log_lines_dropped_total{node=\"C\"} ",
            "mainspring_task_panics_total{node=\"C\",task=\"request\"} 0",
            "process_resident_memory_bytes{node=\"C\"} ",
            "process_cpu_seconds_total{node=\"C\"} ",
            "process_start_time_seconds{node=\"C\"} ",
            "process_threads{node=\"C\"} ",
            "process_open_fds{node=\"C\"} ",
            "process_max_fds{node=\"C\"} ",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(name)),
                "{name} in\n{text}"
            );
        }
    }

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let line = "7 (a ) b (c) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 9 0 300 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.threads, 9);
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(ticks, 100, "of Linux");
        assert!((stat.cpu_seconds - 2.0).abs() < 1e-9);
        assert!((stat.started_after_boot - 3.0).abs() < 1e-9);
    }
}
