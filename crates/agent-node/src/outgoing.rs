//! What goes to a Subagent in one request: commands, and confirmations at the right places between them.
//!
//! Always: a Subagent knows an attempt until its end is confirmed. So a start is sent before the confirmation of what was taken over
//! since it was decided, because that may be the attempt's own end; and after the confirmation of what came earlier, because an
//! order may have been added anew under its old name. Never here: the connection.

use agent::Work;
use model::bounds::order_bytes;
use model::{Attempt, EventId, ItemKey, SignedText, SubagentCommand};
use std::collections::BTreeMap;

/// Commands in one request.
const BATCH_MAX: usize = 256;
/// Size in bytes from which a request takes no further order. Even with the largest order and its items, the request stays below a
/// Subagent's limit.
const BATCH_BYTES: usize = 8 << 20;

/// What a driver is given to do.
#[derive(Debug)]
pub struct Job {
    /// The work.
    pub work: Work,
    /// Items that the Subagent needs for it.
    pub items: Vec<(ItemKey, Option<u64>, SignedText)>,
    /// The Subagent's newest event that the Agent had taken over when it decided this.
    pub observed: EventId,
}

impl Job {
    /// Returns the approximate size as JSON, in bytes.
    fn bytes(&self) -> usize {
        let items = self.items.iter().map(|(_, _, item)| item.string.len() * 2);
        let order = match &self.work {
            Work::Start { order, .. } => order_bytes(order),
            Work::Kill { .. } => 0,
        };
        items.sum::<usize>().saturating_add(order)
    }
}

/// Commands of one request, and for which attempt each is.
#[derive(Debug, Default)]
pub struct Batch {
    /// The commands.
    pub commands: Vec<SubagentCommand>,
    /// The attempt that a command starts.
    pub attempts: Vec<Option<Attempt>>,
    /// What it confirms.
    pub confirms: EventId,
}

impl Batch {
    /// Ends these attempts at once.
    pub fn ends(attempts: Vec<Attempt>, confirms: EventId) -> Batch {
        let end = |attempt| SubagentCommand::KillProcess {
            attempt,
            immediately: true,
        };
        let commands: Vec<_> = attempts.into_iter().map(end).collect();
        Batch {
            attempts: commands.iter().map(|_| None).collect(),
            commands,
            confirms,
        }
    }

    /// Makes it say something, at least that we are there.
    pub fn keep_alive(&mut self) {
        if self.commands.is_empty() {
            self.commands.push(SubagentCommand::NoOperation);
            self.attempts.push(None);
        }
    }

    fn confirm(&mut self, until_event_id: EventId) {
        if until_event_id > self.confirms {
            self.confirms = until_event_id;
            self.commands
                .push(SubagentCommand::ReleaseEvents { until_event_id });
            self.attempts.push(None);
        }
    }

    fn add(&mut self, job: Job) {
        for (key, item_revision, item) in job.items {
            self.commands.push(SubagentCommand::AttachItem {
                item,
                key,
                item_revision,
            });
            self.attempts.push(None);
        }
        match job.work {
            Work::Start { attempt, order } => {
                self.attempts.push(Some(attempt.clone()));
                let order = Box::new((*order).clone());
                let default_arguments = BTreeMap::new();
                self.commands.push(SubagentCommand::StartOrderProcess {
                    attempt,
                    order,
                    default_arguments,
                });
            }
            Work::Kill {
                attempt,
                immediately,
            } => {
                self.commands.push(SubagentCommand::KillProcess {
                    attempt,
                    immediately,
                });
                self.attempts.push(None);
            }
        }
    }
}

/// The next request: what `next` gives until nothing waits or the request is full. Everything up to `taken_over` is in the
/// Agent's log, everything up to `confirmed` has been confirmed.
pub fn gather(
    next: &mut dyn FnMut() -> Option<Job>,
    confirmed: EventId,
    taken_over: EventId,
) -> Batch {
    let mut batch = Batch {
        confirms: confirmed,
        ..Batch::default()
    };
    let mut bytes = 0;
    while batch.commands.len() < BATCH_MAX && bytes < BATCH_BYTES {
        let Some(job) = next() else {
            batch.confirm(taken_over);
            return batch;
        };
        batch.confirm(job.observed);
        bytes = job.bytes().saturating_add(bytes);
        batch.add(job);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn kill(number: usize, observed: u64) -> Job {
        let attempt = Attempt {
            order_id: "A".into(),
            number: u32::try_from(number).unwrap_or(0),
        };
        Job {
            work: Work::Kill {
                attempt,
                immediately: false,
            },
            items: Vec::new(),
            observed: EventId(observed),
        }
    }

    fn told(batch: &Batch) -> Vec<String> {
        let tell = |command: &SubagentCommand| match command {
            SubagentCommand::ReleaseEvents { until_event_id } => {
                format!("confirm {until_event_id}")
            }
            SubagentCommand::KillProcess { attempt, .. } => attempt.to_string(),
            other @ (SubagentCommand::Batch { .. }
            | SubagentCommand::DedicateSubagent { .. }
            | SubagentCommand::CoupleDirector { .. }
            | SubagentCommand::AttachItem { .. }
            | SubagentCommand::StartOrderProcess { .. }
            | SubagentCommand::ShutDown { .. }
            | SubagentCommand::NoOperation) => other.type_name().to_owned(),
        };
        batch.commands.iter().map(tell).collect()
    }

    #[test]
    fn a_command_goes_before_the_confirmation_of_what_came_after_it_was_decided() {
        let mut work = VecDeque::from([kill(1, 3), kill(2, 5)]);
        let batch = gather(&mut || work.pop_front(), EventId(3), EventId(7));
        assert_eq!(told(&batch), ["A#1", "confirm 5", "A#2", "confirm 7"]);
        assert_eq!(batch.attempts.len(), batch.commands.len());
        assert_eq!(batch.confirms, EventId(7));
    }

    #[test]
    fn nothing_new_is_confirmed_while_commands_still_wait() {
        let mut work: VecDeque<Job> = (0..=BATCH_MAX).map(|number| kill(number, 3)).collect();
        let batch = gather(&mut || work.pop_front(), EventId(3), EventId(7));
        assert_eq!(batch.commands.len(), BATCH_MAX);
        assert_eq!(batch.confirms, EventId(3));
        let rest = gather(&mut || work.pop_front(), batch.confirms, EventId(7));
        assert_eq!(
            told(&rest),
            [format!("A#{BATCH_MAX}"), "confirm 7".to_owned()]
        );
    }
}
