//! A cluster of two members or more as its log tells it: who belongs to it, who is active, whether all have everything.
//!
//! Always: states and events have the names of the reference (`engine.md` 8.2); a change that does not fit is refused. Never here:
//! who becomes active. That is decided by the members' votes, and the one who has become active writes down how.

use crate::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who belongs to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSetting {
    /// Where each member is reached.
    pub id_to_uri: BTreeMap<NodeId, Arc<str>>,
    /// The active member.
    pub active_id: NodeId,
    /// The third vote, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_watch_id: Option<Arc<str>>,
}

impl ClusterSetting {
    /// The other of two members; the first one of several.
    pub fn passive_id(&self) -> Option<&NodeId> {
        self.passive_ids().next()
    }

    /// All members but the active one.
    pub fn passive_ids(&self) -> impl Iterator<Item = &NodeId> {
        self.id_to_uri.keys().filter(|id| **id != self.active_id)
    }

    /// Members in even number can be cut into halves: a watch decides between them.
    pub fn needs_watch(&self) -> bool {
        self.id_to_uri.len().is_multiple_of(2)
    }
}

tagged! {
    /// What happened to a cluster.
    pub enum ClusterEvent {
        /// These are its members.
        ClusterNodesAppointed { setting: ClusterSetting },
        /// The passive member has a vote from now on, or has caught up again.
        ClusterCouplingPrepared { active_id: NodeId },
        /// All have everything: any passive member can follow the active one.
        ClusterCoupled { active_id: NodeId },
        /// The passive member cannot be waited for: the active one goes on with the watch's vote.
        ClusterPassiveLost { id: NodeId },
        /// The active part was handed over by a command.
        ClusterSwitchedOver { activated_id: NodeId },
        /// The active member was lost and the other has followed it.
        ClusterFailedOver { failed_active_id: NodeId, activated_id: NodeId },
        /// The active member shuts down, and no other is to follow it.
        ClusterActiveNodeShutDown,
        /// It is back, and no other has followed it.
        ClusterActiveNodeRestarted,
        /// The third vote is this one's.
        ClusterWatchRegistered { cluster_watch_id: Arc<str> },
        /// The passive member is elsewhere; or the one that is named.
        ClusterSettingUpdated {
            passive_uri: Arc<str>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            id: Option<NodeId>,
        },
        /// The passive member belongs to the cluster no more. The active one alone is no cluster.
        ClusterNodeRemoved { id: NodeId },
    }
}

tagged! {
    /// How a cluster stands.
    pub enum ClusterState {
        /// There is no other member.
        Empty,
        NodesAppointed { setting: ClusterSetting },
        PreparedToBeCoupled { setting: ClusterSetting },
        Coupled { setting: ClusterSetting },
        ActiveShutDown { setting: ClusterSetting },
        PassiveLost { setting: ClusterSetting },
        SwitchedOver { setting: ClusterSetting },
        FailedOver { setting: ClusterSetting },
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the variants are written by a macro that takes no attribute for one of them"
)]
impl Default for ClusterState {
    fn default() -> ClusterState {
        ClusterState::Empty
    }
}

/// A change that does not fit how the cluster stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not fit a cluster that is {state}")]
pub struct ClusterMisfit {
    /// The change.
    pub event: &'static str,
    /// How the cluster stands.
    pub state: &'static str,
}

impl ClusterState {
    /// Who belongs to it, unless it is empty.
    pub fn setting(&self) -> Option<&ClusterSetting> {
        match self {
            ClusterState::Empty => None,
            ClusterState::NodesAppointed { setting }
            | ClusterState::PreparedToBeCoupled { setting }
            | ClusterState::Coupled { setting }
            | ClusterState::ActiveShutDown { setting }
            | ClusterState::PassiveLost { setting }
            | ClusterState::SwitchedOver { setting }
            | ClusterState::FailedOver { setting } => Some(setting),
        }
    }

    /// Neither member is sure to have everything: they are to be coupled (again).
    pub fn is_decoupled(&self) -> bool {
        match self {
            ClusterState::NodesAppointed { .. }
            | ClusterState::ActiveShutDown { .. }
            | ClusterState::PassiveLost { .. }
            | ClusterState::SwitchedOver { .. }
            | ClusterState::FailedOver { .. } => true,
            ClusterState::Empty
            | ClusterState::PreparedToBeCoupled { .. }
            | ClusterState::Coupled { .. } => false,
        }
    }

