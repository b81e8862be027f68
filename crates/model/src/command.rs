//! What is asked of a component, in the imperative, and what it answers.
//!
//! Always: every command may be repeated; a repetition is answered as done or as a duplicate, never done twice.

use crate::outcome::{is_false, is_zero};
use crate::{AgentPath, Problem};
use crate::{
    Attempt, CancellationMode, ControllerId, EventId, FreshOrder, HistoryOperation, ItemKey, Mark,
    MemberRun, Order, OrderId, PlatformInfo, Position, RunId, SignedText, SubagentId,
    SuspensionMode, UserId, VersionId,
};
use expr::{Expr, NamedValues};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Implements the conversions between a refusal and an answer.
macro_rules! refusable {
    ($answer:ident) => {
        impl From<Problem> for $answer {
            fn from(problem: Problem) -> Self {
                $answer::Problem {
                    code: problem.code,
                    message: problem.message,
                    arguments: problem.arguments,
                }
            }
        }

        impl $answer {
            /// Returns the answer, unless it is a refusal.
            ///
            /// # Errors
            ///
            /// Returns the problem if the answer is a refusal.
            pub fn into_result(self) -> Result<Self, Problem> {
                if let $answer::Problem {
                    code,
                    message,
                    arguments,
                } = self
                {
                    return Err(Problem {
                        code,
                        message,
                        arguments,
                    });
                }
                Ok(self)
            }
        }
    };
}

/// How a component is shut down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutDown {
    /// What running processes get: `SIGTERM` or `SIGKILL`; nothing means that they may end by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_signal: Option<Arc<str>>,
    /// To be started again by whoever watches over the process (exit code 97).
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart: bool,
    /// Leave without writing a snapshot.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suppress_snapshot: bool,
}

tagged! {
    /// What a Controller is asked (`engine.md` 5.1).
    @closed
    pub enum ControllerCommand {
        Batch { commands: Vec<ControllerCommand> },
        AddOrder { order: FreshOrder },
        AddOrders { orders: Vec<FreshOrder> },
        CancelOrders {
            order_ids: OrderSelection,
            #[serde(default)]
            mode: CancellationMode,
        },
        SuspendOrders {
            order_ids: Vec<OrderId>,
            #[serde(default)]
            mode: SuspensionMode,
        },
        ResumeOrder {
            order_id: OrderId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            position: Option<Position>,
            #[serde(default, skip_serializing_if = "Vec::is_empty", alias = "historicOperations")]
            history_operations: Vec<HistoryOperation>,
            #[serde(default, skip_serializing_if = "is_false")]
            as_succeeded: bool,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            restart_killed_job: Option<bool>,
        },
        ResumeOrders {
            order_ids: Vec<OrderId>,
            #[serde(default, skip_serializing_if = "is_false")]
            as_succeeded: bool,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            restart_killed_job: Option<bool>,
        },
        DeleteOrdersWhenTerminated { order_ids: Vec<OrderId> },
        /// A user says that the Subagent's machine is off: none of its jobs can be running any more.
        ConfirmSubagentLoss { subagent_id: SubagentId },
        /// The Agent ends its jobs, forgets everything and begins anew. By `force`, what it has counts as lost at once, even while it
        /// cannot be reached or another Controller has it.
        ResetAgent {
            agent_path: AgentPath,
            #[serde(default, skip_serializing_if = "is_false")]
            force: bool,
        },
        /// The Subagent's jobs are killed and it begins anew. By `force` whoever has it, and also while it cannot be reached: that
        /// says that its machine is off or of no concern.
        ResetSubagent {
            subagent_id: SubagentId,
            #[serde(default, skip_serializing_if = "is_false")]
            force: bool,
        },
        /// This Controller is to be kept by these members; `activeId` is the one that gets the command.
        ClusterAppointNodes {
            id_to_uri: std::collections::BTreeMap<crate::NodeId, std::sync::Arc<str>>,
            active_id: crate::NodeId,
        },
        /// A passive member belongs to the cluster no more; all of them if none is named: then the active one goes on alone.
        ClusterRemoveNode {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            node_id: Option<crate::NodeId>,
        },
        /// The passive member becomes the active one.
        ClusterSwitchOver {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            agent_path: Option<AgentPath>,
        },
        ReleaseEvents { until_event_id: EventId },
        TakeSnapshot,
        /// The active member of several hands over first, whatever `clusterAction` says, and nobody has to be notified.
        ShutDown {
            #[serde(default, skip_serializing_if = "is_false")]
            restart: bool,
            #[serde(default, skip_serializing_if = "is_false")]
            suppress_snapshot: bool,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            cluster_action: Option<ClusterAction>,
            #[serde(default, skip_serializing_if = "is_false")]
            dont_notify_active_node: bool,
        },
        NoOperation {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            duration: Option<crate::Seconds>,
        },
    }
}

