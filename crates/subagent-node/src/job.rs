//! The life of one attempt: plan, start, output, end.
//!
//! Always: whatever happens, the attempt's end is reported exactly once.

use crate::service::{HELD_AFTER, Inner};
use crate::shortage::{NotStarted, WaitingJob, WaitingJobs};
use model::{Attempt, JobHold, Order, Outcome, Problem, SubagentEvent, Timestamp};
use process::{
    BadReturnValues, Cause, Ending, Environment, Event, ExitStatus, Input, Launch, OutputSettings,
    Running, Stream,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subagent::{EndCause, JobEnd, JobPlan, Surroundings, plan};
use tokio::sync::watch;
use tokio::time::Instant;

/// The first attempt to start a process whose failure is reported to the Director.
const REPORTED_ATTEMPT: u32 = 2;
/// Maximum length of a piece of output that becomes one event, whatever the settings are.
const OUTPUT_CHARACTERS_MAX: usize = 1 << 20;
/// A line of error output is remembered to this length.
const ERROR_LINE_MAX: usize = 4096;

/// Somebody wants the attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    pub(crate) immediately: bool,
    pub(crate) cause: EndCause,
    /// SIGKILL so long after SIGTERM at the latest.
    pub(crate) within: Option<Duration>,
}

impl Control {
    /// This wish and an earlier one that may not have been followed yet: the harder one counts, and a shutdown stays one, as does
    /// the loss of the Director.
    pub(crate) fn joined(self, earlier: Option<Control>) -> Control {
        let Some(earlier) = earlier else { return self };
        Control {
            immediately: self.immediately || earlier.immediately,
            cause: match (earlier.cause, self.cause) {
                // Whoever wanted it ended before its Director was lost has got what he wanted.
                (EndCause::Shutdown | EndCause::LostDirector, _) | (_, EndCause::LostDirector) => {
                    earlier.cause
                }
                _ => self.cause,
            },
            within: self.within.or(earlier.within),
        }
    }
}

/// Runs the attempt to its end.
pub(crate) async fn run(
    subagent: Arc<Inner>,
    attempt: Attempt,
    order: Box<Order>,
    controlled: watch::Receiver<Option<Control>>,
) {
    let executed = async {
        match plan_of(&subagent, &attempt, &order) {
            Ok(plan) => execute(&subagent, &attempt, &plan, controlled).await,
            Err(problem) => Outcome::disrupted(problem),
        }
    };
    // Dropping the future kills its process.
    let outcome = tasks::contain("job-process", executed).await;
    let outcome = outcome.unwrap_or_else(|tasks::Panicked| {
        Outcome::disrupted(Problem::new(
            "JobTaskPanicked",
            "a fault of the program has ended this job; the log of the Subagent tells more",
        ))
    });
    subagent.report_end(&attempt, outcome);
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn plan_of(subagent: &Inner, attempt: &Attempt, order: &Order) -> Result<JobPlan, Problem> {
    let (workflow, job_resources, controller_id) = {
        let state = subagent.state();
        let workflow = state.workflow(&order.workflow_id).cloned().ok_or_else(|| {
            Problem::new(
                "UnknownKey",
                format!(
                    "the Subagent does not have the workflow {}",
                    order.workflow_id
                ),
            )
        })?;
        (
            workflow,
            state.job_resources().clone(),
            state.controller_id().cloned(),
        )
    };
    let around = Surroundings {
        now: now(),
        env: &subagent.env,
        temp_dir: subagent.temp_dir.clone(),
        job_resources: &job_resources,
        grace_default: subagent.settings.grace_timeout.into(),
    };
    let controller_id = controller_id.unwrap_or_else(|| model::ControllerId::new(""));
    plan(attempt, order, &workflow, &controller_id, &around)
}

/// Files of an attempt, removed when it is over.
struct AttemptFiles(Vec<PathBuf>);

impl Drop for AttemptFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a temporary file cannot be removed");
            }
        }
    }
}

