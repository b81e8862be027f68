//! Who may do what: one table of named permissions for commands, another for routes.
//!
//! Always: what stands in no table is open to nobody; a batch needs the permissions of all of its commands. Public are only
//! `/health`, logging in, and name, version and age of the Controller.

use model::ControllerCommand;
use serde::{Deserialize, Serialize};

/// A right that a user can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permission {
    /// Look at orders, their logs, Agents and items, and at the state as a whole.
    View,
    /// Read the stream of events.
    ReadEvents,
    /// Add orders.
    AddOrder,
    /// Cancel, suspend, resume and forget orders.
    ControlOrder,
    /// Reset Agents and Subagents.
    ControlAgent,
    /// Deploy, change and delete items.
    UpdateItem,
    /// Say that events are no longer needed. The user must also be among those that are waited for.
    ReleaseEvents,
    /// Read metrics.
    ReadMetrics,
    /// Shut down, take snapshots, look into the journal's figures and at sessions.
    Administer,
}

impl Permission {
    /// All of them: what `admin` has.
    pub const ALL: [Permission; 9] = [
        Permission::View,
        Permission::ReadEvents,
        Permission::AddOrder,
        Permission::ControlOrder,
        Permission::ControlAgent,
        Permission::UpdateItem,
        Permission::ReleaseEvents,
        Permission::ReadMetrics,
        Permission::Administer,
    ];

    /// What each command needs; nothing means that any user may.
    pub fn for_command(command: &ControllerCommand) -> Vec<Permission> {
        match command {
            ControllerCommand::Batch { commands } => {
                commands.iter().flat_map(Permission::for_command).collect()
            }
            ControllerCommand::AddOrder { .. } | ControllerCommand::AddOrders { .. } => {
                vec![Permission::AddOrder]
            }
            ControllerCommand::CancelOrders { .. }
            | ControllerCommand::SuspendOrders { .. }
            | ControllerCommand::ResumeOrder { .. }
            | ControllerCommand::ResumeOrders { .. }
            | ControllerCommand::DeleteOrdersWhenTerminated { .. } => {
                vec![Permission::ControlOrder]
            }
            ControllerCommand::ResetAgent { .. } | ControllerCommand::ResetSubagent { .. } => {
                vec![Permission::ControlAgent]
            }
            ControllerCommand::ReleaseEvents { .. } => vec![Permission::ReleaseEvents],
            ControllerCommand::TakeSnapshot
            | ControllerCommand::ShutDown { .. }
            | ControllerCommand::ClusterAppointNodes { .. }
            | ControllerCommand::ClusterRemoveNode { .. }
            | ControllerCommand::ClusterSwitchOver { .. }
            | ControllerCommand::ConfirmSubagentLoss { .. } => {
                vec![Permission::Administer]
            }
            ControllerCommand::NoOperation { .. } => Vec::new(),
        }
    }

    /// What each route needs. `POST /controller/api/command` is judged by its command.
    pub fn for_route(route: Route) -> Option<Permission> {
        match route {
            // Whoever may ask for anything must find the member that answers.
            Route::Command | Route::Cluster => None,
            Route::Item | Route::Order | Route::Agent | Route::Snapshot => Some(Permission::View),
            Route::ChangeItems => Some(Permission::UpdateItem),
            Route::AddOrders => Some(Permission::AddOrder),
            Route::DeleteOrders => Some(Permission::ControlOrder),
            Route::Event => Some(Permission::ReadEvents),
            Route::JournalInfo | Route::Sessions => Some(Permission::Administer),
            Route::Metrics => Some(Permission::ReadMetrics),
        }
    }
}

/// A route that is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /controller/api/command`.
    Command,
    /// `GET /controller/api/item[/KEY]`.
    Item,
    /// `POST /controller/api/item`.
    ChangeItems,
    /// `GET /controller/api/order…`.
    Order,
    /// `POST /controller/api/order`.
    AddOrders,
    /// `POST /controller/api/order/DeleteOrdersWhenTerminated`.
    DeleteOrders,
    /// `GET /controller/api/agent`.
    Agent,
    /// `GET /controller/api/event`.
    Event,
    /// `GET /controller/api/snapshot`.
    Snapshot,
    /// `GET /controller/api/cluster`.
    Cluster,
    /// `GET /controller/api/journalInfo`.
    JournalInfo,
    /// `GET /controller/api/session`.
    Sessions,
    /// `GET /metrics`.
    Metrics,
}
