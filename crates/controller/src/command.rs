//! What operators and programs ask of the Controller.
//!
//! Always: a command that names several orders does all or nothing, and tells all refusals; a repetition is accepted and does
//! nothing. Never here: who may ask; `TakeSnapshot`, `ShutDown` and `Batch`, which are the node's to carry out.

use crate::deploy::{FAULTS_TOLD_MAX, combined};
use crate::{Coupling, NotApplicable, Recorder, State};
use expr::Value;
use model::bounds::{ORDERS_PER_REQUEST_MAX, REQUEST_EVENTS_BYTES_MAX, json_bytes, too_large};
use model::{
    ControllerAnswer, ControllerCommand, Event, EventId, FreshOrder, ItemKey, ItemType,
    JournalEvent, OrderEvent, OrderId, OrderSelection, Problem, Resumption, SubagentId,
    SubagentStateEvent, UserId,
};
use std::collections::BTreeMap;

/// The budget of all expressions that one request has evaluated, in budgets of a single evaluation.
const REQUEST_BUDGETS: u32 = 10;

/// Why no orders can be selected.
enum Refusal {
    Evaluation(expr::EvalError),
    Problem(Problem),
}

/// What becomes of one order.
type Decided = Result<Vec<(OrderId, OrderEvent)>, Problem>;

impl State {
    /// Carries out a command. A refusal is an answer; then nothing has been recorded.
    pub fn execute(
        &mut self,
        command: &ControllerCommand,
        user: &UserId,
        out: &mut dyn Recorder,
    ) -> Result<ControllerAnswer, NotApplicable> {
        let done = match command {
            ControllerCommand::AddOrder { order } => return self.add_order(order, out),
            ControllerCommand::AddOrders { orders } => return self.add_orders(orders, out),
            ControllerCommand::CancelOrders { order_ids, mode } => match self.selected(order_ids) {
                Ok(ids) => self.each(&ids, out, |state, id| state.engine.cancel(id, mode))?,
                Err(problem) => Err(problem),
            },
            ControllerCommand::SuspendOrders { order_ids, mode } => {
                self.each(order_ids, out, |state, id| state.engine.suspend(id, mode))?
            }
            ControllerCommand::ResumeOrder {
                order_id,
                position,
                history_operations,
                as_succeeded,
                restart_killed_job,
            } => {
                let resumption = Resumption {
                    position: position.clone(),
                    history_operations: history_operations.clone(),
                    as_succeeded: *as_succeeded,
                    restart_killed_job: *restart_killed_job,
                };
                self.each(std::slice::from_ref(order_id), out, |state, id| {
                    state.engine.resume(id, &resumption)
                })?
            }
            ControllerCommand::ResumeOrders {
                order_ids,
                as_succeeded,
                restart_killed_job,
            } => {
                let resumption = Resumption {
                    as_succeeded: *as_succeeded,
                    restart_killed_job: *restart_killed_job,
                    ..Resumption::default()
                };
                self.each(order_ids, out, |state, id| {
                    state.engine.resume(id, &resumption)
                })?
            }
            ControllerCommand::DeleteOrdersWhenTerminated { order_ids } => {
                self.each(order_ids, out, |state, id| {
                    state.engine.delete_when_terminated(id)
                })?
            }
            ControllerCommand::ResetSubagent { subagent_id, force } => {
                self.reset_subagent(subagent_id, *force, out)?
            }
            ControllerCommand::ConfirmSubagentLoss { subagent_id } => {
                self.confirm_subagent_loss(subagent_id, user, out)?
            }
            ControllerCommand::ResetAgent { agent_path, force } => {
                self.reset_agent(agent_path, *force, out)?
            }
            ControllerCommand::ClusterAppointNodes {
                id_to_uri,
                active_id,
            } => self.appoint_nodes(id_to_uri, active_id, out)?,
            ControllerCommand::ReleaseEvents { until_event_id } => {
                self.release_events(user, *until_event_id, out)?
            }
            ControllerCommand::NoOperation { .. } => Ok(()),
            ControllerCommand::Batch { .. }
            | ControllerCommand::TakeSnapshot
            | ControllerCommand::ShutDown { .. }
            | ControllerCommand::ClusterRemoveNode { .. }
            | ControllerCommand::ClusterSwitchOver { .. } => Err(Problem::plain(format!(
                "{} is not the machine's to carry out",
                command.type_name()
            ))),
        };
        Ok(match done {
            Ok(()) => ControllerAnswer::Accepted,
            Err(problem) => problem.into(),
        })
    }

