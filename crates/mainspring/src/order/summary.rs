//! What orders did when, as a table with a line of time for each.
//!
//! Always: the children of an order count as part of it; the lines of all orders share one scale.

use std::collections::BTreeMap;

use model::{OrderEvent, OrderId, Timestamp};

use super::end::End;
use crate::moment;
use crate::screen::{Paint, Tone};
use crate::table::{Cell, Table};

/// Width of the line of time.
const WIDTH: usize = 40;

/// The orders by root, in the order of their appearance.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    orders: Vec<(String, Course)>,
}

/// The course of one order.
#[derive(Debug)]
struct Course {
    began: Timestamp,
    last: Timestamp,
    end: Option<End>,
    jobs: usize,
    failures: usize,
    retries: usize,
    running: BTreeMap<OrderId, Timestamp>,
    ran: Vec<(Timestamp, Timestamp)>,
}

impl Summary {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "few of the many events show in a summary"
    )]
    pub(crate) fn take(&mut self, id: &OrderId, event: &OrderEvent, at: Timestamp) {
        let root = id.root();
        let place = self
            .orders
            .iter()
            .position(|(known, _)| known == root)
            .unwrap_or_else(|| {
                let course = Course {
                    began: at,
                    last: at,
                    end: None,
                    jobs: 0,
                    failures: 0,
                    retries: 0,
                    running: BTreeMap::new(),
                    ran: Vec::new(),
                };
                self.orders.push((root.to_owned(), course));
                self.orders.len() - 1
            });
        let course = &mut self.orders[place].1;
        course.last = course.last.max(at);
        match event {
            OrderEvent::OrderProcessingStarted { .. } => {
                course.jobs += 1;
                course.running.insert(id.clone(), at);
            }
            OrderEvent::OrderProcessed { outcome } => {
                course.failures += usize::from(!outcome.is_succeeded());
                course
                    .ran
                    .extend(course.running.remove(id).map(|since| (since, at)));
            }
            OrderEvent::OrderRetrying { .. } => course.retries += 1,
            _ => {}
        }
        if id.as_str() == root {
            course.end = End::of_event(event).or(course.end.take());
        }
    }

    pub(crate) fn draw(&self, paint: Paint) -> String {
        let begin = self
            .orders
            .iter()
            .map(|(_, course)| course.began)
            .min()
            .unwrap_or_default();
        let last = self
            .orders
            .iter()
            .map(|(_, course)| course.last)
            .max()
            .unwrap_or_default();
        let total = last.since(begin).as_millis().max(1);
        let column = |at: Timestamp| {
            let column = at.since(begin).as_millis() * (WIDTH as u128 - 1) / total;
            usize::try_from(column).unwrap_or(WIDTH - 1).min(WIDTH - 1)
        };
        let mut table = Table::new(&[
            "ORDER",
            "END",
            "TOOK",
            "JOBS",
            "FAILED",
            "RETRIES",
            "█ job runs  ─ order waits",
        ]);
        for (id, course) in &self.orders {
            let mut line = [' '; WIDTH];
            line[column(course.began)..=column(course.last)].fill('─');
            for (from, to) in &course.ran {
                line[column(*from)..=column(*to)].fill('█');
            }
            let (tone, end) = match &course.end {
                Some(End::Well) => (Tone::Good, "finished"),
                Some(End::Badly(how)) => (Tone::Bad, *how),
                None => (Tone::Waiting, "goes on"),
            };
            table.row([
                Cell::toned(Tone::Strong, id.as_str()),
                Cell::toned(tone, end),
                moment::span(course.last.since(course.began)).into(),
                course.jobs.to_string().into(),
                course.failures.to_string().into(),
                course.retries.to_string().into(),
                Cell::toned(tone, line.iter().collect::<String>()),
            ]);
        }
        table.draw(paint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_with_its_children_is_one_line_on_a_common_scale() {
        let mut summary = Summary::default();
        let events = [
            (0, "A", r#"{"TYPE":"OrderStarted"}"#),
            (0, "A|x", r#"{"TYPE":"OrderProcessingStarted"}"#),
            (
                500,
                "A|x",
                r#"{"TYPE":"OrderProcessed","outcome":{"TYPE":"Failed"}}"#,
            ),
            (500, "A|x", r#"{"TYPE":"OrderRetrying"}"#),
            (1000, "A", r#"{"TYPE":"OrderFinished"}"#),
            (2000, "B", r#"{"TYPE":"OrderFailed","movedTo":[0]}"#),
        ];
        for (at, id, json) in events {
            summary.take(
                &OrderId::new(id),
                &serde_json::from_str(json).unwrap(),
                Timestamp::from_millis(at),
            );
        }
        let drawn = summary.draw(Paint { is_on: false });
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 3, "{drawn}");
        let expected = format!(
            "A      finished  1.0 s  1     1       1        {}{}",
            "█".repeat(10),
            "─".repeat(10)
        );
        assert_eq!(lines[1], expected);
        assert!(
            lines[2].starts_with("B      failed") && lines[2].ends_with('─'),
            "{drawn}"
        );
    }
}
