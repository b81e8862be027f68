//! Job processes: they run for a while, write, end, hang, ignore SIGTERM, and outlive a Subagent that crashes.
//!
//! Always: what a process does follows from its environment (what the workflow wants) and from chance (how long it takes). How it
//! is brought to its end decides `process::Ending`, as in the real shell.

use crate::fault::Fault;
use crate::kernel::{Happening, Kernel, ProcessStep};
use crate::place::Place;
use ::process::{Cause, Ending, Input};
use model::{Attempt, Job};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use subagent::{EndCause, JobEnd, JobPlan};

/// What a Subagent notices.
#[derive(Debug)]
pub enum Notice {
    /// The process has written.
    Output {
        /// Which attempt.
        attempt: Attempt,
        /// To its error output.
        is_error: bool,
        /// What.
        text: String,
    },
    /// The process has ended.
    Ended {
        /// Which attempt.
        attempt: Attempt,
        /// Of which job.
        job: Arc<Job>,
        /// How.
        end: JobEnd,
    },
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Its attempt.
    pub attempt: Attempt,
    /// The Subagent that has started it.
    pub place: Place,
    /// In which life.
    pub life: u32,
    /// Whether it runs.
    pub is_alive: bool,
    job: Arc<Job>,
    ending: Ending,
    code: i32,
    values: Vec<(String, String)>,
    ignores_term: bool,
    forced_by: Option<EndCause>,
    last_error_line: Option<String>,
    writes: u64,
}

/// All processes there ever were that may still matter.
#[derive(Debug, Default)]
pub struct Processes {
    by_number: BTreeMap<u64, Process>,
    last: u64,
    /// How many were started.
    pub started: u64,
}

/// How jobs behave that are left to themselves.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Microseconds of the shortest and the longest.
    pub duration: (u64, u64),
    /// So many of a thousand ignore SIGTERM.
    pub ignoring: u64,
    /// At most so many pieces of output.
    pub writes: u64,
}

impl Processes {
    /// Starts a process.
    pub fn start(
        &mut self,
        k: &mut Kernel,
        manners: Manners,
        place: Place,
        attempt: &Attempt,
        plan: &JobPlan,
    ) -> u64 {
        self.last += 1;
        self.started += 1;
        let number = self.last;
        let variable = |name: &str| plan.env.get(name).and_then(Option::as_deref);
        let code = variable("EXIT")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let hangs = variable("HANG").is_some();
        let values = variable("RESULT").map(|value| ("result".to_owned(), value.to_owned()));
        let (ending, effects) = Ending::new(plan.grace, plan.timeout);
        let process = Process {
            attempt: attempt.clone(),
            place,
            life: k.standing(place).life,
            is_alive: true,
            job: plan.job.clone(),
            ending,
            code,
            values: values.into_iter().collect(),
            ignores_term: k.rng.per_mille(manners.ignoring),
            forced_by: None,
            last_error_line: None,
            writes: k.rng.below(manners.writes + 1),
        };
        k.note(format_args!("{place} starts {attempt}"));
        let duration = k.rng.span(manners.duration.0, manners.duration.1);
        let pieces = u32::try_from(process.writes).unwrap_or(1);
        for piece in 0..pieces {
            let at = duration * (2 * piece + 1) / (2 * pieces);
            k.after(
                at,
                Happening::Process {
                    number,
                    what: ProcessStep::Write,
                },
            );
        }
        if !hangs {
            k.after(
                duration,
                Happening::Process {
                    number,
                    what: ProcessStep::Exit,
                },
            );
        }
        self.by_number.insert(number, process);
        self.follow(k, number, effects);
        number
    }

    /// The processes that run.
    pub fn alive(&self) -> impl Iterator<Item = &Process> {
        self.by_number.values().filter(|process| process.is_alive)
    }

    /// Somebody wants it ended.
    pub fn end(
        &mut self,
        k: &mut Kernel,
        number: u64,
        immediately: bool,
        cause: EndCause,
        within: Option<Duration>,
    ) {
        let Some(process) = self
            .by_number
            .get_mut(&number)
            .filter(|process| process.is_alive)
        else {
            return;
        };
        if cause == EndCause::Shutdown
            || (cause == EndCause::LostDirector && process.ending.cause().is_none())
        {
            process.forced_by.get_or_insert(cause);
        }
        let place = process.place;
        let effects = process.ending.on(if immediately {
            Input::KillNow
        } else {
            Input::Terminate
        });
        self.follow(k, number, effects);
        if let Some(within) = within {
            let at = k.when(place, k.steady(place) + within);
            let what = ProcessStep::Grace;
            k.at(at, Happening::Process { number, what });
        }
    }

