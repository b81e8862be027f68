//! The attempts that a Subagent runs or has run, and the commands of its Director.
//!
//! Always: an attempt is here from its start until the Director has confirmed its end; while it is here, a repeated start
//! is answered as done. A Director couples before it orders anything; its earlier connections are refused from then on, and
//! all of them when its lease has ended: then its jobs are ended, too.

use crate::directors::Directors;
use crate::{EndCause, Lease, Report};
use expr::NamedValues;
use model::{
    AgentPath, Attempt, ControllerId, EventId, Item, ItemBody, ItemKey, JobResource,
    JobResourcePath, MemberRun, Order, Outcome, PlatformInfo, Problem, RunId, SignedText,
    SubagentAnswer, SubagentCommand, SubagentEvent, SubagentId, Workflow, WorkflowId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// So many dedications may wait for their coupling: late ones do not disturb a new one.
const DEDICATIONS: usize = 16;
/// The longest interval between two requests of a Director that is connected.
const REQUEST_DISTANCE_MAX: Duration = Duration::from_secs(3);

/// What the shell does after a command has been answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Start the job at the order's position.
    Start {
        /// Under this identity.
        attempt: Attempt,
        /// The order.
        order: Box<Order>,
        /// Arguments of the instruction.
        default_arguments: NamedValues,
    },
    /// End the attempt's processes.
    Kill {
        /// Which.
        attempt: Attempt,
        /// SIGKILL at once.
        immediately: bool,
        /// Why.
        cause: EndCause,
        /// SIGKILL so long after SIGTERM at the latest.
        within: Option<Duration>,
    },
    /// All jobs have ended and the Subagent is to end.
    End {
        /// To be started again.
        restart: bool,
    },
}

/// Whose Subagent this is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dedication {
    subagent_id: SubagentId,
    agent_path: AgentPath,
    agent_run_id: RunId,
    controller_id: ControllerId,
}

#[derive(Debug, PartialEq)]
enum Phase {
    Running,
    Ended { reported: EventId },
}

#[derive(Debug)]
struct Closing {
    restart: bool,
    announced: bool,
}

/// Everything a Subagent knows. It is lost with the process; the Director learns that from the run id.
#[derive(Debug)]
pub struct State {
    run_id: RunId,
    platform: PlatformInfo,
    dedication: Option<Dedication>,
    /// Lives of the Agent that are over: they never come back.
    former_lives: BTreeSet<RunId>,
    /// Jobs of the former life are still being ended.
    is_leaving: bool,
    coupling: u64,
    /// For each coupling that was offered: when, and to which process. `offered` is the last one.
    offers: BTreeMap<u64, (Duration, Option<MemberRun>)>,
    offered: u64,
    /// The newest epoch in which a Director has coupled.
    epoch: u64,
    directors: Directors,
    lease: Option<Lease>,
    now: Duration,
    attempts: BTreeMap<Attempt, Phase>,
    running: usize,
    workflows: BTreeMap<WorkflowId, Arc<Workflow>>,
    job_resources: BTreeMap<JobResourcePath, Arc<JobResource>>,
    report: Report,
    closing: Option<Closing>,
}

impl State {
    /// A Subagent that has just started and belongs to nobody.
    pub fn new(run_id: RunId, platform: PlatformInfo) -> State {
        State {
            run_id,
            platform,
            dedication: None,
            former_lives: BTreeSet::new(),
            is_leaving: false,
            coupling: 0,
            offers: BTreeMap::new(),
            offered: 0,
            epoch: 0,
            directors: Directors::default(),
            lease: None,
            now: Duration::ZERO,
            attempts: BTreeMap::new(),
            running: 0,
            workflows: BTreeMap::new(),
            job_resources: BTreeMap::new(),
            report: Report::default(),
            closing: None,
        }
    }

    /// This life's identity.
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    /// What the Director has not confirmed.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Its name and its Agent, once it belongs to one.
    pub fn owner(&self) -> Option<(&SubagentId, &AgentPath)> {
        self.dedication
            .as_ref()
            .map(|dedication| (&dedication.subagent_id, &dedication.agent_path))
    }

