//! The loop: gather, decide, commit, release.
//!
//! Always: the state is the committed one whenever somebody looks at it; one batch is in flight, and what comes meanwhile gathers
//! in the inbox and becomes the next batch (group commit). Never here: branches on what an input means.

use crate::alarm::Alarm;
use crate::crashes::{Crash, Crashes};
use crate::facts::FULL_BYTES;
use crate::handle::{Entry, Question};
use crate::machine::{Aside, may_go};
use crate::progress::Progress;
use crate::snapshots::{Snapshots, Taken};
use crate::{Clock, End, Facts, Fault, Handle, Machine, Outside, Ready, Work};
use cluster::{AppendError, Batch, Log, Opened};
use futures::future::{BoxFuture, FutureExt as _};
use model::{Event, EventId, JournalEvent};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Without an [`Alarm`], the clock may be set while the loop sleeps and nobody tells, so it looks at it at least this often.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// A timer that is due and makes nothing happen must not keep the processor busy.
const IDLE_TIMER_PAUSE: Duration = Duration::from_millis(20);

/// The bounds of a loop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries that wait in the inbox; senders wait beyond.
    pub inbox: usize,
    /// Inputs that become one batch.
    pub batch_inputs: usize,
    /// Bytes of events after which a batch takes no further input.
    pub batch_bytes: usize,
    /// Bytes of log after which a snapshot is due, if they are also more than twice the newest snapshot.
    pub snapshot_bytes: u64,
    /// Time after which a snapshot is due if anything has happened.
    pub snapshot_period: Duration,
    /// Maximum size in bytes of the log that is kept for [`Machine::kept_from`].
    pub kept_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            inbox: 1024,
            batch_inputs: 1000,
            batch_bytes: FULL_BYTES,
            snapshot_bytes: 64 << 20,
            snapshot_period: Duration::from_hours(1),
            kept_bytes: 0,
        }
    }
}

/// Starts commit loops.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Recovers `machine` from the log (newest snapshot, then the events behind it), records the start, and runs until
    /// [`Handle::shut_down`] or a fault. The task's result is the process's exit code. The log is the caller's to shut down.
    pub async fn start<M: Machine>(
        machine: M,
        opened: Opened,
        clock: Arc<dyn Clock>,
        limits: Limits,
        outside: impl Outside<M>,
    ) -> Result<(Handle<M>, JoinHandle<Result<End, Fault>>), Fault> {
        let Opened {
            log,
            snapshot,
            replay,
        } = opened;
        let recovered =
            crate::recovery::recover(machine, snapshot, replay, &Work::default()).await?;
        let crashes = Crashes::of(&log);
        Node::lead(Ready { recovered }, log, clock, limits, outside, crashes).await
    }

    /// The same with a machine that has followed the log already ([`crate::follow`]): this member is the active one now.
    pub(crate) async fn lead<M: Machine>(
        ready: Ready<M>,
        log: Log,
        clock: Arc<dyn Clock>,
        limits: Limits,
        outside: impl Outside<M>,
        crashes: Crashes,
    ) -> Result<(Handle<M>, JoinHandle<Result<End, Fault>>), Fault> {
        let recovered = ready.recovered;
        let (sender, inbox) = mpsc::channel(limits.inbox);
        let nudge = Arc::new(Notify::new());
        let is_deposed = Arc::new(AtomicBool::new(false));
        let (committed, watcher) = watch::channel(recovered.last);
        let progress = Progress::default();
        let handle = Handle {
            inbox: sender,
            nudge: Arc::clone(&nudge),
            committed: watcher,
            is_deposed: Arc::clone(&is_deposed),
            progress: progress.clone(),
        };
        // This must come before the snapshots check the damage that is known by now, so that none is missed.
        let damage = log.damage_found();
        let snapshots = Snapshots::new(log.clone(), limits, &recovered);
        let alarm = Alarm::new().inspect_err(|error| {
            tracing::warn!(%error, "the system gives no alarm: what is due starts some milliseconds late");
        });
        let mut commit_loop = CommitLoop {
            machine: recovered.machine,
            last: recovered.last,
            clock,
            alarm: alarm.ok(),
            limits,
            outside,
            inbox,
            nudge,
            committed,
            is_deposed,
            snapshots,
            fault: log.fault().boxed(),
            damage,
            log,
            progress,
            released: EventId::BEFORE_FIRST,
            end: None,
            has_set_aside: !crashes.subjects().is_empty(),
            work: crashes.work(),
            crashes,
        };
        let begun = commit_loop.begin().await;
        commit_loop.record_crash(begun).await?;
        let task = tasks::spawn("commit-loop", async move {
            let ended = commit_loop.run().await;
            let ended = commit_loop.record_crash(ended).await;
            if let Err(fault) = &ended {
                tracing::error!(%fault, "the node stops");
            }
            ended
        });
        Ok((handle, task))
    }
}

