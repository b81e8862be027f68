//! What a member of a cluster answers before the node itself does: who is active, and the other members' connections.
//!
//! Always: only the member that is active, and was heard by a majority just now, lets a request through to the node; every
//! other one says who is active.

use crate::members::{MEMBERS, Trusted};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cluster::{Log, Part, Role};
use model::ClusterState;
use net::{PeerIdentity, Problem, Refusal, upgrade};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};
use tower_service::Service as _;

/// One life of a member towards the outside.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    log: Log,
    /// What it is that the members keep: `Controller`, `Agent`.
    what: &'static str,
    trusted: Trusted,
    /// The node, while this member is active.
    active: RwLock<Option<Router>>,
    /// How the cluster stood when this member last knew.
    state: RwLock<ClusterState>,
}

impl Front {
    /// Nobody is let through yet.
    pub fn new(log: Log, what: &'static str, trusted: Trusted) -> Front {
        Front(Arc::new(Inner {
            log,
            what,
            trusted,
            active: RwLock::default(),
            state: RwLock::default(),
        }))
    }

    /// Requests go to the node from now on.
    pub fn open(&self, node: Router) {
        *self
            .0
            .active
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(node);
    }

    /// They do no longer.
    pub fn close(&self) {
        *self
            .0
            .active
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How the cluster stands by now.
    pub fn tell(&self, state: &ClusterState) {
        let mut known = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        if *known != *state {
            known.clone_from(state);
        }
    }

    /// The members' language at `members_path`, and everything else for the node.
    pub fn router(&self, members_path: &str) -> Router {
        Router::new()
            .route(members_path, get(member))
            .fallback(pass_on)
            .with_state(self.clone())
    }

    fn state(&self) -> ClusterState {
        self.0
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How the cluster stands, as this member sees it.
    pub fn report(&self) -> Value {
        let log = &self.0.log;
        let status = log.status();
        let leadership = *log.leadership().borrow();
        let (voters, learners) = log.members();
        let others: Vec<_> = log
            .peers()
            .into_iter()
            .map(|peer| {
                json!({
                    "id": peer.hello.name,
                    "isWatch": peer.hello.part == Part::Watch,
                    "isConnected": peer.is_connected,
                    "isInSync": !peer.is_lost,
                    "hasVote": voters.contains(&peer.hello.member),
                    "isLearning": learners.contains(&peer.hello.member),
                    "silentFor": peer.silent_for.as_secs_f64(),
                })
            })
            .collect();
        let mut told = serde_json::to_value(self.state()).unwrap_or_default();
        told["nodeId"] = json!(log.me().name);
        told["isActive"] = json!(leadership.role == Role::Active);
        told["role"] = json!(leadership.role);
        told["epoch"] = json!(leadership.term);
        told["mayAnswer"] = json!(log.may_answer());
        told["lastEventId"] = json!(status.last_event_id);
        told["committedEventId"] = json!(status.committed_event_id);
        told["others"] = json!(others);
        told["ifTheActiveMemberFailed"] = json!(what_if(log));
        told
    }
}

async fn pass_on(State(front): State<Front>, request: Request) -> Response {
    let node = front
        .0
        .active
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match node {
        Some(mut node) if front.0.log.may_answer() => match node.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        _ => not_active(&front).into_response(),
    }
}

fn not_active(front: &Front) -> Refusal {
    let (me, what) = (&front.0.log.me().name, front.0.what);
    let state = front.state();
    let active = state
        .setting()
        .filter(|setting| setting.active_id.as_str() != me)
        .and_then(|setting| setting.id_to_uri.get_key_value(&setting.active_id));
    let message = match active {
        Some((id, uri)) => format!(
            "{me} is not the active member of this {what}'s cluster; {id} was last, at {uri}"
        ),
        None => format!(
            "{me} is not the active member of this {what}'s cluster; try again, or ask another member"
        ),
    };
    let mut problem = Problem::new("ClusterNodeIsNotActive", message);
    if let Some((_, uri)) = active {
        problem = problem.with("activeUri", uri.to_string());
    }
    problem.status(StatusCode::SERVICE_UNAVAILABLE)
}

/// What would happen if the active member failed now.
fn what_if(log: &Log) -> &'static str {
    let peers = log.peers();
    let connected = |part| {
        peers
            .iter()
            .any(|peer| peer.hello.part == part && peer.is_connected)
    };
    if log.leadership().borrow().role != Role::Active {
        return "ask the active member";
    }
    if log.members().0.len() < 2 {
        return "nobody follows: there is no other member";
    }
    let in_sync = peers
        .iter()
        .any(|peer| peer.hello.part == Part::Data && !peer.is_lost);
    match (in_sync, connected(Part::Watch)) {
        (true, true) => "the other member follows",
        (true, false) => "nobody follows: the watch is missing",
        (false, _) => "nobody follows: the other member lacks events",
    }
}

/// Another member, or the watch, wants to speak.
async fn member(State(front): State<Front>, mut request: Request) -> Response {
    let peer = request.extensions().get::<PeerIdentity>();
    if let Err(refusal) = front.0.trusted.check(peer, request.headers()) {
        return refusal.into_response();
    }
    let log = front.0.log.clone();
    upgrade(&mut request, MEMBERS, async move |stream| {
        drop(log.serve(stream).await);
    })
}
