//! What a member of a cluster answers before the node itself does: who is active, and the other members' connections.
//!
//! Always: only the member that is active, and was heard by a majority just now, lets a request through to the node; every
//! other one says who is active.

use crate::Kept;
use crate::clock::{Clock as _, SystemClock};
use crate::crashes::Crashes;
use crate::in_progress::Running;
use crate::members::{MEMBERS, Trusted};
use crate::standing::{Known, Removal, Standing, names};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cluster::{Log, Part, PeerStatus, Role};
use model::{ClusterSetting, ClusterState, Timestamp};
use net::{Caller, PeerIdentity, Problem, Refusal, upgrade};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};
use telemetry::{Page, names as figures};
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
    known: RwLock<Known>,
    /// Since when the node is open.
    active_since: RwLock<Option<Timestamp>>,
    crashes: Crashes,
    /// The advice of the node itself, while this member is active.
    advice: RwLock<Option<String>>,
}

impl Front {
    /// Nobody is let through yet.
    pub fn new(log: Log, what: Kept, trusted: Trusted) -> Front {
        Front(Arc::new(Inner {
            crashes: Crashes::of(&log),
            log,
            what,
            trusted,
            active: RwLock::default(),
            known: RwLock::default(),
            active_since: RwLock::default(),
            advice: RwLock::default(),
        }))
    }

    /// Begins a run of this member. The caller drops the result when the run ends by itself, whatever the reason.
    pub async fn run(&self) -> Running {
        let running = Running::begin(self.0.log.dir());
        self.0.crashes.begin(&running, SystemClock.now()).await;
        running
    }