    /// How it stands after an event.
    pub fn after(&self, event: &ClusterEvent) -> Result<ClusterState, ClusterMisfit> {
        use ClusterState as S;
        let misfit = ClusterMisfit {
            event: event.type_name(),
            state: self.type_name(),
        };
        if let ClusterEvent::ClusterNodesAppointed { setting } = event {
            let may = self.is_decoupled() || *self == S::Empty;
            let setting = setting.clone();
            return if may {
                Ok(S::NodesAppointed { setting })
            } else {
                Err(misfit)
            };
        }
        let Some(setting) = self.setting().cloned() else {
            return Err(misfit);
        };
        let with_active = |active_id: &NodeId| ClusterSetting {
            active_id: active_id.clone(),
            ..setting.clone()
        };
        let is_coupled = matches!(self, S::Coupled { .. });
        let is_prepared = matches!(self, S::PreparedToBeCoupled { .. });
        Ok(match event {
            ClusterEvent::ClusterCouplingPrepared { active_id }
                if self.is_decoupled() && *active_id == setting.active_id =>
            {
                S::PreparedToBeCoupled { setting }
            }
            ClusterEvent::ClusterCoupled { active_id }
                if is_prepared && *active_id == setting.active_id =>
            {
                S::Coupled { setting }
            }
            ClusterEvent::ClusterPassiveLost { id }
                if (is_coupled || is_prepared) && *id != setting.active_id =>
            {
                S::PassiveLost { setting }
            }
            ClusterEvent::ClusterSwitchedOver { activated_id }
                if is_coupled && *activated_id != setting.active_id =>
            {
                S::SwitchedOver {
                    setting: with_active(activated_id),
                }
            }
            // The vote that decided was given by those who had everything, whatever was written down last.
            ClusterEvent::ClusterFailedOver {
                failed_active_id,
                activated_id,
            } if *failed_active_id == setting.active_id && activated_id != failed_active_id => {
                S::FailedOver {
                    setting: with_active(activated_id),
                }
            }
            ClusterEvent::ClusterActiveNodeShutDown if is_coupled => S::ActiveShutDown { setting },
            ClusterEvent::ClusterActiveNodeRestarted
                if matches!(self, S::ActiveShutDown { .. }) || is_coupled || is_prepared =>
            {
                S::PassiveLost { setting }
            }
            ClusterEvent::ClusterWatchRegistered { cluster_watch_id } => {
                let mut registered = self.clone();
                if let Some(setting) = registered.setting_mut() {
                    setting.cluster_watch_id = Some(Arc::clone(cluster_watch_id));
                }
                registered
            }
            ClusterEvent::ClusterSettingUpdated { passive_uri, id }
                if self.is_decoupled()
                    && id
                        .as_ref()
                        .is_none_or(|id| setting.id_to_uri.contains_key(id)) =>
            {
                let meant = id.clone().or_else(|| setting.passive_id().cloned());
                let mut updated = self.clone();
                if let (Some(setting), Some(meant)) = (updated.setting_mut(), meant) {
                    setting.id_to_uri.insert(meant, Arc::clone(passive_uri));
                }
                updated
            }
            ClusterEvent::ClusterNodeRemoved { id }
                if *id != setting.active_id && setting.id_to_uri.contains_key(id) =>
            {
                let mut setting = setting;
                setting.id_to_uri.remove(id);
                if setting.id_to_uri.len() < 2 {
                    S::Empty
                } else {
                    S::NodesAppointed { setting }
                }
            }
            ClusterEvent::ClusterNodesAppointed { .. }
            | ClusterEvent::ClusterCouplingPrepared { .. }
            | ClusterEvent::ClusterCoupled { .. }
            | ClusterEvent::ClusterPassiveLost { .. }
            | ClusterEvent::ClusterSwitchedOver { .. }
            | ClusterEvent::ClusterFailedOver { .. }
            | ClusterEvent::ClusterActiveNodeShutDown
            | ClusterEvent::ClusterActiveNodeRestarted
            | ClusterEvent::ClusterSettingUpdated { .. }
            | ClusterEvent::ClusterNodeRemoved { .. } => return Err(misfit),
        })
    }