    /// Who asked for all this.
    pub fn controller_id(&self) -> Option<&ControllerId> {
        self.dedication
            .as_ref()
            .map(|dedication| &dedication.controller_id)
    }

    /// A workflow the Director has sent.
    pub fn workflow(&self, id: &WorkflowId) -> Option<&Arc<Workflow>> {
        self.workflows.get(id)
    }

    /// The job resources the Director has sent.
    pub fn job_resources(&self) -> &BTreeMap<JobResourcePath, Arc<JobResource>> {
        &self.job_resources
    }

    /// The number of the latest coupling: a later one makes this one worthless.
    pub fn coupling(&self) -> u64 {
        self.coupling
    }

    /// What its Director has agreed to, if it is one that may be lost.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Time has gone on to `now`, counted from any fixed beginning by a clock that never jumps. To be told before everything
    /// else, and at [`State::next_wakeup`]. A lease that has ended ends its jobs.
    pub fn wake(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        let Some(lease) = &mut self.lease else { return };
        if !lease.look(self.now) {
            return;
        }
        let within = Some(lease.grace());
        effects.extend(self.running_attempts().map(|attempt| Effect::Kill {
            attempt: attempt.clone(),
            immediately: false,
            cause: EndCause::LostDirector,
            within,
        }));
    }

    /// When it is time for [`State::wake`].
    pub fn next_wakeup(&self) -> Option<Duration> {
        let lease = self.lease.as_ref().filter(|lease| !lease.is_over())?;
        Some(lease.ends())
    }

    /// A request of this number of the coupling has come: its Director is there.
    pub fn renew(&mut self, coupling: u64, number: u64) {
        let now = self.now;
        if coupling == self.coupling
            && let Some(lease) = &mut self.lease
        {
            lease.renew(number, now);
        }
    }

    fn running_attempts(&self) -> impl Iterator<Item = &Attempt> {
        let running = self
            .attempts
            .iter()
            .filter(|(_, phase)| **phase == Phase::Running);
        running.map(|(attempt, _)| attempt)
    }

    /// Follows a command of the Director. `coupling` is the number that the Director was given when it coupled; `0` goes
    /// with the commands that come before.
    pub fn command(
        &mut self,
        coupling: u64,
        command: SubagentCommand,
        effects: &mut Vec<Effect>,
    ) -> Result<SubagentAnswer, Problem> {
        match command {
            SubagentCommand::NoOperation => Ok(SubagentAnswer::Accepted),
            SubagentCommand::DedicateSubagent {
                subagent_id,
                agent_path,
                agent_run_id,
                controller_id,
                from,
            } => {
                let asked = Dedication {
                    subagent_id,
                    agent_path,
                    agent_run_id,
                    controller_id,
                };
                self.dedicate(asked, from, effects)
            }
            SubagentCommand::CoupleDirector {
                subagent_id,
                subagent_run_id,
                event_id,
                coupling,
                lease,
                epoch,
            } => {
                if epoch < self.epoch {
                    return Err(old_epoch(epoch, self.epoch));
                }
                let offer = (coupling, lease.map(|lease| lease.0));
                let from = self
                    .offers
                    .get(&coupling)
                    .and_then(|(_, from)| from.clone());
                self.check_living(from.as_ref(), Some(epoch))?;
                let coupled = self.couple(&subagent_id, &subagent_run_id, event_id, offer)?;
                self.directors.coupled(from, coupling);
                self.epoch = epoch;
                Ok(coupled)
            }
            SubagentCommand::ShutDown {
                process_signal,
                restart,
            } => self.shut_down(process_signal.as_deref(), restart, effects),
            SubagentCommand::Batch { commands } => {
                let mut responses = Vec::with_capacity(commands.len());
                for command in commands {
                    let answer = self.command(coupling, command, effects);
                    let failed = answer.is_err();
                    responses.push(answer.unwrap_or_else(SubagentAnswer::from));
                    // What follows may need what failed: an item before its job.
                    if failed {
                        break;
                    }
                }
                Ok(SubagentAnswer::Batch { responses })
            }
            SubagentCommand::AttachItem { item, key, .. } => {
                self.check_coupling(coupling)?;
                self.attach(&key, &item)
            }
            SubagentCommand::StartOrderProcess {
                attempt,
                order,
                default_arguments,
            } => {
                self.check_coupling(coupling)?;
                self.start(attempt, order, default_arguments, effects)
            }
            SubagentCommand::KillProcess {
                attempt,
                immediately,
            } => {
                self.check_coupling(coupling)?;
                if self.attempts.get(&attempt) == Some(&Phase::Running) {
                    effects.push(Effect::Kill {
                        attempt,
                        immediately,
                        cause: EndCause::Killed,
                        within: None,
                    });
                }
                Ok(SubagentAnswer::Accepted)
            }
            SubagentCommand::ReleaseEvents { until_event_id } => {
                self.check_coupling(coupling)?;
                self.release(until_event_id);
                Ok(SubagentAnswer::Accepted)
            }
        }
    }

