//! Items of every type: which type they are and what they are called.
//!
//! Always: the type comes from the field `TYPE`, under its present or a legacy name; the name from the text, else from the
//! origin.

use super::Origin;
use super::fields::Fields;
use super::kept::kept;
use super::names::nearest;
use super::node::{Node, Shape, glimpse};
use super::reading::Reading;
use super::simple::{agent, bundle, job_resource, subagent};
use super::value::{checked, name, text};
use super::workflow::workflow;
use crate::{
    AgentPath, BundleId, ItemBody, ItemKey, ItemType, JobResourcePath, NameError, SubagentId,
    VersionId, WorkflowId, WorkflowPath,
};
use std::sync::Arc;

/// The names that stand in `TYPE`, legacy ones too.
const TYPES: [(&str, ItemType); 16] = [
    ("Workflow", ItemType::Workflow),
    ("JobResource", ItemType::JobResource),
    ("AgentRef", ItemType::AgentRef),
    ("Agent", ItemType::AgentRef),
    ("SubagentItem", ItemType::SubagentItem),
    ("Subagent", ItemType::SubagentItem),
    ("SubagentBundle", ItemType::SubagentBundle),
    ("SubagentSelection", ItemType::SubagentBundle),
    ("SubagentCluster", ItemType::SubagentBundle),
    ("FileWatch", ItemType::FileWatch),
    ("Calendar", ItemType::Calendar),
    ("Lock", ItemType::Lock),
    ("GlobalBoard", ItemType::GlobalBoard),
    ("Board", ItemType::GlobalBoard),
    ("PlannableBoard", ItemType::PlannableBoard),
    ("PlanSchema", ItemType::PlanSchema),
];

/// What people author that is never sent to a Controller.
const COCKPIT_ONLY: [&str; 10] = [
    "Schedule",
    "JobTemplate",
    "IncludeScript",
    "Report",
    "JobClass",
    "Folder",
    "DeploymentDescriptor",
    "WorkingDaysCalendar",
    "NonWorkingDaysCalendar",
    "Script",
];

/// Reads the item at the root.
pub(super) fn item<'t>(
    reading: &mut Reading<'t>,
    root: &Node<'t>,
    origin: &Origin<'_>,
) -> Option<(ItemKey, ItemBody)> {
    let mut fields = Fields::of(reading, root, "an item")?;
    fields.keep(&["TYPE"]);
    let Some(kind) = item_type_of(root) else {
        unknown_type(reading, &mut fields);
        return None;
    };
    fields.keep(&["title", "documentationName", "version", "tags"]);
    if let Some(entry) = fields.find_untold(reading, &["itemRevision"]) {
        reading.at(&entry.name, |reading| {
            let hint = Some("leave it out: the Controller numbers the revisions".to_owned());
            reading.fault_with_hint(&entry.name_span, "itemRevision must not be given", hint);
        });
    }
    let result = match kind {
        ItemType::Workflow => {
            let path = item_name(reading, &mut fields, kind, origin, WorkflowPath::checked);
            let version_id = fields.optional(reading, &["versionId"], |reading, node| {
                name(reading, node).map(VersionId::from)
            });
            let version_id = version_id
                .or_else(|| origin.version.cloned())
                .unwrap_or_else(|| VersionId::new(""));
            workflow(reading, &mut fields)
                .zip(path)
                .map(|(content, path)| {
                    let id = WorkflowId { path, version_id };
                    (
                        ItemKey::workflow(&id),
                        ItemBody::Workflow(Arc::new(content.named(id))),
                    )
                })
        }
        ItemType::JobResource => {
            let path = item_name(reading, &mut fields, kind, origin, JobResourcePath::checked);
            job_resource(reading, &mut fields, path).map(|item| {
                (
                    ItemKey::simple(kind, item.path.as_str()),
                    ItemBody::JobResource(Arc::new(item)),
                )
            })
        }
        ItemType::AgentRef => {
            let path = item_name(reading, &mut fields, kind, origin, AgentPath::checked);
            agent(reading, &mut fields, path).map(|item| {
                (
                    ItemKey::simple(kind, item.path.as_str()),
                    ItemBody::Agent(Arc::new(item)),
                )
            })
        }
        ItemType::SubagentItem => {
            let id = item_name(reading, &mut fields, kind, origin, SubagentId::checked);
            subagent(reading, &mut fields, id).map(|item| {
                (
                    ItemKey::simple(kind, item.id.as_str()),
                    ItemBody::Subagent(Arc::new(item)),
                )
            })
        }
        ItemType::SubagentBundle => {
            let id = item_name(reading, &mut fields, kind, origin, BundleId::checked);
            bundle(reading, &mut fields, id).map(|item| {
                (
                    ItemKey::simple(kind, item.id.as_str()),
                    ItemBody::Bundle(Arc::new(item)),
                )
            })
        }
        ItemType::FileWatch
        | ItemType::Calendar
        | ItemType::Lock
        | ItemType::GlobalBoard
        | ItemType::PlannableBoard
        | ItemType::PlanSchema => {
            // The rules for the names of all these are those of a workflow.
            let path = item_name(reading, &mut fields, kind, origin, WorkflowPath::checked);
            kept(reading, &mut fields, kind);
            path.map(|path| (ItemKey::simple(kind, path.as_str()), ItemBody::Kept(kind)))
        }
    };
    fields.finish(reading);
    result
}

/// The names under which an item says what it is called, the author's first.
fn name_fields(kind: ItemType) -> &'static [&'static str] {
    match kind {
        ItemType::AgentRef => &["path", "agentPath", "agentId", "agentName"],
        ItemType::SubagentItem => &["id", "subagentId"],
        ItemType::SubagentBundle => &[
            "id",
            "subagentClusterId",
            "subagentBundleId",
            "subagentSelectionId",
        ],
        ItemType::PlanSchema => &["id"],
        ItemType::Workflow
        | ItemType::JobResource
        | ItemType::FileWatch
        | ItemType::Calendar
        | ItemType::Lock
        | ItemType::GlobalBoard
        | ItemType::PlannableBoard => &["path"],
    }
}

