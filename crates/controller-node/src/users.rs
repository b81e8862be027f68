//! Who somebody is, and what he may do.
//!
//! Always: by session, token, password or certificate; a wrong one is refused and counted, whatever else is right. Never here:
//! what needs which permission. See `permission`.

use crate::permission::{Permission, Route};
use crate::sessions::Sessions;
use crate::settings::{ADMIN, ControllerSettings, UserSettings};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use model::{ControllerCommand, UserId};
use net::{
    Caller, Passwords, PeerIdentity, Presented, Problem, Refusal, Role, Secret, TokenHash,
    answer_late,
};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// A user of the settings.
struct Entry {
    password_hash: Option<String>,
    tokens: Vec<TokenHash>,
    permissions: BTreeSet<Permission>,
}

/// Everybody who is known.
pub(crate) struct Users {
    entries: BTreeMap<UserId, Entry>,
    passwords: Passwords,
    pub(crate) sessions: Sessions,
    pub(crate) failed_logins: AtomicU64,
}

/// Why the users of the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("users.{user}: {what}")]
pub struct UserError {
    user: String,
    what: String,
}

/// Somebody who has shown who he is.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    permissions: Arc<BTreeSet<Permission>>,
}

impl Users {
    /// The users of the settings, and `admin` with this token.
    pub(crate) fn new(
        settings: &ControllerSettings,
        admin_token: &Secret,
    ) -> Result<Users, UserError> {
        let mut entries = BTreeMap::new();
        for (name, user) in &settings.users {
            let wrong = |what: String| UserError {
                user: name.clone(),
                what,
            };
            let id = UserId::checked(name).map_err(|error| wrong(error.to_string()))?;
            entries.insert(id, entry(user).map_err(wrong)?);
        }
        let admin = entries.entry(UserId::from(ADMIN)).or_insert_with(|| Entry {
            password_hash: None,
            tokens: Vec::new(),
            permissions: BTreeSet::new(),
        });
        admin.tokens.push(TokenHash::of(admin_token));
        admin.permissions.extend(Permission::ALL);
        Ok(Users {
            entries,
            passwords: Passwords::default(),
            sessions: Sessions::new(settings.session_lifetime.0),
            failed_logins: AtomicU64::new(0),
        })
    }

    /// Who sends this request; nobody if he shows nothing.
    pub(crate) async fn of_request(&self, parts: &Parts) -> Result<Option<User>, Refusal> {
        match Presented::from_headers(&parts.headers)? {
            Some(Presented::Session(token)) => match self.sessions.user(&token) {
                Some(id) => Ok(self.user(id)),
                None => Err(
                    Problem::new("InvalidSessionToken", "no such session; log in again")
                        .status(StatusCode::FORBIDDEN),
                ),
            },
            Some(Presented::Bearer(token)) => {
                let asked = Instant::now();
                if let Some(user) = self.of_token(&token) {
                    return Ok(Some(user));
                }
                answer_late(asked).await;
                Err(self.refused("the token is not valid"))
            }
            Some(Presented::Basic { user, password }) => {
                let caller = Caller::of(&parts.extensions);
                self.log_in(&caller, &user, password).await.map(Some)
            }
            None => Ok(self.of_certificate(parts)),
        }
    }

    /// Checks a password.
    pub(crate) async fn log_in(
        &self,
        caller: &Caller,
        user: &str,
        password: Secret,
    ) -> Result<User, Refusal> {
        let id = UserId::from(user);
        let stored = self
            .entries
            .get(&id)
            .and_then(|entry| entry.password_hash.clone());
        if self.passwords.login(caller, password, stored).await? {
            self.user(id)
                .ok_or_else(|| self.refused("user or password is wrong"))
        } else {
            Err(self.refused("user or password is wrong"))
        }
    }

    fn refused(&self, what: &str) -> Refusal {
        self.failed_logins.fetch_add(1, Ordering::Relaxed);
        Problem::new("InvalidLogin", what).status(StatusCode::UNAUTHORIZED)
    }

    fn of_token(&self, token: &Secret) -> Option<User> {
        // Everybody is asked, so that the time says nothing about who has which token.
        let mut found = None;
        for (id, entry) in &self.entries {
            for hash in &entry.tokens {
                if hash.matches(token) {
                    found = Some(id.clone());
                }
            }
        }
        self.user(found?)
    }

    fn of_certificate(&self, parts: &Parts) -> Option<User> {
        let peer = parts.extensions.get::<PeerIdentity>()?;
        if peer.role != Some(Role::User) {
            return None;
        }
        self.user(UserId::from(peer.common_name.as_deref()?))
    }

    fn user(&self, id: UserId) -> Option<User> {
        let permissions = Arc::new(self.entries.get(&id)?.permissions.clone());
        Some(User { id, permissions })
    }
}

fn entry(user: &UserSettings) -> Result<Entry, String> {
    let tokens = user
        .token_hashes
        .iter()
        .map(|hash| TokenHash::from_str(hash))
        .collect::<Result<_, _>>()?;
    let permissions = user.permissions.iter().copied().collect();
    Ok(Entry {
        password_hash: user.password_hash.clone(),
        tokens,
        permissions,
    })
}

impl User {
    /// Returns the caller for which this user's shares are counted.
    pub(crate) fn caller(&self) -> Caller {
        Caller::User(self.id.as_str().into())
    }

    /// Refuses what he may not do.
    pub(crate) fn may_use(&self, route: Route) -> Result<(), Refusal> {
        self.may(Permission::for_route(route).as_slice())
    }

    /// Refuses a command he may not give.
    pub(crate) fn may_command(&self, command: &ControllerCommand) -> Result<(), Refusal> {
        self.may(&Permission::for_command(command))
    }

    fn may(&self, needed: &[Permission]) -> Result<(), Refusal> {
        let missing: BTreeSet<String> = needed
            .iter()
            .filter(|needed| !self.permissions.contains(needed))
            .map(|needed| format!("{needed:?}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("user {} lacks the permission {missing}", self.id);
        Err(Problem::new("PermissionDenied", message)
            .with("permission", missing)
            .status(StatusCode::FORBIDDEN))
    }
}

/// The user of a request; a request without one is refused.
impl<S: AsRef<Users> + Sync> FromRequestParts<S> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<User, Refusal> {
        let users = state.as_ref();
        let user = users.of_request(parts).await?.ok_or_else(|| {
            let message = "show who you are: Authorization: Bearer, Authorization: Basic, a session or a certificate";
            Problem::new("NotLoggedIn", message).status(StatusCode::UNAUTHORIZED)
        })?;
        user.caller().identify(&mut parts.extensions)?;
        Ok(user)
    }
}
