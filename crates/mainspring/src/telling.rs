//! Events as lines for people: when, who, what, in the words of the workflow where it is known.
//!
//! Always: output of jobs stands out from what happened; nothing of an event's text can play with the terminal.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    AgentEvent, Branch, DisruptedReason, Event, JobHold, Order, OrderEvent, OrderId, Outcome,
    Position, Stamped, SubagentStateEvent, Timestamp, Workflow, WorkflowId,
};

use crate::call::Controller;
use crate::moment;
use crate::screen::{Paint, Tone};
use crate::stage;

/// The column of ids grows up to here; longer ids stick out.
const WIDTH_MAX: usize = 40;
/// Room for the name of a fork's branch.
const BRANCH_WIDTH: usize = 6;

/// Tells events, and remembers where each order stands so that a job can be named.
pub(crate) struct Teller<'a> {
    controller: &'a Controller,
    paint: Paint,
    places: BTreeMap<OrderId, (Arc<WorkflowId>, Position)>,
    workflows: BTreeMap<Arc<WorkflowId>, Option<Arc<Workflow>>>,
    /// Width of the column of ids: it only grows.
    width: usize,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(controller: &'a Controller, paint: Paint) -> Teller<'a> {
        Teller {
            controller,
            paint,
            places: BTreeMap::new(),
            workflows: BTreeMap::new(),
            width: 12,
        }
    }

    /// The ids that are to come, so that the columns stand still.
    pub(crate) fn make_room_for(&mut self, ids: &[String]) {
        let widest = ids.iter().map(|id| id.chars().count() + BRANCH_WIDTH).max();
        self.width = widest.unwrap_or_default().clamp(self.width, WIDTH_MAX);
    }

    /// Learns where an order stands that was added before we looked.
    pub(crate) fn meet(&mut self, order: &Order) {
        self.places.insert(
            order.id.clone(),
            (order.workflow_id.clone(), order.position.clone()),
        );
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "orders are what is told most of; everything else is told by its fields"
    )]
    /// The lines of an event; nothing for what happens only inside.
    pub(crate) async fn tell(&mut self, stamped: &Stamped) -> Option<String> {
        let (key, told) = match &stamped.event {
            Event::Order(id, event) => {
                self.follow(id, event);
                let job = match event {
                    OrderEvent::OrderProcessingStarted { .. } => self.job_of(id).await,
                    _ => None,
                };
                (
                    id.as_str().to_owned(),
                    order_line(event, job.as_deref(), stamped.at())?,
                )
            }
            // Bookkeeping between the parts: one for every few events of an order.
            Event::Agent(_, AgentEvent::AgentEventsObserved { .. })
            | Event::Subagent(
                _,
                SubagentStateEvent::SubagentEventsObserved { .. }
                | SubagentStateEvent::SubagentLeaseOffered { .. },
            ) => return None,
            other => (key_of(other), (Tone::Faint, other_line(other))),
        };
        self.width = self.width.max(key.chars().count()).min(WIDTH_MAX);
        let (tone, mut text) = told;
        if let Some(by) = &stamped.by
            && let Some(reason) = &by.reason
        {
            text = format!("{text}  ({}: {reason})", by.user);
        }
        let head = format!(
            "{} {}",
            self.paint.put(Tone::Faint, &moment::clock(stamped.at())),
            self.paint
                .put(Tone::Strong, &format!("{key:width$}", width = self.width))
        );
        let is_output = matches!(
            stamped.event,
            Event::Order(
                _,
                OrderEvent::OrderStdoutWritten { .. } | OrderEvent::OrderStderrWritten { .. }
            )
        );
        let bar = if is_output {
            self.paint.put(tone, "┃ ")
        } else {
            String::new()
        };
        let lines = text.lines().map(|line| {
            let line = harmless(line);
            let line = if is_output {
                line
            } else {
                self.paint.put(tone, &line)
            };
            format!("{head}  {bar}{line}")
        });
        Some(lines.collect::<Vec<_>>().join("\n"))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "few of the many events move an order"
    )]
    fn follow(&mut self, id: &OrderId, event: &OrderEvent) {
        match event {
            OrderEvent::OrderAdded {
                workflow_id,
                start_position,
                ..
            } => {
                let position = start_position.clone().unwrap_or_default();
                self.places
                    .insert(id.clone(), (workflow_id.clone(), position));
            }
            OrderEvent::OrderForked { children } => {
                let Some((workflow, position)) = self.places.get(id).cloned() else {
                    return;
                };
                for child in children {
                    let branch = child
                        .branch_id
                        .clone()
                        .map_or(Branch::ForkList, Branch::Fork);
                    self.places.insert(
                        child.order_id.clone(),
                        (workflow.clone(), position.enter(branch)),
                    );
                }
            }
            OrderEvent::OrderMoved { to: position, .. }
            | OrderEvent::OrderCaught { moved_to: position }
            | OrderEvent::OrderFailed { moved_to: position }
            | OrderEvent::OrderFailedInFork { moved_to: position }
            | OrderEvent::OrderResumed {
                position: Some(position),
                ..
            } => {
                if let Some(place) = self.places.get_mut(id) {
                    place.1 = position.clone();
                }
            }
            OrderEvent::OrderDeleted => {
                self.places.remove(id);
            }
            _ => {}
        }
    }

    /// What the order executes: `job "dump"` or a label.
    async fn job_of(&mut self, id: &OrderId) -> Option<String> {
        let (workflow_id, position) = self.places.get(id)?.clone();
        if !self.workflows.contains_key(&workflow_id) {
            let workflow = self.controller.workflow(&workflow_id).await.ok();
            self.workflows.insert(workflow_id.clone(), workflow);
        }
        let workflow = self.workflows.get(&workflow_id)?.as_ref()?;
        let step = workflow.step(&position)?;
        let told = stage::instruction(&step.instruction);
        Some(
            step.label
                .as_ref()
                .map_or(told.clone(), |label| format!("{label}: {told}")),
        )
    }
}