/// What the other member is to do at a shutdown: it takes over in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterAction {
    /// It is handed over to.
    Switchover,
    /// The same.
    Failover,
}

/// Which orders a command is for: a list, or a function of the order's id.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OrderSelection {
    /// These.
    Ids(Vec<OrderId>),
    /// Those for which the function answers true: `orderId => $orderId matches 'A.*'`.
    Predicate(Expr),
}

impl<'de> Deserialize<'de> for OrderSelection {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OrderSelection, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('"') {
            serde_json::from_str(raw.get())
                .map(OrderSelection::Predicate)
                .map_err(serde::de::Error::custom)
        } else {
            serde_json::from_str(raw.get())
                .map(OrderSelection::Ids)
                .map_err(serde::de::Error::custom)
        }
    }
}

tagged! {
    /// What a Controller answers.
    pub enum ControllerAnswer {
        Accepted,
        #[tag("AddOrder.Response")]
        OrderAdded { ignored_because_duplicate: bool },
        #[tag("AddOrders.Response")]
        OrdersAdded { event_id: EventId },
        BatchResponse { responses: Vec<ControllerAnswer> },
        Problem {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            code: Option<String>,
            message: String,
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            arguments: BTreeMap<String, String>,
        },
    }
}

refusable!(ControllerAnswer);

tagged! {
    /// What a Controller asks of an Agent (`engine.md` 5.2).
    pub enum AgentCommand {
        Batch { commands: Vec<AgentCommand> },
        DedicateAgentDirector {
            agent_path: AgentPath,
            directors: Vec<SubagentId>,
            controller_id: ControllerId,
            controller_run_id: RunId,
            /// The process that sends the request. Earlier versions do not send this field.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            from: Option<MemberRun>,
        },
        CoupleController {
            agent_path: AgentPath,
            agent_run_id: RunId,
            event_id: EventId,
            controller_run_id: RunId,
            /// The epoch of the Controller's active member: one of an older epoch is not obeyed any more.
            #[serde(default, skip_serializing_if = "is_zero")]
            epoch: u64,
            /// The process that sends the request. Earlier versions do not send this field.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            from: Option<MemberRun>,
        },
        /// An item of any type with its exact text.
        AttachItem {
            item: SignedText,
            key: ItemKey,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            item_revision: Option<u64>,
        },
        DetachItem { key: ItemKey },
        AttachOrder { order: Box<Order> },
        DetachOrder { order_id: OrderId },
        MarkOrder { order_id: OrderId, mark: Mark },
        /// End the Subagent's jobs and let it begin anew.
        ResetSubagent {
            subagent_id: SubagentId,
            #[serde(default, skip_serializing_if = "is_false")]
            force: bool,
        },
        /// A user says that the Subagent's machine is off.
        ConfirmSubagentLoss { subagent_id: SubagentId, user_id: UserId },
        ReleaseEvents { until_event_id: EventId },
        /// End all jobs, forget everything and begin anew; answered when that is done. With `agentRunId` only in this life: a
        /// repetition that comes late does nothing to the next one.
        Reset {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            agent_run_id: Option<RunId>,
        },
        TakeSnapshot,
        /// The other Director is to be the active one; answered when it is.
        ClusterSwitchOver,
        ShutDown {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            process_signal: Option<Arc<str>>,
            #[serde(default, skip_serializing_if = "is_false")]
            restart: bool,
            #[serde(default, skip_serializing_if = "is_false")]
            suppress_snapshot: bool,
        },
        NoOperation,
    }
}

