//! Whether the events of one order are a life that can be: a table of its own, apart from the machine that wrote them.
//!
//! Always: judged from the events alone. A process is started only in an order that is ready at an Agent, ends before the next one
//! starts, and is repeated at the same place only after it was lost or the workflow retries.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::world::Seen;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    AtController,
    Attaching(String),
    Attached(String),
    Detaching(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fresh,
    Ready,
    Processing,
    Processed,
    Delayed,
    Forked,
    Ended,
    Deleted,
}

/// What is known of an order after some of its events.
#[derive(Debug)]
struct Life {
    place: Place,
    phase: Phase,
    position: Value,
    starts: u32,
    /// The outcome of the last process, if nothing but a move has happened since.
    last_outcome: Option<Value>,
    /// Where the last process ran.
    last_start: Option<Value>,
    /// A failure was caught, a retry began, an operator intervened: a further start at the same place is right.
    may_start_again: bool,
    children: Vec<String>,
}

impl Life {
    fn begin(phase: Phase, place: Place, position: Value) -> Life {
        Life {
            place,
            phase,
            position,
            starts: 0,
            last_outcome: None,
            last_start: None,
            may_start_again: true,
            children: Vec::new(),
        }
    }
}

/// What all orders have gone through.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    of_orders: BTreeMap<String, Life>,
    pub(crate) faults: Vec<String>,
    /// Attempts that were started, with whether they are known to have ended well.
    pub(crate) attempts: BTreeMap<(String, u32), Option<bool>>,
    pub(crate) lost_processes: usize,
    /// What each attempt wrote.
    pub(crate) written: BTreeMap<(String, u32), String>,
}

impl Lives {
    /// Judges all events in order.
    pub(crate) fn of(events: &[Seen]) -> Lives {
        let mut lives = Lives::default();
        for seen in events.iter().filter(|seen| seen.is_of_order()) {
            if let Err(fault) = lives.take(seen) {
                lives.faults.push(format!("{fault}: {seen}"));
            }
        }
        lives
    }

    /// How an order stands at the end: its phase in words.
    pub(crate) fn standing(&self, order: &str) -> String {
        self.of_orders.get(order).map_or_else(
            || "was never added".to_owned(),
            |life| format!("{:?}, {:?}", life.phase, life.place),
        )
    }

