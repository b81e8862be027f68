//! The Subagent itself, shared by everything that speaks to it.
//!
//! Always: the state is touched for moments only; jobs run in tasks of their own and come back through here.

use crate::job::{self, Control};
use crate::lease::{self, LeaseWatch};
use crate::program::Programs;
use crate::settings::JobSettings;
use crate::shortage::WaitingJobs;
use model::{
    Attempt, EventId, JobHold, Outcome, PlatformInfo, Problem, RunId, SubagentAnswer,
    SubagentCommand, SubagentEvent, SubagentStamped,
};
use process::{Guard, Leftovers, ScriptFiles, ValuesFiles, Ward};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use subagent::{Effect, State};
use tokio::sync::{Notify, watch};

/// How much of a report is handed over at once.
const REPORT_PIECE: usize = 1 << 20;
/// How long others may hold the output of a job whose main process has ended before the Director learns of it.
pub(crate) const HELD_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a refused Director counts as present. It retries at least every ten seconds.
const REFUSED_KEPT: Duration = Duration::from_mins(1);

/// Why a Subagent cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory for scripts and temporary files.
    #[error("cannot use the work directory {}: {source}", path.display())]
    WorkDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ward over the processes.
    #[error(transparent)]
    Ward(#[from] process::OpenError),
    /// The process that ends the jobs when this one cannot.
    #[error("cannot start the guard of the jobs: {0}")]
    Guard(#[source] io::Error),
}

/// A running Subagent.
#[derive(Clone)]
pub struct Subagent(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) state: Mutex<State>,
    pub(crate) ward: Ward,
    pub(crate) scripts: ScriptFiles,
    pub(crate) values: ValuesFiles,
    pub(crate) temp_dir: PathBuf,
    pub(crate) programs: Programs,
    pub(crate) working_directory: PathBuf,
    /// What jobs inherit, as expressions see it.
    pub(crate) env: BTreeMap<String, String>,
    /// Variables that jobs do not inherit: those that are not text, because expressions cannot see them, and those that are meant for this
    /// process.
    pub(crate) hidden: Vec<OsString>,
    pub(crate) settings: JobSettings,
    controls: Mutex<BTreeMap<Attempt, watch::Sender<Option<Control>>>>,
    /// The number of the newest event, so that readers wait without polling.
    reported: watch::Sender<EventId>,
    /// The Director has confirmed something: writers that wait for room look again.
    pub(crate) released: Notify,
    ended: watch::Sender<Option<bool>>,
    pub(crate) leases: LeaseWatch,
    pub(crate) waiting_jobs: WaitingJobs,
    /// When a Director was last refused because another one leads this Subagent, and the message of the refusal.
    refused: Mutex<Option<(Instant, String)>>,
}

/// The machine this runs on.
pub fn platform_info() -> PlatformInfo {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    PlatformInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        hostname: hostname.trim().into(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH).into(),
    }
}

/// Returns whether a variable is meant for this process: a setting of this program, which may be a secret, or a message of the service
/// manager.
fn is_addressed_to_us(name: &str) -> bool {
    const OF_THE_SERVICE_MANAGER: [&str; 6] = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
    ];
    name.starts_with("MAINSPRING_") || OF_THE_SERVICE_MANAGER.contains(&name)
}