fn key_of(event: &Event) -> String {
    match event {
        Event::Order(id, _) => id.to_string(),
        Event::Agent(path, _) => format!("Agent {path}"),
        Event::Subagent(id, _) => format!("Subagent {id}"),
        Event::Item(_) => "items".to_owned(),
        Event::AgentOwn(_) | Event::Controller(_) | Event::Cluster(_) | Event::Journal(_) => {
            "controller".to_owned()
        }
    }
}

fn order_line(event: &OrderEvent, job: Option<&str>, at: Timestamp) -> Option<(Tone, String)> {
    let until = |until: Timestamp| {
        format!(
            "until {} ({})",
            moment::full(until),
            moment::span(until.since(at))
        )
    };
    Some(match event {
        OrderEvent::OrderAdded {
            workflow_id,
            scheduled_for,
            ..
        } => {
            let start =
                scheduled_for.map_or(String::new(), |at| format!(", starts {}", moment::full(at)));
            (Tone::Faint, format!("added to {}{start}", workflow_id.path))
        }
        OrderEvent::OrderStarted => (Tone::Busy, "started".to_owned()),
        OrderEvent::OrderProcessingStarted { subagent_id, .. } => {
            let place = subagent_id
                .as_ref()
                .map_or(String::new(), |id| format!(" on {id}"));
            (
                Tone::Busy,
                format!("runs {}{place}", job.unwrap_or("a job")),
            )
        }
        OrderEvent::OrderStdoutWritten { chunk } => (Tone::Faint, chunk.to_string()),
        OrderEvent::OrderStderrWritten { chunk } => (Tone::Waiting, chunk.to_string()),
        OrderEvent::OrderProcessed { outcome } => (tone_of(outcome), outcome_line(outcome)),
        OrderEvent::OrderProcessingHeld { hold } => (Tone::Waiting, held(hold.as_deref())),
        OrderEvent::OrderProcessingKilled => (Tone::Bad, "the job was killed".to_owned()),
        OrderEvent::OrderOutcomeAdded { outcome } => (tone_of(outcome), outcome_line(outcome)),
        OrderEvent::OrderCaught { .. } => (Tone::Waiting, "the failure is caught".to_owned()),
        OrderEvent::OrderRetrying {
            delayed_until: Some(time),
        } => (
            Tone::Waiting,
            format!("tries again, waits {}", until(*time)),
        ),
        OrderEvent::OrderRetrying {
            delayed_until: None,
        } => (Tone::Waiting, "tries again".to_owned()),
        OrderEvent::OrderSleeping { until: time, .. } => {
            (Tone::Waiting, format!("sleeps {}", until(*time)))
        }
        OrderEvent::OrderAwoke => (Tone::Faint, "goes on".to_owned()),
        OrderEvent::OrderForked { children } => {
            let names: Vec<&str> = children
                .iter()
                .map(|child| {
                    child
                        .branch_id
                        .as_deref()
                        .unwrap_or(child.order_id.as_str())
                })
                .collect();
            (Tone::Busy, format!("forks into {}", names.join(", ")))
        }
        OrderEvent::OrderJoined { outcome } => (
            tone_of(outcome),
            format!("joined: {}", outcome_line(outcome)),
        ),
        OrderEvent::OrderFinished { outcome } => {
            let told = outcome
                .as_ref()
                .filter(|outcome| !outcome.is_succeeded())
                .map(|outcome| format!(": {outcome}"));
            (
                if told.is_some() {
                    Tone::Bad
                } else {
                    Tone::Good
                },
                format!("finished{}", told.unwrap_or_default()),
            )
        }
        OrderEvent::OrderFailed { .. } => (Tone::Bad, "FAILED; resume, or cancel it".to_owned()),
        OrderEvent::OrderFailedInFork { .. } => {
            (Tone::Bad, "failed; its parent decides".to_owned())
        }
        OrderEvent::OrderStopped => (Tone::Bad, "STOPPED; resume, or cancel it".to_owned()),
        OrderEvent::OrderBroken { problem } => {
            let why = problem
                .as_ref()
                .map_or(String::new(), |problem| format!(": {problem}"));
            (Tone::Bad, format!("BROKEN{why}"))
        }
        OrderEvent::OrderCancelled => (Tone::Bad, "cancelled".to_owned()),
        OrderEvent::OrderDeleted => (Tone::Faint, "deleted".to_owned()),
        OrderEvent::OrderCancellationMarked { .. } => {
            (Tone::Waiting, "is to be cancelled".to_owned())
        }
        OrderEvent::OrderSuspensionMarked { .. } => {
            (Tone::Waiting, "is to be suspended".to_owned())
        }
        OrderEvent::OrderSuspended => (Tone::Waiting, "suspended".to_owned()),
        OrderEvent::OrderResumptionMarked { .. } => (Tone::Waiting, "is to be resumed".to_owned()),
        OrderEvent::OrderResumed { .. } => (Tone::Busy, "resumed".to_owned()),
        OrderEvent::OrderAttached { agent_path } => {
            (Tone::Faint, format!("handed to Agent {agent_path}"))
        }
        OrderEvent::OrderDetached => (Tone::Faint, "back at the Controller".to_owned()),
        OrderEvent::OrderStickySubagentEntered {
            agent_path,
            subagent_bundle_id,
        } => {
            let among = subagent_bundle_id
                .as_ref()
                .map_or(String::new(), |id| format!(" of {id}"));
            let told = format!("keeps to one Subagent{among} at Agent {agent_path}");
            (Tone::Faint, told)
        }
        OrderEvent::OrderSaid { value } => (Tone::Strong, format!("says {value}")),
        OrderEvent::OrderAgentProblem { problem } => {
            (Tone::Bad, format!("the Agent refuses: {problem}"))
        }
        // These only lead to what is told.
        OrderEvent::OrderMoved { .. }
        | OrderEvent::OrderStickySubagentLeft
        | OrderEvent::OrderDeletionMarked
        | OrderEvent::OrderStateReset
        | OrderEvent::OrderAttachable { .. }
        | OrderEvent::OrderAttachedToAgent { .. }
        | OrderEvent::OrderDetachable
        | OrderEvent::OrderCancellationMarkedOnAgent
        | OrderEvent::OrderSuspensionMarkedOnAgent => return None,
    })
}

