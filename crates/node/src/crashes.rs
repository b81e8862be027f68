//! Recognises what has ended this node several times, so that the next start sets it aside instead of ending again.
//!
//! Always: the record is a file beside the log. It is written only when a decision has ended the node, when a start finds that the node was
//! ended from outside in the middle of its work, and when what was set aside changes.
//! Without the file, or if it cannot be read, a start is as usual. What was set aside stays in the file for inspection. Each member of a
//! cluster has its own file. What is set aside by an event is set aside on all members.
//! Never here: what setting aside means for an order or a request; see [`crate::Machine::set_aside`].

use crate::in_progress::{REPLAY, Running, Work};
use cluster::Log;
use model::{Problem, Timestamp, bounds};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The name of the file, in the directory of the log.
const FILE: &str = "crashes.json";
/// The number of ends over the same subject after which the subject is set aside.
const ENDS: usize = 2;
/// Maximum number of ends, and of subjects, in the file. The oldest are removed first.
const KEPT_MAX: usize = 100;
/// How long the end of a node waits for the file. The disk itself may be the cause of the end.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// What has ended this node, and what was set aside because of that. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Crashes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    record: Mutex<Record>,
    /// Names the work of this run.
    work: OnceLock<Work>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    /// The ends since the last orderly one, oldest first.
    ends: Vec<Crash>,
    set_aside: Vec<SetAside>,
}

/// The reason of an end that the node could not record itself.
const FROM_OUTSIDE: &str = "the process was killed or crashed in the middle of this work, for example because memory or the stack ran out";

/// An end of the node over a piece of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Crash {
    /// When it happened, in milliseconds since 1970.
    pub(crate) at: Timestamp,
    /// The subject of the work, as named by [`crate::Machine::working_on`].
    pub(crate) subject: String,
    /// What happened.
    pub(crate) reason: String,
    /// What the subject is an instance of; see [`crate::Machine::origin_of`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) origin: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetAside {
    #[serde(flatten)]
    crash: Crash,
    /// Whether no event records that it is set aside. Each start of this member then sets it aside again, until an orderly end.
    is_held: bool,
    /// Whether it is no longer set aside.
    is_over: bool,
}