    /// The attempt wrote to its output.
    pub fn on_output(&mut self, event: SubagentEvent) -> EventId {
        self.report.push(event)
    }

    /// The attempt has ended.
    pub fn on_ended(&mut self, attempt: &Attempt, outcome: Outcome, effects: &mut Vec<Effect>) {
        let reported = self.report.push(SubagentEvent::OrderProcessed {
            attempt: attempt.clone(),
            outcome,
        });
        if let Some(phase) = self.attempts.get_mut(attempt) {
            *phase = Phase::Ended { reported };
            self.running -= 1;
        }
        self.close_if_done(effects);
    }

    fn dedicate(
        &mut self,
        asked: Dedication,
        from: Option<MemberRun>,
        effects: &mut Vec<Effect>,
    ) -> Result<SubagentAnswer, Problem> {
        if let Some(known) = &self.dedication
            && (known.agent_path != asked.agent_path
                || known.agent_run_id != asked.agent_run_id
                || known.subagent_id != asked.subagent_id)
        {
            let is_next_life = known.agent_path == asked.agent_path
                && known.subagent_id == asked.subagent_id
                && !self.former_lives.contains(&asked.agent_run_id);
            if !is_next_life {
                return Err(Problem::new(
                    "SubagentAlreadyDedicated",
                    format!(
                        "this Subagent is {} of Agent {}; restart its process before another Agent takes it{}",
                        known.subagent_id,
                        known.agent_path,
                        self.directors.both_addresses(from.as_ref())
                    ),
                ));
            }
            // The next run of the Agent is begun by the same process, or after the former process has ended.
            self.check_living(from.as_ref(), None)?;
            self.former_lives.insert(known.agent_run_id.clone());
            self.leave_former_life(effects);
        } else {
            // Whether another member of the Agent may take over depends on the epoch in which it couples.
            self.check_living(from.as_ref(), Some(u64::MAX))?;
        }
        if self.is_leaving {
            // Nobody reads it any more, and a full report would hold up the ends of its jobs.
            self.release(self.report.last());
            self.dedication = Some(asked);
            if self.running > 0 {
                let message = "the jobs of the Agent's former life are being ended";
                return Err(Problem::new("SubagentIsBusy", message));
            }
            self.is_leaving = false;
        } else {
            self.dedication = Some(asked);
        }
        Ok(self.dedicated(from))
    }

    /// The Agent has been reset or its log is lost: its former life is refused from now on, and nobody waits for its jobs.
    fn leave_former_life(&mut self, effects: &mut Vec<Effect>) {
        self.is_leaving = true;
        self.offered += 1;
        self.coupling = self.offered;
        self.offers.clear();
        self.epoch = 0;
        self.lease = None;
        self.workflows.clear();
        self.job_resources.clear();
        effects.extend(self.running_attempts().map(|attempt| Effect::Kill {
            attempt: attempt.clone(),
            immediately: true,
            cause: EndCause::Killed,
            within: None,
        }));
    }

