//! What happened, judged by what Mainspring did not write itself: acknowledgements, what a reader got, and the jobs' own marks.
//!
//! Always: pure, but for the clock. An attempt has one start; a further attempt needs an event that says that the last one was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;

use super::reader::{Print, print};

/// The wall clock in nanoseconds since the epoch, as jobs read it.
pub(super) fn nanos() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The marks of the jobs.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// How often each attempt of each order has started.
    attempts: BTreeMap<String, BTreeMap<String, usize>>,
    times: Vec<u64>,
}

impl Starts {
    /// Of lines `ORDER#ATTEMPT NANOS`. What is no such line is half of one whose job was killed: it counts as no start.
    pub(super) fn of(text: &str) -> Starts {
        let mut starts = Starts::default();
        for line in text.lines() {
            let Some((attempt, at)) = line.rsplit_once(' ') else {
                continue;
            };
            let (Some((order, number)), Ok(at)) = (attempt.rsplit_once('#'), at.parse()) else {
                continue;
            };
            let attempts = starts.attempts.entry(order.to_owned()).or_default();
            *attempts.entry(number.to_owned()).or_default() += 1;
            starts.times.push(at);
        }
        starts.times.sort_unstable();
        starts
    }

    /// The longest time without a start from the last one before `at` to the first one after `until`.
    pub(super) fn gap(&self, at: u64, until: u64) -> Option<Duration> {
        let from = self.times.partition_point(|start| *start < at);
        let to = self.times.partition_point(|start| *start <= until) + 1;
        self.times
            .get(from.saturating_sub(1)..to.min(self.times.len()))?
            .windows(2)
            .map(|two| two[1] - two[0])
            .max()
            .map(Duration::from_nanos)
    }

    /// All times between one start and the next of this span.
    pub(super) fn gaps(&self, from: u64, until: u64) -> Vec<Duration> {
        let from = self.times.partition_point(|start| *start < from);
        let to = self.times.partition_point(|start| *start <= until);
        let gaps = self.times[from..to].windows(2);
        gaps.map(|two| Duration::from_nanos(two[1] - two[0]))
            .collect()
    }
}

/// The whole log as it is in the end.
#[derive(Debug, Default)]
pub(super) struct Log {
    prints: Vec<Print>,
    finished: BTreeMap<String, usize>,
    repeats: BTreeMap<String, usize>,
    changes: usize,
}

impl Log {
    /// Takes the next line.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<()> {
        let Some(print) = print(line) else {
            return Ok(());
        };
        self.prints.push(print);
        let event: Value = serde_json::from_slice(line)?;
        let key = event["Key"].as_str().unwrap_or_default();
        match event["TYPE"].as_str() {
            Some("OrderFinished") => *self.finished.entry(key.to_owned()).or_default() += 1,
            Some("OrderProcessed") if event["outcome"]["TYPE"] == "Disrupted" => {
                *self.repeats.entry(key.to_owned()).or_default() += 1;
            }
            Some("ClusterFailedOver" | "ClusterSwitchedOver") => self.changes += 1,
            _ => {}
        }
        Ok(())
    }

    /// The number of its newest event.
    pub(super) fn last_event_id(&self) -> u64 {
        self.prints.last().map_or(0, |(id, _)| *id)
    }

    /// How often another member has become active.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Whether all of these have finished.
    pub(super) fn have_finished(&self, orders: &[String]) -> bool {
        orders.iter().all(|order| self.finished.contains_key(order))
    }
}

/// The judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Acknowledged or seen, and not there; or there and not seen.
    pub(super) lost: Vec<String>,
    /// Started or finished twice.
    pub(super) doubled: Vec<String>,
    /// Attempts that were lost with their process, as events say, and repeated.
    pub(super) repeated: usize,
}

