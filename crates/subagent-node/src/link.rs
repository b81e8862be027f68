//! How a Director speaks with a Subagent: directly to its own, over HTTP to others. Both forms mean the same.
//!
//! Always: commands and events belong to one coupling; a later one makes an earlier one worthless.

use crate::Subagent;
use crate::service::OpenStream;
use model::{
    AgentPath, Attempt, ControllerId, EventId, MemberRun, Metering, PlatformInfo, Problem, RunId,
    Seconds, SubagentAnswer, SubagentCommand, SubagentId, SubagentStamped,
};
use net::{Client, ClientError, NdjsonStream, Pace};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A Subagent's stream counts as broken after this silence, or after half of the lease.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// So many heartbeats of its stream fit into that silence.
const HEARTBEATS: u32 = 10;
/// The distance between two chunks of a strong flow of events.
const PACE: Duration = Duration::from_millis(2);
/// Events per second that are a strong flow: some 1000 jobs. One job after another makes fewer and never waits.
const PACE_FLOW: f64 = 1200.0;

/// How a Subagent spaces its report.
pub(crate) fn pace(distance: Duration) -> Pace {
    Pace::new(distance, PACE_FLOW)
}

/// Why a Subagent did not do or answer what it should.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It refuses.
    #[error("{0}")]
    Refused(Problem),
    /// It cannot be reached, or answers nonsense.
    #[error(transparent)]
    Net(#[from] ClientError),
    /// What it sent is no event.
    #[error("the Subagent sent an event that cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The stream has ended.
    #[error("the Subagent has closed the stream of events")]
    Closed,
}

impl LinkError {
    /// As a problem to be shown.
    pub fn problem(&self) -> Problem {
        match self {
            LinkError::Refused(problem) => problem.clone(),
            LinkError::Net(error) => match error.problem() {
                Some(problem) => {
                    let mut shown = Problem::plain(problem.message.clone());
                    shown.code = problem.code.as_ref().map(ToString::to_string);
                    shown
                }
                None => Problem::new("SubagentUnreachable", error.to_string()),
            },
            LinkError::Unreadable(_) | LinkError::Closed => Problem::plain(self.to_string()),
        }
    }

    /// Whether the Subagent said so with this code.
    pub fn is(&self, code: &str) -> bool {
        self.problem().is(code)
    }
}

/// What a Director says about itself when it takes a Subagent.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The Subagent's name.
    pub subagent_id: SubagentId,
    /// The Agent's name.
    pub agent_path: AgentPath,
    /// The identity of the Agent's log.
    pub agent_run_id: RunId,
    /// The Controller's name.
    pub controller_id: ControllerId,
    /// The epoch of the Director's part: an older one is not obeyed any more.
    pub epoch: u64,
    /// The run of the Director's process.
    pub from: MemberRun,
}

/// A way to a Subagent.
#[derive(Clone)]
pub enum SubagentLink {
    /// The Director's own.
    Local(LocalLink),
    /// Another process.
    Remote(RemoteLink),
}

/// The Director's own Subagent.
#[derive(Clone)]
pub struct LocalLink {
    /// The Subagent.
    pub subagent: Subagent,
    /// The lease that it is given: another Director may follow this one and must know when its jobs have ended.
    pub lease: Option<Duration>,
}

/// A Subagent behind HTTP.
#[derive(Clone)]
pub struct RemoteLink {
    /// How it is reached.
    pub client: Client,
    /// The lease that it is given.
    pub lease: Duration,
}

impl RemoteLink {
    /// It counts as silent after this time.
    pub fn patience(lease: Duration) -> Duration {
        IDLE_TIMEOUT.min(lease / 2)
    }
}

/// What a Subagent has answered to its dedication.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The identity of its life.
    pub run_id: RunId,
    /// Its machine.
    pub platform: Option<PlatformInfo>,
    /// Its report begins behind this event.
    pub begins_after: EventId,
    /// The number of the coupling that may follow.
    pub coupling: u64,
}

/// A stream of events.
pub enum Events {
    /// From the Director's own.
    Local {
        /// From whom.
        subagent: Subagent,
        /// Which life.
        run_id: RunId,
        /// From where.
        after: EventId,
        /// How often.
        pace: Pace,
        /// The Director counts as connected as long as this exists.
        _open: OpenStream,
    },
    /// From elsewhere.
    Remote {
        /// The lines.
        stream: NdjsonStream,
        /// The newest that has come and has not been taken.
        metering: Option<Metering>,
    },
}

impl SubagentLink {
    /// The lease that the Subagent is given; the own one of a Director that is alone needs none.
    pub fn lease(&self) -> Option<Duration> {
        match self {
            SubagentLink::Local(LocalLink { lease, .. }) => *lease,
            SubagentLink::Remote(RemoteLink { lease, .. }) => Some(*lease),
        }
    }

    async fn send(
        &self,
        (coupling, number): (u64, u64),
        command: SubagentCommand,
    ) -> Result<SubagentAnswer, LinkError> {
        let answer = match self {
            SubagentLink::Local(LocalLink { subagent, .. }) => subagent
                .command(coupling, number, command)
                .map_err(LinkError::Refused)?,
            SubagentLink::Remote(RemoteLink { client, .. }) => {
                client
                    .post_json(
                        &format!("/subagent/api/command?coupling={coupling}&number={number}"),
                        &command,
                    )
                    .await?
            }
        };
        SubagentAnswer::into_result(answer).map_err(LinkError::Refused)
    }

