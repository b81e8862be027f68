//! A Subagent in the simulated world: `subagent::State` with simulated processes, as `subagent-node` has real ones.
//!
//! Always: nothing of it survives its process but the processes it has started, and those are ended before the next one starts.

use crate::fault::Fault;
use crate::history::History;
use crate::invariants::{effect_after_commit, no_job_on_two_subagents, one_start_per_attempt};
use crate::kernel::{Happening, Kernel};
use crate::moment::Moment;
use crate::net::{ConnId, Packet, Toward};
use crate::place::Place;
use crate::process::{Manners, Notice, Processes};
use model::{
    Attempt, EventId, JobHold, Order, Outcome, Problem, RunId, SubagentCommand, SubagentEvent,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use subagent::{Effect, EndCause, Lease, State, Surroundings};

/// What a Subagent's work is done with.
pub struct Surrounding<'a> {
    /// Time, chance and network.
    pub k: &'a mut Kernel,
    /// The processes.
    pub processes: &'a mut Processes,
    /// What observers know.
    pub history: &'a mut History,
    /// How jobs behave.
    pub manners: Manners,
}

/// A stream that somebody listens to.
#[derive(Debug)]
struct Stream {
    conn: ConnId,
    after: EventId,
}

/// A Subagent.
pub struct SubagentHost {
    /// Where.
    pub place: Place,
    /// The Agent whose Director dials it.
    pub agent: usize,
    /// In whose process it lives, if it is a Director's own.
    pub director: usize,
    /// Whether it lives in a Director's process.
    pub is_local: bool,
    /// Whether it refuses what belongs to an earlier coupling.
    fences: bool,
    /// Its state while its process runs.
    pub state: Option<State>,
    streams: Vec<Stream>,
    numbers: BTreeMap<Attempt, u64>,
    /// Whether it is planned to look at the lease.
    is_watching: bool,
    is_guarded: bool,
}

impl SubagentHost {
    /// One that has not been started.
    pub fn new(index: usize, agent: usize, is_local: bool, fences: bool) -> SubagentHost {
        let (streams, numbers) = (Vec::new(), BTreeMap::new());
        SubagentHost {
            place: Place::Subagent(index),
            agent,
            director: index,
            is_local,
            fences,
            state: None,
            streams,
            numbers,
            is_watching: false,
            is_guarded: false,
        }
    }

    /// The process starts: leftovers first.
    pub fn start(&mut self, around: &mut Surrounding<'_>) {
        let life = around.k.begin_life(self.place);
        around.processes.end_leftovers(around.k, self.place);
        let run_id = RunId::from(format!("{}-life-{life}", self.place));
        around
            .k
            .note(format_args!("{} starts, life {life}", self.place));
        self.state = Some(State::new(run_id, crate::world::platform()));
        self.is_watching = false;
        self.is_guarded = false;
    }

    /// The process is gone; its jobs run on until its guard ends them.
    pub fn crash(&mut self, k: &mut Kernel, is_silent: bool) {
        if self.state.take().is_none() {
            return;
        }
        self.streams.clear();
        self.numbers.clear();
        k.note(format_args!("{} crashes", self.place));
        if !self.is_local {
            k.counts.count(Fault::SubagentCrash);
        }
        // The guard notices at once, and takes a moment.
        let (place, life) = (self.place, k.life(self.place));
        let delay = k.rng.span(1_000, 300_000);
        k.after(delay, Happening::Guard { place, life });
        k.end_life(self.place, is_silent);
    }

    /// A command of the Director has arrived.
    pub fn command(
        &mut self,
        around: &mut Surrounding<'_>,
        (coupling, number): (u64, u64),
        text: &str,
    ) -> Result<String, String> {
        let Some(state) = &mut self.state else {
            return Err(problem_json(&Problem::plain("not running")));
        };
        let command: SubagentCommand = match serde_json::from_str(text) {
            Ok(command) => command,
            Err(error) => return Err(problem_json(&Problem::plain(error.to_string()))),
        };
        let mut effects = Vec::new();
        wake(state, around.k, self.place, &mut effects);
        let coupling = if self.fences || coupling == 0 {
            coupling
        } else {
            state.coupling()
        };
        state.renew(coupling, number);
        let answer = state.command(coupling, command, &mut effects);
        around
            .k
            .check(crate::invariants::released_only_confirmed::check_subagent(
                state,
                around.history,
            ));
        self.act(around, effects);
        self.push(around.k);
        self.watch(around.k);
        answer
            .map(|answer| json(&answer))
            .map_err(|problem| problem_json(&problem))
    }

