//! Counts the orders and jobs that have ended since this member became active, by outcome, and measures how long they took.
//!
//! Always: each end is counted once, after its commit. Ends from before this member became active are not counted. If only the start was
//! before that, the end is counted but its duration is not measured. Never here: how many orders there are now, which is part of the state.

use model::{DisruptedReason, Event, OrderEvent, OrderId, Outcome, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use telemetry::{Durations, Page, names};

/// The part of an event that is counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Noted {
    /// This is an Agent's log, so the ends of orders are not counted here.
    AtAgent,
    OrderStarted(OrderId),
    OrderFailed(OrderId),
    OrderEnded(OrderId, OrderEnd),
    JobStarted(OrderId),
    JobEnded(OrderId, JobEnd),
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderEnd {
    Finished,
    Cancelled,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    Succeeded,
    Failed,
    TimedOut,
    Killed,
    Lost,
    Disrupted,
}

impl OrderEnd {
    const ALL: [OrderEnd; 2] = [OrderEnd::Finished, OrderEnd::Cancelled];

    fn label(self) -> &'static str {
        match self {
            OrderEnd::Finished => "finished",
            OrderEnd::Cancelled => "cancelled",
        }
    }
}

impl JobEnd {
    const ALL: [JobEnd; 6] = [
        JobEnd::Succeeded,
        JobEnd::Failed,
        JobEnd::TimedOut,
        JobEnd::Killed,
        JobEnd::Lost,
        JobEnd::Disrupted,
    ];

    fn of(outcome: &Outcome) -> JobEnd {
        match outcome {
            Outcome::Succeeded { .. } | Outcome::Caught => JobEnd::Succeeded,
            Outcome::Failed { .. } => JobEnd::Failed,
            Outcome::TimedOut { .. } => JobEnd::TimedOut,
            Outcome::Killed { .. } => JobEnd::Killed,
            Outcome::Disrupted { reason, .. } => match reason {
                DisruptedReason::ProcessLost { .. } => JobEnd::Lost,
                DisruptedReason::Other { .. } => JobEnd::Disrupted,
            },
        }
    }

    fn label(self) -> &'static str {
        match self {
            JobEnd::Succeeded => "succeeded",
            JobEnd::Failed => "failed",
            JobEnd::TimedOut => "timed-out",
            JobEnd::Killed => "killed",
            JobEnd::Lost => "lost",
            JobEnd::Disrupted => "disrupted",
        }
    }
}

/// Returns what must be counted for `event`, if anything.
pub(crate) fn noted(event: &Event) -> Option<Noted> {
    let Event::Order(id, event) = event else {
        return None;
    };
    if let OrderEvent::OrderAttachedToAgent { .. } = event {
        return Some(Noted::AtAgent);
    }
    if let OrderEvent::OrderStarted = event {
        return Some(Noted::OrderStarted(id.clone()));
    }
    if let OrderEvent::OrderFinished { .. } = event {
        return Some(Noted::OrderEnded(id.clone(), OrderEnd::Finished));
    }
    if let OrderEvent::OrderCancelled = event {
        return Some(Noted::OrderEnded(id.clone(), OrderEnd::Cancelled));
    }
    if let OrderEvent::OrderFailed { .. } = event {
        return Some(Noted::OrderFailed(id.clone()));
    }
    if let OrderEvent::OrderProcessingStarted { .. } = event {
        return Some(Noted::JobStarted(id.clone()));
    }
    if let OrderEvent::OrderProcessed { outcome } = event {
        return Some(Noted::JobEnded(id.clone(), JobEnd::of(outcome)));
    }
    None
}

/// The counts. Cheap to clone: clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    is_at_agent: bool,
    failed: u64,
    orders: [(u64, Durations); OrderEnd::ALL.len()],
    jobs: [(u64, Durations); JobEnd::ALL.len()],
    orders_started: HashMap<OrderId, Timestamp>,
    jobs_started: HashMap<OrderId, Timestamp>,
}

impl Progress {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the events of a committed batch, each with its time.
    pub(crate) fn add(&self, all: Vec<(Timestamp, Noted)>) {
        if all.is_empty() {
            return;
        }
        let mut counts = self.counts();
        for (at, noted) in all {
            counts.add(at, noted);
        }
    }

    pub(crate) fn put(&self, page: &mut Page) {
        let counts = self.counts();
        if !counts.is_at_agent {
            counts.put_orders(page);
        }
        for (end, (count, durations)) in JobEnd::ALL.iter().zip(&counts.jobs) {
            let labels = [("outcome", end.label())];
            page.put(names::JOBS_ENDED, &labels, count);
            page.put_durations(names::JOB_SECONDS, &labels, durations);
        }
    }
}