    /// The guard ends what was started in one life of a place. Answers how many.
    pub fn end_of_life(&mut self, k: &mut Kernel, place: Place, life: u32) -> usize {
        let is_of_life =
            |(_, process): &(&u64, &Process)| process.place == place && process.life == life;
        let left: Vec<u64> = self
            .by_number
            .iter()
            .filter(is_of_life)
            .map(|(number, _)| *number)
            .collect();
        for number in &left {
            self.is_over(k, *number, None, Some(9));
        }
        left.len()
    }

    /// Something happens to a process.
    pub fn step(&mut self, k: &mut Kernel, number: u64, what: ProcessStep) {
        let Some(process) = self
            .by_number
            .get_mut(&number)
            .filter(|process| process.is_alive)
        else {
            return;
        };
        match what {
            ProcessStep::Write => {
                let is_error = k.rng.per_mille(200);
                let text = format!("{} says {}\n", process.attempt, k.rng.below(1000));
                if is_error {
                    process.last_error_line = Some(text.trim_end().to_owned());
                }
                let notice = Notice::Output {
                    attempt: process.attempt.clone(),
                    is_error,
                    text,
                };
                let (place, life) = (process.place, process.life);
                let delay = k.rng.span(100, 50_000);
                k.after(
                    delay,
                    Happening::Noticed {
                        place,
                        life,
                        what: notice,
                    },
                );
            }
            ProcessStep::Exit => {
                let code = process.code;
                self.is_over(k, number, Some(code), None);
            }
            ProcessStep::Timeout => {
                let effects = process.ending.on(Input::TimeoutElapsed);
                self.follow(k, number, effects);
            }
            ProcessStep::Grace => {
                let effects = process.ending.on(Input::GraceElapsed);
                self.follow(k, number, effects);
            }
        }
    }

    fn follow(&mut self, k: &mut Kernel, number: u64, effects: Vec<::process::Effect>) {
        for effect in effects {
            match effect {
                ::process::Effect::ArmTimeout(after) => {
                    k.after(
                        after,
                        Happening::Process {
                            number,
                            what: ProcessStep::Timeout,
                        },
                    );
                }
                ::process::Effect::ArmGrace(after) => {
                    k.after(
                        after,
                        Happening::Process {
                            number,
                            what: ProcessStep::Grace,
                        },
                    );
                }
                ::process::Effect::SendTerm => {
                    let ignores = self
                        .by_number
                        .get(&number)
                        .is_some_and(|process| process.ignores_term);
                    if ignores {
                        k.counts.count(Fault::IgnoredTerm);
                    } else {
                        self.is_over(k, number, None, Some(15));
                    }
                }
                ::process::Effect::SendKill => self.is_over(k, number, None, Some(9)),
                ::process::Effect::Report(_) => {}
            }
        }
    }

    fn is_over(&mut self, k: &mut Kernel, number: u64, code: Option<i32>, signal: Option<i32>) {
        let Some(process) = self.by_number.remove(&number) else {
            return;
        };
        let cause = match (process.ending.cause(), process.forced_by) {
            (None, _) => EndCause::ByItself,
            (Some(_), Some(cause)) => cause,
            (Some(Cause::TimedOut), None) => EndCause::TimedOut,
            (Some(Cause::Killed), None) => EndCause::Killed,
        };
        k.note(format_args!("{} ends {code:?} {signal:?}", process.attempt));
        let end = JobEnd {
            code,
            signal,
            cause,
            values: Ok(process.values),
            last_error_line: process.last_error_line,
        };
        let what = Notice::Ended {
            attempt: process.attempt,
            job: process.job,
            end,
        };
        let delay = k.rng.span(50_000, 60_000);
        k.after(
            delay,
            Happening::Noticed {
                place: process.place,
                life: process.life,
                what,
            },
        );
    }

    /// The Subagent that starts anew in this place ends what its predecessor has left.
    pub fn end_leftovers(&mut self, k: &mut Kernel, place: Place) {
        let life = k.standing(place).life;
        let left: Vec<u64> = self
            .by_number
            .iter()
            .filter(|(_, process)| process.place == place && process.life < life)
            .map(|(number, _)| *number)
            .collect();
        for number in left {
            if let Some(process) = self.by_number.remove(&number) {
                k.counts.count(Fault::LostProcess);
                k.note(format_args!(
                    "{place} ends the leftover {}",
                    process.attempt
                ));
            }
        }
    }
}
