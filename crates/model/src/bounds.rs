//! How large accepted input may be, in one place. `docs/operating.md` has the table for users.
//!
//! Always: what is within these bounds can be recorded, replicated, streamed and handed over. The largest event that
//! results is far smaller than the maximum size of a batch of the log. Never here: the bounds of a computation; those
//! are in `expr`.

use crate::{
    Block, Instruction, Item, ItemBody, NameError, Order, Outcome, Problem, Workflow, check_length,
};
use serde::Serialize;
use std::io;
use std::sync::Arc;

/// The maximum number of bytes of a name that a user gives: the id of an order, the path of an item, a job, a label, a
/// branch of a fork.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of an order's arguments, as JSON.
pub const ARGUMENTS_BYTES_MAX: usize = 12 << 20;
/// The maximum number of orders that one request adds or names.
pub const ORDERS_PER_REQUEST_MAX: usize = 100_000;
/// The maximum number of bytes of the events that one request may cause.
pub const REQUEST_EVENTS_BYTES_MAX: usize = 64 << 20;
/// Bytes of the text of one item.
pub const ITEM_BYTES_MAX: usize = 8 << 20;
/// The maximum number of bytes of the texts of all items in one change. A change is one event batch.
pub const ITEM_CHANGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a message in an outcome or a problem. A longer one is cut.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// The maximum number of bytes of the values that one step returns, as JSON.
pub const RESULT_BYTES_MAX: usize = 12 << 20;
/// The maximum number of bytes of a whole order as it is handed over: its arguments and the results of all its steps.
pub const ORDER_BYTES_MAX: usize = 40 << 20;
/// Branches of one fork, and so its children.
pub const CHILDREN_MAX: usize = 10_000;
/// The maximum number of bytes of all children of one fork. Each child begins with the arguments and results of its
/// parent.
pub const FORK_BYTES_MAX: usize = 256 << 20;

/// The maximum number of bytes of a request to an Agent or a Subagent. Everything within the other bounds fits into it.
pub const COMMAND_BYTES_MAX: usize = 64 << 20;

/// The code of the problem of a value, an order or a step that exceeds a bound.
pub const TOO_LARGE: &str = "ValueIsTooLarge";

/// Returns the number of bytes of `value` as JSON; `usize::MAX` if it has no JSON form.
pub fn json_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

/// Returns the size in bytes of the parts of an order that have no bound of their own, as JSON.
pub fn order_bytes(order: &Order) -> usize {
    json_bytes(&order.arguments).saturating_add(json_bytes(&order.historic_outcomes))
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the problem that `what` has `bytes` bytes, more than `max`. `usize::MAX` stands for an unknown number.
pub fn too_large(what: &str, bytes: usize, max: usize) -> Problem {
    let message = if bytes == usize::MAX {
        format!("{what} is larger than the {max} bytes allowed")
    } else {
        format!("{what} has {bytes} bytes, more than the {max} allowed")
    };
    Problem::new(TOO_LARGE, message)
        .with("bytes", bytes)
        .with("bytesMax", max)
}

/// Returns the beginning of a text that is longer than [`MESSAGE_BYTES_MAX`], with the number of its bytes. Returns
/// `None` if the text is not longer.
pub fn cut_message(text: &str) -> Option<String> {
    (text.len() > MESSAGE_BYTES_MAX).then(|| {
        let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
        format!("{}… (cut: {} bytes in all)", &text[..end], text.len())
    })
}

/// Checks the names and counts in an item that is to be deployed. Its text is known to be within [`ITEM_BYTES_MAX`].
/// Items that are already in a log are read without this check.
pub fn check_item(item: &Item) -> Result<(), Problem> {
    let named = |error: NameError| {
        let message = format!("{}: {error}", shortened(item.key.as_str()));
        Problem::new("InvalidName", message)
    };
    let (path, version) = match &item.body {
        ItemBody::Workflow(workflow) => {
            (workflow.id.path.as_str(), workflow.id.version_id.as_str())
        }
        ItemBody::JobResource(_)
        | ItemBody::Agent(_)
        | ItemBody::Subagent(_)
        | ItemBody::Bundle(_)
        | ItemBody::Kept(_) => (item.key.split().1, ""),
    };
    check_length("the name of an item", path).map_err(named)?;
    check_length("the version of a workflow", version).map_err(named)?;
    if let ItemBody::Workflow(workflow) = &item.body {
        check_workflow(workflow)?;
    }
    Ok(())
}

fn check_workflow(workflow: &Workflow) -> Result<(), Problem> {
    let named = |error: NameError| {
        Problem::new("InvalidName", format!("Workflow:{}: {error}", workflow.id))
    };
    for label in workflow.labels.keys() {
        check_length("a label", label.as_str()).map_err(named)?;
    }
    let mut blocks: Vec<&Block> = vec![&workflow.block];
    while let Some(block) = blocks.pop() {
        for job in block.jobs.keys() {
            check_length("the name of a job", job.as_str()).map_err(named)?;
        }
        for step in &block.steps {
            if let Instruction::Fork(fork) = &step.instruction {
                let count = fork.branches.len();
                if count > CHILDREN_MAX {
                    let message = format!(
                        "Workflow:{}: a fork has {count} branches, more than the {CHILDREN_MAX} allowed",
                        workflow.id
                    );
                    return Err(Problem::new(TOO_LARGE, message));
                }
                for branch in &fork.branches {
                    check_length("the id of a branch", &branch.id).map_err(named)?;
                }
            }
            let inner = step.instruction.branches().into_iter();
            blocks.extend(inner.map(|(_, block)| block));
        }
    }
    Ok(())
}

/// Returns the name, or its beginning if it is too long to be shown.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    format!("{}…", &name[..name.floor_char_boundary(40)])
}