impl Counts {
    fn put_orders(&self, page: &mut Page) {
        page.put(names::ORDERS_FAILED, &[], self.failed);
        for (end, (count, durations)) in OrderEnd::ALL.iter().zip(&self.orders) {
            let labels = [("outcome", end.label())];
            page.put(names::ORDERS_ENDED, &labels, count);
            page.put_durations(names::ORDER_SECONDS, &labels, durations);
        }
    }

    fn add(&mut self, at: Timestamp, noted: Noted) {
        match noted {
            Noted::AtAgent => {
                self.is_at_agent = true;
                self.orders_started.clear();
            }
            Noted::OrderStarted(id) if !self.is_at_agent => {
                self.orders_started.insert(id, at);
            }
            Noted::OrderStarted(_) => {}
            Noted::OrderFailed(id) => {
                // If its Agent was reset, its job has no end of its own.
                self.jobs_started.remove(&id);
                self.failed += 1;
            }
            Noted::OrderEnded(id, end) => {
                self.jobs_started.remove(&id);
                let took = self.orders_started.remove(&id).map(|began| at.since(began));
                count(
                    &mut self.orders,
                    OrderEnd::ALL.iter().position(|each| *each == end),
                    took,
                );
            }
            Noted::JobStarted(id) => {
                self.jobs_started.insert(id, at);
            }
            Noted::JobEnded(id, end) => {
                let took = self.jobs_started.remove(&id).map(|began| at.since(began));
                count(
                    &mut self.jobs,
                    JobEnd::ALL.iter().position(|each| *each == end),
                    took,
                );
            }
        }
    }
}

fn count(ends: &mut [(u64, Durations)], place: Option<usize>, took: Option<std::time::Duration>) {
    if let Some((count, durations)) = place.and_then(|place| ends.get_mut(place)) {
        *count += 1;
        if let Some(took) = took {
            durations.add(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str, event: OrderEvent) -> Event {
        Event::Order(OrderId::from(id), event)
    }

    fn counted(events: &[(i64, Event)]) -> String {
        let progress = Progress::default();
        let all = events
            .iter()
            .filter_map(|(millis, event)| Some((Timestamp::from_millis(*millis), noted(event)?)));
        progress.add(all.collect());
        let mut page = Page::new("C");
        progress.put(&mut page);
        page.render()
    }

    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|known| known == line), "{line} in\n{page}");
    }

    #[test]
    fn ends_are_counted_by_outcome_and_measured_from_their_start() {
        let processing = || OrderEvent::OrderProcessingStarted {
            subagent_id: None,
            subagent_bundle_id: None,
            stick: false,
        };
        let page = counted(&[
            (0, order("A", OrderEvent::OrderStarted)),
            (100, order("A", processing())),
            (
                1100,
                order(
                    "A",
                    OrderEvent::OrderProcessed {
                        outcome: Outcome::SUCCEEDED,
                    },
                ),
            ),
            (
                70_000,
                order("A", OrderEvent::OrderFinished { outcome: None }),
            ),
            // It was started before this member became active.
            (
                80_000,
                order(
                    "B",
                    OrderEvent::OrderProcessed {
                        outcome: Outcome::failed("no"),
                    },
                ),
            ),
        ]);
        has(
            &page,
            "mainspring_orders_ended_total{node=\"C\",outcome=\"finished\"} 1",
        );
        has(
            &page,
            "mainspring_orders_ended_total{node=\"C\",outcome=\"cancelled\"} 0",
        );
        has(
            &page,
            "mainspring_order_seconds_bucket{node=\"C\",outcome=\"finished\",le=\"60\"} 0",
        );
        has(
            &page,
            "mainspring_order_seconds_bucket{node=\"C\",outcome=\"finished\",le=\"300\"} 1",
        );
        has(
            &page,
            "mainspring_order_seconds_sum{node=\"C\",outcome=\"finished\"} 70",
        );
        has(
            &page,
            "mainspring_job_seconds_bucket{node=\"C\",outcome=\"succeeded\",le=\"2\"} 1",
        );
        has(
            &page,
            "mainspring_jobs_ended_total{node=\"C\",outcome=\"failed\"} 1",
        );
        has(
            &page,
            "mainspring_job_seconds_count{node=\"C\",outcome=\"failed\"} 0",
        );
    }
}
