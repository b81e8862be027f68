//! What the members of a cluster keep together: a Controller or an Agent.

use std::fmt;

/// What it is that members keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A Controller.
    Controller,
    /// An Agent; the members are its Directors.
    Agent,
}

impl Kept {
    /// How a member is taken in, again or for the first time.
    pub(crate) fn taking_in(self) -> &'static str {
        match self {
            Kept::Controller => "`mainspring cluster appoint` at the running Controller",
            Kept::Agent => "deploying the AgentRef with both directors to the Controller",
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kept::Controller => "Controller",
            Kept::Agent => "Agent",
        })
    }
}