    fn take(&mut self, seen: &Seen) -> Result<(), String> {
        let id = seen.key.clone();
        let json = &seen.json;
        if seen.kind == "OrderAdded" {
            let life = Life::begin(Phase::Fresh, Place::AtController, serde_json::json!([0]));
            return match self.of_orders.insert(id, life) {
                None => Ok(()),
                Some(_) => Err("added twice".to_owned()),
            };
        }
        if seen.kind == "OrderForked" {
            self.fork(&id, json)?;
        }
        if seen.kind == "OrderJoined" {
            self.join(&id);
        }
        let Some(life) = self.of_orders.get_mut(&id) else {
            return Err("the order is unknown".to_owned());
        };
        if matches!(life.phase, Phase::Ended | Phase::Deleted)
            && !matches!(
                seen.kind.as_str(),
                "OrderDeleted" | "OrderDeletionMarked" | "OrderCancelled" | "OrderResumed"
            )
        {
            return Err(format!("the order is {:?}", life.phase));
        }
        match seen.kind.as_str() {
            "OrderAttachable" => {
                move_place(life, &Place::AtController, Place::Attaching(agent_of(json)))?;
            }
            "OrderAttached" => {
                let agent = agent_of(json);
                move_place(
                    life,
                    &Place::Attaching(agent.clone()),
                    Place::Attached(agent),
                )?;
            }
            "OrderDetachable" => match life.place.clone() {
                Place::Attached(agent) => life.place = Place::Detaching(agent),
                other @ (Place::AtController | Place::Attaching(_) | Place::Detaching(_)) => {
                    return Err(format!("not attached but {other:?}"));
                }
            },
            "OrderDetached" => match life.place.clone() {
                // An order that was certainly never sent to its Agent is taken back without the Agent.
                Place::Detaching(_) | Place::Attaching(_) => life.place = Place::AtController,
                other @ (Place::AtController | Place::Attached(_)) => {
                    return Err(format!("not detaching but {other:?}"));
                }
            },
            "OrderStarted" => {
                if life.phase != Phase::Fresh {
                    return Err(format!("started while {:?}", life.phase));
                }
                life.phase = Phase::Ready;
            }
            "OrderProcessingStarted" => {
                if !matches!(life.place, Place::Attached(_)) || life.phase != Phase::Ready {
                    return Err(format!(
                        "a process of an order that is {:?}, {:?}",
                        life.phase, life.place
                    ));
                }
                let is_same_place = life.last_start.as_ref() == Some(&life.position);
                let was_lost = life.last_outcome.as_ref().is_some_and(is_lost);
                if is_same_place && !was_lost && !life.may_start_again {
                    return Err("a job is repeated though its process was not lost".to_owned());
                }
                life.starts += 1;
                life.phase = Phase::Processing;
                life.last_start = Some(life.position.clone());
                life.may_start_again = false;
                self.attempts.insert((id, life.starts), None);
            }
            "OrderStdoutWritten" | "OrderStderrWritten" => {
                if life.phase != Phase::Processing {
                    return Err(format!("output of an order that is {:?}", life.phase));
                }
                let written = self.written.entry((id, life.starts)).or_default();
                written.push_str(json["chunk"].as_str().unwrap_or_default());
            }
            "OrderProcessingHeld" if life.phase != Phase::Processing => {
                return Err(format!("a held job of an order that is {:?}", life.phase));
            }
            "OrderProcessed" => {
                if life.phase != Phase::Processing {
                    return Err(format!(
                        "the end of a process of an order that is {:?}",
                        life.phase
                    ));
                }
                let outcome = &json["outcome"];
                life.phase = Phase::Processed;
                life.last_outcome = Some(outcome.clone());
                if is_lost(outcome) {
                    self.lost_processes += 1;
                }
                self.attempts
                    .insert((id, life.starts), Some(outcome["TYPE"] == "Succeeded"));
            }
            "OrderMoved" => {
                if !matches!(
                    life.phase,
                    Phase::Processed | Phase::Ready | Phase::Fresh | Phase::Delayed
                ) {
                    return Err(format!("moved while {:?}", life.phase));
                }
                life.position = json["to"].clone();
                if life.phase != Phase::Fresh {
                    life.phase = Phase::Ready;
                }
            }
            "OrderCaught" => {
                life.position = json["movedTo"].clone();
                life.may_start_again = true;
                if life.phase != Phase::Fresh {
                    life.phase = Phase::Ready;
                }
            }
            "OrderRetrying" => {
                life.may_start_again = true;
                life.phase = if json.get("delayedUntil").is_some() {
                    Phase::Delayed
                } else {
                    Phase::Ready
                };
            }
            "OrderAwoke" => life.phase = Phase::Ready,
            "OrderForked" => life.phase = Phase::Forked,
            "OrderJoined" => {
                if life.phase != Phase::Forked {
                    return Err(format!("joined while {:?}", life.phase));
                }
                life.phase = Phase::Processed;
            }
            "OrderProcessingKilled" if life.phase != Phase::Processed => {
                return Err(format!("killed while {:?}", life.phase));
            }
            "OrderFinished" | "OrderCancelled" | "OrderFailed" | "OrderFailedInFork" => {
                if matches!(life.phase, Phase::Processing | Phase::Forked) {
                    return Err(format!("ended while {:?}", life.phase));
                }
                if seen.kind != "OrderFailedInFork" && life.place != Place::AtController {
                    return Err(format!("ended while {:?}", life.place));
                }
                life.phase = Phase::Ended;
            }
            "OrderDeleted" => life.phase = Phase::Deleted,
            _ => {}
        }
        Ok(())
    }