impl Crashes {
    /// Reads the file of this log.
    pub(crate) fn of(log: &Log) -> Crashes {
        let path = log.dir().join(FILE);
        let record = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let file = path.display();
                tracing::warn!(%file, %error, "what has ended this node before cannot be read, and counts no longer");
                Record::default()
            }),
            Err(_) => Record::default(),
        };
        Crashes(Arc::new(Inner {
            path,
            record: Mutex::new(record),
            work: OnceLock::new(),
        }))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the path of the file.
    fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns what has ended the node several times and must be set aside now, oldest first. After one subject was set aside, a single end
    /// is enough for another subject with the same reason.
    pub(crate) fn to_set_aside(&self) -> Vec<Crash> {
        let record = self.record();
        let mut found: Vec<Crash> = Vec::new();
        for crash in &record.ends {
            let same = |other: &&Crash| other.subject == crash.subject;
            // Nothing of the log can be left out: the state would no longer be what the log says.
            if crash.subject.starts_with(REPLAY) {
                continue;
            }
            // Ends from outside have no reason of their own by which they could be told apart.
            let is_known_reason = |aside: &SetAside| {
                aside.crash.reason == crash.reason && crash.reason != FROM_OUTSIDE
            };
            let is_enough = record.ends.iter().filter(same).count() >= ENDS
                || record.set_aside.iter().any(is_known_reason);
            if is_enough {
                found.retain(|other| other.subject != crash.subject);
                found.push(crash.clone());
            }
        }
        found
    }

    /// Returns whether the origin must be set aside: at least two of its instances are, and the origin itself is not yet.
    pub(crate) fn is_origin_to_set_aside(&self, origin: &str) -> bool {
        let record = self.record();
        let open = || record.set_aside.iter().filter(|aside| !aside.is_over);
        let is_instance = |aside: &&SetAside| aside.crash.origin.as_deref() == Some(origin);
        open().filter(is_instance).count() >= ENDS
            && !open().any(|aside| aside.crash.subject == origin)
    }

    /// Returns what no event sets aside, so that each start must set it aside again.
    pub(crate) fn held(&self) -> Vec<Crash> {
        let record = self.record();
        let held = record.set_aside.iter();
        held.filter(|aside| aside.is_held && !aside.is_over)
            .map(|aside| aside.crash.clone())
            .collect()
    }

    /// Returns the subjects that are set aside.
    pub(crate) fn subjects(&self) -> Vec<String> {
        let record = self.record();
        let open = record.set_aside.iter().filter(|aside| !aside.is_over);
        open.map(|aside| aside.crash.subject.clone()).collect()
    }

    /// Records how the earlier run has ended, if it could not record that itself, and keeps where this run names its work.
    pub(crate) async fn begin(&self, running: &Running, now: Timestamp) {
        // A member that begins again in the same process has a record of its own.
        let _first = self.0.work.set(running.work().clone());
        let Some(left) = running.left() else { return };
        let Some(subject) = left.subject.clone() else {
            tracing::info!(
                "the earlier run was ended from outside: this run names what it works on"
            );
            return;
        };
        if left.is_of_replay() {
            let what = subject.trim_start_matches(REPLAY);
            tracing::error!(
                what,
                "the earlier run was killed or crashed while it read the log: memory may not suffice, or this version cannot read it"
            );
        } else {
            tracing::error!(
                subject,
                "the earlier run was killed or crashed in the middle of this work"
            );
        }
        self.add(now, subject, FROM_OUTSIDE).await;
    }

    /// Returns where this run names its work.
    pub(crate) fn work(&self) -> Work {
        self.0.work.get().cloned().unwrap_or_default()
    }

    /// Records an end of the node over `subject`.
    pub(crate) async fn add(&self, at: Timestamp, subject: String, reason: &str) {
        let crash = Crash {
            at,
            subject,
            reason: bounds::cut_message(reason).unwrap_or_else(|| reason.to_owned()),
            origin: None,
        };
        self.change(|record| {
            if record.ends.len() >= KEPT_MAX {
                record.ends.remove(0);
            }
            record.ends.push(crash);
            true
        })
        .await;
    }

    /// Records that the subject is set aside. Its earlier ends no longer count.
    pub(crate) async fn set_aside(&self, crash: &Crash, is_held: bool) {
        self.change(|record| {
            record.ends.retain(|end| end.subject != crash.subject);
            let is_other = |aside: &SetAside| aside.crash.subject != crash.subject;
            record.set_aside.retain(is_other);
            if record.set_aside.len() >= KEPT_MAX {
                record.set_aside.remove(0);
            }
            record.set_aside.push(SetAside {
                crash: crash.clone(),
                is_held,
                is_over: false,
            });
            true
        })
        .await;
    }

    /// Records that these subjects are no longer set aside.
    pub(crate) async fn over(&self, is_over: impl Fn(&str) -> bool) {
        self.change(|record| end_those(record, |aside| is_over(&aside.crash.subject)))
            .await;
    }

    /// Records that the node has ended in order. The earlier ends no longer count, and what no event sets aside gets another chance.
    pub(crate) async fn ended_in_order(&self) {
        self.change(|record| {
            let had_ends = !record.ends.is_empty();
            record.ends.clear();
            end_those(record, |aside| aside.is_held) || had_ends
        })
        .await;
    }

    /// Returns what an operator should do about what is set aside.
    pub(crate) fn advice(&self) -> Option<String> {
        let record = self.record();
        let mut open = record.set_aside.iter().filter(|aside| !aside.is_over);
        let SetAside { crash, is_held, .. } = open.next_back()?;
        let others = match open.count() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let subject = &crash.subject;
        let what_to_do = match (subject.starts_with(ORDER), is_held) {
            (true, _) => "look at it with 'order show', then resume or cancel it",
            _ if subject.starts_with(WORKFLOW) => {
                "its orders become Broken until a new version is deployed or this node has been restarted in order"
            }
            (false, _) => "it is refused or skipped until this node has been restarted in order",
        };
        Some(format!(
            "{subject}{others} was set aside because it has ended this node several times: {what_to_do}; {} has the details (reason: {})",
            self.path().display(),
            crash.reason
        ))
    }

    /// Changes the record, and writes the file if `change` returns `true`.
    async fn change(&self, change: impl FnOnce(&mut Record) -> bool) {
        let is_changed = change(&mut self.record());
        if is_changed {
            self.save().await;
        }
    }

    /// Writes the file. The end of a node does not wait for a disk that does not respond.
    async fn save(&self) {
        let crashes = self.clone();
        let writing = tasks::spawn_blocking(move || {
            let record = crashes.record().clone();
            let bytes = serde_json::to_vec_pretty(&record)?;
            settings::replace_private_file(crashes.path(), &bytes)
        });
        let file = self.path().display();
        match tokio::time::timeout(WRITE_WITHIN, writing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(%file, %error, "what has ended this node cannot be recorded");
            }
            Ok(Err(error)) => {
                tracing::warn!(%file, %error, "what has ended this node cannot be recorded");
            }
            Err(_) => tracing::warn!(%file, "what has ended this node is not recorded in time"),
        }
    }
}

/// Marks those that are no longer set aside. Returns whether there are any.
fn end_those(record: &mut Record, is_over: impl Fn(&SetAside) -> bool) -> bool {
    let open = record.set_aside.iter_mut().filter(|aside| !aside.is_over);
    open.filter(|aside| is_over(aside))
        .map(|aside| aside.is_over = true)
        .count()
        > 0
}

/// The prefix of the subject that names an order.
const ORDER: &str = "Order:";
/// The prefix of the subject that names a version of a workflow.
const WORKFLOW: &str = "Workflow:";

impl Crash {
    /// Returns the problem that is shown for what is set aside.
    pub(crate) fn problem(&self) -> Problem {
        Problem::new(
            "SetAside",
            format!(
                "{} has ended the node several times and was set aside: {}",
                self.subject, self.reason
            ),
        )
        .with("subject", &self.subject)
        .bounded()
    }
}
