//! What other members ask, answered by this one's consensus and journal.

use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use openraft::alias::SnapshotOf;
use openraft::raft::{AppendEntriesResponse, TransferLeaderError};
use tokio::time::{Instant, sleep};

use crate::link::{Answer, Answering, Ask};
use crate::member::Hello;
use crate::peers::Peers;
use crate::raft::{Raft, SnapshotBody, Types, introduction};
use crate::repeats::Repeats;
use crate::rules::{self, Ballot, Disagreement, Voting};

pub(crate) struct Responder {
    me: Hello,
    peers: Arc<Peers>,
    dir: PathBuf,
    raft: OnceLock<Raft>,
    opened_at: Instant,
    heard: Mutex<Heard>,
}

/// What bears on giving a vote.
struct Heard {
    /// An active member, the last time.
    at: Option<Instant>,
    patience: Duration,
    /// What was logged about members that may not speak.
    refused: Repeats,
}

impl Responder {
    pub(crate) fn new(peers: Arc<Peers>, dir: PathBuf) -> Self {
        let me = peers.me().clone();
        let heard = Heard {
            at: None,
            patience: rules::patience(&me.timing),
            refused: Repeats::default(),
        };
        Self {
            me,
            peers,
            dir,
            raft: OnceLock::new(),
            opened_at: Instant::now(),
            heard: Mutex::new(heard),
        }
    }

    /// Connections are served from now on.
    pub(crate) fn serve(&self, raft: Raft) {
        // There is one consensus per log.
        let _only_once = self.raft.set(raft);
    }

    fn introduction(&self) -> Hello {
        let me = &self.me;
        self.raft
            .get()
            .map_or_else(|| me.clone(), |raft| introduction(raft, me))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when an active member was last heard, as far as this process knows.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        self.heard().at
    }

    /// An active member was heard: for a while nobody gets a vote.
    fn on_active_heard(&self) {
        self.heard().at = Some(Instant::now());
    }

    /// Waits until a vote may be given, or says why it may not.
    async fn may_vote(&self, is_handed_over: bool) -> Result<(), String> {
        loop {
            let ballot = {
                let heard = self.heard();
                Ballot {
                    is_handed_over,
                    opened_for: self.opened_at.elapsed(),
                    heard_for: heard.at.map(|at| at.elapsed()),
                    patience: heard.patience,
                }
            };
            match rules::voting(&ballot) {
                Voting::Open => return Ok(()),
                Voting::Later(rest) => sleep(rest).await,
                Voting::Refused => return Err("the active member was heard just now".to_owned()),
            }
        }
    }

    /// Where a snapshot from this member gathers. The journal removes what a crash left.
    fn received(&self, from: u64) -> PathBuf {
        self.dir.join(format!("received-{from}.tmp"))
    }

    async fn keep_piece(&self, from: u64, offset: u64, bytes: bytes::Bytes) -> io::Result<()> {
        let path = self.received(from);
        let writing = tasks::spawn_blocking(move || {
            let file = std::fs::File::options()
                .write(true)
                .create(true)
                .truncate(offset == 0)
                .mode(0o600)
                .open(path)?;
            file.write_all_at(&bytes, offset)
        });
        writing.await.map_err(io::Error::other)?
    }
}

impl Answering for Responder {
    fn double(&self, hello: &Hello) -> Option<String> {
        let told = self.peers.double_of(hello)?;
        if let Some(left_out) = self.peers.note_double(&told) {
            tracing::error!(
                left_out = (left_out > 0).then_some(left_out),
                "a member is refused: {told}"
            );
        }
        Some(told)
    }

    fn hello(&self, hello: &Hello) -> Result<(), String> {
        let me = self.introduction();
        if let Err(disagreement) = rules::agree(&me, hello) {
            let told = disagreement.to_string();
            let mut heard = self.heard();
            // It tries again and again, maybe at two addresses for two reasons.
            if !matches!(disagreement, Disagreement::OnlyAsked { .. })
                && let Some(left_out) = heard.refused.note(&told, Instant::now())
            {
                tracing::error!(
                    left_out = (left_out > 0).then_some(left_out),
                    "a member is refused: {told}"
                );
            }
            return Err(told);
        }
        let mut heard = self.heard();
        heard.patience = rules::patience_with(heard.patience, hello);
        Ok(())
    }

    fn renewed(&self, hello: &Hello) -> Result<(), String> {
        self.hello(hello)?;
        self.peers.renewed(hello);
        Ok(())
    }