/// Makes a decision and turns its panic into an error, so that the subject of the work can be recorded.
fn caught<T>(decision: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    tasks::catch("commit-loop", decision).unwrap_or_else(|panic| Err(Fault::Decision(panic)))
}

async fn rings(alarm: Option<&Alarm>) {
    match alarm {
        Some(alarm) => alarm.rings().await,
        None => std::future::pending().await,
    }
}

struct CommitLoop<M: Machine, O> {
    machine: M,
    last: EventId,
    log: Log,
    clock: Arc<dyn Clock>,
    alarm: Option<Alarm>,
    limits: Limits,
    outside: O,
    inbox: mpsc::Receiver<Entry<M>>,
    nudge: Arc<Notify>,
    committed: watch::Sender<EventId>,
    is_deposed: Arc<AtomicBool>,
    snapshots: Snapshots,
    progress: Progress,
    released: EventId,
    end: Option<End>,
    /// Comes when the log can no longer be written, also while nothing is to be written.
    fault: BoxFuture<'static, String>,
    /// Changes when damage is found in the log.
    damage: watch::Receiver<u64>,
    crashes: Crashes,
    /// Names the work in progress if an earlier run has ended without a record of it.
    work: Work,
    /// Whether something is set aside. If so, each batch is followed by a check whether it still is.
    has_set_aside: bool,
}

/// Why the loop goes round.
enum Wake<M: Machine> {
    Entry(Option<Entry<M>>),
    Nudged,
    Timer,
    Snapshot(Taken),
    Damage,
    Fault(String),
}

/// Who waits, and what he gets after the commit.
type Answered<R> = (oneshot::Sender<Vec<R>>, Vec<R>);

/// A batch with those who wait for it.
struct Round<M: Machine> {
    facts: Facts,
    inputs: usize,
    replies: Vec<Answered<M::Reply>>,
    questions: Vec<Question<M>>,
}

impl<M: Machine, O: Outside<M>> CommitLoop<M, O> {
    async fn begin(&mut self) -> Result<(), Fault> {
        if self.work.is_named() {
            self.machine.name_work(&self.work);
        }
        let mut round = self.round();
        let facts = &mut round.facts;
        facts
            .record(
                &mut self.machine,
                Event::Journal(JournalEvent::SnapshotTaken),
            )
            .map_err(Fault::Misfit)?;
        self.set_aside(&mut round.facts).await?;
        let facts = &mut round.facts;
        let machine = &mut self.machine;
        caught(|| {
            machine.started(facts).map_err(Fault::Misfit)?;
            machine.advance(facts).map_err(Fault::Misfit)
        })?;
        self.work.idle();
        self.commit(round).await
    }

    /// Sets aside what has ended this node several times, and, once more, what an earlier start has set aside without an event.
    async fn set_aside(&mut self, facts: &mut Facts) -> Result<(), Fault> {
        for crash in self.crashes.held() {
            self.set_one_aside(&crash, facts)?;
        }
        for mut crash in self.crashes.to_set_aside() {
            crash.origin = self.machine.origin_of(&crash.subject);
            self.set_new_aside(&crash, facts).await?;
            if let Some(origin) = crash.origin.take()
                && self.crashes.is_origin_to_set_aside(&origin)
            {
                crash.subject = origin;
                self.set_new_aside(&crash, facts).await?;
            }
        }
        Ok(())
    }

    fn set_one_aside(&mut self, crash: &Crash, facts: &mut Facts) -> Result<Aside, Fault> {
        let machine = &mut self.machine;
        caught(|| {
            machine
                .set_aside(&crash.subject, &crash.problem(), facts)
                .map_err(Fault::Misfit)
        })
    }

