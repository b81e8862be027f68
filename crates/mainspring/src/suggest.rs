//! The names that exist: to complete a command line, and to suggest one in place of a misspelt one.
//!
//! Never here: whether a name is right; the Controller judges that.

use model::read::nearest;

use crate::call::{Controller, OrderQuery};
use crate::screen::Screen;

/// How many orders are looked at.
const ORDERS_MAX: usize = 2000;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Order,
    Workflow,
    Agent,
    Subagent,
    /// Any item, by its key, such as `Agent:A`; a workflow by its path.
    Item,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Order => "order",
            Kind::Workflow => "workflow",
            Kind::Agent => "Agent",
            Kind::Subagent => "Subagent",
            Kind::Item => "item",
        }
    }
}

/// Returns names of this kind that exist. Of many orders, only those that begin with `prefix`.
pub(crate) async fn names(
    kind: Kind,
    prefix: &str,
    controller: &Controller,
) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = match kind {
        Kind::Order => {
            let query = OrderQuery {
                prefix: Some(prefix.to_owned()),
                limit: Some(ORDERS_MAX),
                ..OrderQuery::default()
            };
            let page = controller.orders(&query).await?;
            page.orders
                .iter()
                .map(|row| row.order.id.to_string())
                .collect()
        }
        Kind::Workflow | Kind::Item => {
            let items = controller.items().await?;
            let current = items.iter().filter(|item| item.is_current);
            current
                .filter_map(|item| match item.key.as_workflow() {
                    Some(id) => Some(id.path.to_string()),
                    None => (kind == Kind::Item).then(|| item.key.to_string()),
                })
                .collect()
        }
        Kind::Agent => {
            let agents = controller.agents().await?.into_iter();
            agents.map(|agent| agent.agent_path).collect()
        }
        Kind::Subagent => {
            let agents = controller.agents().await?.into_iter();
            let subagents = agents.flat_map(|agent| agent.subagents);
            subagents.map(|subagent| subagent.id).collect()
        }
    };
    names.retain(|name| name.starts_with(prefix));
    Ok(names)
}

/// Suggests names that exist in place of those that do not.
pub(crate) async fn instead_of(
    kind: Kind,
    given: &[String],
    controller: &Controller,
    screen: &Screen,
) {
    if given.is_empty() {
        return;
    }
    // Without the names there is nothing to suggest, and the error itself has been told.
    let Ok(known) = names(kind, "", controller).await else {
        return;
    };
    for name in given.iter().filter(|name| !known.contains(name)) {
        // There may be more orders than were looked at.
        if kind == Kind::Order && controller.order(name).await.is_ok() {
            continue;
        }
        if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
            screen.remark(&format!("did you mean the {} {near}?", kind.word()));
        }
    }
}