    /// Looks at the lease when it may have ended, and not more often.
    fn watch(&mut self, k: &mut Kernel) {
        let Some(state) = &self.state else { return };
        let (place, life) = (self.place, k.life(self.place));
        let Some(ends) = state.next_wakeup() else {
            return;
        };
        if !std::mem::replace(&mut self.is_watching, true) {
            k.at(k.when(place, ends), Happening::Lease { place, life });
        }
        let Some(lease) = state.lease() else { return };
        if !std::mem::replace(&mut self.is_guarded, true) {
            let at = k.when(place, ends + lease.grace());
            k.at(at, Happening::Guard { place, life });
        }
    }

    /// It is time to look at the lease.
    pub fn look_at_lease(&mut self, around: &mut Surrounding<'_>) {
        self.is_watching = false;
        let Some(state) = &mut self.state else { return };
        let mut effects = Vec::new();
        wake(state, around.k, self.place, &mut effects);
        self.act(around, effects);
        self.push(around.k);
        self.watch(around.k);
    }

    /// The guard looks after a life's jobs, whether or not the Subagent stands still.
    pub fn guard(&mut self, around: &mut Surrounding<'_>, life: u32) {
        let place = self.place;
        let is_gone = around.k.life(place) != life || self.state.is_none();
        if let Some(state) = self.state.as_ref().filter(|_| !is_gone) {
            self.is_guarded = false;
            let now = around.k.steady(place);
            let silent = state
                .lease()
                .is_some_and(|lease| !lease.is_over() && now >= lease.ends() + lease.grace());
            if !silent {
                return self.watch(around.k);
            }
        }
        let ended = around.processes.end_of_life(around.k, place, life);
        if ended > 0 {
            around.k.counts.count(Fault::Guarded);
            around
                .k
                .note(format_args!("the guard of {place} ends {ended} jobs"));
        }
    }

    /// A stream is asked for.
    pub fn open_stream(
        &mut self,
        k: &mut Kernel,
        conn: ConnId,
        run_id: &str,
        after: u64,
    ) -> Result<(), String> {
        let Some(state) = &self.state else {
            return Err(problem_json(&Problem::plain("not running")));
        };
        let (report, after) = (state.report(), EventId(after));
        if state.run_id().as_str() != run_id {
            let problem = Problem::new(
                "SubagentRunIdMismatch",
                "this Subagent has been restarted in between",
            );
            return Err(problem_json(&problem));
        }
        if after < report.torn() || after > report.last() {
            return Err(problem_json(&Problem::new(
                "UnknownEventId",
                format!("the event {after} is not known here"),
            )));
        }
        self.streams.push(Stream { conn, after });
        self.push(k);
        Ok(())
    }

    /// Sends what is new to whoever listens.
    fn push(&mut self, k: &mut Kernel) {
        let Some(state) = &self.state else { return };
        self.streams
            .retain(|stream| k.net.conn(stream.conn).is_some_and(|conn| conn.is_open));
        for stream in &mut self.streams {
            let events = state.report().after(stream.after, 1 << 20);
            let Some(last) = events.last() else { continue };
            stream.after = last.event_id;
            let lines = events.iter().map(|event| json(&**event)).collect();
            k.send(stream.conn, Toward::Client, Packet::Chunk(lines));
        }
    }