    fn fork(&mut self, id: &str, json: &Value) -> Result<(), String> {
        let Some(parent) = self.of_orders.get_mut(id) else {
            return Err("the parent is unknown".to_owned());
        };
        let children: Vec<String> = json["children"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|child| child["orderId"].as_str().map(str::to_owned))
            .collect();
        parent.children.clone_from(&children);
        let (place, starts) = (parent.place.clone(), parent.starts);
        for child in children {
            // A second fork of the same parent may use the same names again; their attempts are counted on.
            let mut life = Life::begin(Phase::Ready, place.clone(), Value::Null);
            life.starts = starts;
            self.of_orders.insert(child, life);
        }
        Ok(())
    }

    /// The parent counts on from the attempts of its children.
    fn join(&mut self, id: &str) {
        let children = self.of_orders.get(id).map(|life| life.children.clone());
        let starts = children
            .into_iter()
            .flatten()
            .filter_map(|child| self.of_orders.get(&child).map(|life| life.starts))
            .max();
        if let (Some(starts), Some(parent)) = (starts, self.of_orders.get_mut(id)) {
            parent.starts = parent.starts.max(starts);
        }
    }
}

fn agent_of(json: &Value) -> String {
    json["agentPath"].as_str().unwrap_or_default().to_owned()
}

fn move_place(life: &mut Life, from: &Place, to: Place) -> Result<(), String> {
    if life.place != *from {
        return Err(format!("{:?} instead of {from:?}", life.place));
    }
    life.place = to;
    Ok(())
}

fn is_lost(outcome: &Value) -> bool {
    outcome["TYPE"] == "Disrupted" && outcome["reason"]["TYPE"] == "ProcessLost"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lives(events: &[Value]) -> Lives {
        let events: Vec<Seen> = events
            .iter()
            .enumerate()
            .map(|(index, event)| {
                let mut event = event.clone();
                event["eventId"] = json!(index + 1);
                event["Key"] = json!("A");
                Seen::from_line(event.to_string().as_bytes()).unwrap()
            })
            .collect();
        Lives::of(&events)
    }

    fn event(kind: &str) -> Value {
        json!({"TYPE": kind, "agentPath": "X"})
    }

    fn started() -> Vec<Value> {
        [
            "OrderAdded",
            "OrderAttachable",
            "OrderAttached",
            "OrderStarted",
            "OrderProcessingStarted",
        ]
        .map(event)
        .to_vec()
    }

    #[test]
    fn a_job_is_repeated_only_after_its_process_was_lost() {
        let again = |outcome: Value| {
            let mut events = started();
            events.push(json!({"TYPE": "OrderProcessed", "outcome": outcome}));
            events.push(json!({"TYPE": "OrderMoved", "to": [0]}));
            events.push(event("OrderProcessingStarted"));
            lives(&events)
        };
        let lost = again(json!({"TYPE": "Disrupted", "reason": {"TYPE": "ProcessLost"}}));
        assert_eq!(lost.faults, Vec::<String>::new());
        assert_eq!(lost.lost_processes, 1);
        let well = again(json!({"TYPE": "Succeeded"}));
        assert!(well.faults[0].contains("was not lost"), "{:?}", well.faults);
    }

    #[test]
    fn an_event_too_many_or_too_few_is_a_fault() {
        let mut twice = started();
        twice.push(event("OrderProcessingStarted"));
        assert_eq!(lives(&twice).faults.len(), 1);
        let mut early = started();
        early.push(event("OrderFinished"));
        assert_eq!(lives(&early).faults.len(), 1);
        assert_eq!(
            lives(&started()[1..]).faults.len(),
            4,
            "an order that was never added"
        );
    }
}