    /// Returns the record of what has ended this member before.
    pub(crate) fn crashes(&self) -> Crashes {
        self.0.crashes.clone()
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

    /// Sets what the operator should do about a problem that the node has found. `None` means that there is no problem.
    pub fn advise(&self, advice: Option<String>) {
        let mut known = self
            .0
            .advice
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *known = advice;
    }

    /// How the cluster stands by now.
    pub fn tell(&self, state: &ClusterState) {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.tell(state, &self.0.log.me().name);
    }

    /// Returns the routes: connections of members at these paths, and all other requests for the node.
    pub fn router(&self, members_paths: &[&str]) -> Router {
        let member_routes = members_paths.iter().fold(Router::new(), |routes, path| {
            routes.route(path, get(member))
        });
        member_routes.fallback(pass_on).with_state(self.clone())
    }

    /// How this member fares: public, and for those who pass requests on.
    pub fn health(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/health/active", get(health_active))
            .with_state(self.clone())
    }

    /// Lets the node answer the request while this member is active. Otherwise returns the request.
    pub async fn pass(&self, request: Request) -> Result<Response, Request> {
        let node = self.0.active.read();
        let node = node.unwrap_or_else(PoisonError::into_inner).clone();
        match node {
            Some(mut node) if self.0.log.may_answer() => match node.call(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            _ => Err(request),
        }
    }

    /// Adds the role of this member, its connections to the other members and the metrics of its log to the page.
    pub fn put_figures(&self, page: &mut Page) {
        let log = &self.0.log;
        let standing = self.standing();
        for role in Standing::ALL {
            let is_it = u8::from(role == standing);
            page.put(figures::ROLE, &[("role", role.label())], is_it);
        }
        let is_coupled = matches!(self.state(), ClusterState::Coupled { .. });
        page.put(figures::CLUSTER_COUPLED, &[], u8::from(is_coupled));
        put_members(page, log);
        crate::journal_figures(page, &log.status());
    }

    /// Returns the page of a member that is not active. It has the same node name as that of the active member.
    pub fn page(&self) -> Page {
        let (_, name) = name_of(&self.0.log.me().cluster);
        let mut page = Page::new(name);
        self.put_figures(&mut page);
        page
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
        let (voters, learners) = log.members();
        match status.role {
            _ if self.removal().is_some() => Standing::Removed,
            _ if learners.contains(&log.me().member) => Standing::Joining,
            Role::Standby | Role::Electing if voters.is_empty() => Standing::Joining,
            Role::Standby if self.hears_the_active() && names(&self.state(), &log.me().name) => {
                Standing::Standby
            }
            Role::Active | Role::Standby | Role::Electing | Role::Stopped => Standing::Starting,
        }
    }

    /// Consensus holds on to the last active member, also when it is gone.
    fn hears_the_active(&self) -> bool {
        let log = &self.0.log;
        let active = log.leadership().borrow().active;
        let mut peers = log.peers().into_iter();
        peers.any(|peer| peer.is_connected && active == Some(peer.hello.member))
    }

    /// What is to be done about a member that neither answers nor follows, in words.
    fn advice(&self, standing: Standing) -> Option<String> {
        let log = &self.0.log;
        let (me, what) = (&log.me().name, self.0.what);
        if let Some(stuck) = log.disk_is_stuck() {
            return Some(format!(
                "a write of {me} has not come back from its disk for {} s: look at the disk and what is between",
                stuck.as_secs()
            ));
        }
        if let Some(damage) = log.damages().first() {
            return Some(format!(
                "part of the log of {me} is damaged, and what stood there is not served: {damage}. Look at the disk; {}",
                if log.members().0.len() > 1 {
                    "this member learns the log anew from the others as soon as they can do without it"
                } else {
                    "the state is whole, and a new snapshot has taken the place of what is damaged"
                }
            ));
        }
        if let Some(double) = log.double() {
            return Some(double);
        }
        let taking_in = what.taking_in();
        let (voters, learners) = log.members();
        match (standing, self.removal()) {
            (Standing::Removed, Some(Removal::Heard)) => Some(format!(
                "{me} was removed from this {what}'s cluster, as it has heard last, and no other member is there to confirm it: if another one is active, stop it, or take it in again by {taking_in}; if none is, start the others, and one that is still needed becomes active by itself"
            )),
            (Standing::Removed, _) => Some(format!(
                "{me} was removed from this {what}'s cluster and never becomes active: stop it, or take it in again by {taking_in}"
            )),
            (Standing::Joining, _) if learners.is_empty() => Some(format!(
                "{me} does not belong to this {what}'s cluster yet: it is taken in by {taking_in}"
            )),
            (Standing::Starting, _) if voters.len() > 1 && !log.peers().iter().any(is_there) => {
                Some(format!(
                    "{me} hears no other member of this {what}'s cluster: start the others; it goes on as soon as a majority is connected, or says that it was removed meanwhile"
                ))
            }
            (Standing::Active | Standing::Standby | Standing::Joining | Standing::Starting, _) => {
                let of_node = || self.advice_of_node(standing);
                self.0
                    .crashes
                    .advice()
                    .or_else(of_node)
                    .or_else(process_advice)
            }
        }
    }

    fn advice_of_node(&self, standing: Standing) -> Option<String> {
        let advice = self.0.advice.read().unwrap_or_else(PoisonError::into_inner);
        advice.clone().filter(|_| standing == Standing::Active)
    }

    fn removal(&self) -> Option<Removal> {
        let log = &self.0.log;
        if log.was_removed() {
            return Some(Removal::Confirmed);
        }
        let known = self.0.known.read();
        let is_let_go = known.unwrap_or_else(PoisonError::into_inner).is_let_go;
        let (me, peers) = (log.me().member, log.peers());
        let (voters, learners) = log.members();
        let has_belonged = !voters.is_empty() && !learners.contains(&me);
        // The last word of one that is away by now, too.
        let leaves_out = |peer: &PeerStatus| log.is_left_out_by(peer);
        let is_left_out = has_belonged && peers.iter().any(leaves_out);
        let is_counted = peers
            .iter()
            .any(|peer| is_there(peer) && peer.hello.members.contains(&me));
        let is_active = log.leadership().borrow().role == Role::Active;
        ((is_let_go || is_left_out) && !is_counted && !is_active).then_some(Removal::Heard)
    }

    fn state(&self) -> ClusterState {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.state.clone()
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
                    "isWatch": peer.hello.part.is_third_vote(),
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
        let standing = self.standing();
        told["standing"] = json!(standing);
        if let Some(advice) = self.advice(standing) {
            told["advice"] = json!(advice);
        }
        told["activeSince"] = json!(since.filter(|_| leadership.role == Role::Active));
        told["nodeId"] = json!(log.me().name);
        told["isActive"] = json!(leadership.role == Role::Active);
        told["role"] = json!(leadership.role);
        told["epoch"] = json!(leadership.term);
        told["mayAnswer"] = json!(self.is_open());
        told["lastEventId"] = json!(status.last_event_id);
        told["committedEventId"] = json!(status.committed_event_id);
        told["others"] = json!(others);
        told["ifTheActiveMemberFailed"] = json!(what_if(log, &self.state()));
        told
    }
}

/// Returns what the operator should do about a problem of this process: an expiring certificate, or log lines that are dropped. Returns
/// `None` if there is no problem.
pub fn process_advice() -> Option<String> {
    let of_log = || {
        let trouble = telemetry::log_trouble()?;
        Some(format!("log lines are being dropped: {trouble}"))
    };
    net::certificate_advice().or_else(of_log)
}

/// The process lives; whatever it is, it need not be started again.
async fn health(State(front): State<Front>) -> Json<Value> {
    figure(&front, front.standing())
}

/// For whoever passes requests on: here they are answered, or not.
async fn health_active(State(front): State<Front>) -> Response {
    let standing = front.standing();
    let status = if standing == Standing::Active {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, figure(&front, standing)).into_response()
}

fn figure(front: &Front, standing: Standing) -> Json<Value> {
    let mut told = json!({"role": standing});
    if let Some(advice) = front.advice(standing) {
        told["advice"] = json!(advice);
    }
    Json(told)
}

/// Splits the identity of a log into its kind and its name.
fn name_of(identity: &str) -> (&str, &str) {
    identity.split_once(':').unwrap_or(("", identity))
}

/// Adds the connections to the other members to the page.
pub(crate) fn put_members(page: &mut Page, log: &Log) {
    for peer in log.peers() {
        let labels = [("member", peer.hello.name.as_str())];
        page.put(
            figures::MEMBER_CONNECTED,
            &labels,
            u8::from(peer.is_connected),
        );
    }
}

async fn pass_on(State(front): State<Front>, request: Request) -> Response {
    match front.pass(request).await {
        Ok(response) => response,
        Err(_not_taken) => not_active(&front).into_response(),
    }
}

fn not_active(front: &Front) -> Refusal {
    let (me, what) = (&front.0.log.me().name, front.0.what);
    let state = front.state();
    let active = state
        .setting()
        .filter(|setting| setting.active_id.as_str() != me)
        .and_then(|setting| setting.id_to_uri.get_key_value(&setting.active_id));
    let standing = front.standing();
    let is_outside = matches!(standing, Standing::Removed | Standing::Joining);
    let message = match (front.advice(standing).filter(|_| is_outside), active) {
        (Some(advice), _) => advice,
        (None, Some((id, uri))) => format!(
            "{me} is not the active member of this {what}'s cluster; {id} was last, at {uri}"
        ),
        (None, None) => format!(
            "{me} is not the active member of this {what}'s cluster; try again, or ask another member"
        ),
    };
    let mut problem = Problem::new("ClusterNodeIsNotActive", message);
    if let Some((_, uri)) = active {
        problem = problem.with("activeUri", uri.to_string());
    }
    problem.status(StatusCode::SERVICE_UNAVAILABLE)
}

/// Another member that keeps the events is connected.
fn is_there(peer: &PeerStatus) -> bool {
    peer.is_connected && peer.hello.part == Part::Data
}

/// What would happen if the active member failed now.
fn what_if(log: &Log, state: &ClusterState) -> String {
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
    if able.is_empty() {
        return "nobody follows: no other member has every event".to_owned();
    }
    if left().count() * 2 > voters.len() {
        return format!("{} follows", able.join(" or "));
    }
    if state.setting().is_some_and(ClusterSetting::needs_watch) {
        return "nobody follows: the watch is missing".to_owned();
    }
    let away = peers
        .iter()
        .filter(|peer| !peer.is_connected && voters.contains(&peer.hello.member));
    let away: Vec<&str> = away.map(|peer| peer.hello.name.as_str()).collect();
    let without = if away.is_empty() {
        "those that were not seen yet".to_owned()
    } else {
        away.join(" and ")
    };
    format!("nobody follows: without {without} no majority would be left")
}

/// Another member, or the watch, wants to speak.
async fn member(State(front): State<Front>, mut request: Request) -> Response {
    let peer = request.extensions().get::<PeerIdentity>();
    let trusted = front.0.trusted.check(peer, request.headers());
    if let Err(refusal) = trusted.and_then(|()| Caller::Part.identify(request.extensions_mut())) {
        return refusal.into_response();
    }
    let log = front.0.log.clone();
    upgrade(&mut request, MEMBERS, async move |stream| {
        drop(log.serve(stream).await);
    })
}
