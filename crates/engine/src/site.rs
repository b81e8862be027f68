//! On which side of a connection an engine runs.

use model::AgentPath;

/// Who decides here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// The Controller: it acts on orders that no Agent has.
    Controller,
    /// An Agent: it acts on the orders attached to it.
    Agent(AgentPath),
}

impl Site {
    /// Whether this is the Controller.
    pub fn is_controller(&self) -> bool {
        matches!(self, Site::Controller)
    }
}
