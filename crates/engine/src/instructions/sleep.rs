//! Sleep: stands still for some seconds. Nothing, zero and less let the order pass.

use super::{Doing, Here};
use expr::{Expr, Value};
use model::{Obstacle, OrderEvent, OrderState, Outcome, Problem, SleepCause, TimeCause};
use std::time::Duration;

pub(crate) fn next(duration: &Expr, here: &Here<'_>) -> Doing {
    if !here.started {
        return Doing::NeedsStart;
    }
    let duration = match duration.eval(&here.scope()) {
        Ok(Value::Missing) => Duration::ZERO,
        Ok(Value::Number(seconds)) => {
            Duration::try_from_secs_f64(seconds.to_f64().max(0.0)).unwrap_or(Duration::MAX)
        }
        Ok(other) => {
            let problem = Problem::plain(format!(
                "Sleep needs a number of seconds, not a {}",
                other.type_name()
            ));
            return Doing::Fails(Outcome::disrupted(problem));
        }
        Err(error) => return Doing::Fails(Outcome::disrupted(Here::problem(&error))),
    };
    if duration.is_zero() {
        return Doing::Happens(vec![OrderEvent::OrderMoved {
            to: here.position.next(),
            reason: None,
        }]);
    }
    Doing::Happens(vec![OrderEvent::OrderSleeping {
        until: here.now + duration,
        cause: SleepCause::SleepInstruction,
    }])
}

pub(crate) fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    let OrderState::Sleeping { until, .. } = here.order.state else {
        return None;
    };
    Some(Obstacle::WaitingForOtherTime {
        until,
        cause: TimeCause::Sleep,
    })
}
