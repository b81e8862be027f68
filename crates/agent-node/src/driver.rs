//! The connection to one Subagent: takes it, hands it work, takes over what it reports, and begins again for ever.
//!
//! Always: a report is confirmed only after it is in the Agent's log; after each new connection all work is offered anew.

use crate::machine::{AgentMachine, Input};
use crate::outgoing::{Batch, Job, gather};
use model::{ItemKey, SubagentAnswer, SubagentId};
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
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            state: Mutex::default(),
            wants_metering: watch::Sender::new(false),
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
    pub(crate) link: SubagentLink,
    pub(crate) slot: Arc<Slot>,
    pub(crate) handle: Handle<AgentMachine>,
}

impl Driver {
    /// Connects until the node stops.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new();
        let begun = Instant::now();
        loop {
            let broken = self.couple_and_serve(&mut backoff, begun).await;
            self.slot.close();
            let error = match broken {
                Ok(()) | Err(Broken::Stopped) => return,
                Err(Broken::Link(error)) => error,
            };
            let problem = error.problem();
            tracing::debug!(subagent = %self.id, %problem, "the Subagent's connection is broken");
            let failed = Input::SubagentFailed {
                id: self.id.clone(),
                problem,
            };
            if self.handle.ask(failed).await.is_err() {
                return;
            }
            tokio::time::sleep(backoff.failed(begun.elapsed(), jitter())).await;
        }
    }

    async fn couple_and_serve(&self, backoff: &mut Backoff, begun: Instant) -> Result<(), Broken> {
        let (run_id, platform, begins_after) = self.link.dedicate(&self.me).await?;
        let id = self.id.clone();
        let dedicated = Input::SubagentDedicated {
            id: id.clone(),
            run_id: run_id.clone(),
            platform,
            begins_after,
        };
        self.handle.ask(dedicated).await?;
        let of = id.clone();
        let observed = self
            .handle
            .read(move |machine| machine.state.subagents().get(&of).map(|s| s.observed))
            .await?;
        let observed = observed.unwrap_or_default();
        let (coupling, _attempts) = self.link.couple(&id, &run_id, observed).await?;
        let mut events = self.link.events(&run_id, observed).await?;
        let mut work = self.slot.open();
        self.handle
            .ask(Input::SubagentCoupled { id: id.clone() })
            .await?;
        self.handle.nudge();
        backoff.connected(begun.elapsed());
        tracing::info!(subagent = %id, %run_id, "the Subagent is coupled");

        let is_local = matches!(self.link, SubagentLink::Local(_));
        let mut wanted = self.slot.wants_metering.subscribe();
        let mut meter = Meter::default();
        let mut measure_at = Instant::now();
        let mut confirmed = observed;
        let mut taken_over = observed;
        let mut confirm_at: Option<Instant> = None;
        loop {
            tokio::select! {
                reported = events.next() => {
                    let reported = reported?;
                    if let Some(metering) = events.take_metering() && *wanted.borrow() {
                        self.handle.ask(Input::SubagentMetered { id: id.clone(), metering }).await?;
                    }
                    let Some(last) = reported.last().map(|stamped| stamped.event_id) else { continue };
                    self.handle.ask(Input::SubagentEvents { id: id.clone(), events: reported }).await?;
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
                    self.send(coupling, batch).await?;
                    // There may be more work than the slot could take.
                    self.handle.nudge();
                }
                // Nobody else tells how busy the Director's own machine is.
                () = tokio::time::sleep_until(measure_at), if is_local && *wanted.borrow() => {
                    let metering = meter.measure();
                    measure_at = Instant::now() + METERING_PERIOD;
                    self.handle.ask(Input::SubagentMetered { id: id.clone(), metering }).await?;
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
                    self.send(coupling, batch).await?;
                    self.handle.nudge();
                }
            }
        }
    }

    /// Sends a batch. A start that is refused is told to the machine; what came behind it is offered with the next connection.
    async fn send(&self, coupling: u64, batch: Batch) -> Result<(), Broken> {
        let Batch {
            commands, attempts, ..
        } = batch;
        let answers = self.link.commands(coupling, commands).await?;
        for (answer, attempt) in answers.into_iter().zip(attempts) {
            let SubagentAnswer::Problem {
                code,
                message,
                arguments,
            } = answer
            else {
                continue;
            };
            let problem = model::Problem {
                code,
                message,
                arguments,
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
