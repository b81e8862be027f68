//! Retry: back to the try block of the catch block it stands in, at once or after a delay, as often as allowed.
//!
//! Always: a loop without a delay slows down after some tries ([`PAUSES`]), so that it neither fills the log nor keeps
//! a processor busy.

use super::{Doing, Here, try_};
use crate::ahead;
use model::{
    Branch, Instruction, Obstacle, OrderEvent, OrderState, Position, Problem, Seconds, TimeCause,
    Timestamp, Try,
};
use std::time::Duration;

/// From this length on a delay ends at a full second.
const ROUNDED: Duration = Duration::from_secs(10);
/// A shorter delay counts as none.
const NO_DELAY: Duration = Duration::from_millis(50);
/// The minimum pause before the next try of a block without a delay, by the number of its tries.
const PAUSES: [(u64, Duration); 3] = [
    (1000, Duration::from_secs(10)),
    (100, Duration::from_secs(1)),
    (10, Duration::from_millis(100)),
];

pub(crate) fn next(here: &Here<'_>) -> Doing {
    let Some((instruction, position, tried)) = surrounding(here) else {
        let problem = Problem::plain(format!(
            "Retry at position {} stands in no catch block",
            here.position
        ));
        return Doing::Faulty(problem);
    };
    if try_::is_used_up(instruction, tried) {
        return Doing::FailsAgain;
    }
    let given = delay(instruction, tried);
    let delay = if given < NO_DELAY {
        given.max(least_pause(tries_in_all(here)))
    } else {
        given
    };
    if delay.is_zero() {
        let to = ahead::settled(here, position.enter(Branch::Try(Some(tried))));
        return Doing::Happens(vec![
            OrderEvent::OrderRetrying {
                delayed_until: None,
            },
            OrderEvent::OrderMoved { to, reason: None },
        ]);
    }
    Doing::Happens(vec![OrderEvent::OrderRetrying {
        delayed_until: Some(end_of_delay(here.now, delay)),
    }])
}

pub(crate) fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    let OrderState::DelayingRetry { until } = here.order.state else {
        return None;
    };
    Some(Obstacle::WaitingForOtherTime {
        until,
        cause: TimeCause::RetryDelay,
    })
}

/// What happens when the delay is over.
pub(crate) fn on_time(here: &Here<'_>) -> Vec<OrderEvent> {
    let to = match surrounding(here) {
        Some((_, position, tried)) => {
            ahead::settled(here, position.enter(Branch::Try(Some(tried))))
        }
        None => here.position.clone(),
    };
    vec![
        OrderEvent::OrderAwoke,
        OrderEvent::OrderMoved { to, reason: None },
    ]
}

/// The innermost Try whose catch block the order is in, where it stands, and how often its block has been tried.
fn surrounding<'a>(here: &Here<'a>) -> Option<(&'a Try, Position, u32)> {
    let parents = &here.position.parents;
    let depth = parents
        .iter()
        .rposition(|step| matches!(step.branch, Branch::Catch(_)))?;
    let position = Position {
        parents: parents[..depth].to_vec(),
        nr: parents[depth].nr,
    };
    let Some(Instruction::Try(instruction)) = here.workflow.instruction(&position) else {
        return None;
    };
    Some((instruction, position, try_::tried(&parents[depth].branch)))
}

/// Returns the maximum number of tries that may have led here, including those of the enclosing blocks. An inner block
/// may have been tried as often as allowed in each try of the outer block.
fn tries_in_all(here: &Here<'_>) -> u64 {
    let parents = &here.position.parents;
    let mut all = 0_u64;
    for (depth, step) in parents.iter().enumerate() {
        if !matches!(step.branch, Branch::Try(_) | Branch::Catch(_)) {
            continue;
        }
        let position = Position {
            parents: parents[..depth].to_vec(),
            nr: step.nr,
        };
        let max = match here.workflow.instruction(&position) {
            Some(Instruction::Try(instruction)) => instruction.max_tries,
            _ => None,
        };
        let is_over = matches!(step.branch, Branch::Catch(_));
        let earlier = try_::tried(&step.branch) - u32::from(!is_over);
        all = all
            .saturating_mul(u64::from(max.unwrap_or(1)))
            .saturating_add(u64::from(earlier));
    }
    all
}

fn least_pause(tries: u64) -> Duration {
    let slowed = PAUSES.iter().find(|(after, _)| tries >= *after);
    slowed.map_or(Duration::ZERO, |(_, pause)| *pause)
}

/// How long to wait before the block is tried again after `tried` tries; the last delay counts for all further.
fn delay(instruction: &Try, tried: u32) -> Duration {
    let delays = &instruction.retry_delays;
    let index = (tried as usize).saturating_sub(1);
    delays
        .get(index)
        .or(delays.last())
        .map_or(Duration::ZERO, |Seconds(delay)| *delay)
}

fn end_of_delay(now: Timestamp, delay: Duration) -> Timestamp {
    let until = now + delay;
    if delay < ROUNDED {
        return until;
    }
    let millis = until.millis();
    let seconds = millis.div_euclid(1000) + i64::from(millis.rem_euclid(1000) != 0);
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_delay_ends_at_a_full_second_and_a_short_one_where_it_ends() {
        let now = Timestamp::from_millis(1_000_250);
        assert_eq!(
            end_of_delay(now, Duration::from_secs(10)),
            Timestamp::from_millis(1_011_000)
        );
        assert_eq!(
            end_of_delay(now, Duration::from_millis(9_999)),
            Timestamp::from_millis(1_010_249)
        );
        assert_eq!(
            end_of_delay(Timestamp::from_millis(1_000_000), Duration::from_mins(1)),
            Timestamp::from_millis(1_060_000)
        );
    }

    #[test]
    fn the_last_delay_counts_for_all_further_tries() {
        let instruction = Try {
            attempt: model::Block::default(),
            catch: model::Block::default(),
            retry_delays: vec![
                Seconds::from_millis(0),
                Seconds::from_millis(1000),
                Seconds::from_millis(2000),
            ],
            max_tries: None,
        };
        let delays: Vec<_> = (1..=5)
            .map(|tried| delay(&instruction, tried).as_secs())
            .collect();
        assert_eq!(delays, [0, 1, 2, 2, 2]);
    }
}
