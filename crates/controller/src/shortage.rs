//! Why no Subagent takes the job that an order stands ready for, told with what the Agent has reported.
//!
//! Always: computed for whoever asks, nothing is stored; who is connected and who is disabled is as fresh as the Agent's news. Never
//! here: the choice itself and what a priority is worth now, which only the Agent knows.

use crate::{Connection, State};
use expr::Value;
use model::{
    AgentPath, BundleId, ItemBody, ItemKey, ItemType, Job, Order, OrderId, OrderState,
    SubagentBundle, SubagentId, SubagentItem, Timestamp,
};
use std::fmt;

/// Why a Subagent that could be chosen does not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Its Agent has no connection to it.
    NotConnected,
    /// It is being reset or shut down.
    Going,
    /// It is not to be chosen.
    Disabled,
    /// Its Agent computes its priority, and may have none for it now.
    PriorityIsComputed,
}

/// Why an order's job does not start: none of the Subagents that could have it can take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The Subagent Cluster that the job is for, if it is for one.
    pub bundle_id: Option<BundleId>,
    /// The Agent.
    pub agent_path: AgentPath,
    /// The Subagents that could have the job, and why they do not take it.
    pub subagents: Vec<(SubagentId, Hindrance)>,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hindrance::NotConnected => "is not connected",
            Hindrance::Going => "is being reset or shut down",
            Hindrance::Disabled => "is disabled",
            Hindrance::PriorityIsComputed => "may have no priority now",
        })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waits for a Subagent")?;
        match &self.bundle_id {
            Some(bundle_id) => write!(f, " of Subagent Cluster {bundle_id}")?,
            None => write!(f, " of Agent {}", self.agent_path)?,
        }
        for (n, (id, hindrance)) in self.subagents.iter().enumerate() {
            write!(f, "{} {id} {hindrance}", if n == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// The Subagent Cluster that is asked for, if it is one, and the Subagents, each with whether it is meant by its name.
type Candidates<'a> = (Option<&'a SubagentBundle>, Vec<(SubagentId, bool)>);

impl State {
    /// Why no Subagent takes the job at which the order waits, at its Agent; nothing if one could. An order that waits
    /// for its first job is still fresh.
    pub fn shortage(&self, id: &OrderId, now: Timestamp) -> Option<Shortage> {
        let order = self.engine.order(id)?;
        let agent_path = order.attached_to()?.clone();
        let is_ahead_of_time = order.scheduled_for.is_some_and(|at| now < at);
        let may_run = order.state == OrderState::Ready
            || (order.state == OrderState::Fresh && !is_ahead_of_time);
        if order.is_suspended || !may_run {
            return None;
        }
        let workflow = self.engine.workflow(&order.workflow_id)?;
        let (_, job) = workflow.job(&order.position)?;
        if job.agent != agent_path {
            return None;
        }
        let (bundle, candidates) = self.candidates(order, job, &agent_path, now)?;
        let mut subagents = Vec::new();
        for (id, is_named) in candidates {
            let computed = bundle
                .and_then(|bundle| bundle.subagent_to_priority.get(&id))
                .is_some_and(|priority| !priority.is_constant());
            // One that could take it: then the job waits for a free process.
            let hindrance = self.hindrance(&id, is_named, computed)?;
            subagents.push((id, hindrance));
        }
        Some(Shortage {
            bundle_id: bundle.map(|bundle| bundle.id.clone()),
            agent_path,
            subagents,
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
