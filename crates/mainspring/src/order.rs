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

use crate::arguments::{Access, OrderCommand};
use crate::call::Controller;
use crate::exit::Exit;
use crate::screen::Screen;

pub(crate) async fn run(
    command: OrderCommand,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    match command {
        OrderCommand::Add(args) => add::run(args, &controller, screen).await,
        OrderCommand::List(args) => list::run(args, &controller, screen).await,
        OrderCommand::Show { id } => show::run(&id, &controller, screen).await,
        OrderCommand::Cancel(args) => act::cancel(args, &controller, screen).await,
        OrderCommand::Suspend(args) => act::suspend(args, &controller, screen).await,
        OrderCommand::Resume(args) => act::resume(args, &controller, screen).await,
        OrderCommand::Delete(orders) => act::delete(orders, &controller, screen).await,
        OrderCommand::Log(args) => log::run(args, &controller, screen).await,
        OrderCommand::Watch(args) => watch::run(args, &controller, screen).await,
    }
}
