//! The cluster that keeps this state: appointed by a command, then told by those who see it.
//!
//! Always: an event that does not fit is not written. Never here: votes and connections.

use crate::{NotApplicable, Recorder, State};
use model::{ClusterEvent, ClusterSetting, ClusterState, Event, NodeId, Problem};
use std::collections::BTreeMap;
use std::sync::Arc;

impl State {
    /// How the cluster stands.
    pub fn cluster(&self) -> &ClusterState {
        &self.cluster
    }

    /// Appoints the members. The same ones again change nothing.
    pub(crate) fn appoint_nodes(
        &mut self,
        id_to_uri: &BTreeMap<NodeId, Arc<str>>,
        active_id: &NodeId,
        out: &mut dyn Recorder,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        if !id_to_uri.contains_key(active_id) || id_to_uri.len() < 2 {
            return Ok(Err(Problem::new(
                "InvalidClusterSetting",
                format!(
                    "a cluster has two members or more, and {active_id} must be one of them: give idToUri a URI for each"
                ),
            )));
        }
        for (id, uri) in id_to_uri {
            if !model::read::is_address(uri) {
                return Ok(Err(Problem::new(
                    "InvalidClusterSetting",
                    format!("{uri:?} is no address of {id}: write it as in \"https://host:4444\""),
                )));
            }
            if let Some((other, _)) = id_to_uri
                .iter()
                .find(|(other, at)| *other < id && *at == uri)
            {
                return Ok(Err(Problem::new(
                    "InvalidClusterSetting",
                    format!("{other} and {id} cannot both be at {uri}"),
                )));
            }
        }
        if let Some(setting) = self.cluster.setting() {
            if setting.id_to_uri == *id_to_uri {
                return Ok(Ok(()));
            }
            if setting.id_to_uri.keys().eq(id_to_uri.keys()) {
                return self.nodes_moved(&setting.clone(), id_to_uri, out).map(Ok);
            }
            if !self.cluster.is_decoupled() {
                return Ok(Err(Problem::new(
                    "ClusterNodesAlreadyAppointed",
                    format!(
                        "this Controller is kept by other members already and they are {}",
                        self.cluster.type_name()
                    ),
                )));
            }
        }
        let setting = ClusterSetting {
            id_to_uri: id_to_uri.clone(),
            active_id: active_id.clone(),
            cluster_watch_id: None,
        };
        let event = ClusterEvent::ClusterNodesAppointed { setting };
        out.record(self, None, Event::Cluster(event))?;
        Ok(Ok(()))
    }

    /// The same members at other addresses. They are coupled again by themselves.
    fn nodes_moved(
        &mut self,
        before: &ClusterSetting,
        id_to_uri: &BTreeMap<NodeId, Arc<str>>,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        if let (false, Some(passive)) = (self.cluster.is_decoupled(), before.passive_id()) {
            let id = passive.clone();
            let lost = ClusterEvent::ClusterPassiveLost { id };
            out.record(self, None, Event::Cluster(lost))?;
        }
        for (id, uri) in id_to_uri {
            if before.id_to_uri.get(id) != Some(uri) {
                let updated = ClusterEvent::ClusterSettingUpdated {
                    passive_uri: Arc::clone(uri),
                    id: Some(id.clone()),
                };
                out.record(self, None, Event::Cluster(updated))?;
            }
        }
        Ok(())
    }

    /// Takes note of what was seen of the cluster. What does not fit any more is old news.
    pub fn cluster_changed(
        &mut self,
        event: ClusterEvent,
        out: &mut dyn Recorder,
    ) -> Result<bool, NotApplicable> {
        let fits = self
            .cluster
            .after(&event)
            .is_ok_and(|after| after != self.cluster);
        if fits {
            out.record(self, None, Event::Cluster(event))?;
        }
        Ok(fits)
    }
}
