//! Why no Subagent takes the job that an order stands ready for, told with what the Agent has reported.
//!
//! Always: computed for whoever asks, nothing is stored; who is connected and who is disabled is as fresh as the Agent's news. Never
//! here: the choice itself and what a priority is worth now, which only the Agent knows.

use crate::{Connection, State};
use expr::Value;
use model::{
    AgentPath, BundleId, HinderedSubagent, Hindrance, ItemBody, ItemKey, ItemType, Job, NAMED_MAX,
    Obstacle, Order, OrderId, SubagentBundle, SubagentId, SubagentItem, Timestamp,
};

/// The Subagent Cluster that is asked for, if it is one, and the Subagents, each with whether it is meant by its name.
type Candidates<'a> = (Option<&'a SubagentBundle>, Vec<(SubagentId, bool)>);

impl State {
    /// Returns why no Subagent takes the job for which the order has waited at its Agent since `since`; nothing if a
    /// Subagent could take it.
    pub(crate) fn shortage(
        &self,
        id: &OrderId,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Obstacle> {
        let order = self.engine.order(id)?;
        let agent_path = order.attached_to()?.clone();
        let workflow = self.engine.workflow(&order.workflow_id)?;
        let (_, job) = workflow.job(&order.position)?;
        if job.agent != agent_path {
            return None;
        }
        let (bundle, candidates) = self.candidates(order, job, &agent_path, now)?;
        let mut subagents = Vec::new();
        let subagent_count = candidates.len();
        for (id, is_named) in candidates {
            let computed = bundle
                .and_then(|bundle| bundle.subagent_to_priority.get(&id))
                .is_some_and(|priority| !priority.is_constant());
            // One that could take it: then the job waits for a free process.
            let reason = self.hindrance(&id, is_named, computed)?;
            if subagents.len() < NAMED_MAX {
                let state = self.subagents.get(&id);
                let is_away = matches!(reason, Hindrance::NotConnected | Hindrance::Going);
                let state = state.filter(|_| is_away);
                subagents.push(HinderedSubagent {
                    since: state.and_then(|state| state.connection_since),
                    problem: state.and_then(|state| state.problem.clone()),
                    subagent_id: id,
                    reason,
                });
            }
        }
        Some(Obstacle::WaitingForSubagent {
            agent_path,
            subagent_bundle_id: bundle.map(|bundle| bundle.id.clone()),
            subagent_count,
            subagents,
            since,
        })
    }

    /// The Subagents that could have the job, each with whether it is meant by its name.
    fn candidates(
        &self,
        order: &Order,
        job: &Job,
        agent: &AgentPath,
        now: Timestamp,
    ) -> Option<Candidates<'_>> {
        let asked = match &job.subagent_bundle {
            None => None,
            Some(expression) => match expression.eval(&self.engine.scope(&order.id, now)?) {
                Ok(Value::String(name)) => Some(name),
                Ok(_) | Err(_) => return None,
            },
        };
        let mut ties = order.sticky_subagents.iter().rev();
        let tie = ties.find(|tie| tie.agent_path == *agent).filter(|tie| {
            asked.is_none()
                || asked.as_deref() == tie.subagent_bundle_id.as_ref().map(BundleId::as_str)
        });
        if let Some(stuck) = tie.and_then(|tie| tie.stuck_subagent_id.clone()) {
            return Some((None, vec![(stuck, true)]));
        }
        let by_tie = tie.and_then(|tie| tie.subagent_bundle_id.as_ref());
        let Some(name) = asked.or_else(|| by_tie.map(BundleId::shared)) else {
            let of_agent = self.subagents.iter();
            let of_agent = of_agent.filter(|(_, state)| state.agent_path.as_ref() == Some(agent));
            return Some((None, of_agent.map(|(id, _)| (id.clone(), false)).collect()));
        };
        if let Some(bundle) = self.bundle(&name) {
            let members = bundle.subagent_to_priority.keys();
            // Members of other Agents are not for this one.
            let members = members.filter(|id| {
                let state = self.subagents.get(*id);
                state.is_some_and(|state| state.agent_path.as_ref() == Some(agent))
            });
            return Some((
                Some(bundle),
                members.map(|id| (id.clone(), false)).collect(),
            ));
        }
        if name.is_empty() {
            return None;
        }
        Some((None, vec![(SubagentId::new(name), true)]))
    }

    fn hindrance(&self, id: &SubagentId, is_named: bool, is_computed: bool) -> Option<Hindrance> {
        let is_disabled = self.subagent_item(id).is_some_and(|item| item.disabled);
        let told = self
            .subagents
            .get(id)
            .map(crate::SubagentState::told_connection);
        match told {
            Some(Connection::Connected) if is_disabled && !is_named => Some(Hindrance::Disabled),
            Some(Connection::Connected) if is_computed => Some(Hindrance::PriorityIsComputed),
            Some(Connection::Connected) => None,
            Some(Connection::ShutDown | Connection::Resetting) => Some(Hindrance::Going),
            Some(Connection::Connecting | Connection::Unreachable | Connection::Unknown) | None => {
                Some(Hindrance::NotConnected)
            }
        }
    }

    /// A Subagent Cluster.
    fn bundle(&self, id: &str) -> Option<&SubagentBundle> {
        let key = ItemKey::simple(ItemType::SubagentBundle, id);
        match &self.items.get(&key)?.item.body {
            ItemBody::Bundle(bundle) => Some(bundle),
            ItemBody::Workflow(_)
            | ItemBody::JobResource(_)
            | ItemBody::Agent(_)
            | ItemBody::Subagent(_)
            | ItemBody::Kept(_) => None,
        }
    }

    /// What was deployed as this Subagent.
    pub fn subagent_item(&self, id: &SubagentId) -> Option<&SubagentItem> {
        let key = ItemKey::simple(ItemType::SubagentItem, id.as_str());
        match &self.items.get(&key)?.item.body {
            ItemBody::Subagent(subagent) => Some(subagent),
            ItemBody::Workflow(_)
            | ItemBody::JobResource(_)
            | ItemBody::Agent(_)
            | ItemBody::Bundle(_)
            | ItemBody::Kept(_) => None,
        }
    }

    /// The Subagent Clusters that the Subagent is a member of.
    pub fn bundles_of(&self, id: &SubagentId) -> impl Iterator<Item = &SubagentBundle> {
        let key = ItemKey::simple(ItemType::SubagentItem, id.as_str());
        let referrers = self.referrers.get(&key).into_iter().flatten();
        referrers
            .filter(|referrer| referrer.split().0 == ItemType::SubagentBundle.key_name())
            .filter_map(|referrer| self.bundle(referrer.split().1))
    }

    /// Whether the Agent knows the Subagent as it was deployed last.
    pub fn is_attached_as_deployed(&self, id: &SubagentId) -> bool {
        let key = ItemKey::simple(ItemType::SubagentItem, id.as_str());
        let Some(record) = self.items.get(&key) else {
            return false;
        };
        let attachments = self.attachments.of_item(&key);
        attachments
            .iter()
            .any(|(_, at)| *at == crate::Attachment::Attached(record.item.revision))
    }
}
