//! The certificates that this process uses: how long they are valid, and how they are read again after they were replaced.
//!
//! Always: existing connections stay as they are, and new ones use the files that were read last. Files that do not match are refused as
//! a whole, and the previous ones stay in use. Never here: whether files match; see `tls`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use x509_parser::prelude::X509Certificate;

use crate::tls::TlsError;

/// How long before its end a certificate is reported, in seconds. A short-lived certificate is reported when a third of its validity is
/// left.
const NOTICE: i64 = 30 * DAY;
const DAY: i64 = 24 * 3600;
/// How often the validity is checked.
const LOOK: Duration = Duration::from_hours(1);
/// How often the same warning is repeated.
const AGAIN: Duration = Duration::from_hours(24);

/// A certificate in a file that is in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Certificate {
    /// Its file.
    pub file: PathBuf,
    /// Its subject.
    pub subject: String,
    /// The start of its validity, in seconds since 1970.
    pub begins: i64,
    /// The end of its validity, in seconds since 1970.
    pub expires: i64,
    /// The end of its validity as readable text.
    pub expires_at: String,
}

/// Whether a certificate is near its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It does not end soon.
    Good,
    /// It ends soon and should be replaced.
    EndsSoon {
        /// Whole days that are left.
        days: i64,
    },
    /// It has ended, and peers refuse it.
    Over,
}

impl Certificate {
    pub(crate) fn of(file: &Path, certificate: &X509Certificate<'_>) -> Certificate {
        let validity = certificate.validity();
        Certificate {
            file: file.to_owned(),
            subject: certificate.subject().to_string(),
            begins: validity.not_before.timestamp(),
            expires: validity.not_after.timestamp(),
            expires_at: validity.not_after.to_string(),
        }
    }

    /// Its validity at `now`, in seconds since 1970.
    pub fn validity(&self, now: i64) -> Validity {
        let rest = self.expires - now;
        let notice = NOTICE.min((self.expires - self.begins) / 3);
        if rest < 0 {
            Validity::Over
        } else if rest < notice {
            Validity::EndsSoon { days: rest / DAY }
        } else {
            Validity::Good
        }
    }

    /// Returns the action that it requires, if any.
    fn advice(&self, now: i64) -> Option<String> {
        let (file, at) = (self.file.display(), &self.expires_at);
        let todo = "issue a new one, put it in its place and send SIGHUP to this process";
        match self.validity(now) {
            Validity::Good => None,
            Validity::EndsSoon { days } => Some(format!(
                "the certificate in {file} expires in {days} days, on {at}: {todo}"
            )),
            Validity::Over => Some(format!(
                "the certificate in {file} has expired on {at}, and others refuse it: {todo}"
            )),
        }
    }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// A TLS configuration, and the certificates in it.
pub(crate) struct Loaded<C> {
    pub(crate) config: C,
    pub(crate) certificates: Vec<Certificate>,
}

/// The configuration in use, and how to read it again.
pub(crate) struct CurrentConfig<C> {
    current: RwLock<(Arc<C>, Vec<Certificate>)>,
    load: Box<dyn Fn() -> Result<Loaded<C>, TlsError> + Send + Sync>,
}

impl<C: Send + Sync + 'static> CurrentConfig<C> {
    /// Reads the configuration, and registers it for [`reload_certificates`].
    pub(crate) fn load(
        load: impl Fn() -> Result<Loaded<C>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<CurrentConfig<C>>, TlsError> {
        let Loaded {
            config,
            certificates,
        } = load()?;
        let in_use = Arc::new(CurrentConfig {
            current: RwLock::new((Arc::new(config), certificates)),
            load: Box::new(load),
        });
        let config: Arc<dyn Reload> = Arc::<CurrentConfig<C>>::clone(&in_use);
        let mut all = all();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&config));
        Ok(in_use)
    }

    /// Returns the configuration for a new connection.
    pub(crate) fn current(&self) -> Arc<C> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.0)
    }
}

/// A configuration in use, without its type.
trait Reload: Send + Sync {
    fn reload(&self) -> Result<(), TlsError>;
    fn certificates(&self) -> Vec<Certificate>;
}

impl<C: Send + Sync> Reload for CurrentConfig<C> {
    fn reload(&self) -> Result<(), TlsError> {
        let Loaded {
            config,
            certificates,
        } = (self.load)()?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (Arc::new(config), certificates);
        Ok(())
    }

    fn certificates(&self) -> Vec<Certificate> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.1.clone()
    }
}

/// Every configuration that this process uses.
static ALL: Mutex<Vec<Weak<dyn Reload>>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Weak<dyn Reload>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_use() -> Vec<Arc<dyn Reload>> {
    all().iter().filter_map(Weak::upgrade).collect()
}

/// Returns the certificates that this process uses, without duplicates.
pub fn certificates() -> Vec<Certificate> {
    let mut certificates: Vec<_> = in_use()
        .iter()
        .flat_map(|config| config.certificates())
        .collect();
    certificates.sort();
    certificates.dedup();
    certificates
}

