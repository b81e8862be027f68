//! An event with its number, as it stands in the log and in streams:
//! `{"eventId":1735560000000001,"Key":"A|b","TYPE":"OrderMoved","to":[1]}`.

use crate::{
    AgentEvent, AgentOwnEvent, AgentPath, ClusterEvent, ControllerId, EventId, ItemEvent,
    OrderEvent, OrderId, SubagentId, SubagentStateEvent, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// What happened, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// To an order.
    Order(OrderId, OrderEvent),
    /// To an item.
    Item(ItemEvent),
    /// To an Agent, seen by its Controller.
    Agent(AgentPath, AgentEvent),
    /// To this Agent.
    AgentOwn(AgentOwnEvent),
    /// To a Subagent.
    Subagent(SubagentId, SubagentStateEvent),
    /// To this Controller.
    Controller(ControllerEvent),
    /// To the cluster that keeps this log.
    Cluster(ClusterEvent),
    /// To the log.
    Journal(JournalEvent),
}

tagged! {
    /// What happened to the Controller.
    pub enum ControllerEvent {
        /// The very first start.
        ControllerInitialized { controller_id: ControllerId, initially_started_at: Timestamp },
        /// Has started and takes commands.
        ControllerReady {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            timezone: Option<Arc<str>>,
        },
        /// Is shutting down in order.
        ControllerShutDown,
    }
}

tagged! {
    /// What happened to the log.
    pub enum JournalEvent {
        /// A snapshot holds everything before this event.
        SnapshotTaken,
        /// This receiver needs the events until here no longer.
        JournalEventsReleased { user_id: UserId, until_event_id: EventId },
    }
}

/// The user that caused an event by a command or a deployment, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The user.
    pub user: UserId,
    /// The reason that the user has given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// Its number.
    pub event_id: EventId,
    /// When it happened, if the number does not say so (events taken over from elsewhere).
    pub timestamp: Option<Timestamp>,
    /// The user that caused the event, if a user did.
    pub by: Option<Arc<Cause>>,
    /// What happened.
    pub event: Event,
}

/// A line that is no event.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableEvent {
    /// Not the JSON of an event.
    #[error("not an event: {source}; the line begins {begin:?}")]
    Json {
        /// What the parser says.
        source: serde_json::Error,
        /// How the line begins.
        begin: String,
    },
    /// A `TYPE` that this version does not know.
    #[error("unknown event TYPE {tag:?}; was it written by a newer version?")]
    UnknownType {
        /// The type.
        tag: String,
    },
    /// A key is missing.
    #[error("the event {tag} needs a Key")]
    NoKey {
        /// The type.
        tag: String,
    },
}

impl Event {
    /// The groups of events that a reader may ask for, with the names of their events.
    pub const GROUPS: [(&'static str, &'static [&'static str]); 8] = [
        ("OrderEvent", OrderEvent::TYPES),
        ("InventoryItemEvent", ItemEvent::TYPES),
        ("AgentRefStateEvent", AgentEvent::TYPES),
        ("AgentEvent", AgentOwnEvent::TYPES),
        ("SubagentItemStateEvent", SubagentStateEvent::TYPES),
        ("ControllerEvent", ControllerEvent::TYPES),
        ("JournalEvent", JournalEvent::TYPES),
        ("ClusterEvent", ClusterEvent::TYPES),
    ];

    /// Returns whether `name` is the name of an event or a group, or `Event`, which means all of them.
    pub fn is_known_name(name: &str) -> bool {
        name == "Event"
            || Event::GROUPS
                .iter()
                .any(|(group, types)| *group == name || types.contains(&name))
    }

    /// The name in the field `TYPE`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Event::Order(_, event) => event.type_name(),
            Event::Item(event) => event.type_name(),
            Event::Agent(_, event) => event.type_name(),
            Event::AgentOwn(event) => event.type_name(),
            Event::Subagent(_, event) => event.type_name(),
            Event::Controller(event) => event.type_name(),
            Event::Cluster(event) => event.type_name(),
            Event::Journal(event) => event.type_name(),
        }
    }

