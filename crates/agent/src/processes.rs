//! How many processes run where, and by which Subagent Cluster they came there.
//!
//! Always: derived from the orders in state Processing, so the same after a restart; each process counts for one cluster at
//! most, that by which its Subagent was chosen.

use model::{BundleId, OrderId, SubagentId};
use std::collections::BTreeMap;

/// The processes of an Agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    places: BTreeMap<OrderId, (SubagentId, Option<BundleId>)>,
    by_subagent: BTreeMap<SubagentId, usize>,
    by_bundle: BTreeMap<BundleId, BTreeMap<SubagentId, usize>>,
}

impl Processes {
    pub(crate) fn started(
        &mut self,
        order_id: &OrderId,
        subagent_id: &SubagentId,
        bundle_id: Option<&BundleId>,
    ) {
        self.ended(order_id);
        *self.by_subagent.entry(subagent_id.clone()).or_default() += 1;
        if let Some(bundle_id) = bundle_id {
            let of_bundle = self.by_bundle.entry(bundle_id.clone()).or_default();
            *of_bundle.entry(subagent_id.clone()).or_default() += 1;
        }
        let place = (subagent_id.clone(), bundle_id.cloned());
        self.places.insert(order_id.clone(), place);
    }

    /// Answers where it ran.
    pub(crate) fn ended(&mut self, order_id: &OrderId) -> Option<SubagentId> {
        let (subagent_id, bundle_id) = self.places.remove(order_id)?;
        take_one(&mut self.by_subagent, &subagent_id);
        if let Some(bundle_id) = bundle_id
            && let Some(of_bundle) = self.by_bundle.get_mut(&bundle_id)
        {
            take_one(of_bundle, &subagent_id);
        }
        Some(subagent_id)
    }

    /// All processes of a Subagent.
    pub(crate) fn at(&self, subagent_id: &SubagentId) -> usize {
        self.by_subagent.get(subagent_id).copied().unwrap_or(0)
    }

    /// The processes that came by the Subagent Cluster, in all of its Subagents.
    pub(crate) fn by(&self, bundle_id: &BundleId) -> usize {
        let of_bundle = self.by_bundle.get(bundle_id);
        of_bundle.map_or(0, |counts| counts.values().sum())
    }

    /// The processes that came by the Subagent Cluster to the Subagent.
    pub(crate) fn by_at(&self, bundle_id: &BundleId, subagent_id: &SubagentId) -> usize {
        let of_bundle = self.by_bundle.get(bundle_id);
        of_bundle
            .and_then(|counts| counts.get(subagent_id))
            .copied()
            .unwrap_or(0)
    }
}

/// A count of zero stays: there are as many counts as Subagents that have been used.
fn take_one(counts: &mut BTreeMap<SubagentId, usize>, id: &SubagentId) {
    if let Some(count) = counts.get_mut(id) {
        *count -= 1;
    }
}
