//! What a member of a cluster answers before the node itself does: who is active, and the other members' connections.
//!
//! Always: only the member that is active, and was heard by a majority just now, lets a request through to the node; every
//! other one says who is active.

use crate::Kept;
use crate::clock::{Clock as _, SystemClock};
use crate::members::{MEMBERS, Trusted};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cluster::{Log, Part, Role};
use model::{ClusterSetting, ClusterState, Timestamp};
use net::{PeerIdentity, Problem, Refusal, upgrade};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};
use tower_service::Service as _;

/// One life of a member towards the outside.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    log: Log,
    what: Kept,
    trusted: Trusted,
    /// The node, while this member is active.
    active: RwLock<Option<Router>>,
    /// How the cluster stood when this member last knew.
    state: RwLock<ClusterState>,
    /// Since when the node is open.
    active_since: RwLock<Option<Timestamp>>,
}

/// What a member is to whoever looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It answers.
    Active,
    /// It follows the active one.
    Standby,
    /// Its directory is empty, or it learns the log: it waits to be taken in.
    Joining,
    /// Nobody is known to be active, or this one is becoming so.
    Starting,
    /// The others go on without it. It never becomes active, until it is taken in again.
    Removed,
}

impl Front {
    /// Nobody is let through yet.
    pub fn new(log: Log, what: Kept, trusted: Trusted) -> Front {
        Front(Arc::new(Inner {
            log,
            what,
            trusted,
            active: RwLock::default(),
            state: RwLock::default(),
            active_since: RwLock::default(),
        }))
    }

    /// Requests go to the node from now on.
    pub fn open(&self, node: Router) {
        let mut since = self
            .0
            .active_since
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *since = Some(SystemClock.now());
        drop(since);
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

    /// How this member fares: public, and for those who pass requests on.
    pub fn health(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/health/active", get(health_active))
            .with_state(self.clone())
    }

    /// Requests go through to the node at this moment.
    fn is_open(&self) -> bool {
        let active = self.0.active.read();
        active.unwrap_or_else(PoisonError::into_inner).is_some() && self.0.log.may_answer()
    }

    /// What this member is.
    pub fn standing(&self) -> Standing {
        let log = &self.0.log;
        if self.is_open() {
            return Standing::Active;
        }
        let status = log.status();
        let state = self.state();
        let me = log.me().name.as_str();
        let is_appointed =
            |setting: &ClusterSetting| setting.id_to_uri.keys().any(|id| id.as_str() == me);
        let (voters, learners) = log.members();
        match status.role {
            _ if log.was_removed() => Standing::Removed,
            _ if learners.contains(&log.me().member) => Standing::Joining,
            Role::Standby | Role::Electing if voters.is_empty() => Standing::Joining,
            Role::Standby if state.setting().is_some_and(is_appointed) => Standing::Standby,
            Role::Active | Role::Standby | Role::Electing | Role::Stopped => Standing::Starting,
        }
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
        let newest = log.newest_entry().unwrap_or_default();
        let state = self.state();
        let others: Vec<_> = log
            .peers()
            .into_iter()
            .map(|peer| {
                json!({
                    "id": peer.hello.name,
                    "isWatch": peer.hello.part == Part::Watch,
                    "isConnected": peer.is_connected,
                    "isInSync": !peer.is_lost,
                    // Only the active member waits for anybody.
                    "isSlow": peer.is_slow && leadership.role == Role::Active,
                    "hasVote": voters.contains(&peer.hello.member),
                    "isLearning": learners.contains(&peer.hello.member),
                    "silentFor": peer.silent_for.as_secs_f64(),
                    "url": peer.hello.url,
                    // Only the active member hears what the others have got.
                    "batchesBehind": (leadership.role == Role::Active)
                        .then(|| newest.saturating_sub(peer.acknowledged.unwrap_or_default())),
                })
            })
            .collect();
        let since = self.0.active_since.read();
        let since = *since.unwrap_or_else(PoisonError::into_inner);
        let mut told = serde_json::to_value(state).unwrap_or_default();
        told["standing"] = json!(self.standing());
        told["activeSince"] = json!(since.filter(|_| leadership.role == Role::Active));
        told["nodeId"] = json!(log.me().name);
        told["isActive"] = json!(leadership.role == Role::Active);
        told["role"] = json!(leadership.role);
        told["epoch"] = json!(leadership.term);
        told["mayAnswer"] = json!(self.is_open());
        told["lastEventId"] = json!(status.last_event_id);
        told["committedEventId"] = json!(status.committed_event_id);
        told["others"] = json!(others);
        told["ifTheActiveMemberFailed"] = json!(what_if(log));
        told
    }
}

/// The process lives; whatever it is, it need not be started again.
async fn health(State(front): State<Front>) -> Json<Value> {
    Json(json!({"role": front.standing()}))
}

/// For whoever passes requests on: here they are answered, or not.
async fn health_active(State(front): State<Front>) -> Response {
    let standing = front.standing();
    let status = if standing == Standing::Active {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"role": standing}))).into_response()
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
        _ if front.standing() == Standing::Removed => format!(
            "{me} was removed from this {what}'s cluster; it never becomes active, until it is appointed again"
        ),
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
fn what_if(log: &Log) -> String {
    if log.leadership().borrow().role != Role::Active {
        return "ask the active member".to_owned();
    }
    let (voters, _) = log.members();
    if voters.len() < 2 {
        return "nobody follows: there is no other member".to_owned();
    }
    let peers = log.peers();
    let left = || {
        peers
            .iter()
            .filter(|peer| peer.is_connected && voters.contains(&peer.hello.member))
    };
    let able: Vec<&str> = left()
        .filter(|peer| peer.hello.part == Part::Data && !peer.is_lost)
        .map(|peer| peer.hello.name.as_str())
        .collect();
    let is_majority = left().count() * 2 > voters.len();
    let has_watch = left().any(|peer| peer.hello.part == Part::Watch);
    match able.as_slice() {
        [] => "nobody follows: no other member has every event".to_owned(),
        [_] if !is_majority && !has_watch => "nobody follows: the watch is missing".to_owned(),
        _ if !is_majority => "nobody follows: too many members are missing".to_owned(),
        able => format!("{} follows", able.join(" or ")),
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