async fn execute(
    subagent: &Inner,
    attempt: &Attempt,
    plan: &JobPlan,
    mut controlled: watch::Receiver<Option<Control>>,
) -> Outcome {
    let mut waiting: Option<WaitingJob<'_>> = None;
    let mut attempts = 0_u32;
    let mut waits_since = None;
    let (running, mut values, _files) = loop {
        // The job may have been killed before its process could be started.
        let wish = *controlled.borrow_and_update();
        if let Some(control) = wish {
            return ended_before_start(control.cause);
        }
        let not_started = match start(subagent, attempt, plan).await {
            Ok(started) => break started,
            Err(not_started) if !not_started.is_shortage => {
                return Outcome::failed(not_started.message);
            }
            Err(not_started) => not_started,
        };
        let waiting = waiting.get_or_insert_with(|| subagent.waiting_jobs.wait());
        subagent.waiting_jobs.log(&not_started.message);
        attempts = attempts.saturating_add(1);
        let since = *waits_since.get_or_insert_with(now);
        // A shortage often has ended by the second attempt.
        if attempts == REPORTED_ATTEMPT {
            let message = not_started.message.into();
            let hold = JobHold::MachineIsShort { since, message };
            subagent.report_hold(attempt, Some(hold));
        }
        tokio::select! {
            () = waiting.pause() => {}
            Ok(()) = controlled.changed() => controlled.mark_changed(),
        }
    };
    drop(waiting);
    if attempts >= REPORTED_ATTEMPT {
        subagent.report_hold(attempt, None);
    }
    tracing::debug!(%attempt, pid = running.pid(), "a job's process has been started");
    let watched = Watched::new(running, plan);
    let (status, cause, last_error_line) = watched
        .follow_to_the_end(subagent, attempt, &mut controlled)
        .await;
    let values = read_values(&subagent.waiting_jobs, &mut controlled, || {
        values.read_values()
    });
    let values = values
        .await
        .map(|values| values.into_iter().collect())
        .map_err(|bad| bad.to_string());
    let end = JobEnd {
        code: status.code,
        signal: status.signal,
        cause,
        values,
        last_error_line,
    };
    end.outcome(&plan.job).bounded()
}

/// Reads the return values, and retries on a shortage: a job that has succeeded must not fail because the machine is short of something
/// afterwards. A job that is being ended does not wait for the values.
async fn read_values(
    waiting_jobs: &WaitingJobs,
    controlled: &mut watch::Receiver<Option<Control>>,
    mut read: impl FnMut() -> Result<BTreeMap<String, String>, BadReturnValues>,
) -> Result<BTreeMap<String, String>, BadReturnValues> {
    let mut waiting: Option<WaitingJob<'_>> = None;
    loop {
        match read() {
            Err(bad) if bad.is_shortage() && controlled.borrow().is_none() => {
                let waiting = waiting.get_or_insert_with(|| waiting_jobs.wait());
                waiting_jobs.log(&bad.to_string());
                tokio::select! {
                    () = waiting.pause() => {}
                    Ok(()) = controlled.changed() => {}
                }
            }
            read => return read,
        }
    }
}

fn ended_before_start(cause: EndCause) -> Outcome {
    match cause {
        EndCause::Shutdown => Outcome::process_lost(Problem::new(
            "SubagentShutDownBeforeProcessStart",
            "the Subagent was shut down before the process was started",
        )),
        EndCause::LostDirector => Outcome::process_lost(Problem::new(
            "ProcessKilledDueToLostDirector",
            "the Director was lost before the process was started",
        )),
        EndCause::ByItself | EndCause::Killed | EndCause::TimedOut => {
            let problem = Problem::new(
                "ProcessCancelledBeforeStart",
                "the job was killed before its process was started",
            );
            Outcome::Killed {
                outcome: Box::new(Outcome::failed(problem.to_string())),
            }
        }
    }
}

type Started = (Running, process::ValuesFile, AttemptFiles);

async fn start(subagent: &Inner, attempt: &Attempt, plan: &JobPlan) -> Result<Started, NotStarted> {
    let (launch, values, files) = prepare(subagent, attempt, plan)?;
    let output = OutputSettings {
        max_characters: subagent
            .settings
            .output_characters
            .min(OUTPUT_CHARACTERS_MAX),
        max_delay: subagent.settings.output_delay.into(),
    };
    match subagent.ward.start(launch, output).await {
        Ok(running) => Ok((running, values, files)),
        Err(error) => Err(NotStarted {
            is_shortage: error.is_shortage(),
            message: error.to_string(),
        }),
    }
}

type Prepared = (Launch, process::ValuesFile, AttemptFiles);

