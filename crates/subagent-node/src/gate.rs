//! Who may speak to a component that only other components speak to.
//!
//! Always: a certificate of the private CA with the right role, or the token that both sides were given. Without either
//! nothing is answered but the health check.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use net::{PeerIdentity, Presented, Problem, Role, Secret, TokenHash};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lets in the right peers.
#[derive(Clone)]
pub struct Gate(Arc<GateInner>);

struct GateInner {
    role: Role,
    tokens: Vec<TokenHash>,
}

/// Why the token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token file {}: {source}", path.display())]
pub struct TokenFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The token in `path`; where there is no file, a new random one is written that only its owner can read.
pub fn token_of_file(path: &Path) -> Result<Secret, TokenFileError> {
    let failed = |source| TokenFileError {
        path: path.to_owned(),
        source,
    };
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
        Ok(_) => {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is empty",
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
        if dir.file_name().is_some_and(|name| name == "private") {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
                .map_err(failed)?;
        }
    }
    let token = net::new_token();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    io::Write::write_all(&mut file, format!("{}\n", token.reveal()).as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(token)
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
            return next.run(request).await;
        }
        let presented = match Presented::from_headers(request.headers()) {
            Ok(presented) => presented,
            Err(refusal) => return refusal.into_response(),
        };
        match presented {
            Some(Presented::Bearer(shown))
                if self.0.tokens.iter().any(|token| token.matches(&shown)) =>
            {
                next.run(request).await
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
                let message = "the token is not the one in this component's token file";
                Problem::new("Unauthenticated", message)
                    .status(hyper::StatusCode::UNAUTHORIZED)
                    .into_response()
            }
        }
    }
}
