//! Say: writes down a value.

use super::{Doing, Here};
use crate::ahead;
use expr::Expr;
use model::{OrderEvent, Outcome};

pub(crate) fn next(what: &Expr, here: &Here<'_>) -> Doing {
    if !here.started {
        return Doing::NeedsStart;
    }
    match what.eval_kept(&here.scope()) {
        Ok(value) => {
            let to = ahead::settled(here, here.position.next());
            Doing::Happens(vec![
                OrderEvent::OrderSaid { value },
                OrderEvent::OrderMoved { to, reason: None },
            ])
        }
        Err(error) => Doing::Fails(Outcome::disrupted(Here::problem(&error))),
    }
}
