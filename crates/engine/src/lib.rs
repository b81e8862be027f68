//! How an order walks through its workflow: what follows for it, and what is true after each event. Controller and Agents
//! contain one [`State`] each and add their own part.
//!
//! Always: no clock, no randomness, no input or output; the same inputs give the same events. [`State::evolve`] is the only
//! writer of orders; [`State::next`] only proposes. Never here: connections, items as texts, queues of processes.
//!
//! The owner's loop: evolve a decision's events; then [`State::wake`]; while [`State::pop_restless`] gives an order, ask
//! [`State::next`] and evolve its events. The same `now` is used within a round. An order that retries without delay and
//! without end never comes to rest: a round should be bounded, the rest of the queue waits for the next one.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod add;
mod ahead;
mod bounded;
mod check;
mod control;
mod evolve;
mod failure;
mod history;
mod instructions;
mod job;
mod life;
mod mark;
mod next;
mod obstacle;
mod preparation;
mod restless;
pub mod scope;
mod site;
mod state;

pub use evolve::NotApplicable;
pub use job::{JobCall, JobKey};
pub use model::Obstacle;
pub use next::Next;
pub use site::Site;
pub use state::{Observer, State};
