//! The words of Mainspring: ids, items, workflows, orders, positions, outcomes, events and commands, and how they are
//! written in JSON.
//!
//! Always: plain values without a clock, a file or a socket; what is written here can be read back here. Never here: what
//! follows from what. See `engine`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[macro_use]
mod tagged;

mod agent_event;
pub mod bounds;
mod cluster;
mod command;
mod event;
mod event_id;
mod id;
mod item;
mod item_event;
mod lease;
mod mark;
mod member_run;
mod obstacle;
mod order;
mod order_event;
mod outcome;
mod position;
mod problem;
pub mod read;
mod stored;
mod subagent_event;
mod thin_list;
mod time;
mod witness;
mod workflow;

pub use agent_event::{AgentEvent, AgentOwnEvent, PlatformInfo, SubagentStateEvent};
pub use cluster::{ClusterEvent, ClusterMisfit, ClusterSetting, ClusterState};
pub use command::{
    AgentAnswer, AgentCommand, ClusterAction, ControllerAnswer, ControllerCommand, OrderSelection,
    ShutDown, SubagentAnswer, SubagentCommand,
};
pub use event::{Cause, ControllerEvent, Event, JournalEvent, Stamped, UnreadableEvent};
pub use event_id::EventId;
pub use id::{
    AgentPath, BundleId, ControllerId, ItemKey, JobName, JobResourcePath, Label, NameError, NodeId,
    OrderId, RunId, SubagentId, UserId, VersionId, WorkflowId, WorkflowPath, check_length,
};
pub use item::{AgentRef, Item, ItemBody, ItemType, JobResource, SubagentBundle, SubagentItem};
pub use item_event::{ItemEvent, ItemOperation, SignedText};
pub use lease::lease_grace;
pub use mark::{
    CancellationMode, HistoryOperation, Kill, Mark, Resumption, SuspensionMode, WorkflowPosition,
};
pub use member_run::MemberRun;
pub use obstacle::{
    Connection, HinderedSubagent, Hindrance, JobHold, NAMED_MAX, Obstacle, SlotHolders, TimeCause,
};
pub use order::{
    AttachedState, ExternalOrder, ForkChild, FreshOrder, HistoricOutcome, OmittedOutcomes, Order,
    OrderState, Place, PlanId, StickySubagent,
};
pub use order_event::{MovedReason, OrderEvent, SleepCause};
pub use outcome::{DisruptedReason, Outcome};
pub use position::{Branch, Position, Step as PositionStep};
pub use problem::Problem;
pub use stored::stored_item;
pub use subagent_event::{Attempt, Metering, SubagentEvent, SubagentStamped};
pub use thin_list::ThinList;
pub use time::{Seconds, Timestamp};
pub use witness::AgentWitness;
pub use workflow::{
    Block, Case, Executable, ExecutableKind, Execute, Fork, ForkBranch, Instruction, Job,
    JobReference, OrderPreparation, Parameter, ParameterKind, ReturnCodeMeaning, Step, Try,
    ValueType, Workflow,
};
