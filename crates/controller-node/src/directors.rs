//! The Directors of an Agent: which of them is active, and the Controller's vote in their pair.
//!
//! Always: the Controller communicates only with the Director that reports that it is active and that a majority confirms. The vote belongs
//! to the Controller, not to one member. The promises of the vote are in the Controller's log before a Director learns of them. Never here:
//! which Director becomes active. The Directors' consensus decides that, and this Controller has the third vote in it.

use crate::drivers::{Dialling, Target};
use crate::machine::{ControllerMachine, Input, Reply};
use cluster::{Log, Witness, WitnessState, WitnessStore};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::{AgentPath, AgentWitness, Problem, RunId};
use net::{Client, ClientError};
use node::Handle;
use node::members::{client, dial_as_witness};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// A Director that does not say by then whether it is active is not asked further.
const PROBE: Duration = Duration::from_secs(1);
/// Pause before a vote that cannot be given is tried again.
const VOTE_PAUSE: Duration = Duration::from_millis(200);

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

/// The third vote in a pair of Directors. The active member of the Controller's cluster gives it until this value is dropped.
pub(crate) struct AgentVote {
    _stop: DropGuard,
    task: JoinHandle<()>,
}

/// The name under which this member votes, and where earlier versions kept votes.
#[derive(Clone)]
pub(crate) struct Voting {
    /// The directory in which earlier versions kept the votes of this member.
    pub(crate) dir: PathBuf,
    /// Our name.
    pub(crate) id: Arc<str>,
}

/// Everything that giving the vote needs.
pub(crate) struct Giving {
    pub(crate) voting: Voting,
    pub(crate) life: RunId,
    pub(crate) dialling: Dialling,
    pub(crate) target: Target,
    pub(crate) handle: Handle<ControllerMachine>,
    pub(crate) log: Log,
    /// Receives the number of the leading Director.
    pub(crate) leader: watch::Sender<Option<u64>>,
}

impl AgentVote {
    /// Gives the vote until the returned value is dropped, starting after `before` has ended. Votes are recorded in the Controller's log,
    /// so the member that becomes active next continues the same vote.
    pub(crate) fn give(giving: Giving, before: Option<AgentVote>) -> AgentVote {
        let stop = CancellationToken::new();
        let before = before.map(|before| before.task);
        let stopped = stop.clone();
        let task = tasks::spawn("agent-vote", async move {
            if let Some(before) = before {
                // However the earlier vote has ended, no task of it speaks for the vote any longer.
                let _ended = before.await;
            }
            giving.run(stopped).await;
        });
        AgentVote {
            _stop: stop.drop_guard(),
            task,
        }
    }
}

/// Keeps the state of a witness in the Controller's log.
struct WitnessLog {
    agent: AgentPath,
    life: RunId,
    handle: Handle<ControllerMachine>,
    log: Log,
}

impl WitnessStore for WitnessLog {
    async fn record(&self, state: &WitnessState) -> bool {
        let input = Input::AgentWitness {
            agent: self.agent.clone(),
            run_id: self.life.clone(),
            witness: to_model(state),
        };
        matches!(self.handle.ask(input).await, Ok(Reply::Remembered(true)))
    }

    fn may_answer(&self) -> bool {
        self.log.may_answer()
    }
}