tagged! {
    /// What an Agent answers.
    pub enum AgentAnswer {
        Accepted,
        #[tag("DedicateAgentDirector.Response")]
        Dedicated { agent_run_id: RunId, agent_event_id: EventId },
        /// All orders that the Agent has, and the number under which it takes commands from now on: those of an earlier coupling
        /// that come late are refused.
        #[tag("CoupleController.Response")]
        Coupled {
            order_ids: Vec<OrderId>,
            coupling: u64,
            /// Whether the stream of this coupling has a path of its own, by which the Agent knows that the Controller
            /// is connected. Earlier versions do not send this field.
            #[serde(default, skip_serializing_if = "is_false")]
            has_stream: bool,
        },
        #[tag("Batch.Response")]
        Batch { responses: Vec<AgentAnswer> },
        Problem {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            code: Option<String>,
            message: String,
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            arguments: BTreeMap<String, String>,
        },
    }
}

refusable!(AgentAnswer);

tagged! {
    /// What a Director asks of a Subagent (`engine.md` 5.3).
    pub enum SubagentCommand {
        Batch { commands: Vec<SubagentCommand> },
        DedicateSubagent {
            subagent_id: SubagentId,
            agent_path: AgentPath,
            agent_run_id: RunId,
            controller_id: ControllerId,
            /// The process that sends the request. Earlier versions do not send this field.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            from: Option<MemberRun>,
        },
        /// Begins a coupling under the number that the dedication before it was answered with. With a `lease` the jobs are
        /// ended when no request of the coupling has come for so long.
        CoupleDirector {
            subagent_id: SubagentId,
            subagent_run_id: RunId,
            event_id: EventId,
            coupling: u64,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            lease: Option<crate::Seconds>,
            /// The epoch of the active Director: one of an older epoch is not obeyed any more.
            #[serde(default, skip_serializing_if = "is_zero")]
            epoch: u64,
        },
        /// A workflow or job resource that jobs need there.
        AttachItem {
            item: SignedText,
            key: ItemKey,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            item_revision: Option<u64>,
        },
        /// Starts the job at the order's position, at most once for the attempt. Answered as done while the attempt runs
        /// or its end has not been released.
        StartOrderProcess {
            attempt: Attempt,
            order: Box<Order>,
            #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
            default_arguments: NamedValues,
        },
        /// Ends the attempt's processes: SIGTERM and, after the grace time, SIGKILL; or SIGKILL at once.
        KillProcess {
            attempt: Attempt,
            #[serde(default, skip_serializing_if = "is_false")]
            immediately: bool,
        },
        ReleaseEvents { until_event_id: EventId },
        ShutDown {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            process_signal: Option<Arc<str>>,
            #[serde(default, skip_serializing_if = "is_false")]
            restart: bool,
        },
        NoOperation,
    }
}

tagged! {
    /// What a Subagent answers.
    pub enum SubagentAnswer {
        Accepted,
        #[tag("DedicateSubagent.Response")]
        Dedicated {
            subagent_run_id: RunId,
            subagent_event_id: EventId,
            /// The number of the coupling that may follow.
            coupling: u64,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            platform_info: Option<PlatformInfo>,
        },
        /// All attempts that run there or whose end has not been released.
        #[tag("CoupleDirector.Response")]
        Coupled { attempts: Vec<Attempt>, version: VersionId },
        #[tag("Batch.Response")]
        Batch { responses: Vec<SubagentAnswer> },
        Problem {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            code: Option<String>,
            message: String,
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            arguments: BTreeMap<String, String>,
        },
    }
}

refusable!(SubagentAnswer);
