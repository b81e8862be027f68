//! The mechanics of proving who one is: tokens, passwords and the headers that carry them.
//!
//! Always: comparisons take the same time whatever is wrong, only hashes are stored, and a wrong password is answered late.
//! Never here: who exists and what they may do.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderName};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::connections::Caller;
use crate::problem::{Problem, Refusal};
use crate::quota::Quota;
use crate::secret::Secret;

/// The header with a session's token.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("x-js7-session");

/// A new token of 256 random bits, in URL-safe letters.
pub fn new_token() -> Secret {
    let mut bytes = [0; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .expect("the system has random numbers");
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a token. A token has so much chance in it that one round of a fast hash is enough.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &Secret) -> TokenHash {
        TokenHash(Sha256::digest(token.reveal()).into())
    }

    /// Whether this is the token's hash, in constant time.
    pub fn matches(&self, token: &Secret) -> bool {
        self.0.ct_eq(&TokenHash::of(token).0).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenHash {
    type Err = String;

    fn from_str(text: &str) -> Result<TokenHash, String> {
        let wrong = || "a token's hash has 64 hexadecimal digits".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_digit| wrong())?;
        }
        Ok(TokenHash(bytes))
    }
}

/// What a request shows to prove who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User id.
        user: String,
        /// Password.
        password: Secret,
    },
    /// `x-js7-session`.
    Session(Secret),
}

impl Presented {
    /// Reads the headers. A session comes first: a client may send its password along.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Presented>, Refusal> {
        if let Some(token) = headers.get(&SESSION) {
            let token = token
                .to_str()
                .map_err(|_bytes| unreadable("x-js7-session"))?;
            return Ok(Some(Presented::Session(Secret::new(token))));
        }
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(None);
        };
        let value = value
            .to_str()
            .map_err(|_bytes| unreadable("Authorization"))?;
        let Some((scheme, rest)) = value.split_once(' ') else {
            return Err(unreadable("Authorization"));
        };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Some(Presented::Bearer(Secret::new(rest))));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return parse_basic(rest)
                .map(Some)
                .ok_or_else(|| unreadable("Authorization"));
        }
        Err(unreadable("Authorization"))
    }
}

fn parse_basic(text: &str) -> Option<Presented> {
    let text = String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Presented::Basic {
        user: user.to_owned(),
        password: Secret::new(password),
    })
}

fn unreadable(header: &str) -> Refusal {
    Problem::new(
        "InvalidCredentials",
        format!("cannot read the header {header}; expected Bearer or Basic"),
    )
    .status(StatusCode::UNAUTHORIZED)
}

/// Hashes and verifies passwords. A hash takes some ten milliseconds of a core and 19 MiB. Therefore a single thread computes all of them,
/// one after another, and the number of waiting requests is bounded.
#[derive(Clone, Debug)]
pub struct Passwords {
    queue: SyncSender<Work>,
    waiting: Quota,
}

type Work = Box<dyn FnOnce() + Send>;

/// Maximum number of passwords that are computed or wait for it, in total and for one caller.
const WAITING_MAX: usize = 64;
const WAITING_OF_ONE: usize = 32;
/// Stack size in bytes of the thread that computes hashes. A hash keeps its memory on the heap.
const STACK_BYTES: usize = 1 << 20;

impl Default for Passwords {
    fn default() -> Passwords {
        let (queue, works) = sync_channel::<Work>(WAITING_MAX);
        let computing = move || {
            while let Ok(work) = works.recv() {
                work();
            }
        };
        tasks::spawn_thread("passwords", STACK_BYTES, computing)
            .expect("a process that starts can have threads");
        Passwords {
            queue,
            waiting: Quota::new("logins at once", WAITING_MAX, WAITING_OF_ONE),
        }
    }
}

/// Delay of the answer to a wrong login, to make guessing slow.
const ANSWER_TO_FAILURE: Duration = Duration::from_secs(1);

/// Waits until a failed authentication may be answered, counted from `asked`.
pub async fn answer_late(asked: Instant) {
    sleep_until(asked + ANSWER_TO_FAILURE).await;
}

impl Passwords {
    /// The hash to store, with its salt and parameters in it.
    pub async fn hash(&self, password: Secret) -> String {
        let hashing = move || {
            let hash = Argon2::default().hash_password(password.reveal().as_bytes());
            hash.expect("default parameters and a fresh salt always give a hash")
                .to_string()
        };
        let hashed = tasks::spawn_blocking(hashing).await;
        hashed.expect("hashing does not panic")
    }

    /// Returns whether the password is right. `false` comes a second after the call, with or without a stored hash, so that neither
    /// passwords nor user names can be guessed fast. Refuses while too many logins are in progress; a later call may succeed.
    pub async fn login(
        &self,
        caller: &Caller,
        password: Secret,
        stored: Option<String>,
    ) -> Result<bool, Refusal> {
        let asked = Instant::now();
        let share = self.waiting.take(caller, 1)?;
        let is_right = match stored {
            Some(stored) => {
                // The work owns the share: a client that disconnects keeps its place in the queue until its turn.
                let work = move || (verify(&password, &stored), share);
                self.run(work).await.0
            }
            None => false,
        };
        if !is_right {
            answer_late(asked).await;
        }
        Ok(is_right)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = oneshot::channel();
        let work = move || {
            // A client that has disconnected costs no computation.
            if !answer.is_closed() {
                drop(answer.send(work()));
            }
        };
        self.queue
            .try_send(Box::new(work))
            .expect("the thread computes as long as there is somebody to ask, and there is room for all shares");
        answered.await.expect("hashing does not panic")
    }
}

