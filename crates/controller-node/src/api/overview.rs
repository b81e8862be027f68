//! `GET /controller/api`: public is what tells nothing of the work.

use super::{Api, stopped};
use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use net::Refusal;
use serde_json::json;

pub(super) async fn overview(
    State(api): State<Api>,
    mut parts: Parts,
) -> Result<Json<serde_json::Value>, Refusal> {
    let user = api.0.users.of_request(&parts).await?;
    if let Some(user) = &user {
        user.caller().identify(&mut parts.extensions)?;
    }
    let machine = api
        .0
        .handle
        .read(crate::ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    let state = &machine.state;
    let mut overview = json!({
        "id": state.controller_id(),
        "version": env!("CARGO_PKG_VERSION"),
        "initiallyStartedAt": state.initially_started_at(),
        "startedAt": api.0.started_at,
    });
    if user.is_some() {
        let agents = state.agents().count();
        let coupled = state
            .agents()
            .filter(|(_, agent)| super::agent::is_coupled(agent))
            .count();
        overview["orderCount"] = json!(state.engine().order_count());
        overview["orderCountByState"] = json!(state.engine().counts_by_state());
        overview["itemCount"] = json!(state.items().count());
        overview["agentCount"] = json!(agents);
        overview["coupledAgentCount"] = json!(coupled);
        overview["lastEventId"] = json!(machine.last_event_id);
        let release: serde_json::Map<String, serde_json::Value> = state
            .released_by_user()
            .map(|(user, id)| (user.to_string(), json!(id)))
            .collect();
        overview["releasedEventIds"] = json!(release);
        overview["journal"] = json!(api.0.log.status());
    }
    Ok(Json(overview))
}