    fn setting_mut(&mut self) -> Option<&mut ClusterSetting> {
        match self {
            ClusterState::Empty => None,
            ClusterState::NodesAppointed { setting }
            | ClusterState::PreparedToBeCoupled { setting }
            | ClusterState::Coupled { setting }
            | ClusterState::ActiveShutDown { setting }
            | ClusterState::PassiveLost { setting }
            | ClusterState::SwitchedOver { setting }
            | ClusterState::FailedOver { setting } => Some(setting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appointed() -> ClusterState {
        let uri = |port: u16| Arc::from(format!("http://127.0.0.1:{port}"));
        let setting = ClusterSetting {
            id_to_uri: BTreeMap::from([("Primary".into(), uri(1)), ("Backup".into(), uri(2))]),
            active_id: "Primary".into(),
            cluster_watch_id: None,
        };
        ClusterState::Empty
            .after(&ClusterEvent::ClusterNodesAppointed { setting })
            .expect("an empty one can be appointed")
    }

    fn follow(state: &ClusterState, events: &[ClusterEvent]) -> ClusterState {
        events.iter().fold(state.clone(), |state, event| {
            state.after(event).expect("the event fits")
        })
    }

    fn active(id: &str) -> NodeId {
        id.into()
    }

    #[test]
    fn s27_s30_a_pair_is_coupled_fails_over_and_is_coupled_again_the_other_way_round() {
        let coupled = follow(
            &appointed(),
            &[
                ClusterEvent::ClusterWatchRegistered {
                    cluster_watch_id: "watch".into(),
                },
                ClusterEvent::ClusterCouplingPrepared {
                    active_id: active("Primary"),
                },
                ClusterEvent::ClusterCoupled {
                    active_id: active("Primary"),
                },
            ],
        );
        assert_eq!(coupled.type_name(), "Coupled");
        let over = follow(
            &coupled,
            &[ClusterEvent::ClusterFailedOver {
                failed_active_id: active("Primary"),
                activated_id: active("Backup"),
            }],
        );
        assert_eq!(
            over.setting().expect("it has members").active_id,
            active("Backup")
        );
        let again = follow(
            &over,
            &[
                ClusterEvent::ClusterCouplingPrepared {
                    active_id: active("Backup"),
                },
                ClusterEvent::ClusterCoupled {
                    active_id: active("Backup"),
                },
                ClusterEvent::ClusterPassiveLost {
                    id: active("Primary"),
                },
            ],
        );
        assert_eq!(again.type_name(), "PassiveLost");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_said() {
        let lost = ClusterEvent::ClusterPassiveLost {
            id: active("Backup"),
        };
        let refused = appointed().after(&lost).expect_err("nobody was coupled");
        assert_eq!(
            refused.to_string(),
            "ClusterPassiveLost does not fit a cluster that is NodesAppointed"
        );
        let switched = ClusterEvent::ClusterSwitchedOver {
            activated_id: active("Backup"),
        };
        assert!(appointed().after(&switched).is_err());
        assert!(ClusterState::Empty.after(&switched).is_err());
    }

    #[test]
    fn a_pair_without_its_passive_member_is_no_cluster_and_three_without_one_are_a_pair() {
        let removed = |id: &str| ClusterEvent::ClusterNodeRemoved { id: id.into() };
        let alone = follow(&appointed(), &[removed("Backup")]);
        assert_eq!(alone, ClusterState::Empty);
        assert!(
            appointed().after(&removed("Primary")).is_err(),
            "the active member goes on"
        );
        assert!(alone.after(&removed("Backup")).is_err());
        let mut setting = appointed().setting().expect("it has members").clone();
        setting
            .id_to_uri
            .insert("Third".into(), Arc::from("http://127.0.0.1:3"));
        assert!(!setting.needs_watch());
        let three = ClusterState::Coupled { setting };
        let two = follow(&three, &[removed("Third")]);
        assert_eq!(two, appointed());
        assert!(two.setting().expect("it has members").needs_watch());
    }

    #[test]
    fn a_member_that_has_moved_is_noted_while_the_members_are_not_coupled() {
        let moved = |id: Option<&str>| ClusterEvent::ClusterSettingUpdated {
            passive_uri: Arc::from("http://127.0.0.1:9"),
            id: id.map(Into::into),
        };
        let uri = |state: &ClusterState, id: &str| {
            let setting = state.setting().expect("it has members");
            setting.id_to_uri[&NodeId::from(id)].to_string()
        };
        let passive = follow(&appointed(), &[moved(None)]);
        assert_eq!(uri(&passive, "Backup"), "http://127.0.0.1:9");
        let itself = follow(&appointed(), &[moved(Some("Primary"))]);
        assert_eq!(uri(&itself, "Primary"), "http://127.0.0.1:9");
        assert!(appointed().after(&moved(Some("Stranger"))).is_err());
    }

    #[test]
    fn a_state_is_written_as_users_know_it() {
        let json = serde_json::to_string(&appointed()).expect("it has a JSON form");
        assert!(
            json.starts_with(r#"{"TYPE":"NodesAppointed","setting":{"idToUri":{"Backup""#),
            "{json}"
        );
        let read: ClusterState = serde_json::from_str(&json).expect("readable");
        assert_eq!(read, appointed());
    }
}