/// Compares what was promised with what there is.
pub(super) fn judge(
    acknowledged: &[String],
    seen: &[Print],
    starts: &Starts,
    log: &Log,
) -> Judgement {
    let mut judgement = Judgement::default();
    for order in acknowledged {
        if !starts.attempts.contains_key(order) {
            judgement
                .lost
                .push(format!("order {order} has never started"));
        } else if !log.finished.contains_key(order) {
            judgement
                .lost
                .push(format!("order {order} has not finished"));
        }
    }
    let there: BTreeSet<&Print> = log.prints.iter().collect();
    for print in seen.iter().filter(|print| !there.contains(print)) {
        let id = print.0;
        judgement
            .lost
            .push(format!("event {id} was seen and is not there"));
    }
    let had: BTreeSet<&Print> = seen.iter().collect();
    for (id, _) in log.prints.iter().filter(|print| !had.contains(print)) {
        judgement
            .lost
            .push(format!("event {id} has reached no reader"));
    }
    if !seen.is_sorted_by(|one, two| one.0 < two.0) {
        judgement
            .doubled
            .push("a reader got events twice or in disorder".to_owned());
    }
    for (order, attempts) in &starts.attempts {
        for (number, count) in attempts.iter().filter(|(_, count)| **count > 1) {
            judgement.doubled.push(format!(
                "attempt {order}#{number} was started {count} times"
            ));
        }
        let repeats = log.repeats.get(order).copied().unwrap_or(0);
        judgement.repeated += attempts.len() - 1;
        if attempts.len() > 1 + repeats {
            judgement.doubled.push(format!(
                "order {order} was started in {} attempts, of which {repeats} were lost",
                attempts.len()
            ));
        }
    }
    for (order, count) in log.finished.iter().filter(|(_, count)| **count > 1) {
        judgement
            .doubled
            .push(format!("order {order} has finished {count} times"));
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        let mut log = Log::default();
        for line in lines {
            log.take(line.as_bytes()).unwrap();
        }
        log
    }

    const FINISHED: &str = r#"{"eventId":7,"Key":"A","TYPE":"OrderFinished"}"#;
    const LOST: &str =
        r#"{"eventId":5,"Key":"A","TYPE":"OrderProcessed","outcome":{"TYPE":"Disrupted"}}"#;

    fn judged(orders: &[&str], seen: &[&str], starts: &str, lines: &[&str]) -> Judgement {
        let orders: Vec<String> = orders.iter().map(|&order| order.to_owned()).collect();
        let seen = log(seen).prints;
        judge(&orders, &seen, &Starts::of(starts), &log(lines))
    }

    #[test]
    fn an_order_that_ran_once_is_in_order_and_a_lost_attempt_may_be_repeated() {
        let good = judged(&["A"], &[FINISHED], "A#1 10\n", &[FINISHED]);
        assert_eq!(good, Judgement::default());
        let both = [LOST, FINISHED];
        let repeated = judged(&["A"], &both, "A#1 10\nA#2 20\n", &both);
        assert_eq!((repeated.doubled, repeated.repeated), (Vec::new(), 1));
    }

    #[test]
    fn what_is_lost_or_doubled_is_named() {
        let never = judged(&["A"], &[FINISHED], "", &[FINISHED]);
        assert_eq!(never.lost, ["order A has never started"]);
        let gone = judged(&[], &[LOST, FINISHED], "", &[FINISHED]);
        assert_eq!(gone.lost, ["event 5 was seen and is not there"]);
        let unseen = judged(&[], &[FINISHED], "", &[LOST, FINISHED]);
        assert_eq!(unseen.lost, ["event 5 has reached no reader"]);
        let twice = judged(&["A"], &[FINISHED], "A#1 10\nA#1 11\n", &[FINISHED]);
        assert_eq!(twice.doubled, ["attempt A#1 was started 2 times"]);
        let unasked = judged(&["A"], &[FINISHED], "A#1 10\nA#2 11\n", &[FINISHED]);
        assert_eq!(
            unasked.doubled,
            ["order A was started in 2 attempts, of which 0 were lost"]
        );
        let disorder = judged(&[], &[FINISHED, FINISHED], "", &[FINISHED]);
        assert_eq!(
            disorder.doubled,
            ["a reader got events twice or in disorder"]
        );
    }

    #[test]
    fn a_gap_begins_with_the_last_start_before_and_ends_with_the_first_one_after() {
        let starts = Starts::of("A#1 100\nB#1 200\nC#1 900\nD#1 950\n");
        assert_eq!(starts.gap(250, 300), Some(Duration::from_nanos(700)));
        assert_eq!(starts.gap(910, 920), Some(Duration::from_nanos(50)));
        assert_eq!(starts.gaps(0, 900).len(), 2);
    }
}
