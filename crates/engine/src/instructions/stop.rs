//! Stop: the order stands still until it is resumed. Resumed in front of the Stop, it goes on behind it.

use super::{Doing, Here};
use model::OrderEvent;

pub(crate) fn next(here: &Here<'_>) -> Doing {
    if here.order.is_resumed && here.order.position == *here.position {
        return Doing::Goes(here.position.next());
    }
    Doing::AtController(vec![OrderEvent::OrderStopped])
}
