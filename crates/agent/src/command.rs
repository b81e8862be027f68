//! What the Controller asks of an Agent.
//!
//! Always: a repeated command is answered as done; a refused one leaves no trace and says why.

use crate::attached::parse;
use crate::controllers::is_double;
use crate::state::State;
use model::{
    AgentAnswer, AgentCommand, AgentOwnEvent, AttachedState, Event, EventId, ItemEvent, ItemKey,
    JournalEvent, MemberRun, Order, OrderEvent, OrderState, Problem, RunId, Timestamp, UserId,
};
use std::ops::RangeInclusive;

/// Where the Agent's log stands, which the state itself does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The identity of the log.
    pub run_id: RunId,
    /// The newest event.
    pub last: EventId,
    /// Events up to here are gone.
    pub torn: EventId,
    /// The number that a coupling gets now.
    pub coupling: u64,
    /// The coupling whose event stream is open, if one is.
    pub connected: Option<u64>,
    /// The current time.
    pub now: Timestamp,
}

pub(crate) type Decision = Result<(Vec<Event>, AgentAnswer), Problem>;

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is the usual end of a decision"
)]
fn accepted(events: Vec<Event>) -> Decision {
    Ok((events, AgentAnswer::Accepted))
}

fn done() -> Decision {
    accepted(Vec::new())
}

impl State {
    /// What follows from one command. A batch is taken apart by the caller, so that each of its commands sees what the one
    /// before has done; `TakeSnapshot`, `ClusterSwitchOver`, `ShutDown` and `Reset` are the node's to carry out.
    pub fn decide(&self, command: &AgentCommand, user: &UserId, standing: &Standing) -> Decision {
        match command {
            AgentCommand::Batch { .. }
            | AgentCommand::TakeSnapshot
            | AgentCommand::ClusterSwitchOver
            | AgentCommand::ShutDown { .. }
            | AgentCommand::NoOperation => done(),
            AgentCommand::Reset { agent_run_id } => {
                self.judge_reset(agent_run_id.as_ref())?;
                done()
            }
            AgentCommand::DedicateAgentDirector {
                agent_path,
                directors,
                controller_id,
                controller_run_id,
                from,
            } => {
                let dedicated = AgentOwnEvent::Dedicated {
                    agent_path: agent_path.clone(),
                    directors: directors.clone(),
                    agent_run_id: standing.run_id.clone(),
                    controller_id: controller_id.clone(),
                    controller_run_id: Some(controller_run_id.clone()),
                };
                match self.dedicate(dedicated, from.as_ref(), standing) {
                    Err(problem) if is_of_another_controller(&problem) => {
                        self.refuse_controller(problem, from.as_ref(), standing)
                    }
                    decided => decided,
                }
            }
            AgentCommand::CoupleController {
                agent_path,
                agent_run_id,
                event_id,
                controller_run_id,
                epoch,
                from,
            } => {
                let from = from.as_ref();
                if let (Some(asks), Some(coupled)) =
                    (from, self.living_double(from, *epoch, standing))
                {
                    let problem = is_double(asks, coupled);
                    return self.refuse_controller(problem, from, standing);
                }
                if *epoch < self.controller_epoch {
                    let both = self.both_addresses(from);
                    return Err(old_epoch(*epoch, self.controller_epoch, &both));
                }
                let meta = self.meta.as_ref().ok_or_else(not_dedicated)?;
                if meta.agent_path != *agent_path {
                    return Err(path_mismatch(&meta.agent_path, agent_path));
                }
                if meta.agent_run_id != *agent_run_id {
                    return Err(Problem::new(
                        "AgentRunIdMismatch",
                        "the Agent's log is not the one that this Controller knows; was it lost or replaced?",
                    ));
                }
                if meta
                    .controller_run_id
                    .as_ref()
                    .is_some_and(|known| known != controller_run_id)
                {
                    let problem = already_dedicated(meta, &self.both_addresses(from));
                    return self.refuse_controller(problem, from, standing);
                }
                let known = standing.torn.max(self.confirmed())..=standing.last;
                if !known.contains(event_id) {
                    let both = self.both_addresses(from);
                    return Err(unknown_event(*event_id, &meta.agent_path, &known, &both));
                }
                let order_ids = self.engine.orders().map(|order| order.id.clone()).collect();
                let raised = AgentOwnEvent::ControllerEpochRaised { epoch: *epoch };
                let is_newer = *epoch > self.controller_epoch;
                let raised = is_newer.then_some(Event::AgentOwn(raised));
                Ok((
                    raised
                        .into_iter()
                        .chain(self.other_is_coupled(from))
                        .collect(),
                    AgentAnswer::Coupled {
                        order_ids,
                        coupling: standing.coupling,
                        has_stream: true,
                    },
                ))
            }
            AgentCommand::AttachItem {
                item,
                key,
                item_revision,
            } => {
                self.meta.as_ref().ok_or_else(not_dedicated)?;
                if self
                    .items
                    .get(key)
                    .is_some_and(|known| known.text == *item && known.revision == *item_revision)
                {
                    return done();
                }
                parse(key, item)?;
                let attached = ItemEvent::ItemAttachedToMe {
                    item: item.clone(),
                    key: key.clone(),
                    item_revision: *item_revision,
                };
                accepted(vec![Event::Item(attached)])
            }
            AgentCommand::DetachItem { key } => self.detach_item(key),
            AgentCommand::AttachOrder { order } => self.attach_order(order),
            AgentCommand::DetachOrder { order_id } => {
                let Some(order) = self.engine.order(order_id) else {
                    return done();
                };
                if !matches!(order.attached_state, Some(AttachedState::Detaching { .. })) {
                    let message = format!("Order:{order_id} is not ready to leave the Agent");
                    return Err(Problem::new("OrderNotDetachable", message));
                }
                accepted(vec![Event::Order(
                    order_id.clone(),
                    OrderEvent::OrderDetached,
                )])
            }
            AgentCommand::MarkOrder { order_id, mark } => {
                if self.engine.order(order_id).is_none() {
                    // It has gone back already: the Controller follows the wish itself.
                    return done();
                }
                let events = self.engine.mark(order_id, mark)?;
                accepted(
                    events
                        .into_iter()
                        .map(|(id, event)| Event::Order(id, event))
                        .collect(),
                )
            }
            AgentCommand::ResetSubagent { subagent_id, force } => {
                self.meta.as_ref().ok_or_else(not_dedicated)?;
                accepted(self.reset_subagent(subagent_id, *force)?)
            }
            AgentCommand::ConfirmSubagentLoss {
                subagent_id,
                user_id,
            } => accepted(self.confirm_subagent_loss(subagent_id, user_id)?),
            AgentCommand::ReleaseEvents { until_event_id } => {
                let known = self.released.get(user).copied().unwrap_or_default();
                if *until_event_id <= known {
                    return done();
                }
                if *until_event_id > standing.last {
                    let last = standing.last;
                    let message =
                        format!("there is no event {until_event_id} yet; the newest is {last}");
                    return Err(
                        Problem::new("UnknownEventId", message).with("eventId", until_event_id)
                    );
                }
                let released = JournalEvent::JournalEventsReleased {
                    user_id: user.clone(),
                    until_event_id: *until_event_id,
                };
                accepted(vec![Event::Journal(released)])
            }
        }
    }

