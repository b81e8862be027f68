//! The steps of a case that a program can read.
//!
//! Always: a step that is not understood is `Prose`; the driver refuses to guess.

use serde_json::Value;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// An order is added.
    AddOrder(Value),
    /// A command is sent to the Controller.
    Command(Value),
    /// Something is waited for.
    Await(Awaited),
    /// The job that waits for this file goes on.
    OpenGate(String),
    /// Told to people.
    Prose(Value),
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    pub(crate) what: What,
    pub(crate) nth: usize,
    /// The orders; all that have been added if it names none.
    pub(crate) orders: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Event(String),
    /// A text on standard output; any if empty.
    Stdout(String),
}

impl Step {
    pub(crate) fn read(step: &Value) -> Step {
        let prose = || Step::Prose(step.clone());
        let Some(map) = step.as_object() else {
            return prose();
        };
        let mut entries = map.iter();
        let (Some((verb, object)), None) = (entries.next(), entries.next()) else {
            return prose();
        };
        match (verb.as_str(), object) {
            ("addOrder", Value::Object(_)) => Step::AddOrder(object.clone()),
            ("command", Value::Object(_)) => Step::Command(object.clone()),
            ("await", Value::String(text)) => Awaited::read(text).map_or_else(prose, Step::Await),
            ("openGate", Value::String(name)) => Step::OpenGate(name.clone()),
            _ => prose(),
        }
    }
}

impl Awaited {
    /// `OrderFailed of S1|rock`, `stdout READY of both`, `second OrderAttached`, `OrderSuspended`.
    fn read(text: &str) -> Option<Awaited> {
        let (what, orders) = match text.split_once(" of ") {
            Some((what, orders)) => (what, names(orders)),
            None => (text, Vec::new()),
        };
        let (nth, what) = match what.split_once(' ') {
            Some(("second", what)) => (2, what),
            Some(("third", what)) => (3, what),
            _ => (1, what),
        };
        let what = match what.split_once(' ') {
            Some(("stdout", text)) => What::Stdout(text.to_owned()),
            None if what == "stdout" => What::Stdout(String::new()),
            None if what.starts_with("Order") => What::Event(what.to_owned()),
            _ => return None,
        };
        Some(Awaited { what, nth, orders })
    }
}

/// `K2 and K3`, `A, B, C`; `both` names nobody.
fn names(text: &str) -> Vec<String> {
    if text == "both" || text == "all" {
        return Vec::new();
    }
    text.split(", ")
        .flat_map(|part| part.split(" and "))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(text: &str) -> Awaited {
        Awaited::read(text).unwrap()
    }

    #[test]
    fn what_is_awaited_is_read_as_a_person_reads_it() {
        let event = |name: &str| What::Event(name.to_owned());
        assert_eq!(awaited("OrderFailed of S1|rock").what, event("OrderFailed"));
        assert_eq!(awaited("OrderFailed of S1|rock").orders, ["S1|rock"]);
        assert_eq!(awaited("second OrderAttached").nth, 2);
        assert_eq!(awaited("OrderFailed of S and F|x").orders, ["S", "F|x"]);
        assert!(awaited("stdout of both").orders.is_empty());
        let ready = awaited("stdout READY of both");
        assert_eq!(ready.what, What::Stdout("READY".to_owned()));
        assert_eq!(Awaited::read("both expect"), None);
    }
}
