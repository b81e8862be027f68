//! An Agent over HTTP: its Controller's commands and the stream of its events.

use crate::machine::{AgentMachine, Input, Reply};
use crate::streams::{HEARTBEAT_MAX, Streams};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use cluster::Log;
use model::{AgentAnswer, AgentCommand, EventId, Problem, RunId, UserId};
use net::{BodyLimit, Closing, JsonBody, PeerIdentity, Query, Refusal, guard};
use node::events::{EventQuery, event_stream};
use node::members::{AGENT_MEMBERS_PATH, AGENT_WITNESS_PATH};
use node::{Front, Handle, Kept, Stopped};
use std::sync::Arc;
use subagent_node::{Gate, Subagent};
use tokio::sync::{mpsc, oneshot};

/// The largest batch of commands: orders carry their arguments.
const COMMAND_LIMIT: usize = model::bounds::COMMAND_BYTES_MAX;

/// What a command asks of the process.
#[derive(Debug)]
pub(crate) enum Wish {
    ShutDown(ShutDownWish),
    /// To forget everything and begin anew; told when it is forgotten.
    Reset(oneshot::Sender<()>),
}

/// How it is to end.
#[derive(Clone, Debug)]
pub(crate) struct ShutDownWish {
    pub(crate) process_signal: Option<Arc<str>>,
    pub(crate) restart: bool,
    pub(crate) suppress_snapshot: bool,
}

impl Default for ShutDownWish {
    fn default() -> ShutDownWish {
        ShutDownWish {
            process_signal: Some("SIGTERM".into()),
            restart: false,
            suppress_snapshot: false,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) name: Arc<str>,
    pub(crate) handle: Handle<AgentMachine>,
    pub(crate) log: Log,
    pub(crate) front: Front,
    pub(crate) local: Subagent,
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) streams: Streams,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandQuery {
    /// The number that the Controller was given when it coupled.
    coupling: Option<u64>,
}

pub(crate) fn router(api: Api, gate: &Gate) -> Router {
    let routes = Router::new()
        .route("/agent/api", get(overview))
        .route("/agent/api/command", post(command))
        .route("/agent/api/event", get(events))
        .route("/agent/api/event/{coupling}", get(events_of_coupling))
        .route("/metrics", get(metrics))
        .route("/agent/api/metrics", get(metrics))
        .with_state(api);
    gated(guard(routes, BodyLimit(COMMAND_LIMIT)), gate)
}

/// What a Director answers whether it is the active one or not.
pub(crate) fn front(front: &Front, gate: &Gate) -> Router {
    let cluster = Router::new()
        .route("/agent/api/cluster", get(cluster))
        .route("/metrics", get(metrics_of_any))
        .route("/agent/api/metrics", get(metrics_of_any))
        .with_state(front.clone());
    gated(cluster, gate)
        .merge(front.health())
        .merge(front.router(&[AGENT_MEMBERS_PATH, AGENT_WITNESS_PATH]))
}

/// For those only whom the gate lets in.
pub(crate) fn gated(routes: Router, gate: &Gate) -> Router {
    let gate = gate.clone();
    routes.layer(axum::middleware::from_fn(move |request, next| {
        gate.clone().check(request, next)
    }))
}

/// Returns the Agent's metrics on the active Director, and the member's own metrics on the other one.
async fn metrics_of_any(State(front): State<Front>, request: Request) -> Response {
    let answered = front.pass(request).await;
    answered.unwrap_or_else(|_not_active| node::page_response(front.page()))
}

async fn cluster(State(front): State<Front>) -> Response {
    Json(front.report()).into_response()
}

fn is_going(stopped: Stopped) -> Response {
    stopped.refusal(Kept::Agent).into_response()
}

async fn overview(State(api): State<Api>) -> Response {
    let look = api
        .handle
        .read(|machine| {
            let state = &machine.state;
            (
                state.meta().cloned(),
                state.engine.order_count(),
                state.running(),
                state.waiting(),
            )
        })
        .await;
    let (meta, orders, running, waiting) = match look {
        Ok(look) => look,
        Err(stopped) => return is_going(stopped),
    };
    let platform = subagent_node::platform_info();
    Json(serde_json::json!({
        "TYPE": "AgentOverview",
        "name": &*api.name,
        "version": platform.version,
        "hostname": platform.hostname,
        "agentPath": meta.as_ref().map(|meta| &meta.agent_path),
        "controllerId": meta.as_ref().map(|meta| &meta.controller_id),
        "agentRunId": meta.as_ref().map(|meta| &meta.agent_run_id),
        "orderCount": orders,
        "processCount": running,
        "waitingForProcess": waiting,
        "localProcessCount": api.local.running(),
        "journal": api.log.status(),
    }))
    .into_response()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other commands are the machine's"
)]
async fn command(
    State(api): State<Api>,
    Extension(peer): Extension<PeerIdentity>,
    Query(query): Query<CommandQuery>,
    JsonBody(command): JsonBody<AgentCommand>,
) -> Response {
    // Which receiver confirms events: the Controller, by the name in its certificate if it has one.
    let user = UserId::new(
        peer.common_name
            .clone()
            .unwrap_or_else(|| "controller".into()),
    );
    match with_place(command, &peer) {
        AgentCommand::TakeSnapshot => match api.handle.take_snapshot().await {
            Ok(Ok(())) => Json(AgentAnswer::Accepted).into_response(),
            Ok(Err(message)) => {
                Json(AgentAnswer::from(Problem::new("SnapshotFailed", message))).into_response()
            }
            Err(stopped) => is_going(stopped),
        },
        AgentCommand::ShutDown {
            process_signal,
            restart,
            suppress_snapshot,
        } => {
            let wish = ShutDownWish {
                process_signal,
                restart,
                suppress_snapshot,
            };
            // A second wish while the first is being followed changes nothing.
            let _already = api.wishes.try_send(Wish::ShutDown(wish));
            Json(AgentAnswer::Accepted).into_response()
        }
        AgentCommand::ClusterSwitchOver => {
            match node::pair::switch_over(&api.handle, &api.log).await {
                Ok(()) => Json(AgentAnswer::Accepted).into_response(),
                Err(problem) => Json(AgentAnswer::from(problem)).into_response(),
            }
        }
        AgentCommand::Reset { agent_run_id } => reset(&api, agent_run_id).await,
        command => {
            let torn = EventId(api.log.torn_event_id());
            match api
                .handle
                .ask(Input::Command {
                    user,
                    command,
                    torn,
                    coupling: query.coupling,
                    connected: api.streams.connected(),
                })
                .await
            {
                Ok(Reply::Answer(answer)) => {
                    if let AgentAnswer::Coupled { coupling, .. } = &answer {
                        api.streams.coupled(*coupling);
                    }
                    Json(answer).into_response()
                }
                Ok(Reply::Done) => Json(AgentAnswer::Accepted).into_response(),
                Err(stopped) => is_going(stopped),
            }
        }
    }
}