    async fn set_new_aside(&mut self, crash: &Crash, facts: &mut Facts) -> Result<(), Fault> {
        let aside = self.set_one_aside(crash, facts)?;
        let (subject, reason) = (crash.subject.as_str(), crash.reason.as_str());
        match aside {
            Aside::Impossible => tracing::error!(
                subject,
                reason,
                "this has ended the node several times, and it cannot be set aside"
            ),
            Aside::Recorded | Aside::Held => {
                tracing::error!(
                    subject,
                    reason,
                    "this has ended the node several times, and is set aside: resume or cancel it when the reason is gone"
                );
                self.crashes.set_aside(crash, aside == Aside::Held).await;
                self.has_set_aside = true;
            }
        }
        Ok(())
    }

    /// Records the subject of the work if a decision has ended the node.
    async fn record_crash<T>(&mut self, ended: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &ended
            && fault.is_of_decision()
            && let Some(subject) = self.machine.working_on()
        {
            tracing::error!(subject, %fault, "this has ended the node");
            let reason = fault.to_string();
            self.crashes.add(self.clock.now(), subject, &reason).await;
        }
        ended
    }

    /// Records which subjects were resumed or cancelled, or no longer exist.
    async fn check_set_aside(&mut self) {
        if self.has_set_aside {
            let machine = &self.machine;
            let is_over = |subject: &str| !machine.is_set_aside(subject);
            self.crashes.over(is_over).await;
            self.has_set_aside = !self.crashes.subjects().is_empty();
        }
    }

    async fn run(&mut self) -> Result<End, Fault> {
        let mut idle_timer = false;
        loop {
            let wake = self.gather(idle_timer).await;
            let is_timer = matches!(wake, Wake::Timer);
            let mut round = self.round();
            self.machine.set_idle();
            caught(|| self.decide(wake, &mut round))?;
            self.work.idle();
            idle_timer = is_timer && round.facts.is_empty();
            self.commit(round).await?;
            if let Some(end) = self.end {
                return self.close(end).await;
            }
        }
    }

    async fn gather(&mut self, idle_timer: bool) -> Wake<M> {
        let pause = self.pause(idle_timer);
        if let Some(alarm) = &mut self.alarm
            && let Err(error) = alarm.set(self.machine.next_wakeup())
        {
            tracing::warn!(%error, "the alarm cannot be set: what is due starts some milliseconds late");
            self.alarm = None;
        }
        tokio::select! {
            entry = self.inbox.recv() => Wake::Entry(entry),
            () = self.nudge.notified() => Wake::Nudged,
            taken = self.snapshots.taken() => Wake::Snapshot(taken),
            reason = &mut self.fault => Wake::Fault(reason),
            Ok(()) = self.damage.changed() => Wake::Damage,
            // Mostly the first of the two: the sleep is late, but there when the alarm is not.
            () = rings(self.alarm.as_ref()) => Wake::Nudged,
            () = tokio::time::sleep(pause) => Wake::Timer,
        }
    }

    fn pause(&self, idle_timer: bool) -> Duration {
        let now = self.clock.now();
        let by_machine = self
            .machine
            .next_wakeup()
            .map_or(SLEEP_MAX, |at| at.since(now));
        let by_snapshot = self.snapshots.due_in();
        let least = if idle_timer {
            IDLE_TIMER_PAUSE
        } else {
            Duration::ZERO
        };
        by_machine.min(by_snapshot).min(SLEEP_MAX).max(least)
    }

    fn decide(&mut self, wake: Wake<M>, round: &mut Round<M>) -> Result<(), Fault> {
        match wake {
            Wake::Entry(Some(entry)) => self.take(entry, round)?,
            // Every handle is gone: nobody can ask for anything any more.
            Wake::Entry(None) => {
                self.end = Some(End {
                    suppress_snapshot: true,
                    ..End::default()
                });
            }
            Wake::Snapshot(taken) => {
                if taken.is_ok() {
                    let event = Event::Journal(JournalEvent::SnapshotTaken);
                    round
                        .facts
                        .record(&mut self.machine, event)
                        .map_err(Fault::Misfit)?;
                    self.release_log();
                }
                self.snapshots.answer(&taken);
            }
            Wake::Damage => self.snapshots.supersede(),
            Wake::Fault(reason) => return Err(Fault::Log(AppendError::Stopped { reason })),
            Wake::Nudged | Wake::Timer => {}
        }
        while self.end.is_none() && round.has_room(&self.limits) {
            let Ok(entry) = self.inbox.try_recv() else {
                break;
            };
            self.take(entry, round)?;
        }
        round.facts.set_now(self.clock.now());
        self.machine
            .advance(&mut round.facts)
            .map_err(Fault::Misfit)
    }

