//! An order: one run of a workflow.

use crate::Problem;
use crate::order_event::SleepCause;
use crate::outcome::is_false;
use crate::{
    AgentPath, BundleId, EventId, JobHold, Mark, OrderId, Outcome, Position, SubagentId, ThinList,
    Timestamp, WorkflowId, WorkflowPath,
};
use expr::{NamedValues, Number};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which plan an order belongs to: `[]` for the global one, else `[schema, key]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub ThinList<Arc<str>>);

impl PlanId {
    /// Whether this is the global plan.
    pub fn is_global(&self) -> bool {
        self.0.is_empty()
    }
}

/// A place given from outside: a position or a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// A label of the workflow.
    Label(Arc<str>),
    /// A position.
    Position(Position),
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('"') {
            serde_json::from_str(raw.get())
                .map(Place::Label)
                .map_err(serde::de::Error::custom)
        } else {
            serde_json::from_str(raw.get())
                .map(Place::Position)
                .map_err(serde::de::Error::custom)
        }
    }
}

/// An order to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreshOrder {
    /// Its name.
    pub id: OrderId,
    /// Which workflow it runs, in the current version.
    #[serde(alias = "workflowName")]
    pub workflow_path: WorkflowPath,
    /// Its plan; the global one if left out.
    #[serde(default, skip_serializing_if = "PlanId::is_global")]
    pub plan_id: PlanId,
    /// What it brings along.
    #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
    pub arguments: NamedValues,
    /// When it starts; at once if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<Timestamp>,
    /// A higher one goes first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: Number,
    /// Forget the order when it has ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete_when_terminated: bool,
    /// Do not wait for admission times.
    #[serde(default, skip_serializing_if = "is_false", alias = "forceJobAdmission")]
    pub force_admission: bool,
    /// Run only inside of this block, given as the position of its instruction plus the branch: `[0, "cycle"]`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        alias = "blockPosition"
    )]
    pub inner_block: Vec<serde_json::Value>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_position: Option<Place>,
    /// Where it ends early.
    #[serde(default, skip_serializing_if = "Vec::is_empty", alias = "endPositions")]
    pub stop_positions: Vec<Place>,
}

impl FreshOrder {
    /// An order that starts at once and brings nothing along.
    pub fn new(id: OrderId, workflow_path: WorkflowPath) -> FreshOrder {
        FreshOrder {
            id,
            workflow_path,
            plan_id: PlanId::default(),
            arguments: NamedValues::new(),
            scheduled_for: None,
            priority: Number::from(0),
            delete_when_terminated: false,
            force_admission: false,
            inner_block: Vec::new(),
            start_position: None,
            stop_positions: Vec::new(),
        }
    }
}

pub(crate) fn is_zero(number: &Number) -> bool {
    *number == Number::from(0)
}

/// One run of a workflow, as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// Which workflow version, and where in it.
    pub workflow_id: Arc<WorkflowId>,
    /// Where in the workflow.
    pub position: Position,
    /// Its state.
    pub state: OrderState,
    /// What it brought along, defaults and finals included.
    #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
    pub arguments: NamedValues,
    /// Its plan.
    #[serde(default, skip_serializing_if = "PlanId::is_global")]
    pub plan_id: PlanId,
    /// When it is to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<Timestamp>,
    /// The file it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_order: Option<Box<ExternalOrder>>,
    /// At which Agent, or on the way; nothing means at the Controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_state: Option<AttachedState>,
    /// The order that forked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OrderId>,
    /// A higher one goes first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: Number,
    /// What an operator has asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Box<Mark>>,
    /// Whether it stands still until it is resumed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_suspended: bool,
    /// Forget it when it has ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete_when_terminated: bool,
    /// Do not wait for admission times.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force_admission: bool,
    /// Has just been resumed: a breakpoint or stop position here does not count.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_resumed: bool,
    /// The Subagents it is bound to.
    #[serde(default, skip_serializing_if = "ThinList::is_empty")]
    pub sticky_subagents: ThinList<StickySubagent>,
    /// The block it runs in, empty for the whole workflow.
    #[serde(default, skip_serializing_if = "ThinList::is_empty")]
    pub inner_block: ThinList<serde_json::Value>,
    /// Where it ends early.
    #[serde(default, skip_serializing_if = "ThinList::is_empty")]
    pub stop_positions: ThinList<Position>,
    /// How its steps ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub historic_outcomes: Vec<HistoricOutcome>,
    /// The number of outcomes of repeated tries that are no longer in `historic_outcomes`, by place.
    #[serde(default, skip_serializing_if = "ThinList::is_empty")]
    pub omitted_outcomes: ThinList<OmittedOutcomes>,
    /// The first event in the Controller's log with output of the jobs of the order or of its children. Only the
    /// Controller sets this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_since: Option<EventId>,
    /// How many processes were started for it: the number of the latest attempt.
    #[serde(default, skip_serializing_if = "is_zero_count")]
    pub attempts: u32,
    /// When the order was added or forked. This and the other times are unknown for orders of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_at: Option<Timestamp>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the order got its state. For an order that has ended, when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_since: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero_count(count: &u32) -> bool {
    *count == 0
}

tagged! {
    /// What an order does or waits for (`engine.md` 4.2).
    pub enum OrderState {
        /// Not started; may wait for its time.
        Fresh,
        /// Between two instructions.
        Ready,
        /// Its job runs.
        Processing {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_id: Option<SubagentId>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_bundle_id: Option<BundleId>,
            /// What holds the job up.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            hold: Option<Box<JobHold>>,
        },
        /// Its job has ended.
        Processed,
        /// Its job has been killed.
        ProcessingKilled,
        /// Waits for the next try.
        DelayingRetry { until: Timestamp },
        /// Waits for its children.
        Forked { children: Vec<ForkChild> },
        /// Sleeps.
        Sleeping { until: Timestamp, cause: SleepCause },
        /// Something is wrong with the order or the engine; an operator decides.
        Broken {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            problem: Option<Problem>,
        },
        /// Failed; an operator decides.
        Failed,
        /// Failed before it was started.
        FailedWhileFresh,
        /// Failed; its parent goes on without it.
        FailedInFork,
        /// Stands still where it failed or was told to stop.
        Stopped,
        /// The same, before it was started.
        StoppedWhileFresh,
        /// At the end.
        Finished,
        /// Ended by an operator.
        Cancelled,
        /// Gone.
        Deleted,
    }
}

tagged! {
    /// Where an order is on its way between Controller and Agent.
    pub enum AttachedState {
        /// To be handed to the Agent.
        Attaching { agent_path: AgentPath },
        /// At the Agent.
        Attached { agent_path: AgentPath },
        /// On the way back.
        Detaching { agent_path: AgentPath },
    }
}

impl AttachedState {
    /// The Agent concerned.
    pub fn agent_path(&self) -> &AgentPath {
        match self {
            AttachedState::Attaching { agent_path }
            | AttachedState::Attached { agent_path }
            | AttachedState::Detaching { agent_path } => agent_path,
        }
    }
}

/// A child of a forked order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForkChild {
    /// Its name.
    pub order_id: OrderId,
    /// Its branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_id: Option<Arc<str>>,
    /// What it gets besides its parent's arguments.
    #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
    pub arguments: NamedValues,
}

/// The file or other thing that an order stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalOrder {
    /// Which watch found it.
    pub order_watch_path: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
    /// Whether it has gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub vanished: bool,
}

/// An order's tie to one Subagent of an Agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StickySubagent {
    /// The Agent.
    pub agent_path: AgentPath,
    /// The Subagent Cluster to choose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subagent_bundle_id: Option<BundleId>,
    /// The Subagent once chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_subagent_id: Option<SubagentId>,
}

/// How a step ended, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoricOutcome {
    /// Where.
    pub position: Position,
    /// How.
    pub outcome: Outcome,
}

/// Outcomes at one place of a Try block that was repeated often. They are only counted and no longer kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OmittedOutcomes {
    /// The place, without the counters of the tries.
    pub position: Position,
    /// How many.
    pub count: u64,
}

impl Order {
    /// The Agent that has it (not while it is on the way).
    pub fn attached_to(&self) -> Option<&AgentPath> {
        match &self.attached_state {
            Some(AttachedState::Attached { agent_path }) => Some(agent_path),
            Some(AttachedState::Attaching { .. } | AttachedState::Detaching { .. }) | None => None,
        }
    }

    /// Whether the Controller has it.
    pub fn is_detached(&self) -> bool {
        self.attached_state.is_none()
    }

    /// How the latest step ended; success if none has yet.
    pub fn last_outcome(&self) -> &Outcome {
        const NONE_YET: &Outcome = &Outcome::SUCCEEDED;
        self.historic_outcomes
            .last()
            .map_or(NONE_YET, |entry| &entry.outcome)
    }

    /// Whether its life is over.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, OrderState::Finished | OrderState::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory per waiting order is promised (docs/benchmarks.md, P11). A field that most orders do not need goes into a [`ThinList`] or a `Box`.
    #[test]
    fn an_order_takes_few_bytes() {
        let bytes = size_of::<Order>();
        assert!(bytes <= 352, "an order takes {bytes} bytes");
    }
}
