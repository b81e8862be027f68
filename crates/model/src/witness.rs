//! The state that the witness of an Agent's Directors must never lose, as the Controller's log keeps it.
//!
//! Always: numbers and nothing else. Never here: the meaning of the numbers in an election; see the crate `cluster`.

use serde::{Deserialize, Serialize};

/// The witness (third vote) of the pair of Directors that keeps an Agent's log. Every member of the Controller's
/// cluster that becomes active continues it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentWitness {
    /// Its number among the members of the pair.
    pub member: u64,
    /// The newest term that the witness has seen.
    #[serde(default)]
    pub term: u64,
    /// The member for which the witness has voted in that term, or that has been elected in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voted_for: Option<u64>,
    /// Whether that member has been elected.
    #[serde(default)]
    pub is_elected: bool,
    /// The newest entry of the pair's log that the witness has confirmed, by term and index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<(u64, u64)>,
    /// The numbers of all members that the witness has last received.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<u64>,
    /// The entry that made them the members, by term and index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_since: Option<(u64, u64)>,
}

impl AgentWitness {
    /// Returns whether `later` may follow this state: both belong to the same witness, and `later` takes back no
    /// promise.
    pub fn may_become(&self, later: &AgentWitness) -> bool {
        let keeps_its_vote = self.voted_for.is_none()
            || self.voted_for == later.voted_for
            || (!self.is_elected && later.is_elected);
        later.member == self.member
            && later.newest >= self.newest
            && (later.term > self.term
                || (later.term == self.term
                    && keeps_its_vote
                    && (later.is_elected || !self.is_elected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_takes_back_no_promise() {
        let voted = AgentWitness {
            member: 13,
            term: 2,
            voted_for: Some(11),
            newest: Some((1, 9)),
            ..AgentWitness::default()
        };
        let elected = AgentWitness {
            voted_for: Some(12),
            is_elected: true,
            ..voted.clone()
        };
        assert!(voted.may_become(&elected), "by the votes of the others");
        assert!(!elected.may_become(&voted));
        let other_vote = AgentWitness {
            voted_for: Some(12),
            ..voted.clone()
        };
        assert!(!voted.may_become(&other_vote));
        let later_vote = AgentWitness {
            term: 3,
            ..other_vote
        };
        assert!(elected.may_become(&later_vote));
        let forgetful = AgentWitness {
            newest: Some((1, 8)),
            ..later_vote
        };
        assert!(!voted.may_become(&forgetful));
        let another = AgentWitness {
            member: 14,
            ..voted.clone()
        };
        assert!(!voted.may_become(&another));
    }
}