fn prepare(subagent: &Inner, attempt: &Attempt, plan: &JobPlan) -> Result<Prepared, NotStarted> {
    let program = subagent.programs.find(&plan.program, &subagent.scripts)?;
    let values = subagent.values.next();
    let mut files = AttemptFiles(Vec::new());
    for (path, content) in &plan.files {
        files.0.push(path.clone());
        write_private(path, content).map_err(|error| {
            NotStarted::of(
                &format!("the file {} cannot be written", path.display()),
                &error,
            )
        })?;
    }
    let set = |name: &str, value: String| (OsString::from(name), Some(OsString::from(value)));
    let mut env: Vec<_> = subagent
        .hidden
        .iter()
        .map(|name| (name.clone(), None))
        .collect();
    let planned = plan.env.iter();
    env.extend(planned.map(|(name, value)| (name.into(), value.as_ref().map(OsString::from))));
    for name in plan.return_values_variables {
        env.push(set(name, values.path().to_string_lossy().into_owned()));
    }
    // Which start of which order this is: what a job writes down elsewhere can be matched with the order's history.
    let tag = attempt.to_string();
    env.push(set("MAINSPRING_ATTEMPT", tag.clone()));
    let launch = Launch {
        program: program.path,
        args: program.args,
        env: Environment::Inherited(env),
        dir: subagent.working_directory.clone(),
        tag,
    };
    Ok((launch, values, files))
}

fn write_private(path: &PathBuf, content: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.as_bytes())
}

/// A running process with what is to become of it.
struct Watched {
    running: Running,
    ending: Ending,
    timeout_at: Option<Instant>,
    grace_at: Option<Instant>,
    /// Why it was ended first, if that was no operator's and no timeout's doing.
    forced_by: Option<EndCause>,
    error_line: ErrorLine,
}

impl Watched {
    fn new(running: Running, plan: &JobPlan) -> Watched {
        let (ending, effects) = Ending::new(plan.grace, plan.timeout);
        let mut watched = Watched {
            running,
            ending,
            timeout_at: None,
            grace_at: None,
            forced_by: None,
            error_line: ErrorLine::default(),
        };
        watched.follow(effects);
        watched
    }

    async fn follow_to_the_end(
        mut self,
        subagent: &Inner,
        attempt: &Attempt,
        controlled: &mut watch::Receiver<Option<Control>>,
    ) -> (ExitStatus, EndCause, Option<String>) {
        let status = loop {
            // While the Director is behind, the job waits in its next write; it can be ended all the same.
            let released = subagent.released.notified();
            let has_room = subagent.has_room();
            let alarm = [self.timeout_at, self.grace_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                Ok(()) = controlled.changed() => {
                    let wish = *controlled.borrow_and_update();
                    if let Some(control) = wish {
                        self.on_control(control);
                    }
                }
                () = until(alarm), if alarm.is_some() => self.on_alarm(),
                event = self.running.next(), if has_room => match event {
                    Some(Event::Output { stream, text }) => self.on_output(subagent, attempt, stream, text),
                    Some(Event::OutputHeld { processes }) => self.on_output_held(subagent, attempt, processes),
                    Some(Event::Ended(status)) => break status,
                    None => break ExitStatus { code: None, signal: None },
                },
                () = released, if !has_room => {}
            }
        };
        let cause = match (self.ending.cause(), self.forced_by) {
            // The guard ends the jobs of a Subagent that stands still; it learns of that when it goes on.
            (None, _) if status.signal.is_some() && subagent.has_lost_director() => {
                EndCause::LostDirector
            }
            (None, _) => EndCause::ByItself,
            (Some(_), Some(cause)) => cause,
            (Some(Cause::TimedOut), None) => EndCause::TimedOut,
            (Some(Cause::Killed), None) => EndCause::Killed,
        };
        (status, cause, self.error_line.last())
    }

    fn on_output(&mut self, subagent: &Inner, attempt: &Attempt, stream: Stream, text: String) {
        let (attempt, chunk) = (attempt.clone(), text.into());
        subagent.report_output(match stream {
            Stream::Stdout => SubagentEvent::OrderStdoutWritten { attempt, chunk },
            Stream::Stderr => {
                self.error_line.add(&chunk);
                SubagentEvent::OrderStderrWritten { attempt, chunk }
            }
        });
    }

    /// Reports to the Director that the job would have ended if no other process held its output.
    fn on_output_held(&mut self, subagent: &Inner, attempt: &Attempt, processes: Vec<u32>) {
        let held = i64::try_from(HELD_AFTER.as_millis()).unwrap_or(i64::MAX);
        let hold = JobHold::OutputIsHeld {
            since: Timestamp::from_millis(now().millis() - held),
            pid: self.running.pid(),
            processes,
        };
        subagent.report_hold(attempt, Some(hold));
    }

