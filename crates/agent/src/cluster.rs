//! The pair of Directors that keeps this state: appointed as soon as the Controller has told of both, then told by those who see it.
//!
//! Always: an event that does not fit is not written; the Directors are `Primary` and `Backup` in the order in which the Controller
//! names them. Never here: votes and connections.

use crate::State;
use model::{ClusterEvent, ClusterSetting, ClusterState, Event, NodeId};
use std::collections::BTreeMap;

/// The names of the Directors, in their order.
pub const NODE_IDS: [&str; 2] = ["Primary", "Backup"];

impl State {
    /// How the Directors stand to each other.
    pub fn cluster(&self) -> &ClusterState {
        &self.cluster
    }

    /// The newest epoch in which a member of the Controller has coupled.
    pub fn controller_epoch(&self) -> u64 {
        self.controller_epoch
    }

    /// What was seen of the pair; nothing if it does not fit any more or changes nothing.
    pub fn on_cluster(&self, event: ClusterEvent) -> Option<Event> {
        let fits = self
            .cluster
            .after(&event)
            .is_ok_and(|after| after != self.cluster);
        fits.then_some(Event::Cluster(event))
    }

    /// A reset begins: each Director goes its own way, so that neither gets back from the other what it is to forget.
    pub fn on_parting(&mut self) -> Vec<Event> {
        self.is_leaving_pair = true;
        let setting = self.cluster.setting();
        let passive = setting.into_iter().flat_map(ClusterSetting::passive_ids);
        let removed = passive.map(|id| {
            let id = id.clone();
            Event::Cluster(ClusterEvent::ClusterNodeRemoved { id })
        });
        removed.collect()
    }

    /// Two Directors that are both known are a pair. The Agent begins at the first of them.
    pub(crate) fn appoint(&self) -> Option<Vec<Event>> {
        let [_, _] = self.directors() else {
            return None;
        };
        if self.is_leaving_pair {
            return None;
        }
        let address = |(id, name)| {
            let subagent = self.subagents.get(id)?;
            let item = subagent.item.as_ref()?;
            Some((NodeId::from(name), item.uri.clone()))
        };
        let named = self.directors().iter().zip(NODE_IDS);
        let id_to_uri: BTreeMap<_, _> = named.map(address).collect::<Option<_>>()?;
        if let Some(setting) = self.cluster.setting() {
            let passive = setting.passive_id()?;
            let passive_uri = id_to_uri.get(passive)?.clone();
            let has_moved = setting.id_to_uri.get(passive) != Some(&passive_uri);
            return (has_moved && self.cluster.is_decoupled()).then(|| {
                let id = Some(passive.clone());
                let moved = ClusterEvent::ClusterSettingUpdated { passive_uri, id };
                vec![Event::Cluster(moved)]
            });
        }
        let setting = ClusterSetting {
            id_to_uri,
            active_id: NODE_IDS[0].into(),
            cluster_watch_id: None,
        };
        let appointed = ClusterEvent::ClusterNodesAppointed { setting };
        Some(vec![Event::Cluster(appointed)])
    }
}
