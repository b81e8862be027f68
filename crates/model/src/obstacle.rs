//! Why an order waits, as objects for programs and in words for operators.
//!
//! Always: computed from the state on each request and never stored. Lists inside are bounded and have a count of all
//! elements.

use crate::{
    AgentPath, BundleId, ItemKey, JobName, OrderId, Position, Problem, SubagentId, Timestamp,
    WorkflowId, WorkflowPath,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The maximum number of orders, Subagents or processes that are named. The others are counted.
pub const NAMED_MAX: usize = 3;

/// How an Agent or a Subagent is connected now, as status, API, metrics and obstacles show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// The Agent or Subagent answers.
    Connected,
    /// Not yet connected since the Agent or Subagent was added, or since it or this Controller was started.
    Connecting,
    /// The last attempt to connect failed, or the connection was lost.
    Unreachable,
    /// Shut down in an orderly way, and not started again.
    ShutDown,
    /// Being reset.
    Resetting,
    /// Unknown, because its Agent is not connected to the Controller.
    Unknown,
}

/// The kind of time that an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeCause {
    /// The time for which the order is scheduled.
    Schedule,
    /// The end of the delay before the next try.
    RetryDelay,
    /// The end of a `Sleep`.
    Sleep,
}

/// Why a Subagent that could be chosen does not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hindrance {
    /// The Agent has no connection to the Subagent.
    NotConnected,
    /// The Subagent is being reset or shut down.
    Going,
    /// The Subagent is disabled and must not be chosen.
    Disabled,
    /// The Agent computes the priority of the Subagent, which may have none now.
    PriorityIsComputed,
}

/// A Subagent that could take a job and does not take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HinderedSubagent {
    /// The Subagent.
    pub subagent_id: SubagentId,
    /// Why the Subagent does not take the job.
    pub reason: Hindrance,
    /// When the connection to the Subagent got its current state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why the Subagent is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The orders whose jobs run in a limited number of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotHolders {
    /// The number of running processes.
    pub process_count: usize,
    /// The first orders by id, at most [`NAMED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderId>,
}

tagged! {
    /// What holds up the job of an order that is `Processing`, as the job's Subagent has reported.
    pub enum JobHold {
        /// The process cannot be started, because the machine lacks a resource. The start is retried.
        MachineIsShort {
            since: Timestamp,
            message: Arc<str>,
        },
        /// The main process has ended, but other processes of the job hold its output open.
        OutputIsHeld {
            since: Timestamp,
            /// The main process, which has ended.
            pid: u32,
            /// The first of the job's processes that are still running.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            processes: Vec<u32>,
        },
    }
}