fn item_name<'t, T>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
    kind: ItemType,
    origin: &Origin<'_>,
    check: impl Fn(&str) -> Result<T, NameError>,
) -> Option<T> {
    let names = name_fields(kind);
    if fields.has(names) {
        return fields.optional(reading, names, checked(check));
    }
    let Some(name) = origin.name else {
        fields.missing(names);
        return None;
    };
    let span = fields.span().clone();
    check(name)
        .map_err(|error| reading.fault(&span, format!("from the name of its file: {error}")))
        .ok()
}

/// The type that the root says it has, or shows by its fields.
pub(super) fn item_type_of(root: &Node<'_>) -> Option<ItemType> {
    let Shape::Object(entries) = &root.shape else {
        return None;
    };
    let text = |name: &str| {
        entries
            .iter()
            .find(|entry| entry.name == name)
            .and_then(|entry| entry.node.as_text())
    };
    let has = |name: &str| {
        entries
            .iter()
            .any(|entry| entry.name == name && !entry.node.is_null())
    };
    if has("TYPE") {
        let kind = TYPES
            .iter()
            .find(|(name, _)| Some(*name) == text("TYPE"))
            .map(|(_, kind)| *kind)?;
        let is_plannable = kind == ItemType::GlobalBoard && text("boardType") == Some("PLANNABLE");
        return Some(if is_plannable {
            ItemType::PlannableBoard
        } else {
            kind
        });
    }
    // Calendars of authors have no TYPE.
    let is_calendar = matches!(
        text("type"),
        Some("WORKINGDAYSCALENDAR" | "NONWORKINGDAYSCALENDAR")
    );
    if is_calendar {
        Some(ItemType::Calendar)
    } else {
        None
    }
}

fn unknown_type(reading: &mut Reading<'_>, fields: &mut Fields<'_, '_>) {
    let known = || TYPES.iter().map(|(name, _)| *name);
    let Some(entry) = fields.find(reading, &["TYPE"]) else {
        let span = fields.span().clone();
        let hint = Some(format!(
            "it says what the item is: {}",
            ItemType::ALL.map(ItemType::type_name).join(", ")
        ));
        reading.fault_with_hint(&span, "the field \"TYPE\" is missing", hint);
        return;
    };
    reading.at(&"TYPE", |reading| {
        let Some(tag) = text(reading, &entry.node) else {
            return;
        };
        let (message, hint) = if COCKPIT_ONLY.contains(&tag) {
            (
                format!("a {tag} belongs to the Cockpit and is not sent to a Controller"),
                None,
            )
        } else if matches!(tag, "WorkflowControl" | "WorkflowPathControl") {
            (
                format!("a {tag} is made by commands and is not deployed"),
                None,
            )
        } else {
            let hint = nearest(tag, known()).map_or_else(
                || {
                    format!(
                        "known are {}",
                        ItemType::ALL.map(ItemType::type_name).join(", ")
                    )
                },
                |name| format!("did you mean {name:?}?"),
            );
            (format!("unknown item TYPE {:?}", glimpse(tag)), Some(hint))
        };
        reading.fault_with_hint(&entry.node.span, message, hint);
    });
}

/// The fields that tell type, name and version, where the root has none.
pub(super) fn missing_names<'a>(
    root: &Node<'_>,
    kind: Option<ItemType>,
    origin: &Origin<'a>,
) -> Vec<(&'static str, &'a str)> {
    let Shape::Object(entries) = &root.shape else {
        return Vec::new();
    };
    let has = |names: &[&str]| {
        entries
            .iter()
            .any(|entry| names.contains(&&*entry.name) && !entry.node.is_null())
    };
    let Some(kind) = kind else { return Vec::new() };
    let mut missing: Vec<(&'static str, &'a str)> = Vec::new();
    if !has(&["TYPE"]) {
        missing.push(("TYPE", kind.type_name()));
    }
    let names = name_fields(kind);
    if let Some(name) = origin.name
        && !has(names)
    {
        missing.push((names[0], name));
    }
    if let Some(version) = origin.version
        && kind == ItemType::Workflow
        && !has(&["versionId"])
    {
        missing.push(("versionId", version.as_str()));
    }
    missing
}

/// The type that the end of a file's name tells.
pub(super) fn item_type_of_file_name(file: &str) -> Option<ItemType> {
    let file = file.to_lowercase();
    let stem = file
        .strip_suffix(".json")
        .or_else(|| file.strip_suffix(".yaml"))
        .or_else(|| file.strip_suffix(".yml"))?;
    let (name, kind) = stem.rsplit_once('.')?;
    if name.is_empty() {
        return None;
    }
    match kind {
        "workflow" => Some(ItemType::Workflow),
        "jobresource" => Some(ItemType::JobResource),
        "agentref" | "agent" => Some(ItemType::AgentRef),
        "subagentitem" | "subagent" => Some(ItemType::SubagentItem),
        "subagentbundle" | "subagentselection" | "subagentcluster" => {
            Some(ItemType::SubagentBundle)
        }
        "fileordersource" | "filewatch" => Some(ItemType::FileWatch),
        "calendar" => Some(ItemType::Calendar),
        "lock" => Some(ItemType::Lock),
        "noticeboard" | "board" | "globalboard" => Some(ItemType::GlobalBoard),
        "plannableboard" => Some(ItemType::PlannableBoard),
        "planschema" => Some(ItemType::PlanSchema),
        _ => None,
    }
}
