//! The third vote of a pair: it dials the members and keeps which events there are, and none of them.
//!
//! Always: a vote of the watch is on its disk before any member learns of it, so the watch may fail at any time, even together with all
//! other members. A watch with a damaged directory begins with an empty one. It has another number then: its vote counts only after the
//! members have taken it in, and it cannot vote a second time under the former number. Never here: the decision, which consensus makes.

use crate::Fault;
use crate::front::{process_advice, put_members};
use crate::members::{Dialled, Trusted};
use crate::repair::is_damaged;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use cluster::{AppendError, Log, OpenError, Options, Part};
use net::{Client, PeerIdentity, Refusal};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{Page, names};

/// It keeps no events: small files are enough.
const SEGMENT_BYTES: u64 = 1 << 20;
/// The members are looked at so often at most.
const LOOK: Duration = Duration::from_millis(500);
/// How often the beginning of its log is let go.
const TIDY: Duration = Duration::from_secs(30);

/// A vote that is being given. It must be shut down.
pub struct Vote {
    log: Log,
    dialled: Dialled,
}

impl Vote {
    /// Takes part in the cluster of `identity` under the name `id`, remembered in `dir`. The members are dialled at `path`.
    pub async fn open(
        dir: &Path,
        identity: &str,
        id: &str,
        members: Vec<Client>,
        path: &'static str,
    ) -> Result<Vote, OpenError> {
        let mut options = Options::new(dir.to_owned(), identity.to_owned());
        options.segment_bytes = SEGMENT_BYTES;
        id.clone_into(&mut options.name);
        options.part = Part::Watch;
        options.joins = true;
        let opened = match Log::open(options.clone()).await {
            Err(error) if is_damaged(&error) => {
                tracing::error!(%error, "the directory of this watch is damaged: the members take it in again, with an empty directory");
                cluster::set_aside(dir).map_err(|set_aside| {
                    tracing::error!(error = %set_aside, "the damaged directory cannot be set aside: give this watch an empty one");
                    error
                })?;
                Log::open(options).await?
            }
            opened => opened?,
        };
        let log = opened.log;
        let dialled = Dialled::begin(&log, &members, path);
        Ok(Vote { log, dialled })
    }

    /// What it knows of the cluster.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the routes of this watch: `/health` for every caller, `/metrics` for trusted ones.
    pub fn routes(&self, name: &str, trusted: Trusted) -> Router {
        let watch = Watch {
            log: self.log.clone(),
            name: name.into(),
            trusted,
        };
        Router::new()
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .with_state(watch)
    }

    /// Votes until the disk fails. Returns [`Fault::Damaged`] if the directory is damaged and the members can spare this watch.
    pub async fn give(&self) -> Fault {
        let fault = self.log.fault();
        let mut fault = std::pin::pin!(fault);
        let mut peers = self.log.peers_changed();
        let mut is_told = false;
        loop {
            let was_removed = self.log.was_removed();
            if was_removed && !is_told {
                tracing::warn!(
                    "the members have removed this watch: its vote counts no more, until it is taken in again"
                );
            }
            is_told = was_removed;
            if self.log.may_learn_anew() {
                return Fault::Damaged;
            }
            tokio::select! {
                changed = peers.changed() => if changed.is_ok() { tokio::time::sleep(LOOK).await },
                () = tokio::time::sleep(TIDY) => self.log.tidy_watch().await,
                reason = &mut fault => return Fault::Log(AppendError::Stopped { reason }),
            }
        }
    }

    /// Ends in order.
    pub async fn shut_down(self) {
        drop(self.dialled);
        self.log.shutdown().await;
    }
}

#[derive(Clone)]
struct Watch {
    log: Log,
    name: Arc<str>,
    trusted: Trusted,
}

async fn health(State(watch): State<Watch>) -> Json<Value> {
    let mut told = json!({"role": "watch"});
    let stuck = watch.log.disk_is_stuck().map(|stuck| {
        let stuck = stuck.as_secs();
        format!("a write has not come back from the disk for {stuck} s: look at the disk and what is between")
    });
    let removed = watch.log.was_removed().then(|| {
        "the members have removed this watch: its vote counts no more, until it is taken in again".to_owned()
    });
    if let Some(advice) = stuck.or(removed).or_else(process_advice) {
        told["advice"] = json!(advice);
    }
    Json(told)
}

async fn metrics(State(watch): State<Watch>, request: Request) -> Result<Response, Refusal> {
    let peer = request.extensions().get::<PeerIdentity>();
    watch.trusted.check(peer, request.headers())?;
    let mut page = Page::new(&watch.name);
    page.put(names::ROLE, &[("role", "watch")], 1);
    put_members(&mut page, &watch.log);
    crate::journal_figures(&mut page, &watch.log.status());
    Ok(crate::page_response(page))
}
