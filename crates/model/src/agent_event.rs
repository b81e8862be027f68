//! What happens between a Controller and its Agents, and between an Agent and its Subagents.

use crate::outcome::is_false;
use crate::{
    AgentPath, AgentWitness, ClusterEvent, ControllerId, EventId, MemberRun, Problem, RunId,
    Seconds, SubagentId, UserId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The machine a component runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformInfo {
    /// Mainspring's version there.
    pub version: Arc<str>,
    /// The host's name.
    pub hostname: Arc<str>,
    /// Operating system and processor.
    pub system: Arc<str>,
}

tagged! {
    /// At the Controller; the key is the Agent's path.
    pub enum AgentEvent {
        /// The Agent belongs to this Controller from now on.
        AgentDedicated { agent_run_id: RunId, agent_event_id: EventId },
        /// Connected, and both sides know where they stand.
        AgentCoupled,
        /// No connection, or the Agent refuses. Written once per distinct problem.
        AgentCouplingFailed { problem: Problem },
        /// The Agent has started.
        AgentReady {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            timezone: Option<Arc<str>>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            platform_info: Option<PlatformInfo>,
        },
        /// The Controller has taken over the Agent's events until here.
        AgentEventsObserved { until_event_id: EventId },
        /// What happened to the pair of Directors that keeps the Agent's log.
        AgentMirroredEvent { keyed_event: ClusterEvent },
        /// The witness of the pair, which this Controller keeps, has begun, confirmed or promised something.
        AgentWitnessUpdated { witness: AgentWitness },
        /// The Agent has been shut down in order.
        AgentShutDown,
        /// The Agent is to end its jobs, forget everything and begin anew. By force, what it had counts as lost from now on.
        AgentResetStarted {
            #[serde(default, skip_serializing_if = "is_false")]
            force: bool,
        },
        /// The Agent has nothing any more; it can be dedicated anew.
        AgentReset,
        /// Another process that claims to be this Controller has tried to couple with the Agent, and the Agent has
        /// refused it. One of the two data directories is a copy, or two Controllers have the same id.
        AgentOtherControllerRefused { other: MemberRun, coupled: MemberRun },
        /// The other process has not tried to couple for a while, or is the coupled one now.
        AgentOtherControllerGone,
        /// An event of the Agent did not fit and was left out; the others were taken over.
        AgentEventRejected {
            /// The Agent's number of it; `eventId` is the line's own.
            #[serde(rename = "agentEventId")]
            event_id: EventId,
            event: Arc<str>,
            problem: Problem,
        },
    }
}

tagged! {
    /// In the Agent's own log; without key.
    pub enum AgentOwnEvent {
        /// Belongs to this Controller from now on.
        #[tag("AgentDedicated")]
        Dedicated {
            agent_path: AgentPath,
            directors: Vec<SubagentId>,
            agent_run_id: RunId,
            controller_id: ControllerId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            controller_run_id: Option<RunId>,
        },
        /// Has started.
        #[tag("AgentReady")]
        Ready {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            timezone: Option<Arc<str>>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            platform_info: Option<PlatformInfo>,
        },
        /// Controllers of an older epoch are not obeyed from now on.
        #[tag("AgentControllerEpochRaised")]
        ControllerEpochRaised { epoch: u64 },
        /// While `coupled` was connected, `other`, which claims to be the same Controller, was refused. Recorded once
        /// for each address.
        #[tag("AgentOtherControllerRefused")]
        OtherControllerRefused { other: MemberRun, coupled: MemberRun },
        /// The other process has not tried to couple for a while, or is the coupled one now.
        #[tag("AgentOtherControllerGone")]
        OtherControllerGone,
        /// Is shutting down in order.
        #[tag("AgentShutDown")]
        ShutDown,
    }
}

tagged! {
    /// In the Agent's log, mirrored to the Controller; the key is the Subagent's id.
    pub enum SubagentStateEvent {
        /// The Subagent's process belongs to this Agent.
        SubagentDedicated {
            subagent_run_id: RunId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            platform_info: Option<PlatformInfo>,
        },
        /// Connected.
        SubagentCoupled,
        /// No connection, or the Subagent refuses. Written once per distinct problem.
        SubagentCouplingFailed { problem: Problem },
        /// The Agent has taken over the Subagent's events until here. Not mirrored.
        SubagentEventsObserved { until_event_id: EventId },
        /// The Subagent may be told this lease from now on: so long after its Director's last word it ends its jobs. Not
        /// mirrored.
        SubagentLeaseOffered { lease: Seconds },
        /// At the Controller: a user has said that the Subagent's machine is off.
        SubagentLossConfirmed { user_id: UserId },
        /// The Subagent is away, and none of its jobs can be running any more: its lease has ended, or a user has said so.
        SubagentLost {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            confirmed_by: Option<UserId>,
        },
        /// The process is another one: what ran there is lost.
        SubagentRestarted,
        /// It or its Agent has been reset: what ran there counts as lost.
        SubagentReset,
        /// At the Controller: its Agent is to reset it.
        SubagentResetStartedByController {
            #[serde(default, skip_serializing_if = "is_false")]
            force: bool,
        },
        /// Its jobs are killed, and its process is to end and begin anew.
        SubagentResetStarted {
            #[serde(default, skip_serializing_if = "is_false")]
            force: bool,
        },
        /// Ends in order and takes no more jobs.
        SubagentShutdownStarted,
        /// Has ended in order.
        SubagentShutdown,
    }
}