/// Returns whether `text` is a password hash as [`Passwords::hash`] returns it.
pub fn is_password_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok()
}

fn verify(password: &Secret, stored: &str) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    Argon2::default()
        .verify_password(password.reveal().as_bytes(), &stored)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )])
    }

    fn presented(name: &'static str, value: &'static str) -> Result<Option<Presented>, StatusCode> {
        Presented::from_headers(&headers(name, value)).map_err(|refusal| refusal.status)
    }

    #[test]
    fn tokens_differ_and_carry_256_bits() {
        let (a, b) = (new_token(), new_token());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(a.reveal()).unwrap().len(), 32);
    }

    #[test]
    fn a_token_is_known_by_its_stored_hash_only() {
        let token = new_token();
        let stored: TokenHash = TokenHash::of(&token).to_string().parse().unwrap();
        assert!(stored.matches(&token));
        assert!(!stored.matches(&new_token()));
        assert!("zz".repeat(32).parse::<TokenHash>().is_err());
        assert!("abc".parse::<TokenHash>().is_err());
    }

    #[test]
    fn a_stored_hash_that_is_none_is_refused() {
        let digits = "ab".repeat(32);
        assert_eq!(digits.parse::<TokenHash>().unwrap().to_string(), digits);
        for wrong in [
            &digits[1..],
            &format!("{digits}a"),
            &format!("{digits}ab"),
            // Just as many bytes, in letters of two.
            &"\u{e9}".repeat(32),
            &"\u{20ac}".repeat(21),
            "",
        ] {
            assert!(wrong.parse::<TokenHash>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_password_hash_is_told_from_other_text() {
        let hash = Passwords::default().hash(Secret::new("sesame")).await;
        assert!(is_password_hash(&hash));
        assert!(!is_password_hash("sesame"));
        assert!(!is_password_hash(""));
    }

    #[test]
    fn the_three_ways_to_show_credentials_are_read() {
        assert_eq!(
            presented("authorization", "Bearer T"),
            Ok(Some(Presented::Bearer(Secret::new("T"))))
        );
        assert_eq!(
            presented("authorization", "basic QTpiOmM="),
            Ok(Some(Presented::Basic {
                user: "A".to_owned(),
                password: Secret::new("b:c")
            }))
        );
        assert_eq!(
            presented("x-js7-session", "T"),
            Ok(Some(Presented::Session(Secret::new("T"))))
        );
        assert_eq!(presented("accept", "x"), Ok(None));
    }

    #[test]
    fn credentials_that_nobody_can_read_are_refused_not_ignored() {
        for value in ["Bearer", "Digest x", "Basic ???", "Basic QQ=="] {
            assert_eq!(
                presented("authorization", value),
                Err(StatusCode::UNAUTHORIZED),
                "{value}"
            );
        }
    }

    #[tokio::test]
    async fn a_right_password_enters_and_a_wrong_one_waits_a_second() {
        let passwords = Passwords::default();
        let stored = passwords.hash(Secret::new("sesame")).await;
        assert!(stored.starts_with("$argon2id$"));
        let login = |password, stored| {
            let passwords = passwords.clone();
            async move {
                let caller = Caller::User("anna".into());
                passwords
                    .login(&caller, Secret::new(password), stored)
                    .await
            }
        };
        assert_eq!(login("sesame", Some(stored.clone())).await, Ok(true));
        for stored in [Some(stored), Some("nonsense".to_owned()), None] {
            let asked = Instant::now();
            assert_eq!(login("Sesame", stored).await, Ok(false));
            assert!(asked.elapsed() >= Duration::from_secs(1));
        }
    }

    #[tokio::test]
    async fn a_hundred_logins_at_once_are_checked_or_refused_and_the_next_one_succeeds() {
        let passwords = Passwords::default();
        let stored = passwords.hash(Secret::new("sesame")).await;
        let one = |n: u8, password: &'static str| {
            let (passwords, stored) = (passwords.clone(), stored.clone());
            // Two addresses.
            let caller = Caller::Stranger([10, 0, 0, n % 2].into());
            async move {
                let login = passwords.login(&caller, Secret::new(password), Some(stored));
                login.await.map_err(|refusal| refusal.status.as_u16())
            }
        };
        let all = futures::future::join_all((0..100).map(|n| one(n, "Sesame"))).await;
        let refused = all.iter().filter(|answer| **answer == Err(429)).count();
        let wrong = all.iter().filter(|answer| **answer == Ok(false)).count();
        assert_eq!(
            (refused, wrong),
            (100 - WAITING_MAX, WAITING_MAX),
            "{all:?}"
        );
        assert_eq!(one(0, "sesame").await, Ok(true));
    }
}
