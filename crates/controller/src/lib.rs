//! The Controller as a machine: items and their versions, orders that are not at an Agent, the hand-over to Agents, commands.
//!
//! Always: pure. Time and fresh names are arguments, [`State::evolve`] is the only writer, and what is to be sent to an Agent is an
//! index of the state ([`State::outbox`]), so that a restart needs nothing special. Never here: connections, users' rights,
//! HTTP. See `controller-node`; how an order walks through its workflow is `engine`.
//!
//! A batch: [`State::execute`], [`State::change_items`] or one of the `agent_…` functions for each input, after each of them
//! [`State::advance`] until it is quiet. All of them write through a [`Recorder`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod advance;
mod agent;
mod attachment;
mod cluster;
mod command;
mod delivery;
mod deploy;
mod evolve;
mod mirror;
mod obstacle;
mod outbox;
mod record;
mod reset;
mod shortage;
mod snapshot;
mod state;

pub use agent::{AgentState, Coupling, OtherController, SubagentState};
pub use attachment::Attachment;
pub use delivery::{AgentDelivery, DeliveryInput, DeliveryOutput};
pub use deploy::Fresh;
pub use model::Connection;
pub use outbox::{Cursor, Thing};
pub use record::{Batch, NotApplicable, Recorder};
pub use state::{ItemRecord, State};
