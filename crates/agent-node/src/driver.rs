//! The connection to one Subagent: takes it, hands it work, takes over what it reports, and begins again for ever.
//!
//! Always: a report is confirmed only after it is in the Agent's log; after each new connection all work is offered anew; a
//! Subagent that is there hears of us often enough to keep its lease, and one that is away is given up when its lease is over.

use crate::machine::{AgentMachine, Input};
use crate::outgoing::{Batch, Job, gather};
use agent::Renewal;
use cluster::Log;
use model::{Attempt, EventId, ItemKey, Problem, SubagentId};
use net::Backoff;
use node::{Handle, Stopped};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subagent_node::{LinkError, Linked, METERING_PERIOD, Meter, SubagentLink};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Pieces of work that may wait for a Subagent's connection; more is found again in the state.
const SLOT: usize = 256;
/// What the Subagent has reported is confirmed after this time at the latest, or with the next command.
const RELEASE_DELAY: Duration = Duration::from_millis(500);
/// So many unconfirmed events are confirmed at once.
const RELEASE_EVENTS: u64 = 1000;

/// Where the commit loop puts work for the driver.
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    /// Whether the machine asks how busy the Subagent is.
    wants_metering: watch::Sender<bool>,
    /// Whether the Subagent is to be reset, and if so, whether by force.
    reset: watch::Sender<Option<bool>>,
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            state: Mutex::default(),
            wants_metering: watch::Sender::new(false),
            reset: watch::Sender::new(None),
        }
    }
}

#[derive(Default)]
pub(crate) struct SlotState {
    pub(crate) sender: Option<mpsc::Sender<Job>>,
    /// The number of the newest piece of work that was put in.
    pub(crate) cursor: u64,
    /// Which revisions of which items the Subagent has been sent in this coupling.
    pub(crate) sent: BTreeMap<ItemKey, Option<u64>>,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn want_reset(&self, by_force: Option<bool>) {
        self.reset
            .send_if_modified(|known| std::mem::replace(known, by_force) != by_force);
    }

    pub(crate) fn want_metering(&self, is_wanted: bool) {
        self.wants_metering
            .send_if_modified(|wanted| std::mem::replace(wanted, is_wanted) != is_wanted);
    }

    fn open(&self) -> mpsc::Receiver<Job> {
        let (sender, receiver) = mpsc::channel(SLOT);
        *self.lock() = SlotState {
            sender: Some(sender),
            cursor: 0,
            sent: BTreeMap::new(),
        };
        receiver
    }

    fn close(&self) {
        *self.lock() = SlotState::default();
    }
}

/// A Subagent that is reset by force may take so long to end its jobs, or to answer at all.
const RESET_PATIENCE: Duration = Duration::from_secs(2);

/// Why a connection is given up.
enum Broken {
    Link(LinkError),
    Stopped,
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Broken::Link(error)
    }
}

impl From<Stopped> for Broken {
    fn from(_: Stopped) -> Self {
        Broken::Stopped
    }
}

/// One Subagent's driver.
pub(crate) struct Driver {
    pub(crate) id: SubagentId,
    pub(crate) me: Linked,
    pub(crate) log: Log,
    pub(crate) link: SubagentLink,
    pub(crate) slot: Arc<Slot>,
    pub(crate) handle: Handle<AgentMachine>,
}