    /// Notes who says that the Subagent's machine is off; its Agent is told, and decides.
    fn confirm_subagent_loss(
        &mut self,
        id: &SubagentId,
        user: &UserId,
        out: &mut dyn Recorder,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        let Some(subagent) = self
            .subagents
            .get(id)
            .filter(|subagent| subagent.agent_path.is_some())
        else {
            return Ok(Err(Problem::unknown_item(format!("Subagent:{id}"))));
        };
        if subagent.coupling_state == Coupling::Coupled {
            let message =
                format!("Subagent {id} is connected to its Agent: there is no loss to confirm");
            return Ok(Err(Problem::new("SubagentIsCoupled", message)));
        }
        if subagent.loss_confirmed_by.is_some() {
            return Ok(Ok(())); // already so
        }
        let user_id = user.clone();
        let confirmed = SubagentStateEvent::SubagentLossConfirmed { user_id };
        out.record(self, None, Event::Subagent(id.clone(), confirmed))?;
        Ok(Ok(()))
    }

    fn add_order(
        &mut self,
        order: &FreshOrder,
        out: &mut dyn Recorder,
    ) -> Result<ControllerAnswer, NotApplicable> {
        match self.judge_order(order, out) {
            Err(problem) => Ok(problem.into()),
            Ok(None) => Ok(ControllerAnswer::OrderAdded {
                ignored_because_duplicate: true,
            }),
            Ok(Some(event)) => {
                out.record(self, None, Event::Order(order.id.clone(), event))?;
                Ok(ControllerAnswer::OrderAdded {
                    ignored_because_duplicate: false,
                })
            }
        }
    }

    fn add_orders(
        &mut self,
        orders: &[FreshOrder],
        out: &mut dyn Recorder,
    ) -> Result<ControllerAnswer, NotApplicable> {
        // Duplicates first: an order that is given a million times is one fault, not too many orders.
        let ids = orders.iter().map(|order| &order.id);
        if let Err(problem) = unique(ids).and_then(|()| not_too_many(orders.len())) {
            return Ok(problem.into());
        }
        // The Controller does nothing else while their arguments are computed.
        match expr::in_one_budget(REQUEST_BUDGETS, || self.judge_orders(orders, out)) {
            Err(problem) => Ok(problem.into()),
            Ok(events) => {
                for event in events {
                    out.record(self, None, event)?;
                }
                Ok(ControllerAnswer::OrdersAdded {
                    event_id: out.last_event_id(),
                })
            }
        }
    }