    /// The group names that a reader may ask for besides the event's own name.
    pub fn group_name(&self) -> &'static str {
        match self {
            Event::Order(..) => "OrderEvent",
            Event::Item(_) => "InventoryItemEvent",
            Event::Agent(..) => "AgentRefStateEvent",
            Event::AgentOwn(_) => "AgentEvent",
            Event::Subagent(..) => "SubagentItemStateEvent",
            Event::Controller(_) => "ControllerEvent",
            Event::Cluster(_) => "ClusterEvent",
            Event::Journal(_) => "JournalEvent",
        }
    }
}

impl Stamped {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        self.timestamp.unwrap_or_else(|| self.event_id.timestamp())
    }

    /// Appends the event's line, newline included, to `out`.
    pub fn write_line(&self, out: &mut String) {
        // Writing to a String does not fail.
        let _infallible = write!(out, "{{\"eventId\":{}", self.event_id);
        if let Some(timestamp) = self.timestamp {
            let _infallible = write!(out, ",\"timestamp\":{}", timestamp.millis());
        }
        if let Some(by) = &self.by {
            out.push_str(",\"by\":");
            out.push_str(&serde_json::to_string(by).expect("texts always have a JSON form"));
        }
        match &self.event {
            Event::Order(key, event) => append(out, Some(key.as_str()), event),
            Event::Item(event) => append(out, None, event),
            Event::Agent(key, event) => append(out, Some(key.as_str()), event),
            Event::AgentOwn(event) => append(out, None, event),
            Event::Subagent(key, event) => append(out, Some(key.as_str()), event),
            Event::Controller(event) => append(out, None, event),
            Event::Cluster(event) => append(out, None, event),
            Event::Journal(event) => append(out, None, event),
        }
        out.push('\n');
    }

    /// The event's line without newline.
    pub fn to_json(&self) -> String {
        let mut line = String::with_capacity(160);
        self.write_line(&mut line);
        line.pop();
        line
    }

    /// Reads a line.
    pub fn from_json(line: &str) -> Result<Stamped, UnreadableEvent> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "eventId")]
            event_id: EventId,
            timestamp: Option<Timestamp>,
            by: Option<Arc<Cause>>,
            #[serde(rename = "Key", borrow)]
            key: Option<Cow<'a, str>>,
            #[serde(rename = "TYPE", borrow)]
            tag: Cow<'a, str>,
        }
        let unreadable = |source| UnreadableEvent::Json {
            source,
            begin: line.chars().take(200).collect(),
        };
        let head: Head<'_> = serde_json::from_str(line).map_err(unreadable)?;
        let tag = &*head.tag;
        let no_key = || UnreadableEvent::NoKey {
            tag: tag.to_owned(),
        };
        let event = if let Some(event) = OrderEvent::read_variant(tag, line) {
            Event::Order(
                OrderId::from(&*head.key.ok_or_else(no_key)?),
                event.map_err(unreadable)?,
            )
        } else if let Some(event) = ItemEvent::read_variant(tag, line) {
            Event::Item(event.map_err(unreadable)?)
        } else if let Some(event) = SubagentStateEvent::read_variant(tag, line) {
            Event::Subagent(
                SubagentId::from(&*head.key.ok_or_else(no_key)?),
                event.map_err(unreadable)?,
            )
        } else if let Some(event) = ControllerEvent::read_variant(tag, line) {
            Event::Controller(event.map_err(unreadable)?)
        } else if let Some(event) = ClusterEvent::read_variant(tag, line) {
            Event::Cluster(event.map_err(unreadable)?)
        } else if let Some(event) = JournalEvent::read_variant(tag, line) {
            Event::Journal(event.map_err(unreadable)?)
        } else {
            // The same names stand for an Agent's own events without key and for the Controller's view with it.
            let event = match head.key {
                Some(key) => AgentEvent::read_variant(tag, line)
                    .map(|event| event.map(|event| Event::Agent(AgentPath::from(&*key), event))),
                None => {
                    AgentOwnEvent::read_variant(tag, line).map(|event| event.map(Event::AgentOwn))
                }
            };
            event
                .ok_or_else(|| UnreadableEvent::UnknownType {
                    tag: tag.to_owned(),
                })?
                .map_err(unreadable)?
        };
        Ok(Stamped {
            event_id: head.event_id,
            timestamp: head.timestamp,
            by: head.by,
            event,
        })
    }
}