impl Subagent {
    /// Begins in `work_dir`, which is emptied; processes that a crashed predecessor left are ended first. Blocks for that
    /// long. `data_dir` is where the executables folder is by default.
    pub fn open(
        data_dir: &Path,
        work_dir: &Path,
        run_id: RunId,
        settings: JobSettings,
    ) -> Result<(Subagent, Leftovers), OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::WorkDirectory { path, source }
        };
        let ward_settings = process::Settings {
            cgroups: if settings.cgroups {
                process::CgroupUse::Auto
            } else {
                process::CgroupUse::Off
            },
            worry_after_exit: HELD_AFTER,
            ..process::Settings::default()
        };
        let (ward, leftovers) = Ward::open(work_dir, ward_settings)?;
        let scripts = ScriptFiles::open(&work_dir.join("scripts")).map_err(at(work_dir))?;
        let temp_dir = work_dir.join("values");
        let values = ValuesFiles::open(&temp_dir).map_err(at(&temp_dir))?;
        let current = std::env::current_dir().map_err(at(Path::new(".")))?;
        let absolute = |path: PathBuf| {
            if path.is_absolute() {
                path
            } else {
                current.join(path)
            }
        };
        let working_directory = absolute(
            settings
                .working_directory
                .clone()
                .unwrap_or_else(|| current.clone()),
        );
        let executables = absolute(
            settings
                .executables
                .clone()
                .unwrap_or_else(|| data_dir.join("executables")),
        );
        let search =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let mut env = BTreeMap::new();
        let mut hidden = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), _) if is_addressed_to_us(&name) => hidden.push(name.into()),
                (Ok(name), Ok(value)) => drop(env.insert(name, value)),
                (Ok(name), Err(_)) => hidden.push(name.into()),
                (Err(name), _) => hidden.push(name),
            }
        }
        let guard = settings
            .guard
            .clone()
            .map(|program| Guard::start(program, &absolute(work_dir.to_owned())))
            .transpose()
            .map_err(OpenError::Guard)?;
        let inner = Inner {
            leases: LeaseWatch::new(guard),
            state: Mutex::new(State::new(run_id, platform_info())),
            ward,
            scripts,
            values,
            temp_dir: absolute(temp_dir),
            programs: Programs {
                executables,
                search: std::env::split_paths(&search).collect(),
            },
            working_directory,
            env,
            hidden,
            settings,
            controls: Mutex::default(),
            reported: watch::Sender::new(EventId::BEFORE_FIRST),
            released: Notify::new(),
            ended: watch::Sender::new(None),
            waiting_jobs: WaitingJobs::default(),
            refused: Mutex::default(),
        };
        Ok((Subagent(Arc::new(inner)), leftovers))
    }

    /// Follows a command. See [`State::command`]. Must be called within the runtime: jobs are started as its tasks. `number`
    /// counts the requests of the coupling from 1; with 0 nothing is said about the Director's being there.
    pub fn command(
        &self,
        coupling: u64,
        number: u64,
        command: SubagentCommand,
    ) -> Result<SubagentAnswer, Problem> {
        let mut effects = Vec::new();
        let answer = {
            let mut state = self.0.state();
            lease::wake(&mut state, &mut effects);
            state.renew(coupling, number);
            let answer = state.command(coupling, command, &mut effects);
            self.0.leases.changed(&state);
            self.0.tell_reported(&state);
            answer
        };
        if let Err(problem) = &answer
            && (problem.is("DirectorIsDouble") || problem.is("SubagentAlreadyDedicated"))
        {
            self.0.note_refused(&problem.message);
        }
        self.0.released.notify_waiters();
        self.0.clone().act(effects);
        answer
    }

    /// The events behind `after`; waits until there is one. Fails when they are gone or belong to another life.
    pub async fn events(
        &self,
        run_id: &RunId,
        after: EventId,
    ) -> Result<Vec<Arc<SubagentStamped>>, Problem> {
        let mut reported = self.0.reported.subscribe();
        loop {
            self.check_place(run_id, after)?;
            let events = self.0.state().report().after(after, REPORT_PIECE);
            if !events.is_empty() {
                return Ok(events);
            }
            if reported.wait_for(|last| *last > after).await.is_err() {
                return Err(Problem::new(
                    "SubagentIsShuttingDown",
                    "this Subagent has ended",
                ));
            }
        }
    }

    /// Whether a stream may begin behind `after`.
    pub(crate) fn check_place(&self, run_id: &RunId, after: EventId) -> Result<(), Problem> {
        let state = self.0.state();
        if state.run_id() != run_id {
            return Err(Problem::new(
                "SubagentRunIdMismatch",
                "this Subagent has been restarted in between",
            ));
        }
        let report = state.report();
        if after < report.torn() || after > report.last() {
            let message = format!(
                "the event {after} is not known here, kept are {} to {}",
                report.torn(),
                report.last()
            );
            return Err(Problem::new("UnknownEventId", message));
        }
        Ok(())
    }

    /// Waits until the Director has confirmed everything, no longer than `patience`.
    pub async fn wait_until_confirmed(&self, patience: std::time::Duration) {
        let confirmed = async {
            loop {
                let released = self.0.released.notified();
                // Without a Director there is nobody who would confirm.
                let nobody_listens = self.0.state().coupling() == 0;
                if nobody_listens || self.0.state().report().is_empty() {
                    return;
                }
                released.await;
            }
        };
        // Whoever has not asked by now learns from the run id that this life is over.
        let _patience_is_over = tokio::time::timeout(patience, confirmed).await;
    }

    /// The identity of this life.
    pub fn run_id(&self) -> RunId {
        self.0.state().run_id().clone()
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.0.state().running()
    }

    /// Returns the size in bytes of the events that the Director has not confirmed.
    pub fn report_bytes(&self) -> usize {
        self.0.state().report().bytes()
    }

    /// Returns whether a Director is coupled and, if it has a lease, is not lost.
    pub fn is_led(&self) -> bool {
        let is_coupled = self.0.state().coupling() != 0;
        is_coupled && !self.0.has_lost_director()
    }

    /// Keeps a stream of this coupling open until the returned value is dropped.
    pub(crate) fn open_stream(&self, coupling: u64) -> OpenStream {
        self.0.state().on_stream_opened(coupling);
        OpenStream {
            subagent: self.clone(),
            coupling,
        }
    }

    /// Returns what the operator should do about two Directors that have claimed this Subagent in the last minute.
    pub fn advice(&self) -> Option<String> {
        let refused = self.0.refused.lock();
        let refused = refused.unwrap_or_else(PoisonError::into_inner);
        let lately = refused
            .as_ref()
            .filter(|(at, _)| at.elapsed() < REFUSED_KEPT);
        lately.map(|(_, message)| message.clone())
    }

    /// Whose Subagent it is, for people.
    pub fn owner(&self) -> Option<(String, String)> {
        self.0
            .state()
            .owner()
            .map(|(id, agent)| (id.to_string(), agent.to_string()))
    }

    /// Waits until it has been shut down and its jobs have ended; answers whether it is to be started again.
    pub async fn ended(&self) -> bool {
        let mut ended = self.0.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        end.ok().and_then(|restart| *restart).unwrap_or(false)
    }
}

