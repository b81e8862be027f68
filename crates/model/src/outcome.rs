//! How a step of an order ended.

use crate::Problem;
use expr::NamedValues;
use std::sync::Arc;

tagged! {
    /// How a step ended (`engine.md` 4.4).
    pub enum Outcome {
        /// Well.
        Succeeded {
            #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
            named_values: NamedValues,
        },
        /// A failure has been caught; the catch block starts clean.
        Caught,
        /// Not well.
        Failed {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            message: Option<Arc<str>>,
            #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
            named_values: NamedValues,
            #[serde(default, skip_serializing_if = "is_false")]
            uncatchable: bool,
        },
        /// Ended by its timeout.
        TimedOut {
            outcome: Box<Outcome>,
        },
        /// Ended because somebody asked for it.
        Killed {
            outcome: Box<Outcome>,
        },
        /// Could not be carried out, or nobody knows how it ended.
        Disrupted {
            reason: DisruptedReason,
            #[serde(default, skip_serializing_if = "is_false")]
            uncatchable: bool,
        },
    }
}

tagged! {
    /// Why a step was disrupted.
    pub enum DisruptedReason {
        /// The process is gone and nobody saw its end: the job may be repeated.
        ProcessLost {
            problem: Problem,
        },
        /// Anything else; not repeated.
        Other {
            problem: Problem,
        },
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl DisruptedReason {
    pub(crate) fn bounded(self) -> DisruptedReason {
        match self {
            DisruptedReason::ProcessLost { problem } => DisruptedReason::ProcessLost {
                problem: problem.bounded(),
            },
            DisruptedReason::Other { problem } => DisruptedReason::Other {
                problem: problem.bounded(),
            },
        }
    }
}

static NONE: NamedValues = NamedValues::new();

impl Outcome {
    /// Success without values.
    pub const SUCCEEDED: Outcome = Outcome::Succeeded {
        named_values: NamedValues::new(),
    };

    /// A failure with a message.
    pub fn failed(message: impl Into<Arc<str>>) -> Outcome {
        Outcome::Failed {
            message: Some(message.into()),
            named_values: NamedValues::new(),
            uncatchable: false,
        }
    }

    /// A disruption that is not repeated.
    pub fn disrupted(problem: Problem) -> Outcome {
        Outcome::Disrupted {
            reason: DisruptedReason::Other { problem },
            uncatchable: false,
        }
    }

    /// A lost process.
    pub fn process_lost(problem: Problem) -> Outcome {
        Outcome::Disrupted {
            reason: DisruptedReason::ProcessLost { problem },
            uncatchable: false,
        }
    }

    /// Whether the step counts as done well.
    pub fn is_succeeded(&self) -> bool {
        matches!(self, Outcome::Succeeded { .. } | Outcome::Caught)
    }

    /// Whether the process was lost, so that the job may be repeated.
    pub fn is_process_lost(&self) -> bool {
        matches!(
            self,
            Outcome::Disrupted {
                reason: DisruptedReason::ProcessLost { .. },
                ..
            }
        )
    }

    /// Whether no catch block may hold this failure.
    pub fn is_uncatchable(&self) -> bool {
        match self {
            Outcome::Failed { uncatchable, .. } | Outcome::Disrupted { uncatchable, .. } => {
                *uncatchable
            }
            Outcome::TimedOut { outcome } | Outcome::Killed { outcome } => outcome.is_uncatchable(),
            Outcome::Succeeded { .. } | Outcome::Caught => false,
        }
    }

    /// The values that the step left behind.
    pub fn named_values(&self) -> &NamedValues {
        match self {
            Outcome::Succeeded { named_values } | Outcome::Failed { named_values, .. } => {
                named_values
            }
            Outcome::TimedOut { outcome } | Outcome::Killed { outcome } => outcome.named_values(),
            Outcome::Caught | Outcome::Disrupted { .. } => &NONE,
        }
    }
}

impl std::fmt::Display for Outcome {
    /// As users know it from messages: `Failed(leak)`, `Failed(uncatchable, void)`, `Disrupted(Other(…))`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Succeeded { .. } => f.write_str("Succeeded"),
            Outcome::Caught => f.write_str("Caught"),
            Outcome::Failed {
                message,
                named_values,
                uncatchable,
            } => {
                let mut parts = Vec::new();
                if *uncatchable {
                    parts.push("uncatchable".to_owned());
                }
                parts.extend(message.as_ref().map(ToString::to_string));
                if message.is_none() {
                    parts.extend(
                        named_values
                            .get("returnCode")
                            .map(|code| format!("returnCode={code}")),
                    );
                }
                if parts.is_empty() {
                    f.write_str("Failed")
                } else {
                    write!(f, "Failed({})", parts.join(", "))
                }
            }
            Outcome::TimedOut { outcome } => write!(f, "TimedOut({outcome})"),
            Outcome::Killed { outcome } => write!(f, "Killed({outcome})"),
            Outcome::Disrupted {
                reason: DisruptedReason::ProcessLost { problem },
                ..
            } => {
                write!(f, "Disrupted(ProcessLost({problem}))")
            }
            Outcome::Disrupted {
                reason: DisruptedReason::Other { problem },
                ..
            } => {
                write!(f, "Disrupted(Other({problem}))")
            }
        }
    }
}
