//! All metrics, each with its kind and meaning.
//!
//! Always: names begin with `mainspring_`, except those of the process itself, which are Prometheus' own. Counters end in `_total`, times are
//! in seconds and sizes in bytes, and the name says which. Each of them is on the page of some node, and `docs/operating.md` has them all.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only upwards.
    Counter,
    /// Up and down.
    Gauge,
    /// Many values, shown as buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it means, for the person who looks at the graph.
    pub meaning: &'static str,
}

macro_rules! metrics_of_the_house {
    ($($constant:ident = $name:literal $kind:ident $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)*
        /// Every metric there is.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, meaning: $meaning },)*
        ];
    };
}

metrics_of_the_house! {
    JOURNAL_BYTES = "mainspring_journal_bytes" Gauge "Size of all journal segments on disk.";
    JOURNAL_RELEASED_EVENT_ID = "mainspring_journal_released_event_id" Gauge "Events up to this number are needed by nobody any more; the oldest unreleased one is newer. Microseconds since 1970.";
    JOURNAL_TORN_EVENT_ID = "mainspring_journal_torn_event_id" Gauge "Events up to this number are gone from the disk. Microseconds since 1970.";
    JOURNAL_SNAPSHOT_EVENT_ID = "mainspring_journal_snapshot_event_id" Gauge "The newest snapshot's event. Microseconds since 1970, or 0.";
    JOURNAL_DAMAGED_FILES = "mainspring_journal_damaged_files" Gauge "Files of the journal that were found to be damaged and are still there.";
    JOURNAL_SEGMENTS = "mainspring_journal_segments" Gauge "Journal segments on disk.";
    JOURNAL_APPENDED_BYTES = "mainspring_journal_appended_bytes_total" Counter "Bytes written.";
    JOURNAL_SYNC_SECONDS_TOTAL = "mainspring_journal_sync_seconds_total" Counter "Time spent in flushes to disk.";
    JOURNAL_WRITING_SECONDS = "mainspring_journal_writing_seconds" Gauge "For how long the disk has been at the write under way, 0 when there is none.";
    JOURNAL_APPENDS = "mainspring_journal_appends_total" Counter "Batches of events written.";
    JOURNAL_SYNCS = "mainspring_journal_syncs_total" Counter "Flushes to disk.";
    LAST_EVENT_ID = "mainspring_last_event_id" Gauge "Number of the newest event: microseconds since 1970.";
    ORDERS = "mainspring_orders" Gauge "Orders, by label state.";
    ORDERS_ENDED = "mainspring_orders_ended_total" Counter "Orders that have ended since this member became active, by label outcome.";
    ORDERS_FAILED = "mainspring_orders_failed_total" Counter "Failures that nothing caught, since this member became active; the orders stand until somebody resumes or cancels them.";
    ORDER_SECONDS = "mainspring_order_seconds" Histogram "From the start to the end of orders, by label outcome.";
    JOBS_ENDED = "mainspring_jobs_ended_total" Counter "Jobs that have ended since this member became active, by label outcome.";
    JOB_SECONDS = "mainspring_job_seconds" Histogram "From the start to the end of jobs, by label outcome.";
    ROLE = "mainspring_role" Gauge "1 for what this member is, by label role; 0 for the others.";
    CLUSTER_COUPLED = "mainspring_cluster_coupled" Gauge "1 while another member could take over with every event, else 0.";
    MEMBER_CONNECTED = "mainspring_member_connected" Gauge "1 when the other member is connected, 0 when not, by label member.";
    REPORT_BYTES = "mainspring_report_bytes" Gauge "What a Subagent has to report and its Director has not confirmed yet.";
    QUEUE_DEPTH = "mainspring_queue_depth" Gauge "Items that wait in a queue, by label queue.";
    PROCESSES = "mainspring_processes" Gauge "Job processes that run, by label subagent.";
    LINKS_UP = "mainspring_link_up" Gauge "1 when the peer is connected, 0 when not, by label peer.";
    LOGINS_FAILED = "mainspring_logins_failed_total" Counter "Logins with a wrong password or token.";
    CERTIFICATE_EXPIRY = "mainspring_certificate_expiry_timestamp_seconds" Gauge "When a certificate in use expires, in seconds since 1970, by label file.";
    LOG_LINES_DROPPED = "mainspring_log_lines_dropped_total" Counter "Log lines that nobody took or that could not be written.";
    TASK_PANICS = "mainspring_task_panics_total" Counter "Requests, connections and jobs that have failed by a fault of the program, by label task.";
    BUILD_INFO = "mainspring_build_info" Gauge "Always 1: the label version tells which program runs.";
    PROCESS_MEMORY = "process_resident_memory_bytes" Gauge "Resident memory of this process.";
    PROCESS_CPU = "process_cpu_seconds_total" Counter "Processor time of this process, without that of its jobs.";
    PROCESS_START_TIME = "process_start_time_seconds" Gauge "When this process was started, in seconds since 1970.";
    PROCESS_THREADS = "process_threads" Gauge "Threads of this process.";
    PROCESS_OPEN_DESCRIPTORS = "process_open_fds" Gauge "Open file descriptors of this process.";
    PROCESS_MAX_DESCRIPTORS = "process_max_fds" Gauge "How many file descriptors this process may have open.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the words of the documents that look like one of our metrics, too, because somebody copies them into an alarm.
    #[test]
    fn the_documents_name_every_metric_with_its_kind_and_no_other_one() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
        let manual = std::fs::read_to_string(format!("{docs}/operating.md")).unwrap();
        for Metric { name, kind, .. } in ALL {
            let row = format!("| `{name}` | {} |", format!("{kind:?}").to_lowercase());
            assert!(manual.contains(&row), "{row} is missing");
        }
        for file in std::fs::read_dir(docs).unwrap() {
            let file = file.unwrap().path();
            let Ok(text) = std::fs::read_to_string(&file) else {
                continue;
            };
            let is_part = |c: char| !(c.is_ascii_lowercase() || c == '_');
            for word in text.split(is_part) {
                let is_metric = word.starts_with("mainspring_")
                    && ["_total", "_seconds", "_bytes", "_event_id"]
                        .iter()
                        .any(|end| word.ends_with(end));
                assert!(
                    !is_metric || ALL.iter().any(|metric| metric.name == word),
                    "{word} in {}",
                    file.display()
                );
            }
        }
    }

    #[test]
    fn names_follow_the_rules() {
        for metric in ALL {
            let is_ours = metric.name.starts_with("mainspring_");
            assert!(
                is_ours || metric.name.starts_with("process_"),
                "{}",
                metric.name
            );
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            let is_of_seconds = metric.name.ends_with("_seconds");
            assert!(
                is_of_seconds || metric.kind != Kind::Histogram,
                "{}",
                metric.name
            );
            assert!(metric.meaning.ends_with('.'), "{}", metric.name);
            assert_eq!(
                ALL.iter().filter(|other| other.name == metric.name).count(),
                1,
                "{}",
                metric.name
            );
        }
    }
}
