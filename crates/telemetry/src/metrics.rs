//! The recorder of this process's metrics, and their text for Prometheus.
//! Always: one recorder per process, even where several nodes share one; a node tells its metrics apart by the label `node`.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::names::{ALL, Kind};

/// From a tenth of a millisecond, which a fast disk needs for a flush, to the time an operator loses patience.
const SECONDS: [f64; 12] = [
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0,
];
/// Values of histograms are kept singly until somebody sorts them into buckets, be it a reader or this clock.
const UPKEEP: Duration = Duration::from_secs(10);
const UPKEEP_STACK_BYTES: usize = 256 << 10;

/// Access to the metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The metrics in the text form 0.0.4 of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A library has set a recorder of its own.
    #[error("cannot record metrics: another recorder is installed in this process")]
    ForeignRecorder,
    /// The system gives no thread.
    #[error("cannot start the thread that sorts metrics into buckets")]
    NoThread(#[source] io::Error),
}

/// Starts recording; who comes later gets the same recorder.
pub fn install_metrics() -> Result<Metrics, MetricsError> {
    static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(metrics) = &*installed {
        return Ok(metrics.clone());
    }
    let recorder = recorder();
    let metrics = Metrics(recorder.handle());
    metrics::set_global_recorder(recorder)
        .map_err(|_unused_recorder| MetricsError::ForeignRecorder)?;
    describe();
    let handle = metrics.0.clone();
    let upkeep = move || loop {
        tasks::fault_point("metrics");
        thread::sleep(UPKEEP);
        handle.run_upkeep();
    };
    tasks::spawn_thread("metrics", UPKEEP_STACK_BYTES, upkeep).map_err(MetricsError::NoThread)?;
    *installed = Some(metrics.clone());
    Ok(metrics)
}

fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS);
    builder.expect("there are buckets").build_recorder()
}

fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.meaning),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, metric.meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram};

    use super::*;
    use crate::names;

    #[test]
    fn what_was_counted_is_shown_with_its_meaning() {
        let metrics = install_metrics().unwrap();
        counter!(names::JOURNAL_SYNCS, "node" => "c").increment(3);
        gauge!(names::ORDERS, "state" => "Fresh").set(7);
        histogram!(names::JOURNAL_SYNC_SECONDS).record(0.002);
        let text = install_metrics().unwrap().render();
        assert_eq!(text, metrics.render());
        for line in [
            "# HELP mainspring_journal_syncs_total Flushes to disk.",
            "# TYPE mainspring_journal_syncs_total counter",
            "mainspring_journal_syncs_total{node=\"c\"} 3",
            "mainspring_orders{state=\"Fresh\"} 7",
            "mainspring_journal_sync_seconds_bucket{le=\"0.001\"} 0",
            "mainspring_journal_sync_seconds_bucket{le=\"0.003\"} 1",
            "mainspring_journal_sync_seconds_count 1",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "{line} in\n{text}"
            );
        }
    }
}
