//! The orders that a command changes: named by their ids, or selected by a filter and shown before anything is changed.
//!
//! Always: selected orders are changed only after a confirmation or with `--yes`. If one order is refused, the refusal is reported and the
//! others are still changed. Never here: the commands.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use model::{ControllerAnswer, ControllerCommand, Order, OrderId, Problem};
use serde_json::json;

use super::list;
use crate::arguments::Selection;
use crate::call::{Controller, OrderRow};
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;

/// How many orders are shown before the confirmation.
const SHOWN_MAX: usize = 20;
/// How many commands are sent in one batch.
const BATCH: usize = 500;

/// What a command does to orders.
#[derive(Clone, Copy)]
pub(super) struct Action {
    /// The verb of the command, such as `cancel`.
    pub(super) verb: &'static str,
    /// What is printed after the id of an order: `to be cancelled`.
    pub(super) told: &'static str,
    /// Returns whether an order that a filter has found is to be changed.
    pub(super) concerns: fn(&Order) -> bool,
}

/// The orders to change.
pub(super) struct Chosen {
    pub(super) ids: Vec<OrderId>,
    /// Whether the orders were found by a filter. Their states may have changed since then.
    is_filtered: bool,
}

/// Finds the orders, shows them for `--dry-run`, and asks for confirmation. Returns `None` if there is nothing to do.
pub(super) async fn choose(
    action: Action,
    selection: &Selection,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Option<Chosen>> {
    let is_filtered = selection.all || !selection.filter.is_empty();
    match (selection.ids.is_empty(), is_filtered) {
        (false, true) => {
            let message = "name the orders by their ids or by options, not by both";
            return Err(Misuse(message.to_owned()).into());
        }
        (true, false) => {
            let message = "which orders? Name their ids, or say --workflow, --state, --pattern, --prefix, --scheduled-before, or --all";
            return Err(Misuse(message.to_owned()).into());
        }
        (false, false) | (true, true) => {}
    }
    let ids = selection.ids.iter().map(|id| OrderId::new(id.as_str()));
    let mut chosen = Chosen {
        ids: ids.collect(),
        is_filtered,
    };
    if is_filtered {
        let mut orders = controller.orders(&selection.filter.query()?).await?.orders;
        orders.retain(|row| (action.concerns)(&row.order));
        chosen.ids = orders.iter().map(|row| row.order.id.clone()).collect();
        let count = told_count(orders.len());
        if orders.is_empty() {
            tell(screen, action, &[], &[])?;
            screen.remark(&format!("no orders to {}", action.verb));
            return Ok(None);
        }
        if selection.dry_run {
            preview(&orders, orders.len(), screen)?;
            screen.remark(&format!("would {} {count}", action.verb));
            return Ok(None);
        }
        if !selection.yes && !is_agreed(action, &orders, screen)? {
            screen.remark("nothing was changed");
            return Ok(None);
        }
    } else if selection.dry_run {
        let mut orders = Vec::new();
        for id in &selection.ids {
            orders.push(controller.order_row(id).await?);
        }
        preview(&orders, orders.len(), screen)?;
        screen.remark(&format!(
            "would {} {}",
            action.verb,
            told_count(orders.len())
        ));
        return Ok(None);
    }
    Ok(Some(chosen))
}

fn told_count(count: usize) -> String {
    if count == 1 {
        "1 order".to_owned()
    } else {
        format!("{count} orders")
    }
}

fn preview(orders: &[OrderRow], most: usize, screen: &Screen) -> anyhow::Result<()> {
    if screen.json {
        let ids: Vec<_> = orders.iter().map(|row| &row.order.id).collect();
        return screen.say_json(&json!({ "dryRun": true, "orderIds": ids }));
    }
    screen.say(&list::table(&orders[..most.min(orders.len())]).draw(screen.paint))?;
    Ok(())
}

/// Asks for confirmation at the terminal. Fails without a terminal.
fn is_agreed(action: Action, orders: &[OrderRow], screen: &Screen) -> anyhow::Result<bool> {
    let count = told_count(orders.len());
    if screen.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Misuse(format!(
            "this would {} {count}: look with --dry-run, and do it with --yes",
            action.verb
        ))
        .into());
    }
    preview(orders, SHOWN_MAX, screen)?;
    if orders.len() > SHOWN_MAX {
        screen.remark(&format!("and {} more", orders.len() - SHOWN_MAX));
    }
    let mut err = io::stderr().lock();
    write!(err, "{} {count}? [y/N] ", action.verb)?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Sends one command for each order, in batches. A refusal does not stop the others.
pub(super) async fn give(
    action: Action,
    commands: Vec<(OrderId, ControllerCommand)>,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    let bar = screen.progress(commands.len() as u64, "orders");
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        let (ids, commands): (Vec<_>, Vec<_>) = commands.by_ref().take(BATCH).unzip();
        let count = ids.len();
        let batch = ControllerCommand::Batch { commands };
        let answer = controller
            .command(&batch)
            .await
            .with_context(|| format!("after {} orders", done.len() + refused.len()))?;
        let ControllerAnswer::BatchResponse { responses } = answer else {
            anyhow::bail!("the Controller has not answered each command of a batch");
        };
        for (id, response) in ids.into_iter().zip(responses) {
            match response.into_result() {
                Ok(_) => done.push(id),
                Err(problem) => refused.push((id, problem)),
            }
        }
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    tell(screen, action, &done, &refused)?;
    Ok(if refused.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Sends one command for all orders, which is executed for all of them or for none.
pub(super) async fn give_as_one(
    action: Action,
    ids: &[OrderId],
    command: &ControllerCommand,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    controller.command(command).await?;
    tell(screen, action, ids, &[])?;
    Ok(Exit::Done)
}

fn tell(
    screen: &Screen,
    action: Action,
    done: &[OrderId],
    refused: &[(OrderId, Problem)],
) -> anyhow::Result<()> {
    if screen.json {
        let mut told = json!({"TYPE": "Accepted", "orderIds": done});
        if !refused.is_empty() {
            let refused = refused.iter();
            let refused = refused.map(|(id, problem)| json!({"orderId": id, "problem": problem}));
            told["refused"] = refused.collect();
        }
        return screen.say_json(&told);
    }
    if !done.is_empty() {
        let lines: Vec<String> = done
            .iter()
            .map(|id| format!("{id}  {}", action.told))
            .collect();
        screen.say(&lines.join("\n"))?;
    }
    for (id, problem) in refused.iter().take(SHOWN_MAX) {
        screen.warn(&format!("{id}: {problem}"));
    }
    if refused.len() > SHOWN_MAX {
        screen.warn(&format!(
            "and {} more were refused",
            refused.len() - SHOWN_MAX
        ));
    }
    Ok(())
}

impl Chosen {
    /// Sends one command for all orders that were named, which is executed for all or none. Sends one command for each order that a filter
    /// has found, because some may have changed meanwhile.
    pub(super) async fn give(
        self,
        action: Action,
        command: impl Fn(Vec<OrderId>) -> ControllerCommand,
        controller: &Controller,
        screen: &Screen,
    ) -> anyhow::Result<Exit> {
        if !self.is_filtered {
            let whole = command(self.ids.clone());
            return give_as_one(action, &self.ids, &whole, controller, screen).await;
        }
        let commands = self
            .ids
            .into_iter()
            .map(|id| (id.clone(), command(vec![id])));
        give(action, commands.collect(), controller, screen).await
    }
}
