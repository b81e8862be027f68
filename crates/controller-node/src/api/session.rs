//! `POST /controller/api/session`: log in with a password, log out.

use super::Api;
use crate::permission::Route;
use crate::users::User;
use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use net::{Caller, JsonBody, Problem, Refusal, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(rename = "TYPE")]
    kind: String,
    user_and_password: Option<UserAndPassword>,
    session_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserAndPassword {
    user_id: String,
    password: String,
}

pub(super) async fn session(
    State(api): State<Api>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let (parts, body) = request.into_parts();
    let mut by_header = parts.clone();
    let JsonBody(body): JsonBody<Body> =
        JsonBody::from_request(Request::from_parts(parts, body), &()).await?;
    match body.kind.as_str() {
        "Login" => {
            let user = match body.user_and_password {
                Some(login) => {
                    api.0
                        .users
                        .log_in(
                            &Caller::of(&by_header.extensions),
                            &login.user_id,
                            Secret::new(login.password),
                        )
                        .await?
                }
                None => api.0.users.of_request(&by_header).await?.ok_or_else(|| {
                    Problem::new(
                        "InvalidLogin",
                        "a login needs userAndPassword, or credentials in the header",
                    )
                    .status(StatusCode::UNAUTHORIZED)
                })?,
            };
            user.caller().identify(&mut by_header.extensions)?;
            let token = api.0.users.sessions.begin(user.id);
            let version = env!("CARGO_PKG_VERSION");
            Ok(Json(
                json!({ "TYPE": "Login.LoggedIn", "sessionToken": token.reveal(), "version": version }),
            ))
        }
        "Logout" => {
            if let Some(token) = body.session_token {
                api.0.users.sessions.end(&Secret::new(token));
            }
            Ok(Json(json!({ "TYPE": "Accepted" })))
        }
        other => Err(Problem::new(
            "InvalidJson",
            format!("unknown TYPE {other:?}, expected Login or Logout"),
        )
        .into()),
    }
}

pub(super) async fn list(State(api): State<Api>, user: User) -> Result<Json<Value>, Refusal> {
    user.may_use(Route::Sessions)?;
    let sessions = api.0.users.sessions.list();
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|(user, left)| json!({ "userId": user, "secondsLeft": left }))
        .collect();
    Ok(Json(json!({ "sessions": sessions })))
}