/// The colour of an outcome.
pub(crate) fn tone_of(outcome: &Outcome) -> Tone {
    if outcome.is_succeeded() {
        Tone::Good
    } else {
        Tone::Bad
    }
}

/// How a step ended, for people: `failed: no space`, `timed out (failed, returnCode=143)`.
fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { .. } => "ok".to_owned(),
        Outcome::Caught => "caught".to_owned(),
        Outcome::Failed {
            message,
            named_values,
            uncatchable,
        } => {
            let mut told = "failed".to_owned();
            if *uncatchable {
                told += " uncatchably";
            }
            match (message, named_values.get("returnCode")) {
                (Some(message), _) => format!("{told}: {message}"),
                (None, Some(code)) => format!("{told}, returnCode={code}"),
                (None, None) => told,
            }
        }
        Outcome::TimedOut { outcome } => format!("timed out ({})", in_words(outcome)),
        Outcome::Killed { outcome } => format!("killed ({})", in_words(outcome)),
        Outcome::Disrupted { reason, .. } => match reason {
            DisruptedReason::ProcessLost { problem } => format!("the process was lost: {problem}"),
            DisruptedReason::Other { problem } => format!("failed: {problem}"),
        },
    }
}

/// Returns what holds up a job, or that the job is no longer held up.
fn held(hold: Option<&JobHold>) -> String {
    match hold {
        Some(JobHold::MachineIsShort { message, .. }) => {
            format!("its process cannot be started yet: {message}")
        }
        Some(JobHold::OutputIsHeld { pid, .. }) => {
            format!("the main process {pid} has ended, but another one holds its output open")
        }
        None => "its process has been started".to_owned(),
    }
}

