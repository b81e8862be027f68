//! Changes of items: judged as a whole against what would be true afterwards, then recorded.
//!
//! Always: all or nothing, and every fault is told, not only the first; what has not changed makes no event; texts are kept
//! byte for byte. Never here: what follows for Agents; see `advance`.

use crate::{ItemRecord, NotApplicable, Recorder, State};
use model::bounds::{ITEM_BYTES_MAX, ITEM_CHANGE_BYTES_MAX, check_item, too_large};
use model::read::{Format, Origin, Reference, references};
use model::{
    Event, Item, ItemBody, ItemEvent, ItemKey, ItemOperation, ItemType, Problem, SignedText,
    Timestamp, VersionId, WorkflowPath,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names that only the shell can make.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The version of workflows that bring none.
    pub version_id: VersionId,
}

impl Fresh {
    /// A version after the clock: `#2026-11-21T23:00:00.123Z`.
    pub fn at(now: Timestamp) -> Fresh {
        Fresh {
            version_id: VersionId::new(format!("#{now}")),
        }
    }
}

impl State {
    /// What is new at this time. A clock that was set back must not bring a version again that is in use.
    pub fn fresh_at(&self, now: Timestamp) -> Fresh {
        let mut at = now;
        loop {
            let fresh = Fresh::at(at);
            let is_used = |key: &ItemKey| {
                let id = key.as_workflow();
                id.is_some_and(|id| id.version_id == fresh.version_id)
            };
            if !self.items.keys().any(is_used) {
                return fresh;
            }
            at = Timestamp::from_millis(at.millis() + 1);
        }
    }
}

fn text_bytes(operation: &ItemOperation) -> usize {
    match operation {
        ItemOperation::AddOrChangeSimple { item } => item.get().len(),
        ItemOperation::AddOrChangeSigned { signed } => signed.string.len(),
        ItemOperation::AddVersion { .. }
        | ItemOperation::DeleteSimple { .. }
        | ItemOperation::RemoveVersioned { .. } => 0,
    }
}

/// A text that was sent, and what it says.
struct Incoming {
    item: Item,
    text: SignedText,
}

/// What is asked, sorted.
#[derive(Default)]
struct Change {
    simple: BTreeMap<ItemKey, Incoming>,
    workflows: BTreeMap<WorkflowPath, Incoming>,
    deleted: BTreeSet<ItemKey>,
    removed: BTreeSet<WorkflowPath>,
    faults: Vec<Problem>,
}

impl State {
    /// Adds, changes and deletes items. The inner error tells all faults; then nothing has been recorded.
    pub fn change_items(
        &mut self,
        operations: &[ItemOperation],
        fresh: &Fresh,
        out: &mut dyn Recorder,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        match self.judge_items(operations, fresh) {
            Err(problem) => Ok(Err(problem)),
            Ok(events) => {
                for event in events {
                    out.record(self, None, Event::Item(event))?;
                }
                Ok(Ok(()))
            }
        }
    }

    fn judge_items(
        &self,
        operations: &[ItemOperation],
        fresh: &Fresh,
    ) -> Result<Vec<ItemEvent>, Problem> {
        let mut change = self.sort(operations, fresh);
        self.drop_unchanged(&mut change);
        self.check_rules(&mut change);
        self.check_references(&mut change);
        if let Some(problem) = combined(change.faults) {
            return Err(problem);
        }
        let mut events = Vec::new();
        for (key, incoming) in change.simple {
            events.push(self.simple_event(&key, incoming));
        }
        self.workflow_events(change.workflows, &mut events);
        for path in change.removed {
            events.push(ItemEvent::VersionedItemRemoved { path });
        }
        for key in change.deleted {
            // The event is left out where nothing has to be waited for.
            if self.attachments.of_item(&key).is_empty() {
                events.push(ItemEvent::ItemDeleted { key });
            } else {
                events.push(ItemEvent::ItemDeletionMarked { key });
            }
        }
        Ok(events)
    }

