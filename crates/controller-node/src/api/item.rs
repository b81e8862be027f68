//! `/controller/api/item`: change items, look at them.

use super::body::{self, Expected};
use super::page::{self, Page};
use super::{Api, ChangeQuery, refusal, stopped};
use crate::machine::{ControllerMachine, Input, Reply};
use crate::permission::Route;
use crate::users::User;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use controller::{Attachment, ItemRecord};
use model::{AgentPath, ItemKey, ItemOperation};
use net::{Problem, Query, RawBody, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn change(
    State(api): State<Api>,
    user: User,
    Query(change): Query<ChangeQuery>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Refusal> {
    user.may_use(Route::ChangeItems)?;
    let by = change.cause(&user)?;
    let caller = user.caller();
    let (operations, _share) =
        body::read(&api, &caller, body, Expected::Operations, operations).await?;
    let input = Box::new(Input::Items(operations));
    let reply = api
        .0
        .handle
        .ask(Input::By { by, input })
        .await
        .map_err(stopped)?;
    if let Reply::Items(Err(problem)) = reply {
        return Err(refusal(problem));
    }
    Ok(Json(json!({})))
}

/// Parses one operation per line.
fn operations(body: &[u8]) -> Result<Vec<ItemOperation>, Refusal> {
    std::str::from_utf8(body)
        .map_err(|error| Problem::new("InvalidJson", format!("the items are no text: {error}")))?;
    body::lines(body, |line| {
        // A line of valid UTF-8 text is valid UTF-8, too.
        let line = std::str::from_utf8(line).unwrap_or_default();
        ItemOperation::from_json(line)
    })
}

/// The query parameters of the item list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// List only items after this key: `next` of the page before.
    after: Option<String>,
    /// Maximum number of items.
    limit: Option<usize>,
}

/// Upper bound of `limit`.
const LIST_MAX: usize = 10_000;

pub(super) async fn list(
    State(api): State<Api>,
    user: User,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    user.may_use(Route::Item)?;
    page::answer(&api, &user, "items", move |machine| listed(machine, &query)).await
}

/// Returns the page as JSON. An item names all Agents that have it, so a page may end before `limit`.
fn listed(machine: &ControllerMachine, query: &ListQuery) -> Vec<u8> {
    let limit = query.limit.unwrap_or(LIST_MAX).min(LIST_MAX);
    let after = query.after.as_deref();
    let mut records = machine
        .state
        .items()
        .skip_while(|record| after.is_some_and(|after| record.item.key.as_str() <= after));
    let mut page = Page::begin("items", machine.last_event_id);
    for record in records.by_ref().take(limit) {
        page.push(record.item.key.as_str(), &summary(machine, record));
        if page.is_full() {
            break;
        }
    }
    let has_more = records.next().is_some();
    page.end(has_more, None)
}

pub(super) async fn single(
    State(api): State<Api>,
    user: User,
    Path(key): Path<String>,
) -> Result<Json<Value>, Refusal> {
    user.may_use(Route::Item)?;
    let machine = api
        .0
        .handle
        .read(ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    let Some(record) = find(&machine, &key) else {
        let problem = Problem::new(
            "UnknownItemPath",
            format!("There is no {key}; keys look like Lock:L or Workflow:w"),
        );
        return Err(problem.with("path", key).status(StatusCode::NOT_FOUND));
    };
    let mut item = summary(&machine, record);
    item["signed"] = json!({ "string": record.item.text, "signature": record.signature });
    Ok(Json(item))
}

/// By its key; a workflow also by its path alone.
fn find<'m>(machine: &'m ControllerMachine, key: &str) -> Option<&'m ItemRecord> {
    let exact = machine
        .state
        .items()
        .find(|record| record.item.key.as_str() == key);
    if let Some(record) = exact {
        return Some(record);
    }
    let current = machine
        .state
        .current_version(&model::WorkflowPath::from(key.strip_prefix("Workflow:")?))?;
    machine
        .state
        .item(&ItemKey::workflow(current))
        .map(AsRef::as_ref)
}

fn summary(machine: &ControllerMachine, record: &ItemRecord) -> Value {
    let state = &machine.state;
    let key = &record.item.key;
    let attached: serde_json::Map<String, Value> = state
        .attachments(key)
        .into_iter()
        .map(|(agent, attachment)| attached(&agent, &attachment))
        .collect();
    let mut summary = json!({
        "key": key,
        "TYPE": record.item.body.item_type().type_name(),
        "attachedToAgents": attached,
    });
    if !record.item.body.item_type().is_used() {
        summary["isUsed"] = json!(false);
    }
    if let Some(revision) = record.item.revision {
        summary["itemRevision"] = json!(revision);
    }
    if let Some(id) = key.as_workflow() {
        let is_current = state
            .current_version(&id.path)
            .is_some_and(|current| **current == id);
        summary["versionId"] = json!(id.version_id);
        summary["isCurrent"] = json!(is_current);
    }
    if state.is_deletion_marked(key) {
        summary["isDeletionMarked"] = json!(true);
    }
    summary
}

fn attached(agent: &AgentPath, attachment: &Attachment) -> (String, Value) {
    let word = match attachment {
        Attachment::Attachable => "Attachable",
        Attachment::Attached(_) => "Attached",
        Attachment::Detachable => "Detachable",
    };
    (agent.to_string(), json!(word))
}