    fn judge_orders(
        &self,
        orders: &[FreshOrder],
        out: &dyn Recorder,
    ) -> Result<Vec<Event>, Problem> {
        let mut bytes = 0_usize;
        let mut events = Vec::with_capacity(orders.len());
        let mut problems = Vec::new();
        for order in orders {
            match self.judge_order(order, out) {
                Ok(event) => {
                    bytes = bytes.saturating_add(event.as_ref().map_or(0, json_bytes));
                    if bytes > REQUEST_EVENTS_BYTES_MAX {
                        let what = "what the orders of one request bring along";
                        return Err(too_large(what, usize::MAX, REQUEST_EVENTS_BYTES_MAX));
                    }
                    events.extend(event.map(|event| Event::Order(order.id.clone(), event)));
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.dedup();
        match combined(problems) {
            Some(problem) => Err(problem),
            None => Ok(events),
        }
    }

    fn judge_order(
        &self,
        order: &FreshOrder,
        out: &dyn Recorder,
    ) -> Result<Option<OrderEvent>, Problem> {
        if self.removed.contains(&order.workflow_path) && self.engine.order(&order.id).is_none() {
            let message = format!("Workflow:{} has been removed", order.workflow_path);
            return Err(Problem::new("VersionedItemRemoved", message)
                .with("path", format!("Workflow:{}", order.workflow_path)));
        }
        self.refuse_what_does_not_exist_yet(order)?;
        self.engine.add(order, out.now())
    }

    /// Refuses what this version does not support, so that it is not ignored silently.
    fn refuse_what_does_not_exist_yet(&self, order: &FreshOrder) -> Result<(), Problem> {
        if let Some(schema) = order.plan_id.0.first() {
            let key = ItemKey::simple(ItemType::PlanSchema, schema);
            return Err(if self.items.contains_key(&key) {
                let message = format!(
                    "Order:{}: plans do not exist in this version of Mainspring, {key} is kept and not used; leave planId out",
                    order.id
                );
                Problem::new("NotSupported", message).with("field", "planId")
            } else {
                let message = format!(
                    "Order:{}: Unknown {key}; plans do not exist in this version of Mainspring, leave planId out",
                    order.id
                );
                Problem::new("UnknownKey", message).with("key", key)
            });
        }
        if order.force_admission {
            let message = format!(
                "Order:{}: admission times do not exist in this version of Mainspring; leave forceAdmission out",
                order.id
            );
            return Err(Problem::new("NotSupported", message).with("field", "forceAdmission"));
        }
        Ok(())
    }

    fn selected(&self, selection: &OrderSelection) -> Result<Vec<OrderId>, Problem> {
        let expr = match selection {
            OrderSelection::Ids(ids) => return Ok(ids.clone()),
            OrderSelection::Predicate(expr) => expr,
        };
        let failed =
            |error: expr::EvalError| Problem::new("InvalidPredicate", format!("{expr}: {error}"));
        let function = expr.eval_function(&expr::Nothing).map_err(failed)?;
        // The Controller does nothing else meanwhile, so all evaluations share one budget.
        expr::in_one_budget(REQUEST_BUDGETS, || {
            self.selected_by(expr, &function)
                .map_err(|error| match error {
                    Refusal::Evaluation(error) => failed(error),
                    Refusal::Problem(problem) => problem,
                })
        })
    }

    fn selected_by(
        &self,
        expr: &expr::Expr,
        function: &expr::Function,
    ) -> Result<Vec<OrderId>, Refusal> {
        let mut ids = Vec::new();
        for order in self.engine.orders() {
            let value = function
                .apply(&[Value::from(order.id.as_str())], &expr::Nothing)
                .map_err(Refusal::Evaluation)?;
            let Value::Boolean(is_wanted) = value else {
                let message = format!(
                    "{expr}: answers {value} for Order:{}, expected true or false",
                    order.id
                );
                return Err(Refusal::Problem(Problem::new("InvalidPredicate", message)));
            };
            // Children end with their parents, terminated orders have ended.
            if is_wanted && order.parent.is_none() && !order.is_terminated() {
                ids.push(order.id.clone());
            }
        }
        Ok(ids)
    }

    /// Decides for all orders first; when nobody refuses, once more for each in turn, since one may change what holds for the next.
    fn each(
        &mut self,
        ids: &[OrderId],
        out: &mut dyn Recorder,
        decide: impl Fn(&State, &OrderId) -> Decided,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        if let Err(problem) = not_too_many(ids.len()).and_then(|()| unique(ids.iter())) {
            return Ok(Err(problem));
        }
        let refusals = ids.iter().filter_map(|id| decide(self, id).err()).collect();
        if let Some(problem) = combined(refusals) {
            return Ok(Err(problem));
        }
        for id in ids {
            // A refusal now means that an order before has taken this one along.
            self.engine.release(id);
            let Ok(events) = decide(self, id) else {
                continue;
            };
            for (id, event) in events {
                out.record(self, None, Event::Order(id, event))?;
            }
            self.take_back_unsent(id, out)?;
        }
        Ok(Ok(()))
    }

    fn release_events(
        &mut self,
        user: &UserId,
        until: EventId,
        out: &mut dyn Recorder,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        if !self.release_users.contains(user) {
            let message =
                format!("the user {user} is not among those whose release of events is waited for");
            return Ok(Err(Problem::new(
                "UserIsNotEnabledToReleaseEvents",
                message,
            )
            .with("userId", user)));
        }
        let known = self.released.get(user).copied().unwrap_or_default();
        if until < known {
            let message = format!(
                "{user} has released events until {known} already, and cannot go back to {until}"
            );
            let problem = Problem::new("ReverseReleaseEvents", message);
            return Ok(Err(problem
                .with("requestedUntilEventId", until)
                .with("currentUntilEventId", known)));
        }
        if until > out.last_event_id() {
            let message = format!(
                "there is no event {until} yet; the newest is {}",
                out.last_event_id()
            );
            return Ok(Err(
                Problem::new("UnknownEventId", message).with("eventId", until)
            ));
        }
        if until > known {
            let event = JournalEvent::JournalEventsReleased {
                user_id: user.clone(),
                until_event_id: until,
            };
            out.record(self, None, Event::Journal(event))?;
        }
        Ok(Ok(()))
    }
}

fn not_too_many(orders: usize) -> Result<(), Problem> {
    if orders <= ORDERS_PER_REQUEST_MAX {
        return Ok(());
    }
    let message = format!(
        "{orders} orders are more than the {ORDERS_PER_REQUEST_MAX} that one request may name; use several requests"
    );
    Err(Problem::new("TooManyOrders", message).with("ordersMax", ORDERS_PER_REQUEST_MAX))
}

fn unique<'a>(ids: impl Iterator<Item = &'a OrderId>) -> Result<(), Problem> {
    let mut counts: BTreeMap<&OrderId, usize> = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    let twice: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 1)
        .take(FAULTS_TOLD_MAX)
        .map(|(id, count)| format!("{count}×Order:{id}"))
        .collect();
    if twice.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        "DuplicateKey",
        format!("Unexpected duplicates: {}", twice.join(", ")),
    ))
}
