//! `GET /controller/api/agent`: how the Agents and their Subagents stand.

use super::Api;
use super::page::{self, Page};
use crate::machine::ControllerMachine;
use crate::permission::Route;
use crate::users::User;
use axum::extract::State;
use axum::response::Response;
use controller::{AgentState, Connection, State as ControllerState};
use model::{AgentPath, Order, OrderState, SubagentId, Timestamp};
use net::{Query, Refusal};
use node::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Connected at this moment.
pub(super) fn is_coupled(agent: &AgentState) -> bool {
    agent.connection() == Connection::Connected
}

/// The query parameters of the list of Agents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// List only Agents after this path: `next` of the page before.
    after: Option<String>,
    /// Maximum number of Agents.
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Api>,
    user: User,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    user.may_use(Route::Agent)?;
    page::answer(&api, &user, "Agents", move |machine| {
        listed(machine, &query)
    })
    .await
}

/// Returns the page as JSON. An Agent is listed with all its Subagents, so a page may end before `limit`.
fn listed(machine: &ControllerMachine, query: &ListQuery) -> Vec<u8> {
    let state = &machine.state;
    let mut counts = Counts::default();
    for order in state.engine().orders() {
        counts.add(order);
    }
    let after = query.after.as_deref();
    let mut agents = state
        .agents()
        .skip_while(|(path, _)| after.is_some_and(|after| path.as_str() <= after));
    let mut page = Page::begin("agents", machine.last_event_id);
    for (path, agent) in agents.by_ref().take(query.limit.unwrap_or(usize::MAX)) {
        page.push(path.as_str(), &described(state, path, agent, &counts));
        if page.is_full() {
            break;
        }
    }
    let has_more = agents.next().is_some();
    page.end(has_more, None)
}

/// What is where, as far as orders tell.
#[derive(Default)]
struct Counts<'o> {
    orders: BTreeMap<&'o AgentPath, usize>,
    processes: BTreeMap<&'o SubagentId, usize>,
    ties: BTreeMap<&'o SubagentId, usize>,
}

impl<'o> Counts<'o> {
    fn add(&mut self, order: &'o Order) {
        if let Some(agent) = order.attached_to() {
            *self.orders.entry(agent).or_default() += 1;
        }
        if let OrderState::Processing {
            subagent_id: Some(subagent),
            ..
        } = &order.state
        {
            *self.processes.entry(subagent).or_default() += 1;
        }
        if order.is_terminated() {
            return;
        }
        let ties = order.sticky_subagents.iter();
        for subagent in ties.filter_map(|tie| tie.stuck_subagent_id.as_ref()) {
            *self.ties.entry(subagent).or_default() += 1;
        }
    }
}

fn subagent_described(state: &ControllerState, id: &SubagentId, counts: &Counts<'_>) -> Value {
    let item = state.subagent_item(id);
    let processes = counts.processes.get(id).copied().unwrap_or(0);
    let ties = counts.ties.get(id).copied().unwrap_or(0);
    let is_disabled = item.is_some_and(|item| item.disabled);
    let clusters: serde_json::Map<String, Value> = state
        .bundles_of(id)
        .filter_map(|bundle| {
            let priority = bundle.subagent_to_priority.get(id)?;
            Some((bundle.id.to_string(), json!(priority)))
        })
        .collect();
    let (connection, since) = state.subagent_connection(id);
    let mut described = json!({
        "id": id,
        "connection": connection,
        "connectionSince": since,
        "secondsSinceConnectionChange": since.map(age),
        "uri": item.map(|item| &item.uri),
        "disabled": is_disabled,
        "processCount": processes,
        // Orders that keep to it until they leave their StickySubagent.
        "tiedOrderCount": ties,
        // Nothing runs there and nothing will, as far as the choice goes: the Agent knows that it is disabled.
        "isDrained": is_disabled && processes == 0 && ties == 0 && state.is_attached_as_deployed(id),
        "clusters": clusters,
    });
    if connection == Connection::Unknown {
        // What the Agent reported last may no longer be true.
        described["couplingState"] = json!(connection);
    }
    described
}

fn age(since: Timestamp) -> u64 {
    SystemClock.now().since(since).as_secs()
}

fn described(
    state: &ControllerState,
    path: &AgentPath,
    agent: &AgentState,
    counts: &Counts<'_>,
) -> Value {
    let last_heard = (agent.event_id.0 > 0).then(|| agent.event_id.timestamp());
    let subagents: Vec<Value> = state
        .subagents()
        .filter(|(_, subagent)| subagent.agent_path.as_ref() == Some(path))
        .map(|(id, subagent)| {
            let mut json = json!(subagent);
            let more = subagent_described(state, id, counts);
            if let (Some(fields), Value::Object(more)) = (json.as_object_mut(), more) {
                fields.extend(more);
            }
            json
        })
        .collect();
    let mut json = json!(agent);
    if !is_coupled(agent)
        && let Some(fields) = json.as_object_mut()
        && let Some(cluster) = fields.remove("cluster")
    {
        // The present state of its cluster is unknown.
        fields.insert("lastKnownCluster".into(), cluster);
    }
    if let Some(problem) = agent.shown_problem() {
        json["problem"] = json!(problem);
    }
    json["connection"] = json!(agent.connection());
    json["connectionSince"] = json!(agent.connection_since);
    json["secondsSinceConnectionChange"] = json!(agent.connection_since.map(age));
    json["agentPath"] = json!(path);
    json["isCoupled"] = json!(is_coupled(agent));
    json["orderCount"] = json!(counts.orders.get(path).copied().unwrap_or(0));
    // How much is to be sent or confirmed, and how old the newest news is.
    json["pendingCommandCount"] = json!(state.outbox_len(path));
    json["lastEventAt"] = json!(last_heard);
    json["secondsSinceLastEvent"] = json!(last_heard.map(age));
    json["subagents"] = json!(subagents);
    json
}