    fn sort(&self, operations: &[ItemOperation], fresh: &Fresh) -> Change {
        let mut change = Change::default();
        let bytes: usize = operations.iter().map(text_bytes).sum();
        if bytes > ITEM_CHANGE_BYTES_MAX {
            let what = "the items of one change";
            change
                .faults
                .push(too_large(what, bytes, ITEM_CHANGE_BYTES_MAX));
            return change;
        }
        let mut versions = operations.iter().filter_map(|operation| {
            if let ItemOperation::AddVersion { version_id } = operation {
                Some(version_id)
            } else {
                None
            }
        });
        let given = versions.next();
        if versions.next().is_some() {
            change.faults.push(Problem::new(
                "DuplicateKey",
                "a change may have one AddVersion only",
            ));
        }
        for operation in operations {
            match operation {
                ItemOperation::AddVersion { .. } => {}
                ItemOperation::AddOrChangeSimple { item } => {
                    let text = SignedText {
                        string: item.get().into(),
                        signature: None,
                    };
                    self.sort_text(text, given, fresh, &mut change);
                }
                ItemOperation::AddOrChangeSigned { signed } => {
                    self.sort_text(signed.clone(), given, fresh, &mut change);
                }
                ItemOperation::DeleteSimple { key } => {
                    if key.split().0 == "Workflow" {
                        let message = format!("{key} is versioned; remove it with RemoveVersioned");
                        change.faults.push(Problem::new("InvalidItemKey", message));
                    } else if !change.deleted.insert(key.clone()) {
                        change.faults.push(twice(key.as_str()));
                    }
                }
                ItemOperation::RemoveVersioned { path } => {
                    if !change.removed.insert(path.clone()) {
                        change.faults.push(twice(&format!("Workflow:{path}")));
                    }
                }
            }
        }
        for key in &change.deleted {
            if change.simple.contains_key(key) {
                change.faults.push(twice(key.as_str()));
            }
        }
        for path in &change.removed {
            if change.workflows.contains_key(path) {
                change.faults.push(twice(&format!("Workflow:{path}")));
            }
        }
        change
    }

    fn sort_text(
        &self,
        text: SignedText,
        given: Option<&VersionId>,
        fresh: &Fresh,
        change: &mut Change,
    ) {
        let origin = Origin {
            version: Some(given.unwrap_or(&fresh.version_id)),
            ..Origin::default()
        };
        if text.string.len() > ITEM_BYTES_MAX {
            let what = title(&text.string);
            change
                .faults
                .push(too_large(&what, text.string.len(), ITEM_BYTES_MAX));
            return;
        }
        let mut item = match model::read::item(&text.string, Format::Json, &origin) {
            Ok(item) => item,
            Err(faults) => {
                change.faults.push(Problem::new(
                    "InvalidItem",
                    format!("{}: {faults}", title(&text.string)),
                ));
                return;
            }
        };
        if let Err(problem) = check_item(&item) {
            change.faults.push(problem);
            return;
        }
        // Workflows that bring no version and have not changed keep the one they have.
        if let ItemBody::Workflow(workflow) = &item.body
            && given.is_none()
            && workflow.id.version_id == fresh.version_id
            && let Some(current) = self.current.get(&workflow.id.path)
            && let Some(record) = self.items.get(&ItemKey::workflow(current))
            && *record.item.text == *text.string
        {
            item = record.item.clone();
        }
        if let (ItemBody::Workflow(workflow), Some(given)) = (&item.body, given)
            && workflow.id.version_id != *given
        {
            let message = format!("{} must have the version of AddVersion, {given}", item.key);
            change
                .faults
                .push(Problem::new("ItemVersionDoesNotMatch", message));
        }
        let key = item.key.clone();
        let is_first = if let ItemBody::Workflow(workflow) = &item.body {
            let path = workflow.id.path.clone();
            change
                .workflows
                .insert(path, Incoming { item, text })
                .is_none()
        } else {
            change
                .simple
                .insert(key.clone(), Incoming { item, text })
                .is_none()
        };
        if !is_first {
            change.faults.push(twice(key.as_str()));
        }
    }

    fn drop_unchanged(&self, change: &mut Change) {
        // What is being deleted and comes again is not unchanged: it would go all the same.
        change.simple.retain(|key, incoming| {
            self.deletion_marked.contains(key)
                || !self
                    .items
                    .get(key)
                    .is_some_and(|known| is_same(known, incoming))
        });
        change.workflows.retain(|path, incoming| {
            let is_current = self
                .current
                .get(path)
                .is_some_and(|id| ItemKey::workflow(id) == incoming.item.key);
            !(is_current
                && self
                    .items
                    .get(&incoming.item.key)
                    .is_some_and(|known| is_same(known, incoming)))
        });
        change.removed.retain(|path| !self.removed.contains(path));
        change
            .deleted
            .retain(|key| !self.deletion_marked.contains(key));
    }

