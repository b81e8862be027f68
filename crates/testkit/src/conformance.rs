//! What users of JS7 rely on, as cases: items, orders, commands and faults go in, events in order come out.
//!
//! Always: each case is either driven and judged, or listed as not yet supported with the reason; nothing is skipped silently.
//! Cases without processes run on `expr` or on the machines; all others in a world of real processes through the public API.
//! Never here: what a case means. That is in `conformance/cases.yaml`, in the words of JS7's users.

mod case;
mod driver;
mod expectation;
mod expressions;
mod matching;
mod outcome;
mod position;
mod report;
mod scenarios;
mod step;
mod suite;

pub use case::{Case, cases};
pub(crate) use driver::operations;
pub use outcome::Verdict;
pub use report::{documentation, table};
pub use suite::{Suite, passing, run};
