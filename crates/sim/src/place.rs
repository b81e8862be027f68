//! Where something happens in a world.

use std::fmt;

/// A process of Mainspring, or the clients together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Whoever uses the Controller.
    Client,
    /// A Controller, one of a pair or alone.
    Controller(usize),
    /// A watch.
    Watch(usize),
    /// A Director of an Agent, which lives and dies with its own Subagent. First come the first ones of all Agents.
    Agent(usize),
    /// A Subagent. An Agent's own has a place too, for its work.
    Subagent(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Client => f.write_str("client"),
            Place::Controller(i) => write!(f, "controller-{i}"),
            Place::Watch(i) => write!(f, "watch-{i}"),
            Place::Agent(i) => write!(f, "agent-{i}"),
            Place::Subagent(i) => write!(f, "subagent-{i}"),
        }
    }
}
