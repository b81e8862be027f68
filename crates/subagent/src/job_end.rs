//! How the end of a job's process becomes an outcome (`engine.md` 2.5).

use expr::{NamedValues, Number, Value};
use model::{Job, Outcome, Problem};

/// Why the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// By itself.
    ByItself,
    /// An operator had it killed.
    Killed,
    /// It took too long.
    TimedOut,
    /// The Subagent was shut down.
    Shutdown,
    /// The Director was silent for longer than its lease.
    LostDirector,
}

/// What is known about the end of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEnd {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Why it ended.
    pub cause: EndCause,
    /// What it wrote into its file of return values, or which line of it is bad.
    pub values: Result<Vec<(String, String)>, String>,
    /// The last line of its error output, if it wrote any.
    pub last_error_line: Option<String>,
}

impl JobEnd {
    /// The exit code as a shell shows it: 128 plus the signal for a process that was ended by one.
    pub fn return_code(&self) -> i64 {
        i64::from(self.code.unwrap_or_else(|| 128 + self.signal.unwrap_or(0)))
    }

    /// The outcome of `job`.
    pub fn outcome(&self, job: &Job) -> Outcome {
        if self.code.is_none() && self.signal.is_none() && self.cause == EndCause::ByItself {
            // The process has ended. The job must not be repeated like one whose process is lost.
            return Outcome::disrupted(Problem::new(
                "ProcessExitStatusLost",
                "the system has lost the exit status of the job's process, so nobody knows whether it succeeded",
            ));
        }
        let code = self.return_code();
        let mut named_values = NamedValues::new();
        let killed = self.cause != EndCause::ByItself;
        // A process that is being killed may have written half of its values.
        if !killed {
            match &self.values {
                Ok(values) => {
                    let text = |(name, value): &(String, String)| {
                        (name.as_str().into(), Value::String(value.as_str().into()))
                    };
                    named_values.extend(values.iter().map(text));
                }
                Err(message) => {
                    named_values.insert("returnCode".into(), Value::Number(Number::from(code)));
                    let message = Some(message.as_str().into());
                    return Outcome::Failed {
                        message,
                        named_values,
                        uncatchable: false,
                    };
                }
            }
        }
        named_values.insert("returnCode".into(), Value::Number(Number::from(code)));
        let outcome = if !job.executable.return_code_meaning.is_success(code) {
            Outcome::Failed {
                message: None,
                named_values,
                uncatchable: false,
            }
        } else if let Some(line) = self
            .last_error_line
            .as_ref()
            .filter(|_| job.fail_on_err_written && !killed)
        {
            // The return code and the values are those of a success, so they are left out.
            Outcome::failed(format!("The job's error channel: {line}"))
        } else {
            Outcome::Succeeded { named_values }
        };
        match self.cause {
            EndCause::ByItself => outcome,
            EndCause::Killed => Outcome::Killed {
                outcome: Box::new(outcome),
            },
            EndCause::TimedOut => Outcome::TimedOut {
                outcome: Box::new(outcome),
            },
            EndCause::Shutdown => job.lost(
                Problem::new(
                    "ProcessKilledDueToSubagentShutdown",
                    "the job was killed because its Subagent was shut down",
                )
                .with("outcome", outcome),
            ),
            EndCause::LostDirector => job.lost(
                Problem::new(
                    "ProcessKilledDueToLostDirector",
                    "the job was killed because its Director was silent for longer than its lease",
                )
                .with("outcome", outcome),
            ),
        }
    }
}
