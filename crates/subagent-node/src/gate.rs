//! Who may speak to a component that only other components speak to.
//!
//! Always: a certificate of the private CA with the right role, or the token that both sides were given. Without either
//! nothing is answered but the health check.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use net::{Caller, PeerIdentity, Presented, Problem, Role, Secret, TokenHash, answer_late};
use std::sync::Arc;
use tokio::time::Instant;

/// Lets in the right peers.
#[derive(Clone)]
pub struct Gate(Arc<GateInner>);

struct GateInner {
    role: Role,
    tokens: Vec<TokenHash>,
}

impl Gate {
    /// Lets in peers with a certificate for `role` or with one of the `tokens`.
    pub fn new<'a>(role: Role, tokens: impl IntoIterator<Item = &'a Secret>) -> Gate {
        Gate(Arc::new(GateInner {
            role,
            tokens: tokens.into_iter().map(TokenHash::of).collect(),
        }))
    }

    /// The check, for `axum::middleware::from_fn`.
    pub async fn check(self, request: Request, next: Next) -> Response {
        if request.uri().path() == "/health" {
            return next.run(request).await;
        }
        let by_certificate = request
            .extensions()
            .get::<PeerIdentity>()
            .is_some_and(|peer| peer.role == Some(self.0.role));
        if by_certificate {
            return self.let_in(request, next).await;
        }
        let asked = Instant::now();
        let presented = match Presented::from_headers(request.headers()) {
            Ok(presented) => presented,
            Err(refusal) => return refusal.into_response(),
        };
        match presented {
            Some(Presented::Bearer(shown))
                if self.0.tokens.iter().any(|token| token.matches(&shown)) =>
            {
                self.let_in(request, next).await
            }
            None => {
                let message = format!(
                    "only its {} may ask here: show that one's certificate or the token",
                    self.0.role
                );
                Problem::new("Unauthenticated", message)
                    .status(hyper::StatusCode::UNAUTHORIZED)
                    .into_response()
            }
            Some(_) => {
                answer_late(asked).await;
                let message = "the token is not the one in this component's token file";
                Problem::new("Unauthenticated", message)
                    .status(hyper::StatusCode::UNAUTHORIZED)
                    .into_response()
            }
        }
    }

    async fn let_in(&self, mut request: Request, next: Next) -> Response {
        if let Err(refusal) = Caller::Part.identify(request.extensions_mut()) {
            return refusal.into_response();
        }
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::any;
    use hyper::{Method, StatusCode};
    use tower_service::Service as _;

    async fn status(method: Method, path: &str, token: Option<&str>) -> StatusCode {
        let gate = Gate::new(Role::Agent, [&Secret::new("right")]);
        let check = move |request, next| gate.clone().check(request, next);
        let mut router = Router::new()
            .route("/x", any(|| async { "inside" }))
            .route("/health", any(|| async { "ok" }))
            .layer(from_fn(check));
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).expect("a request");
        let answer = router.as_service::<Body>().call(request).await;
        answer.expect("it always answers").status()
    }

    #[tokio::test]
    async fn every_route_except_health_requires_the_token() {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
        ] {
            let asked = |path, token| status(method.clone(), path, token);
            assert_eq!(
                asked("/x", None).await,
                StatusCode::UNAUTHORIZED,
                "{method}"
            );
            assert_eq!(
                asked("/x", Some("wrong")).await,
                StatusCode::UNAUTHORIZED,
                "{method}"
            );
            assert_eq!(asked("/x", Some("right")).await, StatusCode::OK, "{method}");
            assert_eq!(asked("/health", None).await, StatusCode::OK, "{method}");
        }
    }
}