impl Problem {
    /// Returns the same problem with long texts cut to [`MESSAGE_BYTES_MAX`].
    #[must_use]
    pub fn bounded(mut self) -> Problem {
        if let Some(message) = cut_message(&self.message) {
            self.message = message;
        }
        for argument in self.arguments.values_mut() {
            if let Some(shorter) = cut_message(argument) {
                *argument = shorter;
            }
        }
        self
    }
}

impl Outcome {
    /// Returns the same outcome with long messages cut to [`MESSAGE_BYTES_MAX`]. If the values are larger than
    /// [`RESULT_BYTES_MAX`], the outcome becomes a failure.
    #[must_use]
    pub fn bounded(self) -> Outcome {
        if !self.named_values().is_empty() {
            let bytes = json_bytes(self.named_values());
            if bytes > RESULT_BYTES_MAX {
                let what = "what the step has returned";
                return Outcome::disrupted(too_large(what, bytes, RESULT_BYTES_MAX));
            }
        }
        self.with_bounded_messages()
    }

    fn with_bounded_messages(self) -> Outcome {
        match self {
            Outcome::Failed {
                message: Some(message),
                named_values,
                uncatchable,
            } => Outcome::Failed {
                message: Some(cut_message(&message).map_or(message, Arc::from)),
                named_values,
                uncatchable,
            },
            Outcome::TimedOut { outcome } => Outcome::TimedOut {
                outcome: Box::new(outcome.with_bounded_messages()),
            },
            Outcome::Killed { outcome } => Outcome::Killed {
                outcome: Box::new(outcome.with_bounded_messages()),
            },
            Outcome::Disrupted {
                reason,
                uncatchable,
            } => Outcome::Disrupted {
                reason: reason.bounded(),
                uncatchable,
            },
            same @ (Outcome::Succeeded { .. }
            | Outcome::Caught
            | Outcome::Failed { message: None, .. }) => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expr::{NamedValues, Value};

    #[test]
    fn a_long_message_is_cut_between_characters_and_names_its_length() {
        let text = "ä".repeat(MESSAGE_BYTES_MAX);
        let outcome = Outcome::failed(text.as_str()).bounded();
        let Outcome::Failed {
            message: Some(message),
            ..
        } = &outcome
        else {
            panic!("{outcome:?}")
        };
        assert!(message.len() < MESSAGE_BYTES_MAX + 100);
        assert!(message.ends_with(&format!("… (cut: {} bytes in all)", text.len())));
        let problem = Problem::plain(text.as_str()).with("text", &text).bounded();
        assert!(json_bytes(&problem) < 3 * MESSAGE_BYTES_MAX);
        let nested = Outcome::Killed {
            outcome: Box::new(Outcome::disrupted(Problem::plain(text))),
        };
        assert!(json_bytes(&nested.bounded()) < 2 * MESSAGE_BYTES_MAX);
    }

    #[test]
    fn values_that_are_too_large_as_json_become_a_failure_that_names_the_bound() {
        // Each character takes six bytes in JSON.
        let value = Value::from("\u{1}".repeat(RESULT_BYTES_MAX / 6 + 1));
        let outcome = Outcome::Succeeded {
            named_values: NamedValues::from([("v".into(), value)]),
        };
        let bounded = outcome.bounded();
        assert!(!bounded.is_succeeded());
        assert!(bounded.to_string().contains(&RESULT_BYTES_MAX.to_string()));
        let good = Outcome::Succeeded {
            named_values: NamedValues::from([("v".into(), Value::from("x"))]),
        };
        assert_eq!(good.clone().bounded(), good);
    }
}