tagged! {
    /// Why an order waits.
    pub enum Obstacle {
        /// An operator must resume or cancel the order.
        WaitingForCommand {
            /// The order's state; `Suspended` for an order that is suspended.
            state: Arc<str>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
            /// The `mainspring order` commands that let the order continue.
            commands: Vec<Arc<str>>,
        },
        /// The order waits for a time.
        WaitingForOtherTime {
            until: Timestamp,
            cause: TimeCause,
        },
        /// The order is being handed over to an Agent, and the Agent has not taken it yet.
        WaitingForAgentToTake { agent_path: AgentPath },
        /// The order has finished its work at an Agent, and the Agent has not returned the order yet.
        WaitingForAgentToReturn { agent_path: AgentPath },
        /// The Agent refuses what the Controller sends for this order. The Controller sends it again.
        AgentRefusesOrder {
            agent_path: AgentPath,
            problem: Problem,
        },
        /// The Agent refuses an item that the order needs there.
        AgentRefusesItem {
            agent_path: AgentPath,
            key: ItemKey,
            problem: Problem,
        },
        /// The order is at an Agent, or on its way there, and the Controller is not connected to the Agent.
        AgentNotConnected {
            agent_path: AgentPath,
            connection: Connection,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            problem: Option<Problem>,
        },
        /// A command for the order has been accepted, and its Agent has not confirmed it yet.
        WaitingForAgentToMark {
            agent_path: AgentPath,
            /// `Cancelling`, `Suspending`, `Resuming` or `Go`.
            mark: Arc<str>,
        },
        /// The job has as many running processes as its `parallelism` allows.
        JobProcessLimitReached {
            agent_path: AgentPath,
            workflow_path: WorkflowPath,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            job_name: Option<JobName>,
            position: Position,
            limit: u32,
            held_by: SlotHolders,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
        },
        /// The Agent has as many running processes as its `processLimit` allows.
        AgentProcessLimitReached {
            agent_path: AgentPath,
            limit: u32,
            held_by: SlotHolders,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
        },
        /// None of the Subagents that could take the job takes it.
        WaitingForSubagent {
            agent_path: AgentPath,
            /// The Subagent Cluster for the job, if the job names one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_bundle_id: Option<BundleId>,
            /// How many Subagents could take the job.
            subagent_count: usize,
            /// The first of these Subagents.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            subagents: Vec<HinderedSubagent>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
        },
        /// The order's job is about to run, and no obstacle is known.
        WaitingForProcess {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
        },
        /// The job was started at a Subagent to which its Agent is not connected. The job may still run.
        SubagentNotConnected {
            subagent_id: SubagentId,
            connection: Connection,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            since: Option<Timestamp>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            problem: Option<Problem>,
        },
        /// The job's process cannot be started, because its machine lacks a resource.
        MachineIsShort {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_id: Option<SubagentId>,
            since: Timestamp,
            /// The resource that the machine lacks.
            shortage: Arc<str>,
        },
        /// The job's main process has ended, but other processes of the job hold its output open.
        OutputIsHeld {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            subagent_id: Option<SubagentId>,
            since: Timestamp,
            /// The main process, which has ended.
            pid: u32,
            /// The first of the job's processes that are still running.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            processes: Vec<u32>,
        },
        /// The order has forked, and not all of its children have reached the join.
        WaitingForChildren {
            missing: usize,
            child_count: usize,
            /// The first of the missing children.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            children: Vec<OrderId>,
        },
        /// The order has reached the join before its siblings.
        WaitingForSiblings {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            parent: Option<OrderId>,
            missing: usize,
        },
        /// The order's workflow is not known here.
        UnknownWorkflow { workflow_id: Arc<WorkflowId> },
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Connection::Connected => "is connected",
            Connection::Connecting => "is not connected yet",
            Connection::Unreachable => "is unreachable",
            Connection::ShutDown => "is shut down",
            Connection::Resetting => "is being reset",
            Connection::Unknown => "is in an unknown state",
        })
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hindrance::NotConnected => "is not connected",
            Hindrance::Going => "is being reset or shut down",
            Hindrance::Disabled => "is disabled",
            Hindrance::PriorityIsComputed => "may have no priority now",
        })
    }
}

/// Displays the time since when something is so. Displays nothing if the time is unknown.
struct Since(Option<Timestamp>);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(since) => write!(f, " since {since}"),
            None => Ok(()),
        }
    }
}

/// Displays since when the order has waited, at the end of a sentence.
struct Waits(Option<Timestamp>);

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(since) => write!(f, "; waits since {since}"),
            None => Ok(()),
        }
    }
}

struct Because<'a>(&'a Option<Problem>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(problem) => write!(f, ": {problem}"),
            None => Ok(()),
        }
    }
}

/// Displays some names, and how many more there are.
struct Named<'a, T>(&'a [T], usize);

impl<T: fmt::Display> fmt::Display for Named<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { ", " })?;
        }
        match self.1.saturating_sub(self.0.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for HinderedSubagent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HinderedSubagent {
            subagent_id,
            reason,
            since,
            problem,
        } = self;
        write!(
            f,
            "{subagent_id} {reason}{}{}",
            Since(*since),
            Because(problem)
        )
    }
}