    fn take(&mut self, entry: Entry<M>, round: &mut Round<M>) -> Result<(), Fault> {
        match entry {
            Entry::Inputs { inputs, replies } => {
                round.facts.set_now(self.clock.now());
                let mut answers = Vec::with_capacity(inputs.len());
                for input in inputs {
                    answers.push(
                        self.machine
                            .take(input, &mut round.facts)
                            .map_err(Fault::Misfit)?,
                    );
                    self.machine
                        .advance(&mut round.facts)
                        .map_err(Fault::Misfit)?;
                    round.inputs += 1;
                }
                round.replies.push((replies, answers));
            }
            Entry::Question(question) => round.questions.push(question),
            Entry::TakeSnapshot(reply) => self.snapshots.want(reply),
            Entry::ShutDown(end) => {
                self.end = Some(end);
                self.inbox.close();
                // What was sent before the shutdown is still done; more cannot come.
                while let Ok(entry) = self.inbox.try_recv() {
                    if !matches!(entry, Entry::ShutDown(_)) {
                        self.take(entry, round)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the batch durable, then tells everybody.
    async fn commit(&mut self, round: Round<M>) -> Result<(), Fault> {
        let Round {
            mut facts,
            replies,
            questions,
            ..
        } = round;
        if !facts.is_empty() {
            let (last, count) = (facts.last_event_id(), facts.len());
            let noted = facts.take_noted();
            let lines = facts.into_lines();
            let bytes = lines.len();
            let batch = Batch {
                last_event_id: last.0,
                body: lines.into(),
            };
            if let Err(error) = self.log.append(batch).await {
                let fault = Fault::Log(error);
                // Before those who wait see that nobody answers.
                if fault.is_deposed() {
                    self.is_deposed.store(true, Ordering::Release);
                }
                return Err(fault);
            }
            self.progress.add(noted);
            self.last = last;
            self.snapshots.grown(bytes, count);
            self.committed.send_replace(last);
        }
        for (reply, answers) in replies {
            // Whoever asked may be gone; what was asked has been done.
            let _unheard = reply.send(answers);
        }
        for question in questions {
            question(&self.machine);
        }
        self.outside.release(&self.machine, self.last);
        if self.machine.released() != self.released {
            self.release_log();
        }
        self.snapshots.begin_if_due(&self.machine, self.last);
        self.check_set_aside().await;
        Ok(())
    }

    fn release_log(&mut self) {
        self.released = self.machine.released();
        let until = may_go(&self.machine, &self.log, self.last, self.limits.kept_bytes);
        let log = self.log.clone();
        tasks::spawn("release", async move { log.release(until.0).await });
    }

    async fn close(&mut self, end: End) -> Result<End, Fault> {
        self.inbox.close();
        let mut round = self.round();
        self.machine
            .closing(&mut round.facts)
            .map_err(Fault::Misfit)?;
        self.commit(round).await?;
        if let Err(error) = self
            .snapshots
            .finish(&self.machine, self.last, end.suppress_snapshot)
            .await
        {
            tracing::warn!(%error, "no snapshot was written at the shutdown; the next start replays the log");
        }
        self.crashes.ended_in_order().await;
        Ok(end)
    }

    fn round(&self) -> Round<M> {
        let facts = Facts::new(self.clock.now(), self.last);
        Round {
            facts,
            inputs: 0,
            replies: Vec::new(),
            questions: Vec::new(),
        }
    }
}

impl<M: Machine> Round<M> {
    fn has_room(&self, limits: &Limits) -> bool {
        self.inputs < limits.batch_inputs && self.facts.bytes() < limits.batch_bytes
    }
}
