//! What follows from the present: orders that can go on, items that are to be handed over, taken back or forgotten.
//!
//! Always: only what is restless or unsettled is looked at, never everything.

use crate::state::Unsettled;
use crate::{Attachment, NotApplicable, Recorder, State};
use engine::Next;
use model::{AgentPath, Event, ItemBody, ItemEvent, ItemKey, ItemType, WorkflowId};

/// An order that retries without delay and without end must not stop all others: the rest waits for the next round.
const EVENTS_PER_ROUND: usize = 10_000;

impl State {
    /// Records what follows until nothing does, or until the round is full; then [`State::next_wakeup`] is in the past.
    pub fn advance(&mut self, out: &mut dyn Recorder) -> Result<(), NotApplicable> {
        self.engine.wake(out.now());
        let mut count = 0;
        while count < EVENTS_PER_ROUND && !out.is_full() {
            let events = if let Some(unsettled) = self.unsettled.get_min().cloned() {
                self.unsettled.remove(&unsettled);
                if let Unsettled::GiveUp(agent) = &unsettled {
                    if !self.give_up_by_force(agent, out)? {
                        self.unsettled.insert(unsettled);
                        return Ok(()); // the next piece gets a batch of its own
                    }
                    continue;
                }
                self.settle(&unsettled)
                    .into_iter()
                    .map(Event::Item)
                    .collect()
            } else if let Some(id) = self.engine.pop_restless() {
                match self.engine.next(&id, out.now()) {
                    Next::Events(events) => events
                        .into_iter()
                        .map(|(id, event)| Event::Order(id, event))
                        .collect(),
                    Next::Rest | Next::Job(_) => Vec::new(),
                }
            } else {
                return Ok(());
            };
            count += events.len();
            for event in events {
                out.record(self, None, event)?;
            }
        }
        Ok(())
    }

    fn settle(&self, unsettled: &Unsettled) -> Vec<ItemEvent> {
        match unsettled {
            Unsettled::Needed(agent, workflow) => self.hand_over(agent, workflow),
            Unsettled::Item(key) => self.settle_item(key),
            Unsettled::GiveUp(_) => Vec::new(),
        }
    }

    /// What an order at the Agent needs: its workflow version and the job resources it refers to.
    fn hand_over(&self, agent: &AgentPath, workflow: &ItemKey) -> Vec<ItemEvent> {
        self.needed_items(workflow)
            .filter(|key| self.lacks(agent, key))
            .map(|key| attachable(&key, agent))
            .collect()
    }

    /// Returns the keys of the workflow version and of the job resources to which the workflow refers.
    pub(crate) fn needed_items(&self, workflow: &ItemKey) -> impl Iterator<Item = ItemKey> {
        let record = self.items.get(workflow);
        let references = record
            .into_iter()
            .flat_map(|record| record.references.iter());
        let resources = references.filter(|reference| reference.kind == ItemType::JobResource);
        let workflow = record.map(|_| workflow.clone());
        resources
            .flat_map(model::read::Reference::keys)
            .chain(workflow)
    }

    /// Whether the Agent is to get the item, and nobody has said so yet.
    fn lacks(&self, agent: &AgentPath, key: &ItemKey) -> bool {
        let Some(record) = self.items.get(key) else {
            return false;
        };
        match self.attachments.get(key, agent) {
            None | Some(Attachment::Detachable) => true,
            Some(Attachment::Attachable) => false,
            Some(Attachment::Attached(revision)) => *revision != record.item.revision,
        }
    }

