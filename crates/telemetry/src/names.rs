//! All metrics, each with its kind and meaning.
//! Always: names begin with `mainspring_`, except those of the process itself, which are Prometheus' own. Counters end in `_total`, units are
//! seconds and bytes, every queue has its depth, every sync its duration.

use metrics::Unit;

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
    /// What it counts.
    pub unit: Unit,
    /// What it means, for the person who looks at the graph.
    pub meaning: &'static str,
}

macro_rules! metrics_of_the_house {
    ($($constant:ident = $name:literal $kind:ident $unit:ident $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)*
        /// Every metric there is.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, meaning: $meaning },)*
        ];
    };
}

metrics_of_the_house! {
    JOURNAL_BYTES = "mainspring_journal_bytes" Gauge Bytes "Size of all journal segments on disk.";
    JOURNAL_UNRELEASED_EVENTS = "mainspring_journal_unreleased_events" Gauge Count "Events that a receiver has not confirmed yet.";
    JOURNAL_RELEASED_EVENT_ID = "mainspring_journal_released_event_id" Gauge Microseconds "Events up to this number are needed by nobody any more; the oldest unreleased one is newer. Microseconds since 1970.";
    JOURNAL_TORN_EVENT_ID = "mainspring_journal_torn_event_id" Gauge Microseconds "Events up to this number are gone from the disk. Microseconds since 1970.";
    JOURNAL_SNAPSHOT_EVENT_ID = "mainspring_journal_snapshot_event_id" Gauge Microseconds "The newest snapshot's event. Microseconds since 1970, or 0.";
    JOURNAL_DAMAGED_FILES = "mainspring_journal_damaged_files" Gauge Count "Files of the journal that were found to be damaged and are still there.";
    JOURNAL_SEGMENTS = "mainspring_journal_segments" Gauge Count "Journal segments on disk.";
    JOURNAL_APPENDED_BYTES = "mainspring_journal_appended_bytes_total" Counter Bytes "Bytes written.";
    JOURNAL_SYNC_SECONDS_TOTAL = "mainspring_journal_sync_seconds_total" Counter Seconds "Time spent in flushes to disk.";
    JOURNAL_WRITING_SECONDS = "mainspring_journal_writing_seconds" Gauge Seconds "For how long the disk has been at the write under way, 0 when there is none.";
    JOURNAL_EVENTS = "mainspring_journal_events_total" Counter Count "Events written.";
    JOURNAL_APPENDS = "mainspring_journal_appends_total" Counter Count "Batches of events written.";
    JOURNAL_SYNCS = "mainspring_journal_syncs_total" Counter Count "Flushes to disk.";
    JOURNAL_APPEND_SECONDS = "mainspring_journal_append_seconds" Histogram Seconds "From a batch of events to its durability.";
    JOURNAL_SYNC_SECONDS = "mainspring_journal_sync_seconds" Histogram Seconds "Duration of one flush to disk.";
    JOURNAL_SNAPSHOT_SECONDS = "mainspring_journal_snapshot_seconds" Histogram Seconds "Duration of writing a snapshot.";
    LAST_EVENT_ID = "mainspring_last_event_id" Gauge Microseconds "Number of the newest event: microseconds since 1970.";
    ORDERS = "mainspring_orders" Gauge Count "Orders, by label state.";
    ORDERS_ENDED = "mainspring_orders_ended_total" Counter Count "Orders that have ended since this member became active, by label outcome.";
    ORDERS_FAILED = "mainspring_orders_failed_total" Counter Count "Failures that nothing caught, since this member became active; the orders stand until somebody resumes or cancels them.";
    ORDER_SECONDS = "mainspring_order_seconds" Histogram Seconds "From the start to the end of orders, by label outcome.";
    JOBS_ENDED = "mainspring_jobs_ended_total" Counter Count "Jobs that have ended since this member became active, by label outcome.";
    JOB_SECONDS = "mainspring_job_seconds" Histogram Seconds "From the start to the end of jobs, by label outcome.";
    ROLE = "mainspring_role" Gauge Count "1 for what this member is, by label role; 0 for the others.";
    CLUSTER_COUPLED = "mainspring_cluster_coupled" Gauge Count "1 while another member could take over with every event, else 0.";
    MEMBER_CONNECTED = "mainspring_member_connected" Gauge Count "1 when the other member is connected, 0 when not, by label member.";
    REPORT_BYTES = "mainspring_report_bytes" Gauge Bytes "What a Subagent has to report and its Director has not confirmed yet.";
    OBSTACLES = "mainspring_obstacles" Gauge Count "Orders that wait, by label obstacle.";
    COMMANDS = "mainspring_commands_total" Counter Count "Commands, by label command and outcome.";
    DECIDE_SECONDS = "mainspring_decide_seconds" Histogram Seconds "Duration of deciding one batch of inputs.";
    QUEUE_DEPTH = "mainspring_queue_depth" Gauge Count "Items that wait in a queue, by label queue.";
    QUEUE_WAIT_SECONDS = "mainspring_queue_wait_seconds" Histogram Seconds "How long an item has waited, by label queue.";
    PROCESSES = "mainspring_processes" Gauge Count "Job processes that run, by label subagent.";
    PROCESS_STARTS = "mainspring_process_starts_total" Counter Count "Job processes started.";
    PROCESS_KILLS = "mainspring_process_kills_total" Counter Count "Job processes sent a signal, by label signal.";
    PROCESS_OUTPUT_BYTES = "mainspring_process_output_bytes_total" Counter Bytes "Bytes that jobs have written to stdout and stderr.";
    LINKS_UP = "mainspring_link_up" Gauge Count "1 when the peer is connected, 0 when not, by label peer.";
    LINK_ATTEMPTS = "mainspring_link_attempts_total" Counter Count "Attempts to connect, by label peer.";
    LINK_LAG_EVENTS = "mainspring_link_lag_events" Gauge Count "Events that the peer has and we have not, by label peer.";
    HTTP_REQUESTS = "mainspring_http_requests_total" Counter Count "Requests answered, by label path and status.";
    HTTP_SECONDS = "mainspring_http_seconds" Histogram Seconds "Duration of requests, streams left out.";
    HTTP_STREAMS = "mainspring_http_streams" Gauge Count "Event streams that are open.";
    LOGINS_FAILED = "mainspring_logins_failed_total" Counter Count "Logins with a wrong password or token.";
    CERTIFICATE_EXPIRY = "mainspring_certificate_expiry_timestamp_seconds" Gauge Seconds "When a certificate in use expires, in seconds since 1970, by label file.";
    LOG_LINES_DROPPED = "mainspring_log_lines_dropped_total" Counter Count "Log lines that nobody took or that could not be written.";
    TASK_PANICS = "mainspring_task_panics_total" Counter Count "Requests, connections and jobs that have failed by a fault of the program, by label task.";
    BUILD_INFO = "mainspring_build_info" Gauge Count "Always 1: the label version tells which program runs.";
    PROCESS_MEMORY = "process_resident_memory_bytes" Gauge Bytes "Resident memory of this process.";
    PROCESS_CPU = "process_cpu_seconds_total" Counter Seconds "Processor time of this process, without that of its jobs.";
    PROCESS_START_TIME = "process_start_time_seconds" Gauge Seconds "When this process was started, in seconds since 1970.";
    PROCESS_THREADS = "process_threads" Gauge Count "Threads of this process.";
    PROCESS_OPEN_DESCRIPTORS = "process_open_fds" Gauge Count "Open file descriptors of this process.";
    PROCESS_MAX_DESCRIPTORS = "process_max_fds" Gauge Count "How many file descriptors this process may have open.";
    START_SECONDS = "mainspring_start_seconds" Gauge Seconds "Duration of the last start, reading the journal included.";
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(
                !is_of_seconds || metric.unit == Unit::Seconds,
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
