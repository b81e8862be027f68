//! What a world is to consist of.

/// Agents with their Subagents; there is always one Controller.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The Agents.
    pub agents: Vec<AgentPlan>,
    /// Put a proxy before each Agent and each Subagent.
    pub proxied: bool,
    /// Further settings of the Controller, as `--set` takes them.
    pub controller_settings: Vec<(String, String)>,
    /// The same of all Agents.
    pub agent_settings: Vec<(String, String)>,
}

/// An Agent with its Subagents.
#[derive(Clone, Debug, Default)]
pub struct AgentPlan {
    /// Its name. Its own Subagent is `<name>-0`.
    pub name: String,
    /// Two Directors: the second, with the Subagent `<name>-1`, is in the process [`second_director`].
    pub is_pair: bool,
    /// Its own Subagent takes no jobs.
    pub is_local_disabled: bool,
    /// Subagents in processes of their own.
    pub subagents: Vec<String>,
}

/// The process of the second Director of an Agent.
pub fn second_director(agent: &str) -> String {
    format!("{agent}-second")
}

impl Plan {
    /// A Controller and these Agents, each with its own Subagent only.
    pub fn of(agents: &[&str]) -> Plan {
        Plan {
            agents: agents.iter().map(|name| AgentPlan::named(name)).collect(),
            ..Plan::default()
        }
    }
}

impl AgentPlan {
    /// An Agent with its own Subagent only.
    pub fn named(name: &str) -> AgentPlan {
        AgentPlan {
            name: name.to_owned(),
            ..AgentPlan::default()
        }
    }
}