    /// Takes the Subagent for the Agent.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other answer is a wrong one"
    )]
    pub async fn dedicate(&self, me: &Linked) -> Result<Taken, LinkError> {
        let command = SubagentCommand::DedicateSubagent {
            subagent_id: me.subagent_id.clone(),
            agent_path: me.agent_path.clone(),
            agent_run_id: me.agent_run_id.clone(),
            controller_id: me.controller_id.clone(),
            from: Some(me.from.clone()),
        };
        match self.send((0, 0), command).await? {
            SubagentAnswer::Dedicated {
                subagent_run_id,
                platform_info,
                subagent_event_id,
                coupling,
            } => Ok(Taken {
                run_id: subagent_run_id,
                platform: platform_info,
                begins_after: subagent_event_id,
                coupling,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Couples under the number of the dedication before; answers the attempts that the Subagent knows.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other answer is a wrong one"
    )]
    pub async fn couple(
        &self,
        me: &Linked,
        taken: &Taken,
        after: EventId,
    ) -> Result<Vec<Attempt>, LinkError> {
        let command = SubagentCommand::CoupleDirector {
            subagent_id: me.subagent_id.clone(),
            subagent_run_id: taken.run_id.clone(),
            event_id: after,
            coupling: taken.coupling,
            lease: self.lease().map(Seconds),
            epoch: me.epoch,
        };
        match self.send((0, 0), command).await? {
            SubagentAnswer::Coupled { attempts, .. } => Ok(attempts),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends commands within a coupling, as one batch; answers each. `number` counts the requests of the coupling from 1; one is
    /// sent when the one before has been answered.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other answer is a wrong one"
    )]
    pub async fn commands(
        &self,
        coupling: u64,
        number: u64,
        commands: Vec<SubagentCommand>,
    ) -> Result<Vec<SubagentAnswer>, LinkError> {
        match self
            .send((coupling, number), SubagentCommand::Batch { commands })
            .await?
        {
            SubagentAnswer::Batch { responses } => Ok(responses),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns the events after `after`, in this coupling.
    pub async fn events(
        &self,
        run_id: &RunId,
        coupling: u64,
        after: EventId,
    ) -> Result<Events, LinkError> {
        match self {
            SubagentLink::Local(LocalLink { subagent, .. }) => Ok(Events::Local {
                subagent: subagent.clone(),
                run_id: run_id.clone(),
                after,
                pace: pace(PACE),
                _open: subagent.open_stream(coupling),
            }),
            SubagentLink::Remote(RemoteLink { client, lease }) => {
                let patience = RemoteLink::patience(*lease);
                let heartbeat = (patience / HEARTBEATS).as_secs_f64();
                let path = format!(
                    "/subagent/api/event?subagentRunId={run_id}&coupling={coupling}&after={after}&heartbeat={heartbeat}&holds=true&pace={}",
                    PACE.as_secs_f64()
                );
                Ok(Events::Remote {
                    stream: client.get_stream(&path, patience).await?,
                    metering: None,
                })
            }
        }
    }

    /// Shuts the Subagent down, maybe to be started again.
    pub async fn shut_down(
        &self,
        signal: Option<Arc<str>>,
        restart: bool,
    ) -> Result<(), LinkError> {
        self.send(
            (0, 0),
            SubagentCommand::ShutDown {
                process_signal: signal,
                restart,
            },
        )
        .await
        .map(|_accepted| ())
    }
}

fn unexpected(answer: &SubagentAnswer) -> LinkError {
    LinkError::Refused(Problem::plain(format!(
        "the Subagent answered with {}",
        answer.type_name()
    )))
}

impl Events {
    /// The next events, some at once; none with a metering alone. May be dropped at any time.
    pub async fn next(&mut self) -> Result<Vec<Arc<SubagentStamped>>, LinkError> {
        match self {
            Events::Local {
                subagent,
                run_id,
                after,
                pace,
                ..
            } => {
                tokio::time::sleep_until(pace.next()).await;
                let events = subagent
                    .events(run_id, *after)
                    .await
                    .map_err(LinkError::Refused)?;
                pace.sent(events.len(), Instant::now());
                if let Some(last) = events.last() {
                    *after = last.event_id;
                }
                Ok(events)
            }
            Events::Remote { stream, metering } => {
                let lines = stream.next_lines().await?.ok_or(LinkError::Closed)?;
                let mut events = Vec::with_capacity(lines.len());
                for line in &lines {
                    if line.starts_with(Metering::HEAD.as_bytes()) {
                        *metering = Some(Metering::from_line(line)?);
                    } else {
                        events.push(Arc::new(serde_json::from_slice(line)?));
                    }
                }
                Ok(events)
            }
        }
    }

    /// How busy the Subagent was when it last said so, once. A Director measures for its own Subagent itself.
    pub fn take_metering(&mut self) -> Option<Metering> {
        match self {
            Events::Local { .. } => None,
            Events::Remote { metering, .. } => metering.take(),
        }
    }
}
