//! Which Agents have which items.
//!
//! Always: `Attachable → Attached → Detachable → gone`; a changed item becomes attachable again. What is attachable or detachable
//! stands in the Agent's outbox.

use imbl::OrdMap;
use model::{AgentPath, ItemKey};

/// How an item stands to an Agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// To be handed over.
    Attachable,
    /// The Agent has it, in this revision.
    Attached(Option<u64>),
    /// To be taken back.
    Detachable,
}

/// The attachments, by item and by Agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attachments {
    by_item: OrdMap<(ItemKey, AgentPath), Attachment>,
    /// How many items an Agent has or is about to get.
    counts: OrdMap<AgentPath, usize>,
}

impl Attachments {
    pub(crate) fn get(&self, key: &ItemKey, agent: &AgentPath) -> Option<&Attachment> {
        self.by_item.get(&(key.clone(), agent.clone()))
    }

    pub(crate) fn set(&mut self, key: &ItemKey, agent: &AgentPath, attachment: Attachment) {
        if self
            .by_item
            .insert((key.clone(), agent.clone()), attachment)
            .is_none()
        {
            *self.counts.entry(agent.clone()).or_insert(0) += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: &ItemKey, agent: &AgentPath) {
        if self.by_item.remove(&(key.clone(), agent.clone())).is_none() {
            return;
        }
        // A count of zero stays: there are as many counts as Agents that have had an item.
        if let Some(count) = self.counts.get_mut(agent) {
            *count -= 1;
        }
    }

    /// The Agents that an item is tied to.
    pub(crate) fn of_item(&self, key: &ItemKey) -> Vec<(AgentPath, Attachment)> {
        self.by_item
            .range((key.clone(), AgentPath::new(""))..)
            .take_while(|((item, _), _)| item == key)
            .map(|((_, agent), attachment)| (agent.clone(), attachment.clone()))
            .collect()
    }

    /// All items that an Agent has or is about to get. Looks at every attachment: only for what happens rarely.
    pub(crate) fn of_agent(&self, agent: &AgentPath) -> Vec<(ItemKey, Attachment)> {
        let of_agent = self.by_item.iter().filter(|((_, known), _)| known == agent);
        of_agent
            .map(|((key, _), attachment)| (key.clone(), attachment.clone()))
            .collect()
    }

    pub(crate) fn count_of_agent(&self, agent: &AgentPath) -> usize {
        self.counts.get(agent).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ItemKey, &AgentPath, &Attachment)> {
        self.by_item
            .iter()
            .map(|((key, agent), attachment)| (key, agent, attachment))
    }
}
