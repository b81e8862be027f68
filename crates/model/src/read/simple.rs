//! The simple items whose content is used: job resources, Agents, Subagents, Subagent Clusters.

use super::fields::Fields;
use super::job::env;
use super::names::nearest;
use super::node::Node;
use super::reading::Reading;
use super::value::{boolean, checked, expression, expressions, list, map, text, whole};
use crate::{
    AgentPath, AgentRef, BundleId, JobResource, JobResourcePath, SubagentBundle, SubagentId,
    SubagentItem,
};
use expr::Expr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) fn job_resource<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
    path: Option<JobResourcePath>,
) -> Option<JobResource> {
    const VARIABLES: &[&str] = &["arguments", "variables", "settings"];
    let variables = fields.optional(reading, VARIABLES, expressions);
    let environment = fields.optional(reading, &["env"], env);
    Some(JobResource {
        path: path?,
        variables: variables.unwrap_or_default(),
        env: environment.unwrap_or_default(),
    })
}

pub(super) fn agent<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
    path: Option<AgentPath>,
) -> Option<AgentRef> {
    let directors = fields.required(reading, &["directors"], |reading, node| {
        let mut seen = BTreeSet::new();
        let directors = list(
            reading,
            node,
            "a list of one or two Subagents",
            |reading, node| {
                let director = checked(SubagentId::checked)(reading, node)?;
                if !seen.insert(director.clone()) {
                    reading.fault(
                        &node.span,
                        format!(
                            "the Subagent {:?} stands twice in this list",
                            director.as_str()
                        ),
                    );
                    return None;
                }
                Some(director)
            },
        )?;
        if !(1..=2).contains(&directors.len()) {
            reading.fault(
                &node.span,
                format!(
                    "an Agent has one or two Directors, but these are {}",
                    directors.len()
                ),
            );
            return None;
        }
        Some(directors)
    });
    let process_limit = fields.optional(reading, &["processLimit"], whole(0..=u32::MAX));
    fields.optional(reading, &["requireFailoverConfirmation"], boolean);
    fields.optional(reading, &["uri", "url"], uri);
    fields.keep(&["agentNameAliases", "hidden", "disabled"]);
    Some(AgentRef {
        path: path?,
        directors: directors?,
        process_limit,
    })
}

pub(super) fn subagent<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
    id: Option<SubagentId>,
) -> Option<SubagentItem> {
    let agent_path = fields.required(
        reading,
        &["agentPath", "agentId", "agentName"],
        checked(AgentPath::checked),
    );
    let address = fields.required(reading, &["uri", "url"], uri);
    let disabled = fields
        .optional(reading, &["disabled"], boolean)
        .unwrap_or_default();
    fields.keep(&[
        "isDirector",
        "ordering",
        "position",
        "withGenerateSubagentCluster",
    ]);
    Some(SubagentItem {
        id: id?,
        agent_path: agent_path?,
        uri: address?,
        disabled,
    })
}

/// Whether it says where somebody is reached over HTTP.
pub fn is_address(uri: &str) -> bool {
    let rest = uri
        .strip_prefix("https://")
        .or_else(|| uri.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

fn uri<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Arc<str>> {
    let uri = text(reading, node)?;
    if !is_address(uri) {
        let hint = Some("write it as in \"https://host:4445\"".to_owned());
        reading.fault_with_hint(&node.span, "not the address of a Subagent", hint);
        return None;
    }
    Some(Arc::from(uri))
}

pub(super) fn bundle<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
    id: Option<BundleId>,
) -> Option<SubagentBundle> {
    let members = if fields.has(&["subagentIds"]) {
        fields.optional(reading, &["subagentIds"], members)
    } else {
        fields.required(reading, &["subagentToPriority"], priorities)
    };
    Some(SubagentBundle {
        id: id?,
        subagent_to_priority: members?,
    })
}

/// `{ID: priority}`
fn priorities<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
) -> Option<BTreeMap<SubagentId, Expr>> {
    let priorities = map(
        reading,
        node,
        "an object of priorities",
        |reading, entry| {
            if let Err(error) = SubagentId::checked(&entry.name) {
                reading.fault(&entry.name_span, error.to_string());
            }
            expression(reading, &entry.node)
        },
    )?;
    Some(
        priorities
            .into_iter()
            .map(|(id, priority)| (SubagentId::new(id), priority))
            .collect(),
    )
}

/// `[{subagentId, priority}]`
fn members<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<BTreeMap<SubagentId, Expr>> {
    let mut seen = BTreeSet::new();
    let members = list(reading, node, "a list of members", |reading, node| {
        let mut fields = Fields::of(reading, node, "a member")?;
        let id = fields.required(reading, &["subagentId"], |reading, node| {
            let id = checked(SubagentId::checked)(reading, node)?;
            if !seen.insert(id.clone()) {
                reading.fault(
                    &node.span,
                    format!("the Subagent {:?} stands twice in this list", id.as_str()),
                );
                return None;
            }
            Some(id)
        });
        let priority = fields.required(reading, &["priority"], expression);
        fields.keep(&["title", "isDirector"]);
        fields.finish(reading);
        Some((id?, priority?))
    })?;
    Some(members.into_iter().collect())
}

/// One of a few words.
pub(super) fn one_of<'t>(
    words: &'static [&'static str],
) -> impl FnOnce(&mut Reading<'t>, &Node<'t>) -> Option<&'static str> {
    move |reading, node| {
        let found = node
            .as_text()
            .and_then(|word| words.iter().copied().find(|known| *known == word));
        if found.is_none() {
            let near = node
                .as_text()
                .and_then(|word| nearest(word, words.iter().copied()));
            let hint = near.map(|name| format!("did you mean {name:?}?"));
            let message = format!(
                "expected one of {}, but found {}",
                words.join(", "),
                node.describe()
            );
            reading.fault_with_hint(&node.span, message, hint);
        }
        found
    }
}