    fn settle_item(&self, key: &ItemKey) -> Vec<ItemEvent> {
        let Some(record) = self.items.get(key) else {
            return Vec::new();
        };
        if self.is_to_go(key, &record.item.body) {
            return self.take_back(key);
        }
        let mut agents: Vec<AgentPath> = match &record.item.body {
            ItemBody::Agent(agent) => vec![agent.path.clone()],
            ItemBody::Subagent(subagent) => vec![subagent.agent_path.clone()],
            ItemBody::Bundle(bundle) => bundle
                .subagent_to_priority
                .keys()
                .filter_map(|id| self.agent_of(id))
                .collect(),
            ItemBody::Workflow(_) | ItemBody::JobResource(_) | ItemBody::Kept(_) => Vec::new(),
        };
        // Who has it in an older revision gets the newer one.
        let attached = self.attachments.of_item(key).into_iter();
        agents.extend(
            attached
                .filter(|(_, at)| matches!(at, Attachment::Attached(_)))
                .map(|(agent, _)| agent),
        );
        agents.sort();
        agents.dedup();
        let mut events: Vec<ItemEvent> = agents
            .iter()
            .filter(|agent| self.lacks(agent, key))
            .map(|agent| attachable(key, agent))
            .collect();
        if let ItemBody::Subagent(subagent) = &record.item.body {
            // A bundle may have named the Subagent before it belonged to this Agent.
            for bundle in self.referrers.get(key).into_iter().flatten() {
                let is_bundle = self
                    .items
                    .get(bundle)
                    .is_some_and(|item| matches!(item.item.body, ItemBody::Bundle(_)));
                if is_bundle
                    && !self.deletion_marked.contains(bundle)
                    && self.lacks(&subagent.agent_path, bundle)
                {
                    events.push(attachable(bundle, &subagent.agent_path));
                }
            }
        }
        events
    }

    fn agent_of(&self, id: &model::SubagentId) -> Option<AgentPath> {
        let record = self
            .items
            .get(&ItemKey::simple(ItemType::SubagentItem, id.as_str()))?;
        let ItemBody::Subagent(subagent) = &record.item.body else {
            return None;
        };
        Some(subagent.agent_path.clone())
    }

    /// Marked for deletion, or an old workflow version that no order uses.
    fn is_to_go(&self, key: &ItemKey, body: &ItemBody) -> bool {
        if let ItemBody::Workflow(workflow) = body {
            return !self.is_current(&workflow.id) && !self.uses.contains_key(&workflow.id);
        }
        self.deletion_marked.contains(key)
    }

    pub(crate) fn is_current(&self, id: &WorkflowId) -> bool {
        self.current
            .get(&id.path)
            .is_some_and(|current| **current == *id)
    }

    /// Whether it is the Subagent of an Agent's Director.
    fn leads_to_agent(&self, key: &ItemKey) -> bool {
        let Some(ItemBody::Subagent(subagent)) =
            self.items.get(key).map(|record| &record.item.body)
        else {
            return false;
        };
        let agent = ItemKey::simple(ItemType::AgentRef, subagent.agent_path.as_str());
        let Some(ItemBody::Agent(agent)) = self.items.get(&agent).map(|record| &record.item.body)
        else {
            return false;
        };
        agent.directors.contains(&subagent.id)
    }

    fn take_back(&self, key: &ItemKey) -> Vec<ItemEvent> {
        let attachments = self.attachments.of_item(key);
        if attachments.is_empty() {
            // Where the Agent is reached must be known until the Agent itself has gone.
            if self.leads_to_agent(key) {
                return Vec::new();
            }
            return vec![ItemEvent::ItemDeleted { key: key.clone() }];
        }
        let mut events = Vec::new();
        for (agent, attachment) in attachments {
            let never_dedicated = self
                .agents
                .get(&agent)
                .is_none_or(|state| state.agent_run_id.is_none() || state.is_reset_by_force);
            let is_its_own = *key == ItemKey::simple(ItemType::AgentRef, agent.as_str());
            if never_dedicated {
                // Nothing was ever handed over.
                events.push(ItemEvent::ItemDetached {
                    key: key.clone(),
                    delegate_id: agent,
                });
            } else if attachment != Attachment::Detachable
                && (!is_its_own || self.attachments.count_of_agent(&agent) == 1)
            {
                events.push(ItemEvent::ItemDetachable {
                    key: key.clone(),
                    delegate_id: agent,
                });
            }
        }
        events
    }
}

fn attachable(key: &ItemKey, agent: &AgentPath) -> ItemEvent {
    ItemEvent::ItemAttachable {
        key: key.clone(),
        delegate_id: agent.clone(),
    }
}