    fn check_rules(&self, change: &mut Change) {
        let mut faults = Vec::new();
        for (key, incoming) in &change.simple {
            if self.deletion_marked.contains(key) {
                let message =
                    format!("{key} is being deleted; add it again when that has been done");
                faults.push(Problem::new("ItemIsMarkedForDeletion", message).with("key", key));
            }
            if key.as_str() == "PlanSchema:Global" {
                faults.push(Problem::new(
                    "ItemIsPredefined",
                    "PlanSchema:Global cannot be changed",
                ));
            }
            let Some(known) = self.items.get(key) else {
                continue;
            };
            faults.extend(forbidden_change(key, &known.item, &incoming.item));
        }
        for incoming in change.workflows.values() {
            let Some(known) = self.items.get(&incoming.item.key) else {
                continue;
            };
            if !is_same(known, incoming) {
                let message = format!(
                    "{} exists with another content; give the change another version",
                    incoming.item.key
                );
                faults.push(Problem::new("DuplicateKey", message).with("key", &incoming.item.key));
            }
        }
        for key in &change.deleted {
            if !self.items.contains_key(key) {
                faults.push(unknown_item(key.as_str()));
            }
        }
        for path in &change.removed {
            if !self.current.contains_key(path) {
                faults.push(unknown_item(&format!("Workflow:{path}")));
            }
        }
        change.faults.append(&mut faults);
    }

    fn check_references(&self, change: &mut Change) {
        let mut missing = BTreeSet::new();
        for incoming in change.simple.values().chain(change.workflows.values()) {
            for reference in references(&incoming.item) {
                if !self.will_exist(&reference, change) {
                    missing.insert((reference.keys()[0].clone(), incoming.item.key.clone()));
                }
            }
        }
        let mut faults: Vec<Problem> = missing
            .into_iter()
            .map(|(referenced, by)| {
                Problem::new(
                    "MissingReferencedItem",
                    format!("missing {referenced}, referenced by {by}"),
                )
                .with("itemKey", by)
                .with("referencedItemPath", referenced)
            })
            .collect();
        let gone = change.deleted.iter().cloned();
        let gone = gone.chain(
            change
                .removed
                .iter()
                .map(|path| ItemKey::simple(ItemType::Workflow, path.as_str())),
        );
        for key in gone {
            for by in self.referrers.get(&key).into_iter().flatten() {
                if self.still_refers(&key, by, change) {
                    faults.push(self.still_referenced(&key, by));
                }
            }
        }
        change.faults.append(&mut faults);
    }

    fn will_exist(&self, reference: &Reference, change: &Change) -> bool {
        if reference.is_workflow() {
            let path = WorkflowPath::new(Arc::clone(&reference.path));
            return change.workflows.contains_key(&path)
                || (self.current.contains_key(&path) && !change.removed.contains(&path));
        }
        reference.keys().iter().any(|key| {
            change.simple.contains_key(key)
                || (self.items.contains_key(key)
                    && !change.deleted.contains(key)
                    && !self.deletion_marked.contains(key))
        })
    }

    /// Whether `by` will exist after the change and refer to `key` with nothing else in its place.
    fn still_refers(&self, key: &ItemKey, by: &ItemKey, change: &Change) -> bool {
        let Some(record) = self.items.get(by) else {
            return false;
        };
        if change.deleted.contains(by)
            || change.simple.contains_key(by)
            || self.deletion_marked.contains(by)
        {
            // What it says afterwards has been checked with the rest.
            return false;
        }
        if let ItemBody::Workflow(workflow) = &record.item.body {
            let path = &workflow.id.path;
            let stays = self.is_current(&workflow.id)
                && !change.removed.contains(path)
                && !change.workflows.contains_key(path);
            if !stays && !self.uses.contains_key(&workflow.id) {
                return false;
            }
        }
        let about = record
            .references
            .iter()
            .filter(|reference| reference.keys().contains(key));
        about
            .into_iter()
            .any(|reference| !self.will_exist(reference, change))
    }

    fn still_referenced(&self, key: &ItemKey, by: &ItemKey) -> Problem {
        let mut message = format!("{key} is still referenced by {by}");
        let is_old = by
            .as_workflow()
            .is_some_and(|id| self.uses.contains_key(&id));
        if is_old
            && let Some(order) = self
                .engine
                .orders()
                .find(|order| ItemKey::workflow(&order.workflow_id) == *by)
        {
            message = format!("{message} with Order:{}", order.id);
        }
        Problem::new("ItemIsStillReferenced", message)
            .with("itemKey", key)
            .with("referencingItemKey", by)
    }