/// Adds the address that the Controller's connection comes from, unless the command already names this address.
fn with_place(mut command: AgentCommand, peer: &PeerIdentity) -> AgentCommand {
    if let AgentCommand::CoupleController {
        from: Some(from), ..
    }
    | AgentCommand::DedicateAgentDirector {
        from: Some(from), ..
    } = &mut command
    {
        *from = subagent_node::placed(from, peer);
    }
    command
}

/// Answers when everything is forgotten. Whoever does not hear the answer asks again, and finds it done.
async fn reset(api: &Api, asked: Option<RunId>) -> Response {
    if api.log.members().0.len() > 1 {
        let message = "this Agent has two Directors, which are reset one after the other; let the Controller do it (ResetAgent)";
        return Json(AgentAnswer::from(Problem::new("AgentIsPair", message))).into_response();
    }
    let judged = api
        .handle
        .read(move |machine| machine.state.judge_reset(asked.as_ref()))
        .await;
    match judged {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Json(AgentAnswer::Accepted).into_response(),
        Ok(Err(problem)) => return Json(AgentAnswer::from(problem)).into_response(),
        Err(stopped) => return is_going(stopped),
    }
    let (forgotten, answer) = oneshot::channel();
    // There is room unless another wish is being followed.
    let _refused = api.wishes.try_send(Wish::Reset(forgotten));
    match answer.await {
        Ok(()) => Json(AgentAnswer::Accepted).into_response(),
        Err(_gone) => is_going(Stopped::ShutDown),
    }
}

async fn events(
    State(api): State<Api>,
    Query(query): Query<EventQuery>,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Refusal> {
    event_stream(&api.log, &query, closing.as_deref(), None).await
}

/// Returns the event stream of the Controller that was coupled under this number. As long as the stream is open, the Controller counts as
/// connected.
async fn events_of_coupling(
    State(api): State<Api>,
    Path(coupling): Path<u64>,
    Query(mut query): Query<EventQuery>,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Refusal> {
    let newest = api.handle.read(AgentMachine::coupling).await;
    let newest = newest.map_err(|stopped| stopped.refusal(Kept::Agent))?;
    let opened = (newest == coupling)
        .then(|| api.streams.open(coupling))
        .flatten();
    let Some(opened) = opened else {
        let message = "the Controller has coupled anew since it asked for these events";
        return Err(net::Problem::new("AgentNotCoupled", message).into());
    };
    let longest = HEARTBEAT_MAX.as_secs_f64();
    query.heartbeat = Some(
        query
            .heartbeat
            .map_or(longest, |wanted| wanted.min(longest)),
    );
    let ends = Closing(opened.superseded.clone());
    let response = event_stream(&api.log, &query, closing.as_deref(), None).await?;
    Ok(net::stream_until(response, ends, opened))
}

async fn metrics(State(api): State<Api>) -> Response {
    let name = api.name.clone();
    let looked = api
        .handle
        .read(move |machine| crate::metrics::page(&name, machine))
        .await;
    match looked {
        Ok(mut page) => {
            api.front.put_figures(&mut page);
            api.handle.put_progress(&mut page);
            node::page_response(page)
        }
        Err(stopped) => is_going(stopped),
    }
}