    /// Refuses a Director while another process that is not its predecessor leads this Subagent. `epoch` is the epoch of the requesting
    /// Director, if that is one of the same Agent.
    fn check_living(&self, from: Option<&MemberRun>, epoch: Option<u64>) -> Result<(), Problem> {
        // A Director sends requests at intervals not longer than this.
        let is_heard = self.lease.as_ref().is_none_or(|lease| {
            let distance = (lease.length() / 6).min(REQUEST_DISTANCE_MAX);
            self.now < lease.heard() + distance * 2
        });
        let Some((from, living)) = from.zip(self.directors.living()).filter(|_| is_heard) else {
            return Ok(());
        };
        let takes_over =
            epoch.is_some_and(|epoch| epoch > self.epoch && from.member != living.member);
        if from.run_id == living.run_id || takes_over {
            return Ok(());
        }
        let whose = self.dedication.as_ref().map_or_else(String::new, |known| {
            format!("{} of Agent {}", known.subagent_id, known.agent_path)
        });
        let message = format!(
            "two Directors claim the Subagent {whose}: it is coupled with the one at {living} and refuses the one at {from}. One data directory is a copy of the other, or two Agents name the same Subagent: stop the Director that is not wanted, or correct the uri"
        );
        Err(Problem::new("DirectorIsDouble", message)
            .with("refusedAddress", from)
            .with("coupledAddress", living))
    }

    /// Records that a stream of events of this coupling has been opened.
    pub fn on_stream_opened(&mut self, coupling: u64) {
        self.directors.opened(coupling);
    }

    /// Records that a stream of events of this coupling has ended.
    pub fn on_stream_closed(&mut self, coupling: u64) {
        self.directors.closed(coupling);
    }

    fn dedicated(&mut self, from: Option<MemberRun>) -> SubagentAnswer {
        self.offered += 1;
        self.offers.insert(self.offered, (self.now, from));
        while self.offers.len() > DEDICATIONS {
            self.offers.pop_first();
        }
        SubagentAnswer::Dedicated {
            coupling: self.offered,
            subagent_run_id: self.run_id.clone(),
            subagent_event_id: self.report.torn(),
            platform_info: Some(self.platform.clone()),
        }
    }

    fn couple(
        &mut self,
        subagent_id: &SubagentId,
        run_id: &RunId,
        after: EventId,
        (coupling, lease): (u64, Option<Duration>),
    ) -> Result<SubagentAnswer, Problem> {
        let Some(known) = &self.dedication else {
            return Err(Problem::new(
                "SubagentNotDedicated",
                "this Subagent has been restarted and belongs to no Agent yet",
            ));
        };
        if known.subagent_id != *subagent_id {
            let message = format!(
                "this is Subagent {}, not {subagent_id}; check the uri of both",
                known.subagent_id
            );
            return Err(Problem::new("SubagentIdMismatch", message));
        }
        if self.run_id != *run_id {
            return Err(Problem::new(
                "SubagentRunIdMismatch",
                "this Subagent has been restarted in between",
            ));
        }
        if after < self.report.torn() || after > self.report.last() {
            let message = format!(
                "the event {after} is not known here, kept are {} to {}",
                self.report.torn(),
                self.report.last()
            );
            return Err(Problem::new("UnknownEventId", message));
        }
        if coupling < self.coupling {
            return Err(outdated());
        }
        if coupling > self.coupling {
            let Some((offered, _)) = self.offers.get(&coupling) else {
                return Err(outdated());
            };
            // Counted from the answer that the Director had before it asked for this: it may have asked long ago.
            let lease = lease.map(|length| Lease::new(length, *offered, self.now));
            if lease.as_ref().is_some_and(Lease::is_over) {
                return Err(outdated());
            }
            self.lease = lease;
            self.coupling = coupling;
            // The offer of this coupling stays: who it was made to must be known when the request is repeated.
            self.offers.retain(|number, _| *number >= coupling);
        }
        // What the Director follows from here on is in its log up to here, so it is confirmed: an attempt that has ended
        // before must not answer for a new one of the same name.
        self.release(after);
        Ok(SubagentAnswer::Coupled {
            attempts: self.attempts.keys().cloned().collect(),
            version: model::VersionId::new(self.coupling.to_string()),
        })
    }