    /// Whether there is anything to forget when the life `asked` is to be reset, or whichever it is. What has begun anew already is
    /// left alone.
    pub fn judge_reset(&self, asked: Option<&RunId>) -> Result<bool, Problem> {
        let Some(meta) = &self.meta else {
            return Ok(false); // already so
        };
        if asked.is_some_and(|asked| *asked != meta.agent_run_id) {
            let message = format!(
                "the life that is to be reset is over; by now the Agent belongs to another one, of the Controller {}",
                meta.controller_id
            );
            return Err(Problem::new("AgentRunIdMismatch", message));
        }
        Ok(true)
    }

    fn dedicate(
        &self,
        asked: AgentOwnEvent,
        from: Option<&MemberRun>,
        standing: &Standing,
    ) -> Decision {
        let AgentOwnEvent::Dedicated {
            agent_path,
            controller_id,
            controller_run_id,
            directors,
            ..
        } = &asked
        else {
            return done();
        };
        let answer = AgentAnswer::Dedicated {
            agent_run_id: standing.run_id.clone(),
            agent_event_id: EventId::BEFORE_FIRST,
        };
        let Some(known) = &self.meta else {
            return Ok((vec![Event::AgentOwn(asked)], answer));
        };
        if known.agent_path != *agent_path {
            return Err(path_mismatch(&known.agent_path, agent_path));
        }
        if known.controller_id != *controller_id {
            let message = format!(
                "this Agent belongs to the Controller {}, not to {controller_id}{}",
                known.controller_id,
                self.both_addresses(from)
            );
            return Err(Problem::new("AgentWrongController", message));
        }
        if known.controller_run_id != *controller_run_id {
            return Err(already_dedicated(known, &self.both_addresses(from)));
        }
        let changed = known.directors != *directors;
        Ok((
            if changed {
                vec![Event::AgentOwn(asked)]
            } else {
                Vec::new()
            },
            answer,
        ))
    }

