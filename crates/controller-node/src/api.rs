//! The Controller over HTTP (`engine.md` 6.3), and what our own commands need besides.
//!
//! Always: authorised before anything is read; a refusal is a problem in JSON with its status. Never here: rules; a handler
//! extracts, asks the commit loop and writes down the answer.

mod agent;
mod body;
mod command;
mod item;
mod order;
mod order_log;
mod overview;
mod page;
mod session;
mod snapshot;

use crate::drivers::Dialling;
use crate::machine::ControllerMachine;
use crate::permission::Route;
use crate::users::{User, Users};
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use cluster::Log;
use model::{Cause, ControllerAnswer};
use net::{BodyLimit, Closing, Query, Quota, Refusal, guard};
use node::events::{EventQuery, event_stream};
use node::{End, Front, Handle, Kept, Stopped};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) handle: Handle<ControllerMachine>,
    pub(crate) log: Log,
    pub(crate) front: Front,
    pub(crate) users: Arc<Users>,
    pub(crate) started_at: model::Timestamp,
    pub(crate) dialling: Dialling,
    pub(crate) shut_down: mpsc::Sender<End>,
    pub(crate) quotas: Quotas,
}

/// What all users share. Each user has a bound, so that none takes everything.
pub(crate) struct Quotas {
    /// Event streams. Each keeps a connection and the batch that its reader has not taken yet.
    event_streams: Quota,
    /// Snapshot streams. Each keeps the state of the moment at which it began.
    snapshots: Quota,
    /// Answers that read many orders or the log.
    searches: Quota,
    /// Batches of commands.
    batches: Quota,
    /// Large bodies that are being parsed, or whose requests are being executed.
    large_bodies: Quota,
}

/// How long a request waits while other requests of its kind are answered.
const TURN: Duration = Duration::from_secs(10);

impl Quotas {
    pub(crate) fn new(event_streams: usize, snapshots: usize) -> Quotas {
        Quotas {
            event_streams: Quota::quarters("event streams", event_streams),
            snapshots: Quota::quarters("snapshot streams", snapshots),
            searches: Quota::quarters("lists and searches at once", 16),
            batches: Quota::quarters("batches of commands at once", 8),
            large_bodies: Quota::new("large requests at once", 4, 2),
        }
    }
}

impl AsRef<Users> for Api {
    fn as_ref(&self) -> &Users {
        &self.0.users
    }
}

/// Maximum size of a login in bytes. Its sender is not authenticated yet.
const LOGIN_LIMIT: usize = 64 << 10;

/// The query parameters of a request that changes something.
#[derive(serde::Deserialize)]
pub(crate) struct ChangeQuery {
    /// The reason for the change. Its events carry the reason and the user.
    reason: Option<String>,
}

/// Maximum length of a reason, in characters.
const REASON_MAX: usize = 1000;

impl ChangeQuery {
    fn cause(self, user: &User) -> Result<Arc<Cause>, Refusal> {
        let length = self
            .reason
            .as_ref()
            .map_or(0, |reason| reason.chars().count());
        if length > REASON_MAX {
            let message = format!("reason: it has {length} characters, {REASON_MAX} are allowed");
            return Err(net::Problem::new("InvalidParameter", message).into());
        }
        let reason = self.reason.filter(|reason| !reason.is_empty());
        Ok(Arc::new(Cause {
            user: user.id.clone(),
            reason: reason.map(Into::into),
        }))
    }
}

/// The bounds of bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) command: usize,
    pub(crate) stream: usize,
}

pub(crate) fn router(api: Api, limits: BodyLimits) -> Router {
    // Bodies of items and orders may be greater than commands; the limit nearest to the handler counts.
    let wide = || Extension(BodyLimit(limits.stream));
    let routes = Router::new()
        .route("/controller/api", get(overview::overview))
        .route("/controller/api/command", post(command::command))
        .route(
            "/controller/api/session",
            post(session::session)
                .get(session::list)
                .layer(Extension(BodyLimit(LOGIN_LIMIT))),
        )
        .route(
            "/controller/api/item",
            get(item::list).post(item::change).layer(wide()),
        )
        .route(
            "/controller/api/order",
            get(order::list).post(order::add).layer(wide()),
        )
        .route(
            "/controller/api/order/DeleteOrdersWhenTerminated",
            post(order::delete_when_terminated).layer(wide()),
        )
        .route("/controller/api/item/{*key}", get(item::single))
        .route("/controller/api/order/{id}", get(order::single))
        .route("/controller/api/order/{id}/log", get(order_log::log))
        .route("/controller/api/agent", get(agent::list))
        .route("/controller/api/event", get(events))
        .route("/controller/api/snapshot", get(snapshot::snapshot))
        .route("/controller/api/journalInfo", get(snapshot::journal_info))
        .route("/metrics", get(metrics))
        .with_state(api);
    guard(routes, BodyLimit(limits.command))
}

/// The loop takes nothing any more.
fn stopped(stopped: Stopped) -> Refusal {
    stopped.refusal(Kept::Controller)
}

/// An answer, unless it is a refusal.
fn granted(answer: ControllerAnswer) -> Result<ControllerAnswer, Refusal> {
    answer.into_result().map_err(refusal)
}

/// A refusal of the machine as an answer over HTTP.
fn refusal(problem: model::Problem) -> Refusal {
    let model::Problem {
        code,
        message,
        arguments,
    } = problem;
    net::Problem {
        code: code.map(Into::into),
        message,
        arguments,
    }
    .into()
}

async fn events(
    State(api): State<Api>,
    user: User,
    Query(query): Query<EventQuery>,
    closing: Closing,
) -> Result<Response, Refusal> {
    user.may_use(Route::Event)?;
    let share = api.0.quotas.event_streams.take(&user.caller(), 1)?;
    event_stream(&api.0.log, &query, Some(&closing), Some(share)).await
}

async fn metrics(State(api): State<Api>, user: User) -> Result<Response, Refusal> {
    user.may_use(Route::Metrics)?;
    let machine = api
        .0
        .handle
        .read(ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    let failed_logins = api
        .0
        .users
        .failed_logins
        .load(std::sync::atomic::Ordering::Relaxed);
    let mut page = crate::metrics::page(&machine, &api.0.front, failed_logins);
    api.0.handle.put_progress(&mut page);
    Ok(node::page_response(page))
}
