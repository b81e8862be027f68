//! The certificates that this process uses: until when they are good, and reading them again after they were replaced.
//!
//! Always: connections that exist stay as they are, and new ones use what was read last; files that do not fit together are refused as a
//! whole, and what was read before stays in use. Never here: what makes a set of files fit; see `tls`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use x509_parser::prelude::X509Certificate;

use crate::tls::TlsError;

/// A certificate's end is told so long before, or a third of its whole time if that is less.
const NOTICE: i64 = 30 * DAY;
const DAY: i64 = 24 * 3600;
/// How often the validity is looked at.
const LOOK: Duration = Duration::from_hours(1);
/// How often the same is told again.
const AGAIN: Duration = Duration::from_hours(24);

/// A certificate of a file in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Certificate {
    /// Its file.
    pub file: PathBuf,
    /// Whose it is.
    pub subject: String,
    /// Begin of its validity, in seconds since 1970.
    pub begins: i64,
    /// End of its validity, in seconds since 1970.
    pub expires: i64,
    /// The same for people.
    pub expires_at: String,
}

/// How a certificate stands to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is good for long enough.
    Good,
    /// It ends within so many days and should be replaced.
    EndsSoon {
        /// Whole days.
        days: i64,
    },
    /// It has ended: others refuse it.
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

    /// How it stands at this time, in seconds since 1970.
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

    /// What is to be done about it, if anything.
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

/// What was made of a set of files.
pub(crate) struct Loaded<C> {
    pub(crate) config: C,
    pub(crate) certificates: Vec<Certificate>,
}

/// What is in use, and how it is read again.
pub(crate) struct InUse<C> {
    current: RwLock<(Arc<C>, Vec<Certificate>)>,
    load: Box<dyn Fn() -> Result<Loaded<C>, TlsError> + Send + Sync>,
}

impl<C: Send + Sync + 'static> InUse<C> {
    /// Reads it for the first time, and from then on with [`reload_certificates`].
    pub(crate) fn load(
        load: impl Fn() -> Result<Loaded<C>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<InUse<C>>, TlsError> {
        let Loaded {
            config,
            certificates,
        } = load()?;
        let in_use = Arc::new(InUse {
            current: RwLock::new((Arc::new(config), certificates)),
            load: Box::new(load),
        });
        let known: Arc<dyn Known> = Arc::<InUse<C>>::clone(&in_use);
        let mut all = all();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&known));
        Ok(in_use)
    }

    /// For the next connection.
    pub(crate) fn current(&self) -> Arc<C> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.0)
    }
}

/// One of those in use, whatever it is for.
trait Known: Send + Sync {
    fn reload(&self) -> Result<(), TlsError>;
    fn certificates(&self) -> Vec<Certificate>;
}

impl<C: Send + Sync> Known for InUse<C> {
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

/// All that this process has in use.
static ALL: Mutex<Vec<Weak<dyn Known>>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Weak<dyn Known>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_use() -> Vec<Arc<dyn Known>> {
    all().iter().filter_map(Weak::upgrade).collect()
}

/// The certificates that this process has in use, each once.
pub fn certificates() -> Vec<Certificate> {
    let mut certificates: Vec<_> = in_use()
        .iter()
        .flat_map(|known| known.certificates())
        .collect();
    certificates.sort();
    certificates.dedup();
    certificates
}

/// What is to be done about the certificate in use that ends first, if anything.
pub fn certificate_advice() -> Option<String> {
    let first = certificates()
        .into_iter()
        .min_by_key(|certificate| certificate.expires)?;
    first.advice(now())
}

/// Reads all files in use again, and logs what has come of it. Blocks for as long as the disk takes.
pub fn reload_certificates() {
    let mut failures: Vec<String> = Vec::new();
    for known in in_use() {
        if let Err(error) = known.reload() {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let told = [Some(error.to_string()), source];
            failures.push(told.into_iter().flatten().collect::<Vec<_>>().join(": "));
        }
    }
    // A server and a client mostly have the same files.
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

/// Logs in time that certificates in use end, for as long as it is polled.
pub async fn watch_certificates() -> Infallible {
    let mut told = BTreeMap::new();
    loop {
        tell(&mut told);
        tokio::time::sleep(LOOK).await;
    }
}

/// What was told of each file, and when.
type Told = BTreeMap<PathBuf, (bool, Instant)>;

fn tell(told: &mut Told) {
    let now = now();
    for certificate in certificates() {
        let Some(advice) = certificate.advice(now) else {
            told.remove(&certificate.file);
            continue;
        };
        let is_over = certificate.validity(now) == Validity::Over;
        let is_told = told
            .get(&certificate.file)
            .is_some_and(|(was_over, at)| *was_over == is_over && at.elapsed() < AGAIN);
        if is_told {
            continue;
        }
        told.insert(certificate.file.clone(), (is_over, Instant::now()));
        if is_over {
            tracing::error!("{advice}");
        } else {
            tracing::warn!("{advice}");
        }
    }
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
    fn the_end_is_told_weeks_before_and_of_short_ones_a_third_of_their_time_before() {
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
}