/// `ok, rows=3`; `failed: …`.
pub(crate) fn outcome_line(outcome: &Outcome) -> String {
    let values: Vec<String> = outcome
        .named_values()
        .iter()
        .filter(|(name, value)| {
            !(outcome.is_succeeded() && &***name == "returnCode" && value.as_i64() == Some(0))
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let told = if outcome.is_succeeded() {
        "ok".to_owned()
    } else {
        in_words(outcome)
    };
    if values.is_empty() || told.contains(&values.join(", ")) {
        told
    } else {
        format!("{told}, {}", values.join(", "))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON of other types is shown as it is"
)]
fn other_line(event: &Event) -> String {
    let mut line = String::new();
    let stamped = Stamped {
        event_id: model::EventId(0),
        timestamp: None,
        by: None,
        event: event.clone(),
    };
    stamped.write_line(&mut line);
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(&line) else {
        return event.type_name().to_owned();
    };
    for known in ["eventId", "TYPE", "Key"] {
        fields.remove(known);
    }
    let name_of = |text: &str| {
        let Ok(item) = serde_json::from_str::<serde_json::Value>(text) else {
            return String::new();
        };
        let name = ["path", "id", "name"]
            .iter()
            .find_map(|field| item.get(field)?.as_str().map(str::to_owned));
        format!(
            "{} {}",
            item.get("TYPE")
                .and_then(|kind| kind.as_str())
                .unwrap_or("item"),
            name.unwrap_or_default()
        )
    };
    let told: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name}={text}"),
            serde_json::Value::Object(object) => {
                match object.get("string").or_else(|| object.get("message")) {
                    Some(serde_json::Value::String(text)) if name == "problem" => text.clone(),
                    Some(serde_json::Value::String(text)) => name_of(text),
                    _ => format!("{name}={value}"),
                }
            }
            other => format!("{name}={other}"),
        })
        .collect();
    format!("{} {}", event.type_name(), told.join(" "))
        .trim_end()
        .to_owned()
}

/// Without what moves the cursor or changes colours behind our back.
pub(crate) fn harmless(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> Option<String> {
        let stamped = Stamped::from_json(json).unwrap();
        let Event::Order(_, event) = &stamped.event else {
            return Some(other_line(&stamped.event));
        };
        order_line(event, None, stamped.at()).map(|(_, text)| text)
    }

    #[test]
    fn events_are_told_in_words_and_inner_ones_are_not() {
        let told = |json: &str| line(json).unwrap();
        assert_eq!(
            told(r#"{"eventId":1000,"Key":"A","TYPE":"OrderStarted"}"#),
            "started"
        );
        assert_eq!(
            told(
                r#"{"eventId":1000,"Key":"A","TYPE":"OrderProcessed","outcome":{"TYPE":"Succeeded","namedValues":{"returnCode":0,"rows":"3"}}}"#
            ),
            "ok, rows='3'"
        );
        assert_eq!(
            told(
                r#"{"eventId":1000,"Key":"A","TYPE":"OrderProcessed","outcome":{"TYPE":"Failed","namedValues":{"returnCode":7}}}"#
            ),
            "failed, returnCode=7"
        );
        assert_eq!(
            line(r#"{"eventId":1000,"Key":"A","TYPE":"OrderMoved","to":[1]}"#),
            None
        );
        assert_eq!(
            told(
                r#"{"eventId":1000,"Key":"A","TYPE":"OrderForked","children":[{"orderId":"A|x","branchId":"x"},{"orderId":"A|y","branchId":"y"}]}"#
            ),
            "forks into x, y"
        );
    }

    #[test]
    fn a_jobs_output_cannot_play_with_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\tc\u{7}"), "a\u{fffd}[2Jb\tc\u{fffd}");
    }
}
