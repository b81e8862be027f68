//! The items that the Controller has handed over, with their exact texts: Subagents get them from here.

use model::{Item, ItemKey, ItemType, Problem, SignedText};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An item as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attached {
    pub(crate) text: SignedText,
    pub(crate) revision: Option<u64>,
    /// The job resources that a workflow's jobs need at their Subagent.
    pub(crate) job_resources: Vec<ItemKey>,
}

/// The items by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttachedItems(BTreeMap<ItemKey, Arc<Attached>>);

impl AttachedItems {
    pub(crate) fn get(&self, key: &ItemKey) -> Option<&Arc<Attached>> {
        self.0.get(key)
    }

    pub(crate) fn get_key_value(&self, key: &ItemKey) -> Option<(&ItemKey, &Arc<Attached>)> {
        self.0.get_key_value(key)
    }

    pub(crate) fn insert(&mut self, key: ItemKey, attached: Attached) {
        self.0.insert(key, Arc::new(attached));
    }

    pub(crate) fn remove(&mut self, key: &ItemKey) {
        self.0.remove(key);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ItemKey, &Arc<Attached>)> {
        self.0.iter()
    }
}

/// What the text of the item `key` says.
pub(crate) fn parse(key: &ItemKey, text: &SignedText) -> Result<Item, Problem> {
    model::stored_item(key, &text.string)
}

/// The job resources that jobs of the workflow `item` need.
pub(crate) fn job_resources_of(item: &Item) -> Vec<ItemKey> {
    let references = model::read::references(item);
    let resources = references
        .iter()
        .filter(|reference| reference.kind == ItemType::JobResource);
    resources
        .map(|reference| ItemKey::simple(ItemType::JobResource, &reference.path))
        .collect()
}
