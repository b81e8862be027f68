//! What the Controller knows of its Agents and their Subagents.

use model::{
    AgentPath, AgentWitness, ClusterState, Connection, EventId, MemberRun, PlatformInfo, Problem,
    RunId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How an Agent or Subagent stands to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coupling {
    /// Not yet connected since it was added or restarted.
    #[default]
    Reset,
    /// Connected.
    Coupled,
    /// It has been shut down in order.
    ShutDown,
    /// It is to forget everything before anything else is asked of it.
    Resetting,
}

/// An Agent as the Controller sees it. A `problem` says why it is not coupled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentState {
    /// The life of its log, once it is dedicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_run_id: Option<RunId>,
    /// Whether it is connected.
    pub coupling_state: Coupling,
    /// Its newest event that we have taken over.
    pub event_id: EventId,
    /// Why it is not coupled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Its time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Arc<str>>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_info: Option<PlatformInfo>,
    /// How its Directors stand to each other.
    #[serde(default, skip_serializing_if = "is_alone")]
    pub cluster: ClusterState,
    /// The witness of the Agent's Directors, while the Agent has two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<AgentWitness>,
    /// While it is reset: whether what it had counts as lost already.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_reset_by_force: bool,
    /// The event since which there is no connection: what came up later has not been sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<EventId>,
    /// When the current [`Connection`] of this Agent began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_since: Option<Timestamp>,
    /// Another process that claims to be this Controller. The Agent has refused this process, which still tries to
    /// couple.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_controller: Option<Box<OtherController>>,
}

/// A process that an Agent has refused, because the process claims to be the Controller that is coupled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherController {
    /// The process that was refused.
    pub other: MemberRun,
    /// The process that is coupled.
    pub coupled: MemberRun,
    /// Since when.
    pub since: Timestamp,
}

impl OtherController {
    /// Returns the refusal as a problem to be shown.
    pub fn problem(&self) -> Problem {
        Problem::new(
            "ControllerIsDouble",
            format!(
                "two Controllers of the same identity are running: the Agent is coupled with the one at {} and refuses the one at {}. One data directory is a copy of the other, or was restored beside it, or two Controllers have the same id: stop the Controller that is not wanted",
                self.coupled, self.other
            ),
        )
        .with("refusedAddress", &self.other)
        .with("coupledAddress", &self.coupled)
    }
}

impl AgentState {
    /// Returns the problem to show to users: why the Agent is not coupled, or which other process claims to be its
    /// Controller.
    pub fn shown_problem(&self) -> Option<Problem> {
        let other = self.other_controller.as_ref();
        self.problem
            .clone()
            .or_else(|| other.map(|other| other.problem()))
    }

    /// How it is connected now.
    pub fn connection(&self) -> Connection {
        connection(self.coupling_state, self.problem.is_some())
    }
}

fn connection(state: Coupling, has_problem: bool) -> Connection {
    match state {
        Coupling::Resetting => Connection::Resetting,
        Coupling::Coupled | Coupling::Reset | Coupling::ShutDown if has_problem => {
            Connection::Unreachable
        }
        Coupling::Coupled => Connection::Connected,
        Coupling::Reset => Connection::Connecting,
        Coupling::ShutDown => Connection::ShutDown,
    }
}

fn is_alone(cluster: &ClusterState) -> bool {
    *cluster == ClusterState::Empty
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A Subagent as its Agent has told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubagentState {
    /// The life of its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subagent_run_id: Option<RunId>,
    /// Whether its Agent is connected to it.
    pub coupling_state: Coupling,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_info: Option<PlatformInfo>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_path: Option<AgentPath>,
    /// It is to be reset, maybe by force, and its Agent has not heard of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_asked: Option<bool>,
    /// Who has said that its machine is off, until its Agent has heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_confirmed_by: Option<UserId>,
    /// When the connection between the Subagent and its Agent got its current state, as the Agent has reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_since: Option<Timestamp>,
}

impl SubagentState {
    /// Returns how the Subagent is connected to its Agent, as the Agent has reported.
    pub fn told_connection(&self) -> Connection {
        connection(self.coupling_state, self.problem.is_some())
    }
}