impl Driver {
    /// Connects until the node stops.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new();
        let mut reset = self.slot.reset.subscribe();
        let mut watch = Watch::begin();
        let mut lost_at: Option<Instant> = None;
        loop {
            reset.mark_unchanged();
            if self.enforce_reset().await.is_err() {
                return;
            }
            let mut is_connected = false;
            let connected = || {
                is_connected = true;
                match lost_at.take() {
                    None => tracing::info!(subagent = %self.id, "the Subagent is connected"),
                    Some(at) => {
                        let away = at.elapsed();
                        tracing::info!(subagent = %self.id, ?away, "the Subagent is connected again");
                    }
                }
            };
            let broken = self
                .couple_and_serve(&mut backoff, &mut watch, connected)
                .await;
            self.slot.close();
            let error = match broken {
                Ok(()) | Err(Broken::Stopped) => return,
                Err(Broken::Link(error)) => error,
            };
            let problem = error.problem();
            if is_connected && self.has_shut_down().await {
                tracing::info!(subagent = %self.id, "the Subagent has shut down");
            } else if is_connected {
                tracing::warn!(subagent = %self.id, %problem, "the connection to the Subagent is lost");
            } else if lost_at.is_none() {
                tracing::warn!(subagent = %self.id, %problem, "the Subagent is not connected");
            } else {
                tracing::debug!(subagent = %self.id, %problem, "the Subagent is still not connected");
            }
            lost_at.get_or_insert_with(Instant::now);
            let failed = Input::SubagentFailed {
                id: self.id.clone(),
                problem,
            };
            if self.handle.ask(failed).await.is_err() {
                return;
            }
            let pause = backoff.failed(watch.begun.elapsed(), jitter());
            tokio::select! {
                rested = self.rest(pause, &watch) => {
                    if rested.is_err() {
                        return;
                    }
                }
                // A reset by force does not wait for the next attempt.
                _ = reset.changed() => {}
            }
        }
    }

    /// Waits before the next attempt; gives the Subagent up when its lease is over meanwhile.
    async fn rest(&self, pause: Duration, watch: &Watch) -> Result<(), Stopped> {
        let next = Instant::now() + pause;
        if let Some(over) = self.lease_over(watch).await?
            && over <= next
        {
            tokio::time::sleep_until(over).await;
            tracing::warn!(subagent = %self.id, "the Subagent has been away for longer than its lease; its jobs are given up");
            let id = self.id.clone();
            self.handle.ask(Input::SubagentLeaseOver { id }).await?;
        }
        tokio::time::sleep_until(next).await;
        Ok(())
    }

    /// When nothing can be running at the Subagent any more, if somebody waits for that.
    async fn lease_over(&self, watch: &Watch) -> Result<Option<Instant>, Stopped> {
        let id = self.id.clone();
        let longest = move |machine: &AgentMachine| {
            let state = &machine.state;
            let subagent = state.subagents().get(&id)?;
            state.waits_for(&id).then(|| subagent.longest_lease())?
        };
        let lease = self.handle.read(longest).await?;
        Ok(lease.map(|lease| watch.begun + watch.renewal.over(lease)))
    }

    /// Returns whether the Subagent has announced an orderly shutdown.
    async fn has_shut_down(&self) -> bool {
        let id = self.id.clone();
        let told = self.handle.read(move |machine| {
            let subagent = machine.state.subagents().get(&id);
            subagent.is_some_and(|subagent| subagent.coupling == agent::Coupling::ShuttingDown)
        });
        told.await.unwrap_or(false)
    }

    async fn couple_and_serve(
        &self,
        backoff: &mut Backoff,
        watch: &mut Watch,
        connected: impl FnOnce() + Send,
    ) -> Result<(), Broken> {
        self.still_active()?;
        let dedicating = self.link.dedicate(&self.me);
        let taken = match self.lease_over(watch).await? {
            None => dedicating.await?,
            // A host that does not answer at all must not hold up what waits for it.
            Some(over) => tokio::time::timeout_at(over, dedicating)
                .await
                .map_err(|_elapsed| LinkError::Refused(no_answer()))??,
        };
        let lease = self.link.lease();
        let run_id = taken.run_id.clone();
        let id = self.id.clone();
        let dedicated = Input::SubagentDedicated {
            id: id.clone(),
            run_id: run_id.clone(),
            platform: taken.platform.clone(),
            begins_after: taken.begins_after,
            lease,
        };
        self.handle.ask(dedicated).await?;
        let of = id.clone();
        let observed = self
            .handle
            .read(move |machine| machine.state.subagents().get(&of).map(|s| s.observed))
            .await?;
        let observed = observed.unwrap_or_default();
        self.still_active()?;
        watch.sends();
        let attempts = self.link.couple(&self.me, &taken, observed).await?;
        let mut events = self.link.events(&run_id, taken.coupling, observed).await?;
        let mut work = self.slot.open();
        self.handle
            .ask(Input::SubagentCoupled { id: id.clone() })
            .await?;
        self.handle.nudge();
        backoff.connected(watch.begun.elapsed());
        connected();
        tracing::debug!(subagent = %id, %run_id, "the Subagent is coupled");

        let mut session = Session {
            coupling: taken.coupling,
            number: 0,
            watch,
        };
        self.end_given_up(&mut session, attempts, observed).await?;
        let is_local = self.is_local();
        let mut wanted = self.slot.wants_metering.subscribe();
        let mut meter = Meter::default();
        let mut measure_at = Instant::now();
        let mut reset = self.slot.reset.subscribe();
        let mut enforce_at: Option<Instant> = None;
        self.tell_reset(&mut reset, &mut enforce_at).await?;
        let mut confirmed = observed;
        let mut taken_over = observed;
        let mut confirm_at: Option<Instant> = None;
        loop {
            tokio::select! {
                reported = events.next() => {
                    let reported = reported?;
                    if let Some(metering) = events.take_metering() && *wanted.borrow() {
                        self.take_in(&mut session, Input::SubagentMetered { id: id.clone(), metering }).await?;
                    }
                    let Some(last) = reported.last().map(|stamped| stamped.event_id) else { continue };
                    self.take_in(&mut session, Input::SubagentEvents { id: id.clone(), events: reported }).await?;
                    taken_over = last;
                    if taken_over.0 - confirmed.0 >= RELEASE_EVENTS {
                        confirm_at = Some(Instant::now());
                    } else if confirm_at.is_none() {
                        confirm_at = Some(Instant::now() + RELEASE_DELAY);
                    }
                }
                job = work.recv() => {
                    if job.is_none() {
                        return Ok(());
                    }
                    let mut first = job;
                    let batch = gather(&mut || first.take().or_else(|| work.try_recv().ok()), confirmed, taken_over);
                    confirmed = batch.confirms;
                    confirm_at = (taken_over > confirmed).then(Instant::now);
                    self.send(&mut session, batch).await?;
                    // There may be more work than the slot could take.
                    self.handle.nudge();
                }
                () = until(session.due(lease)), if lease.is_some() => {
                    let mut batch = gather(&mut || work.try_recv().ok(), confirmed, taken_over);
                    confirmed = batch.confirms;
                    confirm_at = (taken_over > confirmed).then(Instant::now);
                    batch.keep_alive();
                    self.send(&mut session, batch).await?;
                    self.handle.nudge();
                }
                // Nobody else tells how busy the Director's own machine is.
                () = tokio::time::sleep_until(measure_at), if is_local && *wanted.borrow() => {
                    let metering = meter.measure();
                    measure_at = Instant::now() + METERING_PERIOD;
                    self.handle.ask(Input::SubagentMetered { id: id.clone(), metering }).await?;
                }
                _ = reset.changed() => self.tell_reset(&mut reset, &mut enforce_at).await?,
                () = until(enforce_at), if enforce_at.is_some() => {
                    let problem = Problem::new("SubagentIsBusy", "the jobs have not ended in time");
                    return Err(Broken::Link(LinkError::Refused(problem)));
                }
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = until(confirm_at), if confirm_at.is_some() => {
                    let batch = gather(&mut || work.try_recv().ok(), confirmed, taken_over);
                    confirmed = batch.confirms;
                    confirm_at = (taken_over > confirmed).then(Instant::now);
                    self.send(&mut session, batch).await?;
                    self.handle.nudge();
                }
            }
        }
    }

    /// Tells the Subagent to kill its jobs and to end, if that is wanted. That they have ended it reports itself.
    async fn tell_reset(
        &self,
        reset: &mut watch::Receiver<Option<bool>>,
        enforce_at: &mut Option<Instant>,
    ) -> Result<(), Broken> {
        if reset.borrow_and_update().is_none() || self.is_local() {
            return Ok(());
        }
        let Some(force) = self.is_to_be_reset().await? else {
            return Ok(());
        };
        self.still_active()?;
        tracing::info!(subagent = %self.id, force, "the Subagent is told to end its jobs and to begin anew");
        self.link.shut_down(Some("SIGKILL".into()), true).await?;
        if force {
            *enforce_at = Some(Instant::now() + RESET_PATIENCE);
        }
        Ok(())
    }

    /// A Subagent that is to be reset by force is told to end whoever has it; then what it had counts as lost.
    async fn enforce_reset(&self) -> Result<(), Stopped> {
        let is_wanted = *self.slot.reset.borrow() == Some(true);
        if !is_wanted || self.is_local() || self.is_to_be_reset().await? != Some(true) {
            return Ok(());
        }
        if self.still_active().is_err() {
            // The other Director has it by now.
            return Ok(());
        }
        let telling = self.link.shut_down(Some("SIGKILL".into()), true);
        match tokio::time::timeout(RESET_PATIENCE, telling).await {
            Ok(Ok(())) => tracing::info!(subagent = %self.id, "the Subagent is reset by force"),
            Ok(Err(error)) => {
                tracing::warn!(subagent = %self.id, %error, "the Subagent is reset by force without having been told");
            }
            Err(_elapsed) => {
                tracing::warn!(subagent = %self.id, "the Subagent is reset by force and does not answer");
            }
        }
        let id = self.id.clone();
        self.handle.ask(Input::SubagentResetEnforced { id }).await?;
        Ok(())
    }

    /// Whether the Subagent is to be reset, and if so, whether by force. The slot may be a moment behind.
    async fn is_to_be_reset(&self) -> Result<Option<bool>, Stopped> {
        let id = self.id.clone();
        let wish = move |machine: &AgentMachine| {
            let subagent = machine.state.subagents().get(&id)?;
            subagent.reset.as_ref().map(|reset| reset.force)
        };
        self.handle.read(wish).await
    }

    /// A Director that was stopped may wake up here while the other one is active: it must not keep a lease alive, nor
    /// start or end anything.
    fn still_active(&self) -> Result<(), Broken> {
        if self.log.may_answer() {
            return Ok(());
        }
        let message = "no majority has confirmed lately that this Director is the active one";
        let problem = Problem::new("ClusterNodeIsNotActive", message);
        Err(Broken::Link(LinkError::Refused(problem)))
    }

    fn is_local(&self) -> bool {
        matches!(self.link, SubagentLink::Local(_))
    }

    /// Has written down what came from the Subagent. A slow disk is no reason to end its jobs, so its lease is kept meanwhile;
    /// nothing else is sent.
    async fn take_in(&self, session: &mut Session<'_>, input: Input) -> Result<(), Broken> {
        let lease = self.link.lease();
        let mut taken = std::pin::pin!(self.handle.ask(input));
        loop {
            tokio::select! {
                biased;
                reply = &mut taken => return Ok(reply.map(|_done| ())?),
                () = until(session.due(lease)), if lease.is_some() => {
                    let mut batch = Batch::default();
                    batch.keep_alive();
                    self.send(session, batch).await?;
                }
            }
        }
    }

    /// Tells the Subagent to end what was given up while it was away.
    async fn end_given_up(
        &self,
        session: &mut Session<'_>,
        attempts: Vec<Attempt>,
        confirms: EventId,
    ) -> Result<(), Broken> {
        let id = self.id.clone();
        let given_up = self
            .handle
            .read(move |machine| machine.state.given_up(&id, &attempts))
            .await?;
        if given_up.is_empty() {
            return Ok(());
        }
        tracing::warn!(subagent = %self.id, attempts = ?given_up, "the Subagent is back with jobs that were given up; they are ended");
        self.send(session, Batch::ends(given_up, confirms)).await
    }

    /// Sends a batch. A start that is refused is told to the machine; what came behind it is offered with the next connection.
    async fn send(&self, session: &mut Session<'_>, batch: Batch) -> Result<(), Broken> {
        self.still_active()?;
        let Batch {
            commands, attempts, ..
        } = batch;
        session.number += 1;
        session.watch.sends();
        let (coupling, number) = (session.coupling, session.number);
        let answers = self.link.commands(coupling, number, commands).await?;
        for (answer, attempt) in answers.into_iter().zip(attempts) {
            let Err(problem) = answer.into_result() else {
                continue;
            };
            if let Some(attempt) = attempt
                && !problem.is("SubagentNotCoupled")
            {
                let refused = Input::StartRefused {
                    id: self.id.clone(),
                    attempt,
                    problem: problem.clone(),
                };
                self.handle.ask(refused).await?;
            }
            return Err(Broken::Link(LinkError::Refused(problem)));
        }
        Ok(())
    }
}

/// When the Subagent was spoken to last, in all connections of this process.
struct Watch {
    begun: Instant,
    renewal: Renewal,
}

impl Watch {
    fn begin() -> Watch {
        Watch {
            begun: Instant::now(),
            renewal: Renewal::new(Duration::ZERO),
        }
    }

    fn sends(&mut self) {
        self.renewal.sends(self.begun.elapsed());
    }
}

/// A coupling with the number of its newest request.
struct Session<'a> {
    coupling: u64,
    number: u64,
    watch: &'a mut Watch,
}

impl Session<'_> {
    /// When something must be sent to keep the lease.
    fn due(&self, lease: Option<Duration>) -> Option<Instant> {
        lease.map(|lease| self.watch.begun + self.watch.renewal.due(lease))
    }
}

fn no_answer() -> Problem {
    Problem::new(
        "SubagentUnreachable",
        "the Subagent did not answer before its lease was over",
    )
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// A number from 0 to 1, different for each process and moment: keeps many nodes from dialling in step.
fn jitter() -> f64 {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    f64::from(nanos % 1000) / 1000.0
}
