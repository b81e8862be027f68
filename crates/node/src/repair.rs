//! Opens the log of a member. If the log is damaged and another member has it, the log is set aside and learnt again.
//!
//! Always: a log is set aside only after another member has confirmed that it has this log. Only the oldest of the logs that were set aside
//! before is removed. Never here: the damaged log of a single node, which has no other member to learn from, and the directory of a watch,
//! which contains no events.

use crate::front::process_advice;
use crate::members::{MEMBERS, Trusted, join_if_begun};
use crate::standing::Standing;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cluster::{JournalError, Log, OpenError, Options};
use net::{Caller, Client, PeerIdentity, Problem, Refusal, Server, upgrade};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a member with a damaged log waits for the other members to connect. They dial again after five seconds at the latest.
const CALLED_WITHIN: Duration = Duration::from_secs(10);

/// Opens the log of this member. `others` are the members that it dials, at `path`.
pub async fn open_log(
    mut options: Options,
    others: &[Client],
    path: &'static str,
) -> Result<Log, OpenError> {
    join_if_begun(&mut options, others, path).await;
    let damage = match Log::open(options.clone()).await {
        Err(OpenError::Journal(JournalError::Damaged(damage))) => damage,
        other => return Ok(other?.log),
    };
    let dial = |client: &Client| {
        let client = client.clone();
        async move { client.upgrade(path, MEMBERS).await.ok() }
    };
    if !cluster::others_have(&options, others, dial).await {
        return Err(OpenError::Journal(JournalError::Damaged(damage)));
    }
    tracing::error!(%damage, "the log of this member is damaged; another member has it");
    set_aside(&options.dir);
    Ok(Log::open(options).await?.log)
}

/// Returns whether the log could not be opened because it is damaged.
pub fn is_damaged(error: &OpenError) -> bool {
    matches!(error, OpenError::Journal(JournalError::Damaged(_)))
}

/// Waits until a member that dials this one has confirmed that it has the log of this member, whose own log is `damaged`. Returns `false`
/// if none has done so within a few seconds, or if `stop` is cancelled.
///
/// The members that this one dials have already been asked by [`open_log`]. A member that dials no other depends on those that dial it.
pub async fn is_confirmed_by_caller(
    options: Options,
    damaged: &OpenError,
    server: Server,
    path: &'static str,
    trusted: Trusted,
    stop: &CancellationToken,
) -> bool {
    tracing::error!(
        error = %damaged,
        "the log of this member is damaged; it waits for another member that has the log to connect"
    );
    let confirmed = Arc::new(Notify::new());
    let waiting = Waiting(Arc::new(Inner {
        options,
        trusted,
        confirmed: Arc::clone(&confirmed),
    }));
    let routes = Router::new()
        .route(path, get(called))
        .route("/health", get(health))
        .fallback(not_open)
        .with_state(waiting);
    let close = CancellationToken::new();
    let serving = server.serve(routes, close.clone());
    let serving = tasks::spawn_until("web-server", close.clone(), serving);
    let is_confirmed = tokio::select! {
        confirmed = timeout(CALLED_WITHIN, confirmed.notified()) => confirmed.is_ok(),
        () = stop.cancelled() => false,
    };
    close.cancel();
    if let Err(error) = serving.await {
        tracing::error!(%error, "the web server ended badly");
    }
    is_confirmed
}

/// A member with a damaged log that waits for another member to connect.
#[derive(Clone)]
struct Waiting(Arc<Inner>);

struct Inner {
    options: Options,
    trusted: Trusted,
    confirmed: Arc<Notify>,
}

/// Handles a connection of another member or of a watch.
async fn called(State(waiting): State<Waiting>, mut request: Request) -> Response {
    let peer = request.extensions().get::<PeerIdentity>();
    let trusted = waiting.0.trusted.check(peer, request.headers());
    if let Err(refusal) = trusted.and_then(|()| Caller::Part.identify(request.extensions_mut())) {
        return refusal.into_response();
    }
    upgrade(&mut request, MEMBERS, async move |stream| {
        if cluster::caller_has(&waiting.0.options, stream).await {
            waiting.0.confirmed.notify_one();
        }
    })
}

const DAMAGED: &str =
    "the log of this member is damaged: it waits for another member that has the log to connect";

async fn health() -> Json<Value> {
    let advice = process_advice().unwrap_or_else(|| DAMAGED.to_owned());
    Json(json!({"role": Standing::Starting, "advice": advice}))
}

async fn not_open() -> Refusal {
    Problem::new("ClusterNodeIsNotActive", DAMAGED).status(StatusCode::SERVICE_UNAVAILABLE)
}

/// Sets aside the log that this member has closed. The next start joins the other members with an empty directory. Errors are only logged.
pub fn set_aside(dir: &Path) {
    match cluster::set_aside(dir) {
        Ok(aside) => tracing::warn!(
            aside = %aside.display(),
            "the damaged log is set aside for inspection; this member learns the log again from the others. Look at the disk"
        ),
        Err(error) => tracing::error!(
            dir = %dir.display(), %error,
            "the damaged log cannot be set aside: give this member an empty directory and let it join"
        ),
    }
}
