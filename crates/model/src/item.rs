//! Items: everything that is deployed to a Controller.
//!
//! Always: an item keeps the exact text it was sent as, so that a signature over it stays checkable. What is parsed from it
//! stands beside.

use crate::{AgentPath, BundleId, ItemKey, JobResourcePath, SubagentId, Workflow};
use expr::Expr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The types of items (`engine.md` 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ItemType {
    /// A workflow version.
    Workflow,
    /// Variables and environment for jobs.
    JobResource,
    /// An Agent.
    AgentRef,
    /// A Subagent of an Agent.
    SubagentItem,
    /// A Subagent Cluster.
    SubagentBundle,
    /// A watched directory.
    FileWatch,
    /// A calendar.
    Calendar,
    /// A lock.
    Lock,
    /// A notice board over all plans.
    GlobalBoard,
    /// A notice board per plan.
    PlannableBoard,
    /// A family of plans.
    PlanSchema,
}

impl ItemType {
    /// Every type.
    pub const ALL: [ItemType; 11] = [
        ItemType::Workflow,
        ItemType::JobResource,
        ItemType::AgentRef,
        ItemType::SubagentItem,
        ItemType::SubagentBundle,
        ItemType::FileWatch,
        ItemType::Calendar,
        ItemType::Lock,
        ItemType::GlobalBoard,
        ItemType::PlannableBoard,
        ItemType::PlanSchema,
    ];

    /// Its name in the field `TYPE`.
    pub fn type_name(self) -> &'static str {
        match self {
            ItemType::Workflow => "Workflow",
            ItemType::JobResource => "JobResource",
            ItemType::AgentRef => "AgentRef",
            ItemType::SubagentItem => "SubagentItem",
            ItemType::SubagentBundle => "SubagentBundle",
            ItemType::FileWatch => "FileWatch",
            ItemType::Calendar => "Calendar",
            ItemType::Lock => "Lock",
            ItemType::GlobalBoard => "GlobalBoard",
            ItemType::PlannableBoard => "PlannableBoard",
            ItemType::PlanSchema => "PlanSchema",
        }
    }

    /// Its name in an item key: `Agent:A`, `Subagent:S`, `OrderWatch:W`, `Board:B`.
    pub fn key_name(self) -> &'static str {
        match self {
            ItemType::AgentRef => "Agent",
            ItemType::SubagentItem => "Subagent",
            ItemType::FileWatch => "OrderWatch",
            ItemType::GlobalBoard | ItemType::PlannableBoard => "Board",
            ItemType::Workflow
            | ItemType::JobResource
            | ItemType::SubagentBundle
            | ItemType::Calendar
            | ItemType::Lock
            | ItemType::PlanSchema => self.type_name(),
        }
    }

    /// Whether its changes must come with a signature where signatures are required.
    pub fn is_signed(self) -> bool {
        matches!(self, ItemType::Workflow | ItemType::JobResource)
    }
}

/// An item with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it is called.
    pub key: ItemKey,
    /// 0 for the first, assigned by the Controller; nothing for a workflow.
    pub revision: Option<u64>,
    /// The exact text as it was sent: JSON, or the JSON made of YAML.
    pub text: Arc<str>,
    /// What the text says.
    pub body: ItemBody,
}

/// What an item says.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemBody {
    /// A workflow version.
    Workflow(Arc<Workflow>),
    /// Variables and environment for jobs.
    JobResource(Arc<JobResource>),
    /// An Agent.
    Agent(Arc<AgentRef>),
    /// A Subagent.
    Subagent(Arc<SubagentItem>),
    /// A Subagent Cluster.
    Bundle(Arc<SubagentBundle>),
    /// A type that is kept, checked for its fields and its references, and not used by this version.
    Kept(ItemType),
}

impl ItemType {
    /// Whether this version of Mainspring uses items of this type, or only checks and keeps them.
    pub fn is_used(self) -> bool {
        match self {
            ItemType::Workflow
            | ItemType::JobResource
            | ItemType::AgentRef
            | ItemType::SubagentItem
            | ItemType::SubagentBundle => true,
            ItemType::FileWatch
            | ItemType::Calendar
            | ItemType::Lock
            | ItemType::GlobalBoard
            | ItemType::PlannableBoard
            | ItemType::PlanSchema => false,
        }
    }
}

impl ItemBody {
    /// Its type.
    pub fn item_type(&self) -> ItemType {
        match self {
            ItemBody::Workflow(_) => ItemType::Workflow,
            ItemBody::JobResource(_) => ItemType::JobResource,
            ItemBody::Agent(_) => ItemType::AgentRef,
            ItemBody::Subagent(_) => ItemType::SubagentItem,
            ItemBody::Bundle(_) => ItemType::SubagentBundle,
            ItemBody::Kept(kind) => *kind,
        }
    }
}

/// Variables and environment that jobs share.
#[derive(Clone, Debug, PartialEq)]
pub struct JobResource {
    /// Its name.
    pub path: JobResourcePath,
    /// Its variables.
    pub variables: BTreeMap<Arc<str>, Expr>,
    /// What it adds to a job's environment.
    pub env: BTreeMap<Arc<str>, Expr>,
}

/// An Agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRef {
    /// Its name.
    pub path: AgentPath,
    /// Its Directors: one or two Subagents.
    pub directors: Vec<SubagentId>,
    /// How many processes may run at once in all of its Subagents.
    pub process_limit: Option<u32>,
}

/// A Subagent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubagentItem {
    /// Its name.
    pub id: SubagentId,
    /// Whose it is.
    pub agent_path: AgentPath,
    /// Where it is reached, for a Director also where the Controller reaches the Agent.
    pub uri: Arc<str>,
    /// Not to be chosen for jobs.
    pub disabled: bool,
}

/// A choice of Subagents.
#[derive(Clone, Debug, PartialEq)]
pub struct SubagentBundle {
    /// Its name.
    pub id: BundleId,
    /// Each member's priority; the highest is taken first.
    pub subagent_to_priority: BTreeMap<SubagentId, Expr>,
}
