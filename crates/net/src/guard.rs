//! What every server refuses before a handler sees it, always with a problem: unknown paths, wrong methods, form-like posts
//! (a browser can be tricked into sending those from a foreign page), bodies that are too large, too slow or no JSON.

use std::error::Error as _;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Extension, body::Body};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::{Problem, Refusal};

/// How long a body may pause.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of an oversized body is read and dropped so that its sender gets to read our answer, instead of a reset connection.
const DRAIN: usize = 64 << 20;

/// The greatest body in bytes; a route can have its own through `Extension(BodyLimit(…))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(pub usize);

/// Puts the guard before all routes that the router has by now.
pub fn guard(router: Router, limit: BodyLimit) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(refuse_forms))
        .layer(Extension(limit))
}

async fn unknown_path(request: Request) -> Refusal {
    let path = request.uri().path();
    Problem::new("UnknownPath", format!("no such path: {path}"))
        .with("path", path)
        .status(StatusCode::NOT_FOUND)
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(
        "MethodNotAllowed",
        format!("{path} does not know the method {method}"),
    )
    .status(StatusCode::METHOD_NOT_ALLOWED)
}

async fn refuse_forms(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && is_form_like(&request) {
        let problem = Problem::new(
            "FormIsRefused",
            "a POST must name its content type, and not one that a web form can have; send application/json",
        );
        return problem.status(StatusCode::FORBIDDEN).into_response();
    }
    next.run(request).await
}

fn is_form_like(request: &Request) -> bool {
    let Some(kind) = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return true;
    };
    let kind = kind.split(';').next().unwrap_or("").trim();
    [
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain",
    ]
    .iter()
    .any(|form| kind.eq_ignore_ascii_case(form))
}

/// A whole body within the limit.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<RawBody, Refusal> {
        let Some(BodyLimit(limit)) = request.extensions().get::<BodyLimit>().copied() else {
            return Err(
                Problem::uncoded("this route has no body limit; put the guard before it")
                    .status(StatusCode::INTERNAL_SERVER_ERROR),
            );
        };
        read(request.into_body(), limit).await.map(RawBody)
    }
}

/// A JSON body within the limit.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<JsonBody<T>, Refusal> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(JsonBody(value)),
            Err(error) => {
                Err(Problem::new("InvalidJson", format!("cannot read the body: {error}")).into())
            }
        }
    }
}

/// What stands behind the `?` of a URL.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Query<T>, Refusal> {
        let read = axum::extract::Query::try_from_uri(&parts.uri);
        read.map(|axum::extract::Query(query)| Query(query))
            .map_err(|rejection| {
                let why = rejection
                    .source()
                    .map_or_else(|| rejection.to_string(), ToString::to_string);
                let message = format!("cannot read what stands behind the ? of the URL: {why}");
                Problem::new("InvalidParameter", message).into()
            })
    }
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = next_chunk(&mut body).await? {
        length += chunk.len();
        if length > limit {
            drain(body).await;
            return Err(Problem::new(
                "BodyIsTooLarge",
                format!("the body is larger than {limit} bytes"),
            )
            .with("limit", limit.to_string())
            .status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        // Nearly all bodies come in one chunk, which is passed on as it is.
        if first.is_empty() && rest.is_empty() {
            first = chunk;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&chunk);
        }
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    loop {
        let Ok(frame) = timeout(PATIENCE, body.frame()).await else {
            return Err(Problem::new(
                "BodyIsTooSlow",
                format!("no more of the body came within {PATIENCE:?}"),
            )
            .status(StatusCode::REQUEST_TIMEOUT));
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Problem::uncoded(format!("cannot read the body: {error}")).into());
            }
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}

async fn drain(mut body: Body) {
    let mut drained = 0;
    while drained < DRAIN {
        let Ok(Some(chunk)) = next_chunk(&mut body).await else {
            return;
        };
        drained += chunk.len();
    }
}
