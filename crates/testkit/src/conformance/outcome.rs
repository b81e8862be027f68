//! How a case ended.

use std::time::Duration;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that the case claims was seen.
    Passed,
    /// Something else was seen.
    Failed(String),
    /// The case needs what this release does not have.
    NotYet(String),
}

/// A case with its end.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) id: String,
    pub(crate) level: String,
    pub(crate) title: String,
    pub(crate) how: How,
    pub(crate) verdict: Verdict,
    /// What happens instead of what the case claims, and why, if its scenario shows that.
    pub(crate) replaced: Option<String>,
    pub(crate) took: Duration,
}

/// What a case was driven with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The expression language alone.
    Expressions,
    /// Real processes, steps and expectations taken from the case as they stand.
    Processes,
    /// Real processes, with steps written down for this case in `scenarios`.
    Scenario,
    /// Not at all.
    Not,
}

impl How {
    pub(crate) fn name(self) -> &'static str {
        match self {
            How::Expressions => "expr",
            How::Processes => "processes",
            How::Scenario => "processes, own steps",
            How::Not => "",
        }
    }
}
