//! The history of an order: how its steps ended, and how an operator may change that.
//!
//! Always: a place in a history is found by its exact position, else without the counters of try and catch.

use model::{HistoricOutcome, HistoryOperation, Outcome, Position, Problem};

/// Cuts the history from the first entry at `position` on.
pub(crate) fn cut_from(history: &mut Vec<HistoricOutcome>, position: &Position) {
    if let Some(index) = find(history, position) {
        history.truncate(index);
    }
}

/// Cuts the failures at the end, so that the failed instruction can be repeated.
pub(crate) fn cut_failures(history: &mut Vec<HistoricOutcome>) {
    while history
        .last()
        .is_some_and(|entry| !entry.outcome.is_succeeded())
    {
        history.pop();
    }
}

/// Carries out the operations one after the other.
pub(crate) fn change(
    history: &mut Vec<HistoricOutcome>,
    operations: &[HistoryOperation],
) -> Result<(), Problem> {
    for operation in operations {
        match operation {
            HistoryOperation::Replace { position, outcome } => {
                let index = index_of(history, position)?;
                history[index].outcome = outcome.clone();
            }
            HistoryOperation::Insert {
                before,
                position,
                outcome,
            } => {
                let index = index_of(history, before)?;
                history.insert(
                    index,
                    HistoricOutcome {
                        position: position.clone(),
                        outcome: outcome.clone(),
                    },
                );
            }
            HistoryOperation::Delete { position } => {
                let index = index_of(history, position)?;
                history.remove(index);
            }
            HistoryOperation::Append { position, outcome } => {
                history.push(HistoricOutcome {
                    position: position.clone(),
                    outcome: outcome.clone(),
                });
            }
        }
    }
    Ok(())
}

/// The latest outcome that is no success; else the latest one.
pub(crate) fn last_failure(history: &[HistoricOutcome]) -> Option<&Outcome> {
    let failure = history
        .iter()
        .rev()
        .find(|entry| !entry.outcome.is_succeeded());
    failure.or(history.last()).map(|entry| &entry.outcome)
}

fn find(history: &[HistoricOutcome], position: &Position) -> Option<usize> {
    let exact = history.iter().position(|entry| entry.position == *position);
    exact.or_else(|| {
        let normalized = position.normalized();
        history
            .iter()
            .position(|entry| entry.position.normalized() == normalized)
    })
}

fn index_of(history: &[HistoricOutcome], position: &Position) -> Result<usize, Problem> {
    find(history, position).ok_or_else(|| {
        Problem::new(
            "UnknownPositionInHistory",
            format!(
                "The order's history has no entry at position {position}; its positions are {}",
                positions(history)
            ),
        )
    })
}

fn positions(history: &[HistoricOutcome]) -> String {
    let positions: Vec<_> = history
        .iter()
        .map(|entry| entry.position.to_string())
        .collect();
    if positions.is_empty() {
        "none".to_owned()
    } else {
        positions.join(", ")
    }
}
