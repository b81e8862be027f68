//! How a job is brought to its end: ask, wait, force.
//! Always: SIGTERM goes to the main process once; SIGKILL goes to the whole tree and is never taken back; a person's kill
//! outranks a timeout as the cause, because the order is not to be tried again then.
//! Never here: signals, clocks, processes. The caller does what the effects say and feeds back what happens.
//!
//! ```text
//!  Running ──Terminate, TimeoutElapsed──▶ Asked ──GraceElapsed, KillNow──▶ Forced
//!     │  └──────KillNow, or no grace──────────────────────────────────────▶  │
//!     └───────────────Exited──────────────▶ Ended ◀──────────Exited──────────┘
//! ```

use std::time::Duration;

/// What happens to the job or is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Somebody wants it ended, with the grace that the job has. Asking again changes nothing, so that a command that is
    /// delivered twice does not shorten the grace.
    Terminate,
    /// Somebody wants it ended at once.
    KillNow,
    /// It runs longer than it may.
    TimeoutElapsed,
    /// The timer of `Effect::ArmGrace` has run out.
    GraceElapsed,
    /// The job has ended.
    Exited,
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Feed back `Input::TimeoutElapsed` after this time.
    ArmTimeout(Duration),
    /// SIGTERM to the main process.
    SendTerm,
    /// Feed back `Input::GraceElapsed` after this time.
    ArmGrace(Duration),
    /// SIGKILL to the whole tree.
    SendKill,
    /// The job is over; if it was made to end, this is why.
    Report(Option<Cause>),
}

/// Why a job was made to end. The greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It ran longer than it may.
    TimedOut,
    /// Somebody asked for it.
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Asked(Cause),
    Forced(Cause),
    Ended,
}

/// How far one job is on the way to its end.
#[derive(Clone, Debug)]
pub struct Ending {
    grace: Duration,
    phase: Phase,
}

impl Ending {
    /// A job has just been started.
    pub fn new(grace: Duration, timeout: Option<Duration>) -> (Self, Vec<Effect>) {
        (
            Self {
                grace,
                phase: Phase::Running,
            },
            timeout.map(Effect::ArmTimeout).into_iter().collect(),
        )
    }

    /// Why the job is being ended, if it is.
    pub fn cause(&self) -> Option<Cause> {
        match self.phase {
            Phase::Asked(cause) | Phase::Forced(cause) => Some(cause),
            Phase::Running | Phase::Ended => None,
        }
    }

    /// Takes note of an input; answers what is to be done now, in this order. After the end nothing is.
    #[must_use]
    pub fn on(&mut self, input: Input) -> Vec<Effect> {
        let (phase, effects) = self.next(input);
        self.phase = phase;
        effects
    }

    fn next(&self, input: Input) -> (Phase, Vec<Effect>) {
        match (self.phase, input) {
            (Phase::Running, Input::Terminate) => self.ask(Cause::Killed),
            (Phase::Running, Input::TimeoutElapsed) => self.ask(Cause::TimedOut),
            (Phase::Running, Input::KillNow) => {
                (Phase::Forced(Cause::Killed), vec![Effect::SendKill])
            }
            (Phase::Running, Input::GraceElapsed) => (Phase::Running, vec![]),
            (Phase::Running, Input::Exited) => (Phase::Ended, vec![Effect::Report(None)]),

            (Phase::Asked(_), Input::Terminate) => (Phase::Asked(Cause::Killed), vec![]),
            (Phase::Asked(cause), Input::TimeoutElapsed) => (Phase::Asked(cause), vec![]),
            (Phase::Asked(_), Input::KillNow) => {
                (Phase::Forced(Cause::Killed), vec![Effect::SendKill])
            }
            (Phase::Asked(cause), Input::GraceElapsed) => {
                (Phase::Forced(cause), vec![Effect::SendKill])
            }

            (Phase::Forced(_), Input::Terminate) => (Phase::Forced(Cause::Killed), vec![]),
            // Once more, in case something was forked in between; it costs nothing.
            (Phase::Forced(_), Input::KillNow) => {
                (Phase::Forced(Cause::Killed), vec![Effect::SendKill])
            }
            (Phase::Forced(cause), Input::TimeoutElapsed | Input::GraceElapsed) => {
                (Phase::Forced(cause), vec![])
            }

            (Phase::Asked(cause) | Phase::Forced(cause), Input::Exited) => {
                (Phase::Ended, vec![Effect::Report(Some(cause))])
            }
            (Phase::Ended, _) => (Phase::Ended, vec![]),
        }
    }

