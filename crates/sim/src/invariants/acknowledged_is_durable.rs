//! An acknowledged event is in every later state (S53): when a client gets its answer the order is in the log, and it stays there.

use super::{Checked, Violation};
use crate::history::History;
use crate::world::World;
use model::OrderId;

const NAME: &str = "acknowledged_is_durable";

/// A client has got an answer about an order.
pub fn check_answer(history: &History, id: &OrderId) -> Checked {
    if history.added.contains(id) {
        return Ok(());
    }
    Err(Violation::new(
        NAME,
        format!("Order:{id} was acknowledged before it was in the log"),
    ))
}

/// Every acknowledged order is still known, unless it was deleted after its end.
pub fn check(world: &World) -> Checked {
    let engine = world.controller_ledger.shadow.state.engine();
    let lost = world.history.acknowledged.iter().find(|id| {
        engine.order(id).is_none()
            && !(world.history.deleted.contains(*id) && world.history.ended.contains_key(*id))
    });
    match lost {
        Some(id) => Err(Violation::new(
            NAME,
            format!("Order:{id} was acknowledged and is not known any more"),
        )),
        None => Ok(()),
    }
}