    fn act(&mut self, around: &mut Surrounding<'_>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start { attempt, order, .. } => {
                    self.start_process(around, &attempt, &order);
                }
                Effect::Kill {
                    attempt,
                    immediately,
                    cause,
                    within,
                } => {
                    if let Some(number) = self.numbers.get(&attempt) {
                        let k = &mut *around.k;
                        around.processes.end(k, *number, immediately, cause, within);
                    }
                }
                Effect::End { .. } => {}
            }
        }
    }

    fn start_process(&mut self, around: &mut Surrounding<'_>, attempt: &Attempt, order: &Order) {
        let k = &mut *around.k;
        k.check(effect_after_commit::check_start(
            around.history,
            self.agent,
            attempt,
        ));
        match self.plan(k.now, attempt, order) {
            Ok(plan) => {
                k.check(one_start_per_attempt::check(
                    around.history,
                    around.processes,
                    attempt,
                    k.now,
                    self.place,
                ));
                around.history.note_start(attempt, self.place, k.now);
                let number = around
                    .processes
                    .start(k, around.manners, self.place, attempt, &plan);
                self.numbers.insert(attempt.clone(), number);
                around
                    .k
                    .check(no_job_on_two_subagents::check(around.processes));
            }
            Err(problem) => self.ended(around, attempt, Outcome::disrupted(problem)),
        }
    }

    fn plan(
        &self,
        now: Moment,
        attempt: &Attempt,
        order: &Order,
    ) -> Result<subagent::JobPlan, Problem> {
        let unknown = || {
            Problem::plain(format!(
                "the Subagent does not have the workflow {}",
                order.workflow_id
            ))
        };
        let state = self.state.as_ref().ok_or_else(unknown)?;
        let workflow = state.workflow(&order.workflow_id).ok_or_else(unknown)?;
        let controller_id = state.controller_id().ok_or_else(unknown)?;
        let around = Surroundings {
            now: now.timestamp(),
            env: &BTreeMap::new(),
            temp_dir: PathBuf::from("/tmp/sim"),
            job_resources: state.job_resources(),
            grace_default: Duration::from_secs(15),
        };
        subagent::plan(attempt, order, workflow, controller_id, &around)
    }

    /// Something has happened to a process of this life.
    pub fn notice(&mut self, around: &mut Surrounding<'_>, notice: Notice) {
        match notice {
            Notice::Output {
                attempt,
                is_error,
                text,
            } => {
                let Some(state) = &mut self.state else { return };
                // Some jobs are held up for a while. The choice does not use the random generator, so that the other choices stay the same.
                let number = attempt
                    .order_id
                    .as_str()
                    .bytes()
                    .map(u32::from)
                    .sum::<u32>();
                if number.is_multiple_of(8) {
                    state.on_output(SubagentEvent::OrderProcessingHeld {
                        attempt: attempt.clone(),
                        hold: number.is_multiple_of(16).then(|| {
                            Box::new(JobHold::OutputIsHeld {
                                since: around.k.now.timestamp(),
                                pid: number,
                                processes: Vec::new(),
                            })
                        }),
                    });
                }
                let chunk = text.into();
                state.on_output(if is_error {
                    SubagentEvent::OrderStderrWritten { attempt, chunk }
                } else {
                    SubagentEvent::OrderStdoutWritten { attempt, chunk }
                });
            }
            Notice::Ended {
                attempt,
                job,
                mut end,
            } => {
                // The guard has ended the jobs of a Subagent that stood still; it learns of that when it goes on.
                let now = around.k.steady(self.place);
                let is_lost = |state: &State| {
                    let lease = state.lease();
                    lease.is_some_and(|lease| lease.is_over() || now >= lease.ends())
                };
                if end.cause == EndCause::ByItself
                    && end.signal.is_some()
                    && self.state.as_ref().is_some_and(is_lost)
                {
                    end.cause = EndCause::LostDirector;
                }
                self.ended(around, &attempt, end.outcome(&job));
            }
        }
        self.push(around.k);
    }

    fn ended(&mut self, around: &mut Surrounding<'_>, attempt: &Attempt, outcome: Outcome) {
        self.numbers.remove(attempt);
        let Some(state) = &mut self.state else { return };
        let mut effects = Vec::new();
        state.on_ended(attempt, outcome, &mut effects);
        self.act(around, effects);
    }
}

/// Time has gone on.
fn wake(state: &mut State, k: &mut Kernel, place: Place, effects: &mut Vec<Effect>) {
    let was_over = state.lease().is_some_and(Lease::is_over);
    state.wake(k.steady(place), effects);
    if !was_over && state.lease().is_some_and(Lease::is_over) {
        k.counts.count(Fault::LeaseEnd);
        k.note(format_args!("the lease at {place} has ended"));
    }
}

/// The JSON of a wire value.
pub fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("what is sent always has a JSON form")
}

/// The JSON of a problem.
pub fn problem_json(problem: &Problem) -> String {
    json(problem)
}