    fn ask(&self, cause: Cause) -> (Phase, Vec<Effect>) {
        if self.grace.is_zero() {
            return (Phase::Forced(cause), vec![Effect::SendKill]);
        }
        (
            Phase::Asked(cause),
            vec![Effect::SendTerm, Effect::ArmGrace(self.grace)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cause::{Killed, TimedOut};
    use Effect::{ArmGrace, ArmTimeout, Report, SendKill, SendTerm};
    use Input::{Exited, GraceElapsed, KillNow, Terminate, TimeoutElapsed};

    const GRACE: Duration = Duration::from_secs(15);

    fn run(grace: Duration, inputs: &[Input]) -> Vec<Vec<Effect>> {
        let (mut ending, _) = Ending::new(grace, None);
        inputs.iter().map(|input| ending.on(*input)).collect()
    }

    #[test]
    fn s141_every_pair_of_requests_does_what_the_table_says() {
        let asked = || vec![SendTerm, ArmGrace(GRACE)];
        let kill = || vec![SendKill];
        let nothing = Vec::new;
        let is_over = |cause| vec![Report(cause)];
        // First input, its effects; second input, its effects; cause reported at the end, if not yet reported.
        let table = [
            (Terminate, asked(), Terminate, nothing(), Some(Killed)),
            (Terminate, asked(), KillNow, kill(), Some(Killed)),
            (Terminate, asked(), TimeoutElapsed, nothing(), Some(Killed)),
            (Terminate, asked(), GraceElapsed, kill(), Some(Killed)),
            (Terminate, asked(), Exited, is_over(Some(Killed)), None),
            (KillNow, kill(), Terminate, nothing(), Some(Killed)),
            (KillNow, kill(), KillNow, kill(), Some(Killed)),
            (KillNow, kill(), TimeoutElapsed, nothing(), Some(Killed)),
            (KillNow, kill(), GraceElapsed, nothing(), Some(Killed)),
            (KillNow, kill(), Exited, is_over(Some(Killed)), None),
            (TimeoutElapsed, asked(), Terminate, nothing(), Some(Killed)),
            (TimeoutElapsed, asked(), KillNow, kill(), Some(Killed)),
            (
                TimeoutElapsed,
                asked(),
                TimeoutElapsed,
                nothing(),
                Some(TimedOut),
            ),
            (
                TimeoutElapsed,
                asked(),
                GraceElapsed,
                kill(),
                Some(TimedOut),
            ),
            (
                TimeoutElapsed,
                asked(),
                Exited,
                is_over(Some(TimedOut)),
                None,
            ),
            (GraceElapsed, nothing(), Terminate, asked(), Some(Killed)),
            (GraceElapsed, nothing(), KillNow, kill(), Some(Killed)),
            (
                GraceElapsed,
                nothing(),
                TimeoutElapsed,
                asked(),
                Some(TimedOut),
            ),
            (GraceElapsed, nothing(), GraceElapsed, nothing(), None),
            (GraceElapsed, nothing(), Exited, is_over(None), None),
            (Exited, is_over(None), Terminate, nothing(), None),
            (Exited, is_over(None), KillNow, nothing(), None),
            (Exited, is_over(None), TimeoutElapsed, nothing(), None),
            (Exited, is_over(None), GraceElapsed, nothing(), None),
            (Exited, is_over(None), Exited, nothing(), None),
        ];
        for (first, first_effects, second, second_effects, cause) in table {
            let has_ended = first == Exited || second == Exited;
            let third_effects = if has_ended { nothing() } else { is_over(cause) };
            assert_eq!(
                run(GRACE, &[first, second, Exited]),
                [first_effects, second_effects, third_effects],
                "{first:?}, then {second:?}, then the exit"
            );
        }
    }

    #[test]
    fn oc_05_without_grace_the_tree_is_killed_at_once() {
        assert_eq!(
            run(Duration::ZERO, &[Terminate, Exited]),
            [vec![SendKill], vec![Report(Some(Killed))]]
        );
        assert_eq!(
            run(Duration::ZERO, &[TimeoutElapsed, Exited]),
            [vec![SendKill], vec![Report(Some(TimedOut))]]
        );
    }

    #[test]
    fn oc_13_the_timeout_is_armed_at_the_start_and_a_later_kill_is_the_cause() {
        let (mut ending, effects) = Ending::new(GRACE, Some(Duration::from_secs(3)));
        assert_eq!(effects, [ArmTimeout(Duration::from_secs(3))]);
        assert_eq!(ending.cause(), None);
        assert_eq!(ending.on(TimeoutElapsed), [SendTerm, ArmGrace(GRACE)]);
        assert_eq!(ending.cause(), Some(TimedOut));
        assert_eq!(ending.on(GraceElapsed), [SendKill]);
        assert_eq!(ending.on(Terminate), []);
        assert_eq!(ending.on(Exited), [Report(Some(Killed))]);
    }
}