    fn lives(&self, from: u64) {
        self.peers.heard(from);
    }

    async fn answer(self: Arc<Self>, from: u64, ask: Ask) -> Answer {
        let Some(raft) = self.raft.get() else {
            return Answer::Refused("this member is still starting".to_owned());
        };
        let answered = match ask {
            Ask::Append(request) => raft
                .append_entries(request)
                .await
                .map(|response| {
                    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                        self.on_active_heard();
                    }
                    Answer::Append(response)
                })
                .map_err(|error| error.to_string()),
            Ask::Vote(request) => match self.may_vote(request.leadership_transfer).await {
                Ok(()) => raft
                    .vote(request)
                    .await
                    .map(Answer::Vote)
                    .map_err(|error| error.to_string()),
                Err(reason) => Err(reason),
            },
            Ask::PreVote(request) => match self.may_vote(false).await {
                Ok(()) => raft
                    .pre_vote(request)
                    .await
                    .map(Answer::Vote)
                    .map_err(|error| error.to_string()),
                Err(reason) => Err(reason),
            },
            Ask::Transfer(_) if !rules::may_lead(self.me.part) => {
                Err("a watch never becomes the active member".to_owned())
            }
            Ask::Transfer(request) => {
                // Recorded before consensus gets the request, because this member may lead immediately afterwards.
                let term = request.from_leader().leader_id.term;
                self.peers.is_handed(term);
                match raft.handle_transfer_leader(request).await {
                    Ok(Ok(())) => Ok(Answer::Done),
                    // The request is repeated if its answer is lost. The first request may have been granted and have changed the vote.
                    Ok(Err(changed @ TransferLeaderError::VoteChanged { .. })) => {
                        Err(changed.to_string())
                    }
                    Ok(Err(rejected)) => {
                        self.peers.is_not_handed(term);
                        Err(rejected.to_string())
                    }
                    Err(fatal) => Err(fatal.to_string()),
                }
            }
            Ask::Piece { offset, bytes } => self
                .keep_piece(from, offset, bytes)
                .await
                .map(|()| Answer::Done)
                .map_err(|error| error.to_string()),
            Ask::Snapshot {
                vote,
                meta,
                has_file,
            } => {
                let snapshot = SnapshotOf::<Types, SnapshotBody> {
                    meta,
                    snapshot: has_file.then(|| self.received(from)),
                };
                raft.install_full_snapshot(vote, snapshot)
                    .await
                    .map(|response| {
                        self.on_active_heard();
                        Answer::Snapshot(response)
                    })
                    .map_err(|error| error.to_string())
            }
        };
        answered.unwrap_or_else(Answer::Refused)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use openraft::async_runtime::watch::WatchReceiver as _;
    use openraft::raft::TransferLeaderRequest;

    use super::*;
    use crate::{Log, Options, Role};

    async fn member(dir: &Path, name: &str) -> Log {
        let mut options = Options::new(dir, "controller:Controller");
        options.segment_bytes = 64 << 10;
        name.clone_into(&mut options.name);
        options.joins = name != "Primary";
        Log::open(options).await.unwrap().log
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..3000 {
            if is_so() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("in vain waited for: {what}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_to_take_over_that_is_repeated_does_not_undo_the_first_one() {
        let dirs: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let a = member(dirs[0].path(), "Primary").await;
        let b = member(dirs[1].path(), "Backup").await;
        let (near, far) = tokio::io::duplex(64 << 10);
        let (one, two) = (a.clone(), b.clone());
        let _wire = [
            tokio::spawn(async move { drop(one.serve(near).await) }),
            tokio::spawn(async move { drop(two.serve(far).await) }),
        ];
        until("they are connected", || a.peers().len() == 1).await;
        let (first, second) = (a.me().member, b.me().member);
        a.let_learn(second).await.unwrap();
        until("it has everything", || a.peers().iter().all(|p| !p.is_lost)).await;
        a.set_voters(BTreeSet::from([first, second])).await.unwrap();

        let vote = a.shared().raft.metrics().borrow_watched().vote;
        a.hand_over_to(second).await.unwrap();
        until("the other one is active", || {
            b.leadership().borrow().role == Role::Active
        })
        .await;
        assert!(b.was_handed_over());
        let again = Ask::Transfer(TransferLeaderRequest::new(vote, second, None));
        let responder = Arc::clone(&b.shared().responder);
        let answer = responder.answer(first, again).await;
        assert!(matches!(answer, Answer::Refused(_)));
        assert!(b.was_handed_over());
    }
}