    fn detach_item(&self, key: &ItemKey) -> Decision {
        let meta = self.meta.as_ref().ok_or_else(not_dedicated)?;
        if self.items.get(key).is_none() {
            // Answered by the fact once more: the Controller may have missed it.
            return accepted(Vec::new());
        }
        let (kind, name) = key.split();
        // Its jobs end before, and then its process; see `State::step`.
        if let Some(subagent) = self.subagents.get(name).filter(|_| kind == "Subagent") {
            if subagent.detaching {
                return done(); // already so
            }
            return accepted(vec![Event::Item(ItemEvent::ItemDetachingFromMe {
                key: key.clone(),
            })]);
        }
        let detached = ItemEvent::ItemDetached {
            key: key.clone(),
            delegate_id: meta.agent_path.clone(),
        };
        accepted(vec![Event::Item(detached)])
    }

    fn attach_order(&self, order: &Order) -> Decision {
        let meta = self.meta.as_ref().ok_or_else(not_dedicated)?;
        if self.engine.order(&order.id).is_some() {
            return done(); // already so
        }
        if self.engine.workflow(&order.workflow_id).is_none() {
            let message = format!("the Agent does not have {}", order.workflow_id);
            return Err(Problem::new("UnknownKey", message)
                .with("key", ItemKey::workflow(&order.workflow_id)));
        }
        if !matches!(
            order.state,
            OrderState::Fresh | OrderState::Ready | OrderState::Forked { .. }
        ) {
            let message = format!(
                "Order:{} cannot be attached in state {}",
                order.id,
                order.state.type_name()
            );
            return Err(Problem::new("OrderNotAttachable", message));
        }
        let mut order = order.clone();
        order.attached_state = Some(AttachedState::Attached {
            agent_path: meta.agent_path.clone(),
        });
        let id = order.id.clone();
        accepted(vec![Event::Order(
            id,
            OrderEvent::OrderAttachedToAgent {
                order: Box::new(order),
            },
        )])
    }
}

fn old_epoch(asked: u64, known: u64, both: &str) -> Problem {
    Problem::new(
        "ControllerEpochIsOld",
        format!(
            "this Agent has obeyed a Controller in epoch {known} and no longer obeys one in epoch {asked}: either another member of the Controller is active, or this Controller was restored from a backup while its Agents were not; in that case reset the Agent (mainspring agent reset NAME): its orders there fail, because this Controller cannot know how far they have gone{both}"
        ),
    )
}

/// Returns the problem for a Controller that asks to continue after an event that the Agent does not have, or no longer has.
fn unknown_event(
    asked: EventId,
    path: &model::AgentPath,
    known: &RangeInclusive<EventId>,
    both: &str,
) -> Problem {
    let (begin, last) = (known.start(), known.end());
    let who = if asked > *last {
        format!(
            "but the Agent's log ends with {last}: this Agent was restored from a backup while its Controller was not;"
        )
    } else {
        format!(
            "but it or its original has confirmed those up to {begin}: this Controller was restored from a backup, or is a copy, while its Agent has gone on with the original; start the original instead of this one; if it is lost,"
        )
    };
    let message = format!(
        "the Controller has the Agent's events up to {asked}, {who} reset the Agent (mainspring agent reset {path}): its orders there fail, because nobody knows how far they have gone{both}"
    );
    Problem::new("UnknownEventId", message).with("eventId", asked)
}

fn not_dedicated() -> Problem {
    Problem::new(
        "AgentNotDedicated",
        "this Agent belongs to no Controller yet; has its data directory been lost?",
    )
}

fn path_mismatch(known: &model::AgentPath, asked: &model::AgentPath) -> Problem {
    Problem::new(
        "AgentPathMismatch",
        format!("this is Agent {known}, not {asked}; check the uri of both"),
    )
}

fn already_dedicated(known: &crate::Meta, both: &str) -> Problem {
    Problem::new(
        "AgentAlreadyDedicated",
        format!(
            "this Agent belongs to another life of the Controller {}, or to another Controller with the same id; it must be reset first{both}",
            known.controller_id
        ),
    )
}

/// Returns whether the Agent belongs to another Controller than the requesting one.
fn is_of_another_controller(problem: &Problem) -> bool {
    problem.is("AgentWrongController") || problem.is("AgentAlreadyDedicated")
}
