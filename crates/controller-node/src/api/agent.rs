//! `GET /controller/api/agent`: how the Agents and their Subagents stand.

use super::{Api, stopped};
use crate::machine::ControllerMachine;
use crate::permission::Route;
use crate::users::User;
use axum::Json;
use axum::extract::State;
use controller::{AgentState, Coupling, State as ControllerState};
use model::{AgentPath, ItemBody, ItemKey, ItemType};
use net::{Problem, Refusal};
use node::{Clock as _, SystemClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Connected at this moment.
pub(super) fn is_coupled(agent: &AgentState) -> bool {
    agent.coupling_state == Coupling::Coupled && agent.problem.is_none()
}

pub(super) async fn list(State(api): State<Api>, user: User) -> Result<Json<Value>, Refusal> {
    user.may_use(Route::Agent)?;
    let machine = api
        .0
        .handle
        .read(ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    // All orders are counted: that must not hold up those who wait for short answers.
    let list = tokio::task::spawn_blocking(move || listed(&machine)).await;
    list.map(Json)
        .map_err(|error| Problem::uncoded(format!("the Agents cannot be listed: {error}")).into())
}

fn listed(machine: &ControllerMachine) -> Value {
    let state = &machine.state;
    let mut counts: BTreeMap<&AgentPath, usize> = BTreeMap::new();
    for agent in state
        .engine()
        .orders()
        .filter_map(|order| order.attached_to())
    {
        *counts.entry(agent).or_default() += 1;
    }
    let agents = state.agents();
    let agents: Vec<Value> = agents
        .map(|(path, agent)| described(state, path, agent, counts.get(path).copied().unwrap_or(0)))
        .collect();
    json!({ "eventId": machine.last_event_id, "agents": agents })
}

fn described(
    state: &ControllerState,
    path: &AgentPath,
    agent: &AgentState,
    orders: usize,
) -> Value {
    let last_heard = (agent.event_id.0 > 0).then(|| agent.event_id.timestamp());
    let subagents: Vec<Value> = state
        .subagents()
        .filter(|(_, subagent)| subagent.agent_path.as_ref() == Some(path))
        .map(|(id, subagent)| {
            let mut json = json!(subagent);
            json["id"] = json!(id);
            json["uri"] = json!(uri_of(state, id.as_str()));
            json
        })
        .collect();
    let mut json = json!(agent);
    json["agentPath"] = json!(path);
    json["isCoupled"] = json!(is_coupled(agent));
    json["orderCount"] = json!(orders);
    // How much is to be sent or confirmed, and how old the newest news is.
    json["pendingCommandCount"] = json!(state.outbox_len(path));
    json["lastEventAt"] = json!(last_heard);
    json["secondsSinceLastEvent"] =
        json!(last_heard.map(|at| SystemClock.now().since(at).as_secs()));
    json["subagents"] = json!(subagents);
    json
}

fn uri_of(state: &ControllerState, id: &str) -> Option<String> {
    let record = state.item(&ItemKey::simple(ItemType::SubagentItem, id))?;
    if let ItemBody::Subagent(subagent) = &record.item.body {
        Some(subagent.uri.to_string())
    } else {
        None
    }
}