    fn check_coupling(&self, coupling: u64) -> Result<(), Problem> {
        if coupling != self.coupling || coupling == 0 {
            return Err(outdated());
        }
        if self.lease.as_ref().is_some_and(Lease::is_over) {
            return Err(Problem::new(
                "SubagentNotCoupled",
                "the Director was silent for longer than its lease; its jobs are being ended, and it has to couple anew",
            ));
        }
        Ok(())
    }

    fn attach(&mut self, key: &ItemKey, item: &SignedText) -> Result<SubagentAnswer, Problem> {
        let item: Item = model::stored_item(key, &item.string)?;
        match item.body {
            ItemBody::Workflow(workflow) => {
                self.workflows.insert((*workflow.id).clone(), workflow);
            }
            ItemBody::JobResource(resource) => {
                self.job_resources.insert(resource.path.clone(), resource);
            }
            ItemBody::Agent(_)
            | ItemBody::Subagent(_)
            | ItemBody::Bundle(_)
            | ItemBody::Kept(_) => {}
        }
        Ok(SubagentAnswer::Accepted)
    }

    fn start(
        &mut self,
        attempt: Attempt,
        order: Box<Order>,
        default_arguments: NamedValues,
        effects: &mut Vec<Effect>,
    ) -> Result<SubagentAnswer, Problem> {
        if self.attempts.contains_key(&attempt) {
            return Ok(SubagentAnswer::Accepted); // already so
        }
        if self.closing.is_some() {
            return Err(Problem::new(
                "SubagentIsShuttingDown",
                "this Subagent is being shut down and starts no more jobs",
            ));
        }
        self.attempts.insert(attempt.clone(), Phase::Running);
        self.running += 1;
        effects.push(Effect::Start {
            attempt,
            order,
            default_arguments,
        });
        Ok(SubagentAnswer::Accepted)
    }

    fn release(&mut self, until: EventId) {
        self.report.release(until);
        let torn = self.report.torn();
        self.attempts
            .retain(|_, phase| !matches!(phase, Phase::Ended { reported } if *reported <= torn));
    }

    fn shut_down(
        &mut self,
        signal: Option<&str>,
        restart: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<SubagentAnswer, Problem> {
        let immediately = match signal {
            None => None,
            Some("SIGTERM") => Some(false),
            Some("SIGKILL") => Some(true),
            Some(other) => {
                let message =
                    format!("unknown processSignal {other:?}, expected SIGTERM or SIGKILL");
                return Err(Problem::new("UnknownProcessSignal", message));
            }
        };
        if self.closing.is_none() {
            self.report.push(SubagentEvent::SubagentShutdownStarted);
            self.closing = Some(Closing {
                restart,
                announced: false,
            });
        }
        if let Some(immediately) = immediately {
            effects.extend(self.running_attempts().map(|attempt| Effect::Kill {
                attempt: attempt.clone(),
                immediately,
                cause: EndCause::Shutdown,
                within: None,
            }));
        }
        self.close_if_done(effects);
        Ok(SubagentAnswer::Accepted)
    }

    fn close_if_done(&mut self, effects: &mut Vec<Effect>) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        if self.running == 0 && !closing.announced {
            closing.announced = true;
            self.report.push(SubagentEvent::SubagentShutdown);
            effects.push(Effect::End {
                restart: closing.restart,
            });
        }
    }
}

fn old_epoch(asked: u64, known: u64) -> Problem {
    Problem::new(
        "DirectorEpochIsOld",
        format!(
            "this Subagent has obeyed a Director in epoch {known} and no longer obeys one in epoch {asked}: either another Director of the Agent is active, or the Agent was restored from a backup; in that case restart the Subagent"
        ),
    )
}

fn outdated() -> Problem {
    Problem::new(
        "SubagentNotCoupled",
        "the Director has coupled anew, or not at all, since this command was sent",
    )
}
