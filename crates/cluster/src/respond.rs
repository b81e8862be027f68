//! What other members ask, answered by this one's consensus and journal.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use openraft::alias::SnapshotOf;

use crate::link::{Answer, Answering, Ask};
use crate::member::{Hello, Part};
use crate::raft::{Raft, SnapshotBody, Types};

pub(crate) struct Responder {
    me: Hello,
    dir: PathBuf,
    raft: OnceLock<Raft>,
}

impl Responder {
    pub(crate) fn new(me: Hello, dir: PathBuf) -> Self {
        Self {
            me,
            dir,
            raft: OnceLock::new(),
        }
    }

    /// Connections are served from now on.
    pub(crate) fn serve(&self, raft: Raft) {
        // There is one consensus per log.
        let _only_once = self.raft.set(raft);
    }

    /// Where a snapshot from this member gathers. The journal removes what a crash left.
    fn received(&self, from: u64) -> PathBuf {
        self.dir.join(format!("received-{from}.tmp"))
    }

    async fn keep_piece(&self, from: u64, offset: u64, bytes: bytes::Bytes) -> io::Result<()> {
        let path = self.received(from);
        let writing = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::options()
                .write(true)
                .create(true)
                .truncate(offset == 0)
                .open(path)?;
            file.write_all_at(&bytes, offset)
        });
        writing.await.map_err(io::Error::other)?
    }
}

impl Answering for Responder {
    fn hello(&self, hello: &Hello) -> Result<(), String> {
        if hello.cluster != self.me.cluster {
            return Err(format!(
                "{hello} belongs to another cluster than {}",
                self.me
            ));
        }
        if hello.member == self.me.member {
            return Err(format!(
                "{hello} has the number of {}: one directory is a copy of the other; give the copy an empty directory",
                self.me
            ));
        }
        Ok(())
    }

    async fn answer(self: Arc<Self>, from: u64, ask: Ask) -> Answer {
        let Some(raft) = self.raft.get() else {
            return Answer::Refused("this member is still starting".to_owned());
        };
        let answered = match ask {
            Ask::Append(request) => raft
                .append_entries(request)
                .await
                .map(Answer::Append)
                .map_err(|error| error.to_string()),
            Ask::Vote(request) => raft
                .vote(request)
                .await
                .map(Answer::Vote)
                .map_err(|error| error.to_string()),
            Ask::PreVote(request) => raft
                .pre_vote(request)
                .await
                .map(Answer::Vote)
                .map_err(|error| error.to_string()),
            Ask::Transfer(_) if self.me.part == Part::Watch => {
                Err("a watch never becomes the active member".to_owned())
            }
            Ask::Transfer(request) => raft
                .handle_transfer_leader(request)
                .await
                .map(|_| Answer::Done)
                .map_err(|error| error.to_string()),
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
                    .map(Answer::Snapshot)
                    .map_err(|error| error.to_string())
            }
        };
        answered.unwrap_or_else(Answer::Refused)
    }
}
