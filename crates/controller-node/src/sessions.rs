//! Logins: a token for some time instead of a password with each request.
//!
//! Always: only hashes are kept, in memory; a restart ends all sessions. The number is bounded; the oldest goes first.

use model::UserId;
use net::{Secret, TokenHash, new_token};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SESSIONS_MAX: usize = 10_000;

struct Session {
    user: UserId,
    until: Instant,
}

/// All logins.
pub(crate) struct Sessions {
    lifetime: Duration,
    by_token: Mutex<BTreeMap<TokenHash, Session>>,
}

impl Sessions {
    pub(crate) fn new(lifetime: Duration) -> Sessions {
        Sessions {
            lifetime,
            by_token: Mutex::default(),
        }
    }

    /// Begins a session.
    pub(crate) fn begin(&self, user: UserId) -> Secret {
        let token = new_token();
        let now = Instant::now();
        let mut sessions = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS_MAX {
            sessions.retain(|_, session| session.until > now);
        }
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, session)| session.until)
                .map(|(hash, _)| *hash);
            oldest.and_then(|hash| sessions.remove(&hash));
        }
        sessions.insert(
            TokenHash::of(&token),
            Session {
                user,
                until: now + self.lifetime,
            },
        );
        token
    }

    /// Whose session it is, while it lasts.
    pub(crate) fn user(&self, token: &Secret) -> Option<UserId> {
        let mut sessions = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = TokenHash::of(token);
        let session = sessions.get(&hash)?;
        if session.until > Instant::now() {
            return Some(session.user.clone());
        }
        sessions.remove(&hash);
        None
    }

    /// Ends a session; one that has ended already makes no difference.
    pub(crate) fn end(&self, token: &Secret) {
        self.by_token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&TokenHash::of(token));
    }

    /// Who is logged in, and for how many more seconds.
    pub(crate) fn list(&self) -> Vec<(UserId, u64)> {
        let now = Instant::now();
        let sessions = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = sessions.values().filter(|session| session.until > now);
        alive
            .map(|session| (session.user.clone(), (session.until - now).as_secs()))
            .collect()
    }
}