impl Giving {
    async fn run(self, stop: CancellationToken) {
        let agent = &self.target.path;
        let mut told = None;
        while !stop.is_cancelled() {
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = stop.cancelled() => return,
            };
            match opened {
                // This member is stopping, or is no longer active.
                Ok(None) => return,
                Ok(Some(witness)) => {
                    told = None;
                    tracing::info!(%agent, "this Controller has the third vote of the Agent's Directors");
                    self.give(&witness, &stop).await;
                }
                // The problem is logged once, because each retry would log the same.
                Err(problem) if told.as_ref() == Some(&problem) => {}
                Err(problem) => {
                    tracing::warn!(%agent, %problem, "the third vote of the Agent's Directors cannot be given");
                    told = Some(problem);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(VOTE_PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Continues the vote from the state in the log, or begins it. Returns `None` if this member is no longer active.
    async fn open(&self) -> Result<Option<Arc<Witness<WitnessLog>>>, Problem> {
        let (path, life) = (self.target.path.clone(), self.life.clone());
        let identity = format!("agent:{path}");
        let memory = WitnessLog {
            agent: path.clone(),
            life: life.clone(),
            handle: self.handle.clone(),
            log: self.log.clone(),
        };
        let known = self.handle.read(move |machine| {
            let agent = machine.state.agent(&path)?;
            (agent.agent_run_id.as_ref() == Some(&life)).then(|| agent.witness.clone())
        });
        let known = match known.await {
            Err(_stopped) => return Ok(None),
            Ok(None) => return Err(Problem::plain("the Agent has been reset meanwhile")),
            Ok(Some(known)) => known,
        };
        let state = if let Some(known) = known {
            from_model(&known)
        } else {
            let begun = self.found(&identity).await?;
            if !memory.record(&begun).await {
                return Err(Problem::plain("its beginning could not be recorded"));
            }
            begun
        };
        self.remove_directory().await;
        let witness = Witness::open(&identity, &self.voting.id, state, memory);
        Ok(Some(witness))
    }

    /// Returns the state that an earlier version kept in this member's directory, or a new state without votes.
    async fn found(&self, identity: &str) -> Result<WitnessState, Problem> {
        let dir = self.voting.dir.join(self.target.path.as_str());
        let (dir, identity) = (dir.join(self.life.as_str()), identity.to_owned());
        let told = dir.display().to_string();
        let found = tasks::spawn_blocking(move || WitnessState::found_in(&dir, &identity)).await;
        match found {
            Ok(Ok(Some(found))) => {
                tracing::info!(agent = %self.target.path, dir = told, "the third vote is taken over into the Controller's log");
                return Ok(found);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(agent = %self.target.path, dir = told, %error, "a former third vote cannot be read: the Directors take in another one");
            }
            Err(panic) => return Err(Problem::plain(panic.to_string())),
        }
        let number = cluster::draw_number().map_err(|error| Problem::plain(error.to_string()))?;
        Ok(WitnessState::new(number))
    }

    /// Removes the directory of an earlier version. The vote is in the log now and must not be given twice.
    async fn remove_directory(&self) {
        let dir = self.voting.dir.join(self.target.path.as_str());
        let agent = self.target.path.clone();
        let removing = tasks::spawn_blocking(move || match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%agent, dir = %dir.display(), %error, "the former third vote cannot be removed; remove the directory");
            }
            Ok(()) | Err(_) => {}
        });
        // A failure has been logged above.
        let _ended = removing.await;
    }

    /// Gives the vote until it must start again. When this returns, no task speaks for the vote any longer.
    async fn give(&self, witness: &Arc<Witness<WitnessLog>>, stop: &CancellationToken) {
        let token = self.dialling.token_for(&self.target.path);
        let mut dialled = Vec::new();
        for uri in &self.target.uris {
            match client(uri, self.dialling.tls.as_ref(), token) {
                Ok(client) => {
                    let dialling = dial_as_witness(Arc::clone(witness), client);
                    let dialling = tasks::spawn_endless("witness-dialler", dialling);
                    dialled.push(AbortOnDropHandle::new(dialling));
                }
                Err(error) => {
                    tracing::warn!(agent = %self.target.path, %uri, %error, "this Director cannot be dialled");
                }
            }
        }
        let mut elected = witness.leader();
        let follow = async {
            loop {
                let active = *elected.borrow_and_update();
                self.leader
                    .send_if_modified(|known| std::mem::replace(known, active) != active);
                if elected.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            end = witness.ended() => {
                tracing::debug!(agent = %self.target.path, ?end, "the third vote begins anew");
            }
            () = stop.cancelled() => {}
            () = follow => {}
        }
        for dialling in dialled {
            dialling.abort();
            // However the task has ended, it no longer speaks for the vote.
            let _aborted = dialling.await;
        }
    }
}

/// Converts the state of a witness into the form that the Controller's log keeps.
pub fn to_model(state: &WitnessState) -> AgentWitness {
    AgentWitness {
        member: state.member,
        term: state.term,
        voted_for: state.voted_for,
        is_elected: state.is_elected,
        newest: state.newest,
        members: state.members.clone(),
        members_since: state.members_since,
    }
}

/// Converts the state of a witness from the form that the Controller's log keeps.
pub fn from_model(witness: &AgentWitness) -> WitnessState {
    WitnessState {
        member: witness.member,
        term: witness.term,
        voted_for: witness.voted_for,
        is_elected: witness.is_elected,
        newest: witness.newest,
        members: witness.members.clone(),
        members_since: witness.members_since,
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