fn append(out: &mut String, key: Option<&str>, event: &impl Serialize) {
    if let Some(key) = key {
        out.push_str(",\"Key\":");
        out.push_str(&serde_json::to_string(key).expect("a text always has a JSON form"));
    }
    let at = out.len();
    out.push_str(
        &serde_json::to_string(event)
            .expect("events hold no functions and no maps with other keys than text"),
    );
    // The event's own object goes on where the head stopped.
    out.replace_range(at..=at, ",");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, Position};

    #[test]
    fn an_event_carries_the_user_who_caused_it_and_the_reason() {
        let reason = Some(r#"said "TYPE":"X" and "Key""#.into());
        let user = "anna".into();
        let stamped = Stamped {
            event_id: EventId(7),
            timestamp: None,
            by: Some(Arc::new(Cause { user, reason })),
            event: Event::Order("A".into(), OrderEvent::OrderCancelled),
        };
        let line = stamped.to_json();
        assert!(
            line.starts_with(r#"{"eventId":7,"by":{"user":"anna","reason":"#),
            "{line}"
        );
        assert_eq!(Stamped::from_json(&line).unwrap(), stamped);
    }

    #[test]
    fn an_event_is_read_as_it_is_written() {
        let event = Event::Order(
            "A|b".into(),
            OrderEvent::OrderMoved {
                to: Position::top(1),
                reason: None,
            },
        );
        let stamped = Stamped {
            event_id: EventId(1_735_560_000_000_001),
            timestamp: None,
            by: None,
            event,
        };
        let line = stamped.to_json();
        assert_eq!(
            line,
            r#"{"eventId":1735560000000001,"Key":"A|b","TYPE":"OrderMoved","to":[1]}"#
        );
        assert_eq!(Stamped::from_json(&line).unwrap(), stamped);
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let text = r#"{"eventId":1,"Key":"A","TYPE":"OrderProcessed","outcome":{"TYPE":"Succeeded","namedValues":{"x":1.111222333444555666777888999}}}"#;
        let stamped = Stamped::from_json(text).unwrap();
        let Event::Order(
            _,
            OrderEvent::OrderProcessed {
                outcome: Outcome::Succeeded { named_values },
            },
        ) = &stamped.event
        else {
            panic!("{stamped:?}")
        };
        assert_eq!(
            named_values["x"].to_string(),
            "1.111222333444555666777888999"
        );
        assert_eq!(stamped.to_json(), text);
    }

    #[test]
    fn an_agents_event_with_a_key_is_the_controllers_view() {
        let own = r#"{"eventId":1,"TYPE":"AgentShutDown"}"#;
        assert!(matches!(
            Stamped::from_json(own).unwrap().event,
            Event::AgentOwn(AgentOwnEvent::ShutDown)
        ));
        let seen = r#"{"eventId":1,"Key":"A","TYPE":"AgentShutDown"}"#;
        assert!(matches!(
            Stamped::from_json(seen).unwrap().event,
            Event::Agent(_, AgentEvent::AgentShutDown)
        ));
    }

    #[test]
    fn an_unknown_event_is_named() {
        let error = Stamped::from_json(r#"{"eventId":1,"TYPE":"OrderTeleported"}"#).unwrap_err();
        assert!(error.to_string().contains("OrderTeleported"), "{error}");
    }
}
