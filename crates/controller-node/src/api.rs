//! The Controller over HTTP (`engine.md` 6.3), and what our own commands need besides.
//!
//! Always: authorised before anything is read; a refusal is a problem in JSON with its status. Never here: rules; a handler
//! extracts, asks the commit loop and writes down the answer.

mod agent;
mod command;
mod item;
mod order;
mod order_log;
mod overview;
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
use model::ControllerAnswer;
use net::{BodyLimit, Closing, Query, Refusal, guard};
use node::events::{EventQuery, event_stream};
use node::{End, Handle, Kept, Stopped};
use std::sync::Arc;
use telemetry::Metrics;
use tokio::sync::mpsc;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) handle: Handle<ControllerMachine>,
    pub(crate) log: Log,
    pub(crate) users: Arc<Users>,
    pub(crate) started_at: model::Timestamp,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) dialling: Dialling,
    pub(crate) shut_down: mpsc::Sender<End>,
}

impl AsRef<Users> for Api {
    fn as_ref(&self) -> &Users {
        &self.0.users
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
            post(session::session).get(session::list),
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
    if let ControllerAnswer::Problem {
        code,
        message,
        arguments,
    } = answer
    {
        return Err(refusal(model::Problem {
            code,
            message,
            arguments,
        }));
    }
    Ok(answer)
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
    event_stream(&api.0.log, &query, Some(&closing)).await
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
    let page = crate::metrics::page(&machine, &api.0.log.status(), failed_logins);
    Ok(node::page_response(page, api.0.metrics.as_ref()))
}