/// Returns the action that a certificate in use requires, if any; of several, the one for the earliest end.
pub fn certificate_advice() -> Option<String> {
    first_advice(certificates(), now())
}

/// Checks all certificates, because a short-lived one requires no action until shortly before its end.
fn first_advice(mut certificates: Vec<Certificate>, now: i64) -> Option<String> {
    certificates.sort_by_key(|certificate| certificate.expires);
    certificates
        .iter()
        .find_map(|certificate| certificate.advice(now))
}

/// Reads all files in use again, and logs the result. Blocks on disk reads.
pub fn reload_certificates() {
    let mut failures: Vec<String> = Vec::new();
    for config in in_use() {
        if let Err(error) = config.reload() {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let told = [Some(error.to_string()), source];
            failures.push(told.into_iter().flatten().collect::<Vec<_>>().join(": "));
        }
    }
    // A server and a client usually use the same files.
    failures.sort();
    failures.dedup();
    for error in &failures {
        tracing::error!(
            error,
            "certificates cannot be read again: those that were read before stay in use"
        );
    }
    if failures.is_empty() {
        for Certificate {
            file, expires_at, ..
        } in certificates()
        {
            tracing::info!(file = %file.display(), expires_at, "a certificate was read again");
        }
    }
}

/// Logs certificates that end soon or have ended, for as long as it is polled.
pub async fn watch_certificates() -> Infallible {
    let mut logged = BTreeMap::new();
    loop {
        for (has_ended, advice) in due(&mut logged, &certificates(), now()) {
            if has_ended {
                tracing::error!("{advice}");
            } else {
                tracing::warn!("{advice}");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a certificate had ended when it was logged, and when that was. A file can hold several certificates.
type Logged = BTreeMap<Certificate, (bool, Instant)>;

/// Returns what is to be logged at `now`, in seconds since 1970, and whether the certificate has ended.
fn due(logged: &mut Logged, certificates: &[Certificate], now: i64) -> Vec<(bool, String)> {
    logged.retain(|known, _| certificates.contains(known));
    let mut due = Vec::new();
    for certificate in certificates {
        let Some(advice) = certificate.advice(now) else {
            continue;
        };
        let has_ended = certificate.validity(now) == Validity::Over;
        let is_logged = logged
            .get(certificate)
            .is_some_and(|(had_ended, at)| *had_ended == has_ended && at.elapsed() < AGAIN);
        if !is_logged {
            logged.insert(certificate.clone(), (has_ended, Instant::now()));
            due.push((has_ended, advice));
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(days: i64) -> Certificate {
        Certificate {
            file: "node.pem".into(),
            subject: "CN=node".to_owned(),
            begins: 0,
            expires: days * DAY,
            expires_at: "then".to_owned(),
        }
    }

    #[test]
    fn the_end_is_reported_30_days_before_or_a_third_of_a_short_validity_before() {
        let year = valid(365);
        assert_eq!(year.validity(0), Validity::Good);
        assert_eq!(year.validity(335 * DAY), Validity::Good);
        let soon = Validity::EndsSoon { days: 29 };
        assert_eq!(year.validity(335 * DAY + 1), soon);
        assert_eq!(year.validity(365 * DAY), Validity::EndsSoon { days: 0 });
        assert_eq!(year.validity(365 * DAY + 1), Validity::Over);
        let short = valid(3);
        assert_eq!(short.validity(2 * DAY), Validity::Good);
        assert_eq!(short.validity(2 * DAY + 1), Validity::EndsSoon { days: 0 });
    }

    #[test]
    fn the_advice_names_file_time_and_what_to_do() {
        let advice = valid(365).advice(360 * DAY).unwrap();
        assert_eq!(
            advice,
            "the certificate in node.pem expires in 5 days, on then: issue a new one, put it in its place and send SIGHUP to this process"
        );
        assert_eq!(valid(365).advice(0), None);
        assert!(valid(1).advice(2 * DAY).unwrap().contains("has expired"));
    }

    #[test]
    fn a_certificate_that_ends_later_and_requires_an_action_earlier_is_advised() {
        let (short, year) = (valid(30), valid(365));
        let now = 350 * DAY;
        let short = Certificate {
            begins: now - 15 * DAY,
            expires: now + 12 * DAY,
            ..short
        };
        assert_eq!(short.advice(now), None);
        let advice = first_advice(vec![short, year], now).unwrap();
        assert!(advice.contains("expires in 15 days"), "{advice}");
    }

    #[test]
    fn each_certificate_of_a_file_is_logged_once() {
        let all = [valid(1), valid(20), valid(365)];
        let mut logged = BTreeMap::new();
        let ended: Vec<bool> = due(&mut logged, &all, 15 * DAY)
            .iter()
            .map(|(has_ended, _)| *has_ended)
            .collect();
        assert_eq!(ended, [true, false]);
        assert_eq!(due(&mut logged, &all, 15 * DAY), []);
        assert_eq!(due(&mut logged, &all, 21 * DAY).len(), 1, "it has ended");
        assert_eq!(due(&mut logged, &[], 21 * DAY), []);
        assert!(logged.is_empty());
    }
}