impl SlotHolders {
    fn named(&self) -> Named<'_, OrderId> {
        Named(&self.orders, self.process_count)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::WaitingForCommand {
                state,
                since,
                commands,
            } => {
                write!(f, "{state}{}; ", Since(*since))?;
                if commands.is_empty() {
                    return f.write_str("its parent decides");
                }
                write!(f, "waits for: order {}", commands.join(" or order "))
            }
            Obstacle::WaitingForOtherTime { until, cause } => match cause {
                TimeCause::Schedule => write!(f, "starts at {until}"),
                TimeCause::RetryDelay => write!(f, "waits until {until} for its next try"),
                TimeCause::Sleep => write!(f, "sleeps until {until}"),
            },
            Obstacle::WaitingForAgentToTake { agent_path } => {
                write!(f, "waits for Agent {agent_path} to take it")
            }
            Obstacle::WaitingForAgentToReturn { agent_path } => {
                write!(f, "waits for Agent {agent_path} to give it back")
            }
            Obstacle::AgentRefusesOrder {
                agent_path,
                problem,
            } => write!(f, "Agent {agent_path} refuses it: {problem}"),
            Obstacle::AgentRefusesItem {
                agent_path,
                key,
                problem,
            } => write!(f, "Agent {agent_path} refuses {key}: {problem}"),
            Obstacle::AgentNotConnected {
                agent_path,
                connection,
                since,
                problem,
            } => write!(
                f,
                "Agent {agent_path} {connection}{}{}",
                Since(*since),
                Because(problem)
            ),
            Obstacle::WaitingForAgentToMark { agent_path, mark } => {
                let what = match &**mark {
                    "Cancelling" => "the cancellation",
                    "Suspending" => "the suspension",
                    "Resuming" => "the resumption",
                    _ => "the command",
                };
                write!(
                    f,
                    "{what} waits for Agent {agent_path}, which has not confirmed it"
                )
            }
            Obstacle::JobProcessLimitReached { .. } | Obstacle::AgentProcessLimitReached { .. } => {
                self.write_limit(f)
            }
            Obstacle::WaitingForSubagent {
                agent_path,
                subagent_bundle_id,
                subagent_count,
                subagents,
                since,
            } => {
                write!(f, "waits for a Subagent")?;
                match subagent_bundle_id {
                    Some(bundle_id) => write!(f, " of Subagent Cluster {bundle_id}")?,
                    None => write!(f, " of Agent {agent_path}")?,
                }
                if subagents.is_empty() {
                    f.write_str(", which has none")?;
                } else {
                    write!(f, ": {}", Named(subagents, *subagent_count))?;
                }
                write!(f, "{}", Waits(*since))
            }
            Obstacle::WaitingForProcess { since } => {
                write!(f, "waits for its Agent to start its job{}", Waits(*since))
            }
            Obstacle::SubagentNotConnected {
                subagent_id,
                connection,
                since,
                problem,
            } => write!(
                f,
                "its job was started on Subagent {subagent_id}, which {connection}{}{}",
                Since(*since),
                Because(problem)
            ),
            Obstacle::MachineIsShort {
                since, shortage, ..
            } => write!(
                f,
                "the machine is short of what its process needs, since {since}: {shortage}; the start is retried"
            ),
            Obstacle::OutputIsHeld {
                since,
                pid,
                processes,
                ..
            } => {
                f.write_str("its output is held open by ")?;
                match processes.as_slice() {
                    [] => f.write_str("another process")?,
                    [one] => write!(f, "process {one}")?,
                    some => write!(f, "processes {}", Named(some, some.len()))?,
                }
                write!(
                    f,
                    " since {since}, although its main process {pid} has ended"
                )?;
                f.write_str("; end what holds it, or cancel the order with --kill")
            }
            Obstacle::WaitingForChildren {
                missing,
                child_count,
                children,
            } => {
                write!(f, "waits for {missing} of its {child_count} children")?;
                if children.is_empty() {
                    return Ok(());
                }
                write!(f, ": {}", Named(children, *missing))
            }
            Obstacle::WaitingForSiblings { parent, missing } => {
                write!(f, "waits at the join")?;
                if let Some(parent) = parent {
                    write!(f, " of {parent}")?;
                }
                write!(f, " for its siblings ({missing} are missing)")
            }
            Obstacle::UnknownWorkflow { workflow_id } => {
                write!(f, "its workflow {workflow_id} is not known here")
            }
        }
    }
}

