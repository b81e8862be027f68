//! A Subagent over HTTP.

use crate::gate::Gate;
use crate::link::pace;
use crate::meter::Meter;
use crate::place::placed;
use crate::service::Subagent;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use model::{EventId, RunId, SubagentCommand, SubagentEvent};
use net::{
    BodyLimit, Closing, JsonBody, PeerIdentity, Query, guard, heartbeat, seconds,
    stream_response_saying, stream_until,
};
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The largest batch of commands: orders carry their arguments.
const COMMAND_LIMIT: usize = model::bounds::COMMAND_BYTES_MAX;

#[derive(Deserialize)]
struct CommandQuery {
    #[serde(default)]
    coupling: u64,
    /// Counts the requests of the coupling.
    #[serde(default)]
    number: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventQuery {
    subagent_run_id: RunId,
    after: EventId,
    /// The Director's coupling. Earlier versions do not send it.
    coupling: Option<u64>,
    heartbeat: Option<f64>,
    /// Seconds between two chunks of a strong flow.
    pace: Option<f64>,
    /// Whether the Director understands events about what holds up a job. A Director of an earlier version does not.
    #[serde(default)]
    holds: bool,
}

/// The routes of a Subagent: also those of a Director's own, for the other Director.
pub fn router(subagent: Subagent, gate: &Gate) -> Router {
    let routes = Router::new()
        .route("/subagent/api", get(overview))
        .route("/subagent/api/command", post(command))
        .route("/subagent/api/event", get(events))
        .with_state(subagent);
    let gate = gate.clone();
    guard(routes, BodyLimit(COMMAND_LIMIT)).layer(axum::middleware::from_fn(
        move |request, next| gate.clone().check(request, next),
    ))
}

/// A problem of the model as one of the wire.
pub(crate) fn problem_response(problem: model::Problem) -> Response {
    let mut wire = match problem.code {
        Some(code) => net::Problem::new(code, problem.message),
        None => net::Problem::uncoded(problem.message),
    };
    for (name, value) in problem.arguments {
        wire = wire.with(&name, value);
    }
    wire.into_response()
}

async fn overview(State(subagent): State<Subagent>) -> Response {
    let (id, agent) = subagent.owner().unzip();
    let platform = crate::platform_info();
    let director = subagent.director().map(|director| {
        serde_json::json!({
            "coupling": director.coupling,
            "heardAt": director.heard_at,
            "silence": model::Seconds(director.silence),
            "leaseEndsAt": director.lease_ends_at,
            "isLost": director.is_lost,
        })
    });
    Json(serde_json::json!({
        "TYPE": "SubagentOverview",
        "subagentId": id,
        "agentPath": agent,
        "subagentRunId": subagent.run_id(),
        "version": platform.version,
        "hostname": platform.hostname,
        "processCount": subagent.running(),
        "director": director,
    }))
    .into_response()
}

async fn command(
    State(subagent): State<Subagent>,
    Extension(peer): Extension<PeerIdentity>,
    Query(query): Query<CommandQuery>,
    JsonBody(mut command): JsonBody<SubagentCommand>,
) -> Response {
    if let SubagentCommand::DedicateSubagent {
        from: Some(from), ..
    } = &mut command
    {
        *from = placed(from, &peer);
    }
    match subagent.command(query.coupling, query.number, command) {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => problem_response(problem),
    }
}

async fn events(
    State(subagent): State<Subagent>,
    Query(query): Query<EventQuery>,
    closing: Option<Extension<Closing>>,
) -> Response {
    let run_id = query.subagent_run_id;
    // A foreign life or a lost place is answered with a status, not with a stream that ends.
    if let Err(problem) = subagent.check_place(&run_id, query.after) {
        return problem_response(problem);
    }
    let distances = seconds("pace", query.pace)
        .and_then(|pace| Ok((pace, heartbeat("heartbeat", query.heartbeat)?)));
    let (distance, heartbeat) = match distances {
        Ok(distances) => distances,
        Err(refusal) => return refusal.into_response(),
    };
    let opened = query
        .coupling
        .map(|coupling| subagent.open_stream(coupling));
    let pace = pace(distance.unwrap_or_default());
    let holds = query.holds;
    // Told with each sign of life and, while events flow instead, with them.
    let meter = Arc::new(Mutex::new(Meter::default()));
    let busy = meter.clone();
    let source = futures::stream::unfold(
        (subagent, run_id, query.after, pace, busy),
        move |(subagent, run_id, after, mut pace, meter)| async move {
            sleep_until(pace.next()).await;
            let events = subagent.events(&run_id, after).await.ok()?;
            let last = events.last()?.event_id;
            let mut lines = Vec::new();
            for event in &events {
                if !holds && matches!(event.event, SubagentEvent::OrderProcessingHeld { .. }) {
                    continue;
                }
                serde_json::to_writer(&mut lines, &**event).ok()?;
                lines.push(b'\n');
            }
            if lines.is_empty() {
                lines.push(b'\n');
            }
            if let Some(metering) = lock(&meter).measure_if_due() {
                lines.extend_from_slice(metering.to_line().as_bytes());
            }
            pace.sent(events.len(), Instant::now());
            Some((Bytes::from(lines), (subagent, run_id, last, pace, meter)))
        },
    );
    let beat = move || {
        let metering = lock(&meter).measure_if_due();
        metering.map_or(Bytes::from_static(b"\n"), |metering| {
            metering.to_line().into()
        })
    };
    let response = stream_response_saying(source, heartbeat, beat, closing.as_deref());
    match opened {
        Some(opened) => stream_until(response, Closing(CancellationToken::new()), opened),
        None => response,
    }
}

fn lock(meter: &Mutex<Meter>) -> std::sync::MutexGuard<'_, Meter> {
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}
