//! `order …`: adding orders and looking after them.

mod act;
mod add;
mod end;
mod list;
mod log;
mod selection;
mod show;
mod summary;
mod waited;
mod watch;

use crate::arguments::{Access, OrderCommand, OrderFilter, Selection};
use crate::call::Controller;
use crate::exit::{self, Exit};
use crate::screen::Screen;
use crate::suggest::{self, Kind};

pub(crate) async fn run(
    command: OrderCommand,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    let (ids, workflow) = named(&command);
    let was_added = matches!(command, OrderCommand::Add(_));
    let done = carry_out(command, &controller, screen).await;
    if done.as_ref().is_err_and(exit::may_be_misspelt) {
        suggest::instead_of(Kind::Order, &ids, &controller, screen).await;
    }
    // A list of the orders of a workflow that does not exist is empty, and no error.
    if done
        .as_ref()
        .map_or_else(exit::may_be_misspelt, |_| !was_added)
    {
        suggest::instead_of(Kind::Workflow, &workflow, &controller, screen).await;
    }
    done
}

/// Returns the ids of orders and the workflow that a command names.
fn named(command: &OrderCommand) -> (Vec<String>, Vec<String>) {
    let of_filter = |filter: &OrderFilter| filter.workflow.iter().cloned().collect();
    let of_selection =
        |selection: &Selection| (selection.ids.clone(), of_filter(&selection.filter));
    match command {
        OrderCommand::Add(args) => (Vec::new(), vec![args.workflow.clone()]),
        OrderCommand::List(args) => (Vec::new(), of_filter(&args.filter)),
        OrderCommand::Show { id } => (vec![id.clone()], Vec::new()),
        OrderCommand::Cancel(args) => of_selection(&args.orders),
        OrderCommand::Suspend(args) => of_selection(&args.orders),
        OrderCommand::Resume(args) => of_selection(&args.orders),
        OrderCommand::Delete(orders) => of_selection(orders),
        OrderCommand::Log(args) => (vec![args.id.clone()], Vec::new()),
        OrderCommand::Watch(args) => (args.ids.clone(), Vec::new()),
    }
}

async fn carry_out(
    command: OrderCommand,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    match command {
        OrderCommand::Add(args) => add::run(args, controller, screen).await,
        OrderCommand::List(args) => list::run(args, controller, screen).await,
        OrderCommand::Show { id } => show::run(&id, controller, screen).await,
        OrderCommand::Cancel(args) => act::cancel(args, controller, screen).await,
        OrderCommand::Suspend(args) => act::suspend(args, controller, screen).await,
        OrderCommand::Resume(args) => act::resume(args, controller, screen).await,
        OrderCommand::Delete(orders) => act::delete(orders, controller, screen).await,
        OrderCommand::Log(args) => log::run(args, controller, screen).await,
        OrderCommand::Watch(args) => watch::run(args, controller, screen).await,
    }
}
