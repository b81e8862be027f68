//! The history of an order: how its steps ended, how an operator may change the outcomes, and which outcomes of
//! repeated tries are kept.
//!
//! Always: a place in a history is found by its exact position, otherwise by the position without the counters of try
//! and catch. The first and the last tries of a Try block are kept. The tries between are only counted, so that an
//! order that retries endlessly stays small.

use model::{
    Branch, HistoricOutcome, HistoryOperation, OmittedOutcomes, Order, Outcome, Position, Problem,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many of the first tries of a Try block are kept.
const FIRST_TRIES: u32 = 3;
/// How many of the last tries of a Try block are kept.
const LAST_TRIES: u32 = 5;

/// Removes and counts the outcomes of the tries that are neither among the first nor among the last. An outcome is kept
/// if it has a value that no later outcome at its place has. Must be called when the order is about to leave its catch
/// block for the next try.
pub(crate) fn omit_middle_tries(order: &mut Order) {
    let parents = &order.position.parents;
    let Some(depth) = parents
        .iter()
        .rposition(|step| matches!(step.branch, Branch::Catch(_)))
    else {
        return;
    };
    let Some(last) = number_of_try(&parents[depth].branch) else {
        return;
    };
    // The next try counts as one of the last tries.
    let end = last.saturating_add(2).saturating_sub(LAST_TRIES);
    if end <= FIRST_TRIES {
        return;
    }
    let (around, nr) = (&parents[..depth], parents[depth].nr);
    let is_in_the_middle = |entry: &HistoricOutcome| {
        let place = &entry.position.parents;
        place.len() > depth
            && place[depth].nr == nr
            && number_of_try(&place[depth].branch).is_some_and(|n| (FIRST_TRIES..end).contains(&n))
            && place[..depth] == *around
    };
    // Iterates from the newest to the oldest outcome, with the names of the values that newer outcomes have at each
    // place.
    let mut seen: BTreeMap<Position, BTreeSet<Arc<str>>> = BTreeMap::new();
    let mut kept = Vec::with_capacity(order.historic_outcomes.len());
    let mut omitted: BTreeMap<Position, u64> = BTreeMap::new();
    for entry in std::mem::take(&mut order.historic_outcomes)
        .into_iter()
        .rev()
    {
        let values = entry.outcome.named_values();
        if values.is_empty() {
            if is_in_the_middle(&entry) {
                *omitted.entry(entry.position.normalized()).or_default() += 1;
            } else {
                kept.push(entry);
            }
            continue;
        }
        let place = entry.position.normalized();
        let names = seen.entry(place.clone()).or_default();
        if is_in_the_middle(&entry) && values.keys().all(|name| names.contains(name)) {
            *omitted.entry(place).or_default() += 1;
        } else {
            names.extend(values.keys().cloned());
            kept.push(entry);
        }
    }
    kept.reverse();
    order.historic_outcomes = kept;
    for (position, count) in omitted {
        let known = order
            .omitted_outcomes
            .iter_mut()
            .find(|known| known.position == position);
        match known {
            Some(known) => known.count += count,
            None => order
                .omitted_outcomes
                .push(OmittedOutcomes { position, count }),
        }
    }
}

/// Removes the counts of places that are no longer in the history, because the history was cut before them.
pub(crate) fn drop_counts_without_place(order: &mut Order) {
    if order.omitted_outcomes.is_empty() {
        return;
    }
    let places: BTreeSet<Position> = order
        .historic_outcomes
        .iter()
        .map(|entry| entry.position.normalized())
        .collect();
    order
        .omitted_outcomes
        .retain(|omitted| places.contains(&omitted.position));
}

fn number_of_try(branch: &Branch) -> Option<u32> {
    let (Branch::Try(n) | Branch::Catch(n)) = branch else {
        return None;
    };
    *n
}

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