    fn on_control(&mut self, control: Control) {
        if control.cause == EndCause::Shutdown
            || (control.cause == EndCause::LostDirector && self.ending.cause().is_none())
        {
            self.forced_by.get_or_insert(control.cause);
        }
        let effects = self.ending.on(if control.immediately {
            Input::KillNow
        } else {
            Input::Terminate
        });
        self.follow(effects);
        if let Some(within) = control.within {
            let at = Instant::now() + within;
            self.grace_at = Some(self.grace_at.map_or(at, |grace| grace.min(at)));
        }
    }

    fn on_alarm(&mut self) {
        let now = Instant::now();
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.timeout_at = None;
            let effects = self.ending.on(Input::TimeoutElapsed);
            self.follow(effects);
        }
        if self.grace_at.is_some_and(|at| at <= now) {
            self.grace_at = None;
            let effects = self.ending.on(Input::GraceElapsed);
            self.follow(effects);
        }
    }

    fn follow(&mut self, effects: Vec<process::Effect>) {
        let has_grace = |effect: &process::Effect| matches!(effect, process::Effect::ArmGrace(_));
        // Asked before the signal: a main process that ends because of it has left the others their grace time.
        let has_main_ended = effects.iter().any(has_grace) && self.running.has_main_ended();
        for effect in effects {
            match effect {
                process::Effect::ArmTimeout(after) => {
                    self.timeout_at = Some(Instant::now() + after);
                }
                process::Effect::ArmGrace(after) => {
                    // The process that could end in order has ended. The others only hold its outputs open.
                    let after = if has_main_ended {
                        Duration::ZERO
                    } else {
                        after
                    };
                    self.grace_at = Some(Instant::now() + after);
                }
                process::Effect::SendTerm => self.running.terminate(),
                process::Effect::SendKill => self.running.kill(),
                process::Effect::Report(_) => {}
            }
        }
    }
}

async fn until(alarm: Option<Instant>) {
    if let Some(at) = alarm {
        tokio::time::sleep_until(at).await;
    }
}

/// The last line that a job wrote to its error output.
#[derive(Default)]
struct ErrorLine {
    last: String,
    is_complete: bool,
}

impl ErrorLine {
    fn add(&mut self, chunk: &str) {
        for piece in chunk.split_inclusive('\n') {
            if self.is_complete {
                self.last.clear();
            }
            let text = piece.trim_end_matches(['\n', '\r']);
            let room = ERROR_LINE_MAX.saturating_sub(self.last.chars().count());
            self.last.extend(text.chars().take(room));
            self.is_complete = piece.ends_with('\n');
        }
    }

    fn last(self) -> Option<String> {
        (!self.last.is_empty() || self.is_complete).then_some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn short() -> BadReturnValues {
        BadReturnValues::Unreadable {
            path: "values".into(),
            source: std::io::Error::from_raw_os_error(24),
        }
    }

    #[tokio::test]
    async fn values_are_read_again_after_a_shortage() {
        let waiting_jobs = WaitingJobs::default();
        let (_control, mut controlled) = watch::channel(None);
        let mut attempts = 0;
        let reading = read_values(&waiting_jobs, &mut controlled, || {
            attempts += 1;
            if attempts < 3 {
                // Another job ends in the meantime.
                waiting_jobs.freed();
                return Err(short());
            }
            Ok(BTreeMap::new())
        });
        let values = tokio::time::timeout(PATIENCE, reading).await;
        assert_eq!(values.expect("in time").expect("read"), BTreeMap::new());
        assert_eq!(attempts, 3);
    }

    #[tokio::test]
    async fn a_job_that_is_being_ended_does_not_wait_for_its_values() {
        let waiting_jobs = WaitingJobs::default();
        let (control, mut controlled) = watch::channel(None);
        let reading = read_values(&waiting_jobs, &mut controlled, || Err(short()));
        let killing = async {
            tokio::task::yield_now().await;
            control.send_replace(Some(Control {
                immediately: true,
                cause: EndCause::Killed,
                within: None,
            }));
        };
        let both = async { tokio::join!(reading, killing).0 };
        let values = tokio::time::timeout(PATIENCE, both).await;
        assert!(values.expect("in time").is_err());
    }
}
