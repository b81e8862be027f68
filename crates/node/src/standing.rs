//! What a member is to whoever looks from outside, and what it knows of its own removal.
//!
//! Always: whether a member was let go follows from two states of the cluster, one after the other. Never here: who is active; the log
//! says so.

use model::{ClusterSetting, ClusterState};
use serde::Serialize;

/// What a member is to whoever looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It answers.
    Active,
    /// It follows the active one.
    Standby,
    /// Its directory is empty, or it learns the log: it waits to be taken in.
    Joining,
    /// Nobody is known to be active, or this one is becoming so.
    Starting,
    /// The others go on without it. It never becomes active, until it is taken in again.
    Removed,
}

impl Standing {
    /// All variants.
    pub const ALL: [Standing; 5] = [
        Standing::Active,
        Standing::Standby,
        Standing::Joining,
        Standing::Starting,
        Standing::Removed,
    ];

    /// Returns the name, as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Standby => "standby",
            Standing::Joining => "joining",
            Standing::Starting => "starting",
            Standing::Removed => "removed",
        }
    }
}

/// Who says that a member belongs to the cluster no more.
pub(crate) enum Removal {
    /// Another member, which is connected.
    Confirmed,
    /// This member's own log, or the last word of one that is away by now; nobody who is connected says otherwise.
    Heard,
}

/// How the cluster stood when a member last knew.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) state: ClusterState,
    /// This member has belonged to it, and belongs to it no more.
    pub(crate) is_let_go: bool,
}

impl Known {
    /// What the cluster is like from now on. `me` is this member.
    pub(crate) fn tell(&mut self, state: &ClusterState, me: &str) {
        if self.state == *state {
            return;
        }
        // Without members left it was the active one that stayed.
        let is_let_go = names(&self.state, me)
            && match (self.state.setting(), state.setting()) {
                (Some(before), None) => before.active_id.as_str() != me,
                _ => true,
            };
        self.is_let_go = !names(state, me) && (self.is_let_go || is_let_go);
        self.state.clone_from(state);
    }
}

/// Whether this member belongs to the cluster.
pub(crate) fn names(state: &ClusterState, member: &str) -> bool {
    let is_named =
        |setting: &ClusterSetting| setting.id_to_uri.keys().any(|id| id.as_str() == member);
    state.setting().is_some_and(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn of(members: &[&str], active: &str) -> ClusterState {
        let setting = ClusterSetting {
            id_to_uri: members
                .iter()
                .map(|id| ((*id).into(), Arc::from("http://127.0.0.1:1")))
                .collect(),
            active_id: active.into(),
            cluster_watch_id: None,
        };
        ClusterState::Coupled { setting }
    }

    fn is_let_go(me: &str, states: &[ClusterState]) -> bool {
        let mut known = Known::default();
        for state in states {
            known.tell(state, me);
        }
        known.is_let_go
    }

    #[test]
    fn who_was_passive_when_the_cluster_became_a_single_one_was_let_go_and_the_active_one_was_not()
    {
        let states = [of(&["One", "Two"], "One"), ClusterState::Empty];
        assert!(is_let_go("Two", &states));
        assert!(!is_let_go("One", &states));
    }

    #[test]
    fn one_of_several_is_let_go_without_the_others() {
        let states = [
            of(&["One", "Two", "Three"], "One"),
            of(&["One", "Two"], "One"),
        ];
        assert!(is_let_go("Three", &states));
        assert!(!is_let_go("Two", &states));
    }

    #[test]
    fn who_is_not_yet_or_again_a_member_was_not_let_go() {
        let pair = of(&["One", "Two"], "One");
        assert!(!is_let_go("Three", &[ClusterState::Empty, pair.clone()]));
        let again = [pair.clone(), ClusterState::Empty, pair];
        assert!(!is_let_go("Two", &again));
    }
}