/// An open stream of a coupling's events.
pub struct OpenStream {
    subagent: Subagent,
    coupling: u64,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.subagent.0.state().on_stream_closed(self.coupling);
    }
}

impl Inner {
    /// Logs a refusal if it is new. The refused Director retries again and again.
    fn note_refused(&self, message: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = refused
            .as_ref()
            .is_some_and(|(at, known)| known == message && at.elapsed() < REFUSED_KEPT);
        if !is_known {
            tracing::error!("{message}");
        }
        *refused = Some((Instant::now(), message.to_owned()));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held has been reported; the state itself is changed in single steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn controls(&self) -> MutexGuard<'_, BTreeMap<Attempt, watch::Sender<Option<Control>>>> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_reported(&self, state: &State) {
        let newest = state.report().last();
        self.reported
            .send_if_modified(|last| std::mem::replace(last, newest) != newest);
    }

    pub(crate) fn act(self: Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start { attempt, order, .. } => {
                    let (control, controlled) = watch::channel(None);
                    self.controls().insert(attempt.clone(), control);
                    tasks::spawn("job", job::run(self.clone(), attempt, order, controlled));
                }
                Effect::Kill {
                    attempt,
                    immediately,
                    cause,
                    within,
                } => {
                    if let Some(control) = self.controls().get(&attempt) {
                        let wish = Control {
                            immediately,
                            cause,
                            within,
                        };
                        control.send_modify(|known| *known = Some(wish.joined(*known)));
                    }
                }
                Effect::End { restart } => {
                    self.ended.send_replace(Some(restart));
                }
            }
        }
    }

    pub(crate) fn report_output(&self, event: SubagentEvent) {
        let mut state = self.state();
        state.on_output(event);
        self.tell_reported(&state);
    }

    /// Reports what holds up the attempt, or that nothing holds it up any longer.
    pub(crate) fn report_hold(&self, attempt: &Attempt, hold: Option<JobHold>) {
        self.report_output(SubagentEvent::OrderProcessingHeld {
            attempt: attempt.clone(),
            hold: hold.map(Box::new),
        });
    }

    /// Whether the Director has been silent for longer than its lease, as far as the clock goes.
    pub(crate) fn has_lost_director(&self) -> bool {
        let state = self.state();
        let now = process::steady_time();
        state
            .lease()
            .is_some_and(|lease| lease.is_over() || now >= lease.ends())
    }

    pub(crate) fn has_room(&self) -> bool {
        self.state().report().bytes()
            < usize::try_from(self.settings.output_buffer.0).unwrap_or(usize::MAX)
    }

    pub(crate) fn report_end(self: Arc<Self>, attempt: &Attempt, outcome: Outcome) {
        self.controls().remove(attempt);
        // The resources of this job may be enough for a job that waits.
        self.waiting_jobs.freed();
        let mut effects = Vec::new();
        {
            let mut state = self.state();
            state.on_ended(attempt, outcome, &mut effects);
            self.tell_reported(&state);
        }
        self.act(effects);
    }
}
