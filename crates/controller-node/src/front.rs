//! What a member of a Controller's cluster answers whether it is active or not.
//!
//! Always: how the cluster stands is for those who may see it. Never here: the Controller's own answers; see `api`.

use crate::permission::Route;
use crate::users::{User, Users};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use net::Refusal;
use node::Front;
use node::members::CONTROLLER_MEMBERS_PATH;
use std::sync::Arc;

#[derive(Clone)]
struct Cluster {
    front: Front,
    users: Arc<Users>,
}

impl AsRef<Users> for Cluster {
    fn as_ref(&self) -> &Users {
        &self.users
    }
}

pub(crate) fn router(front: &Front, users: Arc<Users>) -> Router {
    let cluster = Cluster {
        front: front.clone(),
        users,
    };
    Router::new()
        .route("/controller/api/cluster", get(cluster_state))
        .route("/metrics", get(metrics))
        .with_state(cluster)
        .merge(front.health())
        .merge(front.router(&[CONTROLLER_MEMBERS_PATH]))
}

/// Returns the Controller's metrics on the active member, and the member's own on others.
async fn metrics(
    State(cluster): State<Cluster>,
    user: User,
    request: Request,
) -> Result<Response, Refusal> {
    user.may_use(Route::Metrics)?;
    let answered = cluster.front.pass(request).await;
    Ok(answered.unwrap_or_else(|_not_active| node::page_response(cluster.front.page())))
}

async fn cluster_state(
    State(cluster): State<Cluster>,
    user: User,
) -> Result<Json<serde_json::Value>, Refusal> {
    user.may_use(Route::Cluster)?;
    Ok(Json(cluster.front.report()))
}