impl Obstacle {
    /// Returns whether the order's Agent decides how long this lasts. Without a connection to the Agent it is unknown
    /// whether the obstacle still exists.
    pub fn depends_on_agent(&self) -> bool {
        match self {
            Obstacle::JobProcessLimitReached { .. }
            | Obstacle::AgentProcessLimitReached { .. }
            | Obstacle::WaitingForSubagent { .. }
            | Obstacle::WaitingForProcess { .. }
            | Obstacle::SubagentNotConnected { .. }
            | Obstacle::MachineIsShort { .. }
            | Obstacle::OutputIsHeld { .. } => true,
            Obstacle::WaitingForCommand { .. }
            | Obstacle::WaitingForOtherTime { .. }
            | Obstacle::WaitingForAgentToTake { .. }
            | Obstacle::WaitingForAgentToReturn { .. }
            | Obstacle::AgentRefusesOrder { .. }
            | Obstacle::AgentRefusesItem { .. }
            | Obstacle::AgentNotConnected { .. }
            | Obstacle::WaitingForAgentToMark { .. }
            | Obstacle::WaitingForChildren { .. }
            | Obstacle::WaitingForSiblings { .. }
            | Obstacle::UnknownWorkflow { .. } => false,
        }
    }

    fn write_limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limited, setting, limit, held_by, since) = match self {
            Obstacle::JobProcessLimitReached {
                job_name,
                position,
                limit,
                held_by,
                since,
                ..
            } => {
                let job = match job_name {
                    Some(name) => format!("job {name}"),
                    None => format!("the job at {position}"),
                };
                (job, "parallelism", limit, held_by, since)
            }
            Obstacle::AgentProcessLimitReached {
                agent_path,
                limit,
                held_by,
                since,
            } => {
                let agent = format!("Agent {agent_path}");
                (agent, "processLimit", limit, held_by, since)
            }
            Obstacle::WaitingForCommand { .. }
            | Obstacle::WaitingForOtherTime { .. }
            | Obstacle::WaitingForAgentToTake { .. }
            | Obstacle::WaitingForAgentToReturn { .. }
            | Obstacle::AgentRefusesOrder { .. }
            | Obstacle::AgentRefusesItem { .. }
            | Obstacle::AgentNotConnected { .. }
            | Obstacle::WaitingForAgentToMark { .. }
            | Obstacle::WaitingForSubagent { .. }
            | Obstacle::WaitingForProcess { .. }
            | Obstacle::SubagentNotConnected { .. }
            | Obstacle::MachineIsShort { .. }
            | Obstacle::OutputIsHeld { .. }
            | Obstacle::WaitingForChildren { .. }
            | Obstacle::WaitingForSiblings { .. }
            | Obstacle::UnknownWorkflow { .. } => return Ok(()),
        };
        if *limit == 0 {
            return write!(
                f,
                "never starts: {limited} has {setting} 0 and gets no process; deploy a higher {setting}, or cancel the order"
            );
        }
        write!(
            f,
            "waits for a free process: {limited} has {setting} {limit}, held by {}{}",
            held_by.named(),
            Waits(*since)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_is_an_object_for_programs_and_a_sentence_for_operators() {
        let obstacle = Obstacle::JobProcessLimitReached {
            agent_path: AgentPath::new("A"),
            workflow_path: WorkflowPath::new("w"),
            job_name: Some(JobName::new("J")),
            position: Position::default(),
            limit: 4,
            held_by: SlotHolders {
                process_count: 4,
                orders: ["1", "2", "3"].map(OrderId::from).into(),
            },
            since: Some(Timestamp::from_millis(1_800_000_000_000)),
        };
        assert_eq!(
            serde_json::to_string(&obstacle).unwrap(),
            r#"{"TYPE":"JobProcessLimitReached","agentPath":"A","workflowPath":"w","jobName":"J","position":[0],"limit":4,"heldBy":{"processCount":4,"orders":["1","2","3"]},"since":1800000000000}"#
        );
        assert_eq!(
            obstacle.to_string(),
            "waits for a free process: job J has parallelism 4, held by 1, 2, 3 and 1 more; waits since 2027-01-15T08:00:00.000Z"
        );
        let read = Obstacle::from_json(&serde_json::to_string(&obstacle).unwrap()).unwrap();
        assert_eq!(read, obstacle);
    }

    #[test]
    fn a_limit_of_zero_never_lets_an_order_start() {
        let obstacle = Obstacle::AgentProcessLimitReached {
            agent_path: AgentPath::new("A"),
            limit: 0,
            held_by: SlotHolders::default(),
            since: None,
        };
        assert_eq!(
            obstacle.to_string(),
            "never starts: Agent A has processLimit 0 and gets no process; deploy a higher processLimit, or cancel the order"
        );
    }
}
