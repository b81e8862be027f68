//! What happens to an order, in the past tense (`engine.md` 4.3). The order's id is the event's key.

use crate::order::is_zero;
use crate::outcome::is_false;
use crate::{
    AgentPath, BundleId, CancellationMode, ExternalOrder, ForkChild, HistoryOperation, JobHold,
    Order, OrderId, Outcome, PlanId, Position, Problem, SubagentId, SuspensionMode, Timestamp,
    WorkflowId,
};
use expr::{NamedValues, Number};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

tagged! {
    /// What happened to an order.
    pub enum OrderEvent {
        OrderAdded {
            workflow_id: Arc<WorkflowId>,
            #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
            arguments: NamedValues,
            #[serde(default, skip_serializing_if = "PlanId::is_global")]
            plan_id: PlanId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            scheduled_for: Option<Timestamp>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            external_order_key: Option<Box<ExternalOrder>>,
            #[serde(default, skip_serializing_if = "is_zero")]
            priority: Number,
            #[serde(default, skip_serializing_if = "is_false")]
            delete_when_terminated: bool,
            #[serde(default, skip_serializing_if = "is_false")]
            force_admission: bool,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            inner_block: Vec<serde_json::Value>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            start_position: Option<Position>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            stop_positions: Vec<Position>,
        },
        OrderStarted,
        OrderFinished {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            outcome: Option<Outcome>,
        },
        OrderCancelled,
        OrderDeletionMarked,
        OrderDeleted,
        OrderBroken {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            problem: Option<Problem>,
        },
        OrderMoved {
            to: Position,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            reason: Option<MovedReason>,
        },
        OrderAwoke,
        OrderForked {
            children: Vec<ForkChild>,
        },
        OrderJoined {
            outcome: Outcome,
        },
        /// The order has entered the block: its first job there chooses a Subagent, which the others keep to.
        OrderStickySubagentEntered {
            agent_path: AgentPath,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_bundle_id: Option<BundleId>,
        },
        /// The order has left the block, by its end or by a failure.
        #[tag("OrderStickySubagentLeaved")]
        OrderStickySubagentLeft,
        OrderRetrying {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            delayed_until: Option<Timestamp>,
        },
        OrderSleeping {
            until: Timestamp,
            cause: SleepCause,
        },
        OrderProcessingStarted {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_id: Option<SubagentId>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_bundle_id: Option<BundleId>,
            #[serde(default, skip_serializing_if = "is_false")]
            stick: bool,
        },
        OrderStdoutWritten {
            chunk: Arc<str>,
        },
        OrderStderrWritten {
            chunk: Arc<str>,
        },
        /// The job is held up. Without `hold`, the job is no longer held up.
        OrderProcessingHeld {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            hold: Option<Box<JobHold>>,
        },
        OrderProcessed {
            outcome: Outcome,
        },
        OrderProcessingKilled,
        OrderOutcomeAdded {
            outcome: Outcome,
        },
        OrderFailed {
            moved_to: Position,
        },
        OrderFailedInFork {
            moved_to: Position,
        },
        OrderCaught {
            moved_to: Position,
        },
        OrderStopped,
        OrderAttachable {
            agent_path: AgentPath,
        },
        /// Only in the Agent's log: the whole order as it arrived.
        OrderAttachedToAgent {
            order: Box<Order>,
        },
        OrderAttached {
            agent_path: AgentPath,
        },
        OrderDetachable,
        OrderDetached,
        OrderCancellationMarked {
            mode: CancellationMode,
        },
        OrderCancellationMarkedOnAgent,
        OrderStateReset,
        OrderSuspensionMarked {
            #[serde(default)]
            mode: SuspensionMode,
        },
        OrderSuspensionMarkedOnAgent,
        OrderSuspended,
        OrderResumptionMarked {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            position: Option<Position>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            history_operations: Vec<HistoryOperation>,
            #[serde(default, skip_serializing_if = "is_false")]
            as_succeeded: bool,
            #[serde(default, skip_serializing_if = "is_false")]
            restart_killed_job: bool,
        },
        OrderResumed {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            position: Option<Position>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            history_operations: Vec<HistoryOperation>,
            #[serde(default, skip_serializing_if = "is_false")]
            as_succeeded: bool,
            #[serde(default, skip_serializing_if = "is_false")]
            restart_killed_job: bool,
        },
        OrderSaid {
            value: expr::Value,
        },
        /// A command for this order was refused by its Agent. The order stays where it is; the command is tried again.
        OrderAgentProblem {
            problem: Problem,
        },
    }
}

tagged! {
    /// Why an order moved other than by executing an instruction.
    pub enum MovedReason {
        SkippedDueToWorkflowPathControl,
        NoNotice,
        NoAdmissionPeriodStart,
    }
}

/// Why an order sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "CauseForm")]
pub enum SleepCause {
    /// A Sleep instruction.
    SleepInstruction,
    /// Too many orders added at once.
    Throttle,
}

/// The accepted notations of a cause: a word, or the notation of JS7.
#[derive(Deserialize)]
#[serde(untagged)]
enum CauseForm {
    Word(Cause),
    Object {
        #[serde(rename = "TYPE")]
        cause: Cause,
    },
}

#[derive(Deserialize)]
enum Cause {
    SleepInstruction,
    Throttle,
}

impl From<CauseForm> for SleepCause {
    fn from(form: CauseForm) -> SleepCause {
        let (CauseForm::Word(cause) | CauseForm::Object { cause }) = form;
        match cause {
            Cause::SleepInstruction => SleepCause::SleepInstruction,
            Cause::Throttle => SleepCause::Throttle,
        }
    }
}

impl OrderEvent {
    /// The order itself that forked children carry the id of, for events that name other orders.
    pub fn children(&self) -> impl Iterator<Item = &OrderId> {
        let children: &[ForkChild] = if let OrderEvent::OrderForked { children } = self {
            children
        } else {
            &[]
        };
        children.iter().map(|child| &child.order_id)
    }
}
