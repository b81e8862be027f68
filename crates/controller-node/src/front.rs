//! What a member of a cluster answers before the Controller itself does: who is active, and the other members' connections.
//!
//! Always: only the member that is active, and was heard by a majority just now, lets a request through to the Controller; every
//! other one says who is active.

use crate::permission::Route;
use crate::users::{User, Users};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cluster::{Log, Part, Role};
use model::ClusterState;
use net::{PeerIdentity, Presented, Problem, Refusal, TokenHash, upgrade};
use serde_json::json;
use std::sync::{Arc, PoisonError, RwLock};
use tower_service::Service as _;

/// The language of the members among themselves.
pub const MEMBERS: &str = "mainspring-members";
/// Where it is spoken.
pub const MEMBERS_PATH: &str = "/controller/api/cluster/member";

#[derive(Clone)]
pub(crate) struct Front(Arc<Inner>);

struct Inner {
    log: Log,
    users: Arc<Users>,
    token: Option<TokenHash>,
    /// The Controller, while this member is active.
    active: RwLock<Option<Router>>,
    /// How the cluster stood when this member last knew.
    state: RwLock<ClusterState>,
}

impl AsRef<Users> for Front {
    fn as_ref(&self) -> &Users {
        &self.0.users
    }
}

impl Front {
    pub(crate) fn new(log: Log, users: Arc<Users>, token: Option<TokenHash>) -> Front {
        Front(Arc::new(Inner {
            log,
            users,
            token,
            active: RwLock::default(),
            state: RwLock::default(),
        }))
    }

    /// Requests go to the Controller from now on.
    pub(crate) fn open(&self, controller: Router) {
        *self
            .0
            .active
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(controller);
    }

    /// They do no longer.
    pub(crate) fn close(&self) {
        *self
            .0
            .active
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn tell(&self, state: &ClusterState) {
        let mut known = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        if *known != *state {
            known.clone_from(state);
        }
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/health", get(|| async { "ok\n" }))
            .route("/controller/api/cluster", get(cluster_state))
            .route(MEMBERS_PATH, get(member))
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
}

async fn pass_on(State(front): State<Front>, request: Request) -> Response {
    let controller = front
        .0
        .active
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match controller {
        Some(mut controller) if front.0.log.may_answer() => match controller.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        _ => not_active(&front).into_response(),
    }
}

fn not_active(front: &Front) -> Refusal {
    let me = &front.0.log.me().name;
    let state = front.state();
    let active = state
        .setting()
        .filter(|setting| setting.active_id.as_str() != me)
        .and_then(|setting| setting.id_to_uri.get_key_value(&setting.active_id));
    let message = match active {
        Some((id, uri)) => format!(
            "{me} is not the active member of this Controller's cluster; {id} was last, at {uri}"
        ),
        None => format!(
            "{me} is not the active member of this Controller's cluster; try again, or ask another member"
        ),
    };
    let mut problem = Problem::new("ClusterNodeIsNotActive", message);
    if let Some((_, uri)) = active {
        problem = problem.with("activeUri", uri.to_string());
    }
    problem.status(StatusCode::SERVICE_UNAVAILABLE)
}

async fn cluster_state(
    State(front): State<Front>,
    user: User,
) -> Result<Json<serde_json::Value>, Refusal> {
    user.may_use(Route::Cluster)?;
    let log = &front.0.log;
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
    let mut told = serde_json::to_value(front.state()).unwrap_or_default();
    told["nodeId"] = json!(log.me().name);
    told["isActive"] = json!(leadership.role == Role::Active);
    told["role"] = json!(leadership.role);
    told["epoch"] = json!(leadership.term);
    told["mayAnswer"] = json!(log.may_answer());
    told["lastEventId"] = json!(status.last_event_id);
    told["committedEventId"] = json!(status.committed_event_id);
    told["others"] = json!(others);
    told["ifTheActiveMemberFailed"] = json!(what_if(log));
    Ok(Json(told))
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
    let by_certificate = request
        .extensions()
        .get::<PeerIdentity>()
        .is_some_and(|peer| peer.role == Some(net::Role::Controller));
    let presented = match Presented::from_headers(request.headers()) {
        Ok(presented) => presented,
        Err(refusal) => return refusal.into_response(),
    };
    let by_token = match (&presented, &front.0.token) {
        (Some(Presented::Bearer(shown)), Some(token)) => token.matches(shown),
        _ => false,
    };
    if !by_certificate && !by_token {
        return Problem::new(
            "Unauthenticated",
            "only members of this Controller's cluster may speak here; show a Controller's certificate or the token of cluster.token-file",
        )
        .status(StatusCode::UNAUTHORIZED)
        .into_response();
    }
    let log = front.0.log.clone();
    upgrade(&mut request, MEMBERS, async move |stream| {
        drop(log.serve(stream).await);
    })
}
