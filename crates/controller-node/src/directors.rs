//! The Directors of an Agent: which of them is active, and the Controller's vote in their pair.
//!
//! Always: only the Director that says that it is active, and that a majority has heard it, is spoken to as the Agent. Never here: who
//! becomes active; the Directors' consensus decides, in which this Controller has the third vote.

use crate::drivers::{Dialling, Target};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::{Problem, RunId};
use net::{Client, ClientError};
use node::Vote;
use node::members::{AGENT_MEMBERS_PATH, client};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A Director that does not say by then whether it is active is not asked further.
const PROBE: Duration = Duration::from_secs(1);
/// Pause before a vote that cannot be given is tried again.
const VOTE_PAUSE: Duration = Duration::from_secs(2);

/// What a Director says of its pair.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    is_active: bool,
    may_answer: bool,
}

/// The way to the Director that is active now.
pub(crate) async fn active_of(dialling: &Dialling, target: &Target) -> Result<Client, Problem> {
    let dial = |uri: &str, patience| dialling.client(&target.path, uri, patience);
    let misused = |error: ClientError| Problem::plain(error.to_string());
    let [only] = target.uris.as_slice() else {
        let mut probes: FuturesUnordered<_> = target
            .uris
            .iter()
            .map(async |uri| {
                let report = dial(uri, Some(PROBE))?
                    .get_json::<Report>("/agent/api/cluster")
                    .await?;
                Ok::<_, ClientError>((report.is_active && report.may_answer).then_some(uri))
            })
            .collect();
        let mut untrusted = None;
        while let Some(probed) = probes.next().await {
            match probed {
                Ok(Some(uri)) => return dial(uri, None).map_err(misused),
                Ok(None) | Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => {}
                Err(
                    error @ (ClientError::Untrusted { .. }
                    | ClientError::Refused { .. }
                    | ClientError::Misused { .. }),
                ) => {
                    untrusted = Some(error);
                }
            }
        }
        return Err(untrusted.map_or_else(
            || {
                Problem::new(
                    "AgentHasNoActiveDirector",
                    "none of the Agent's Directors is active, or none can be reached",
                )
            },
            |error| Problem::new("AgentConnectionFailed", error.to_string()),
        ));
    };
    dial(only, None).map_err(misused)
}

/// This Controller's vote in a pair of Directors. Dropped, it is taken back in order.
pub(crate) struct OurVote {
    _stop: DropGuard,
}

/// Where and as whom we vote.
#[derive(Clone)]
pub(crate) struct Voting {
    /// The directory of all votes.
    pub(crate) dir: PathBuf,
    /// Our name.
    pub(crate) id: Arc<str>,
}

impl OurVote {
    /// Gives the vote as long as this is kept, and tells the number of the Director that leads. What has been voted stays remembered in
    /// the data directory.
    pub(crate) fn give(
        voting: &Voting,
        dialling: &Dialling,
        target: &Target,
        life: &RunId,
        leader: watch::Sender<Option<u64>>,
    ) -> OurVote {
        let stop = CancellationToken::new();
        let giving = Giving {
            of_agent: voting.dir.join(target.path.as_str()),
            life: life.clone(),
            id: voting.id.clone(),
            dialling: dialling.clone(),
            target: target.clone(),
            leader,
        };
        tasks::spawn("agent-vote", giving.run(stop.clone()));
        OurVote {
            _stop: stop.drop_guard(),
        }
    }
}

struct Giving {
    /// What has been voted in all lives of the Agent.
    of_agent: PathBuf,
    life: RunId,
    id: Arc<str>,
    dialling: Dialling,
    target: Target,
    leader: watch::Sender<Option<u64>>,
}

impl Giving {
    async fn run(self, stop: CancellationToken) {
        let agent = &self.target.path;
        while !stop.is_cancelled() {
            match self.open().await {
                Ok(vote) => {
                    tracing::info!(%agent, "this Controller has the third vote of the Agent's Directors");
                    self.give(vote, &stop).await;
                }
                // An earlier one may still be about to end.
                Err(problem) => {
                    tracing::warn!(%agent, %problem, "the third vote of the Agent's Directors cannot be given");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(VOTE_PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// A vote in a life that is over must not bring that life back.
    fn forget_other_lives(&self) -> std::io::Result<()> {
        if !self.of_agent.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&self.of_agent)? {
            let entry = entry?;
            if entry.file_name() != self.life.as_str() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    async fn open(&self) -> Result<Vote, Problem> {
        if let Err(error) = self.forget_other_lives() {
            tracing::warn!(agent = %self.target.path, %error, "votes of former lives of the Agent cannot be removed");
        }
        let dir = self.of_agent.join(self.life.as_str());
        let token = self.dialling.token_for(&self.target.path);
        let members = self
            .target
            .uris
            .iter()
            .map(|uri| client(uri, self.dialling.tls.as_ref(), token));
        let members = members
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Problem::plain(error.to_string()))?;
        let identity = format!("agent:{}", self.target.path);
        Vote::open(&dir, &identity, &self.id, members, AGENT_MEMBERS_PATH)
            .await
            .map_err(|error| Problem::plain(error.to_string()))
    }

    async fn give(&self, vote: Vote, stop: &CancellationToken) {
        let mut leadership = vote.log().leadership();
        let follow = async {
            loop {
                let active = leadership.borrow_and_update().active;
                self.leader
                    .send_if_modified(|known| std::mem::replace(known, active) != active);
                if leadership.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
            fault = vote.give() => tracing::error!(agent = %self.target.path, %fault, "the vote of the Agent's Directors is lost"),
        }
        vote.shut_down().await;
    }
}

/// Resolves when another Director leads than at first.
pub(crate) async fn another_leads(mut leader: watch::Receiver<Option<u64>>) {
    let mut first = *leader.borrow_and_update();
    while leader.changed().await.is_ok() {
        let now = *leader.borrow_and_update();
        if first.is_some() && now.is_some() && now != first {
            return;
        }
        first = first.or(now);
    }
    std::future::pending::<()>().await;
}