    fn simple_event(&self, key: &ItemKey, incoming: Incoming) -> ItemEvent {
        let revision = self.items.get(key).and_then(|known| known.item.revision);
        let item_revision = revision.map_or(0, |revision| revision + 1);
        let text = incoming.text;
        match (incoming.item.body.item_type().is_signed(), revision) {
            (true, None) => ItemEvent::SignedItemAdded {
                signed: text,
                item_revision,
            },
            (true, Some(_)) => ItemEvent::SignedItemChanged {
                signed: text,
                item_revision,
            },
            (false, None) => ItemEvent::UnsignedSimpleItemAdded {
                item: text,
                item_revision,
            },
            (false, Some(_)) => ItemEvent::UnsignedSimpleItemChanged {
                item: text,
                item_revision,
            },
        }
    }

    fn workflow_events(
        &self,
        workflows: BTreeMap<WorkflowPath, Incoming>,
        events: &mut Vec<ItemEvent>,
    ) {
        let mut by_version: BTreeMap<VersionId, Vec<(WorkflowPath, SignedText)>> = BTreeMap::new();
        for (path, incoming) in workflows {
            let Some(id) = incoming.item.key.as_workflow() else {
                continue;
            };
            by_version
                .entry(id.version_id)
                .or_default()
                .push((path, incoming.text));
        }
        for (version_id, workflows) in by_version {
            events.push(ItemEvent::VersionAdded { version_id });
            for (path, signed) in workflows {
                events.push(if self.current.contains_key(&path) {
                    ItemEvent::VersionedItemChanged { signed }
                } else {
                    ItemEvent::VersionedItemAdded { signed }
                });
            }
        }
    }
}

fn is_same(known: &ItemRecord, incoming: &Incoming) -> bool {
    known.item.text == incoming.text.string && known.signature == incoming.text.signature
}

fn forbidden_change(key: &ItemKey, known: &Item, new: &Item) -> Option<Problem> {
    match (&known.body, &new.body) {
        (ItemBody::Subagent(old), ItemBody::Subagent(new)) if old.agent_path != new.agent_path => {
            let message = format!(
                "{key} belongs to Agent:{} and cannot move to Agent:{}",
                old.agent_path, new.agent_path
            );
            Some(Problem::new("SubagentMustNotMove", message))
        }
        (ItemBody::Agent(old), ItemBody::Agent(new))
            if !new.directors.starts_with(&old.directors) =>
        {
            let message = format!("the directors of {key} may only be extended");
            Some(Problem::new("DirectorsMustNotChange", message))
        }
        (old, new) if old.item_type() != new.item_type() => {
            let (old, new) = (old.item_type().type_name(), new.item_type().type_name());
            Some(Problem::new(
                "ItemTypeMustNotChange",
                format!("{key} is a {old} and cannot become a {new}"),
            ))
        }
        _ => None,
    }
}

fn twice(key: &str) -> Problem {
    Problem::new("DuplicateKey", format!("Unexpected duplicates: 2×{key}")).with("key", key)
}

fn unknown_item(key: &str) -> Problem {
    Problem::unknown_item(key)
}

/// How a text is called that cannot be read: by its path if that can be found.
fn title(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Name {
        #[serde(rename = "TYPE")]
        kind: Option<String>,
        #[serde(alias = "id", alias = "name")]
        path: Option<String>,
    }
    match serde_json::from_str::<Name>(text) {
        Ok(Name {
            kind: Some(kind),
            path: Some(path),
        }) => format!("{kind}:{path}"),
        Ok(_) | Err(_) => format!(
            "the item that begins {:?}",
            text.chars().take(60).collect::<String>()
        ),
    }
}

/// The maximum number of faults that one problem names. Further faults are only counted.
pub(crate) const FAULTS_TOLD_MAX: usize = 100;

/// Combines the problems into one that names them all; `None` if there are none.
pub(crate) fn combined(mut problems: Vec<Problem>) -> Option<Problem> {
    if problems.len() <= 1 {
        return problems.pop();
    }
    let is_one_kind = problems
        .iter()
        .all(|problem| problem.code == problems[0].code);
    let code = if is_one_kind {
        problems[0].code.clone()
    } else {
        Some("Combined".to_owned())
    };
    let line = |problem: &Problem| {
        if is_one_kind {
            problem.message.clone()
        } else {
            problem.to_string()
        }
    };
    let told = problems.iter().take(FAULTS_TOLD_MAX).map(line);
    let more = problems.len().saturating_sub(FAULTS_TOLD_MAX);
    let more = (more > 0).then(|| format!("and {more} more"));
    let message = told.chain(more).collect::<Vec<_>>().join("\n");
    Some(Problem {
        code,
        message,
        // As in JS7, the arguments are those of the first problem; the message names all problems.
        arguments: if is_one_kind {
            problems.swap_remove(0).arguments
        } else {
            BTreeMap::new()
        },
    })
}
