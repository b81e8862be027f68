//! Whether the traces fit together: the load's list, the jobs' markers, the events as read in pieces and as read in one go.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::life_check::Lives;
use super::load::Acknowledged;
use super::markers::Markers;
use super::workflows::OUTPUT_LINES;
use crate::world::Seen;

/// All that is wrong.
pub(crate) fn faults(
    acknowledged: &Acknowledged,
    markers: &Markers,
    read_in_pieces: &[Seen],
    read_at_once: &[Seen],
) -> (Vec<String>, Lives) {
    let lives = Lives::of(read_at_once);
    let mut faults = markers.faults();
    faults.extend(
        acknowledged
            .refusals
            .iter()
            .map(|refusal| format!("a command of the load was refused: {refusal}")),
    );
    faults.extend(lives.faults.iter().cloned());
    faults.extend(stream_faults(read_in_pieces, read_at_once));
    faults.extend(end_faults(acknowledged, read_at_once, &lives));
    faults.extend(attempt_faults(markers, &lives));
    faults.extend(output_faults(&lives));
    (faults, lives)
}

/// Numbers increase, and a reader that resumes has got what a reader of the whole gets.
fn stream_faults(pieces: &[Seen], whole: &[Seen]) -> Vec<String> {
    let mut faults = Vec::new();
    for pair in whole.windows(2) {
        if pair[0].event_id >= pair[1].event_id {
            faults.push(format!(
                "event {} stands before event {}",
                pair[0].event_id, pair[1].event_id
            ));
        }
    }
    for (index, seen) in whole.iter().enumerate() {
        match pieces.get(index) {
            Some(piece) if piece.json == seen.json => {}
            Some(piece) => {
                faults.push(format!(
                    "the resuming reader got {piece} where the whole stream has {seen}"
                ));
                return faults;
            }
            None => {
                faults.push(format!(
                    "the resuming reader missed {} events, from {seen} on",
                    whole.len() - pieces.len()
                ));
                return faults;
            }
        }
    }
    if pieces.len() > whole.len() {
        faults.push(format!(
            "the resuming reader got {} events too many",
            pieces.len() - whole.len()
        ));
    }
    faults
}

/// Every acknowledged order has ended, and well unless it was cancelled.
fn end_faults(acknowledged: &Acknowledged, events: &[Seen], lives: &Lives) -> Vec<String> {
    let ends: BTreeMap<&str, &Seen> = events
        .iter()
        .filter(|seen| {
            matches!(
                seen.kind.as_str(),
                "OrderFinished" | "OrderCancelled" | "OrderFailed"
            )
        })
        .map(|seen| (seen.key.as_str(), seen))
        .collect();
    acknowledged
        .orders
        .iter()
        .filter_map(|order| match ends.get(order.as_str()) {
            Some(seen) if seen.kind == "OrderFailed" => {
                let why = events
                    .iter()
                    .rfind(|seen| seen.key == *order && seen.json.get("outcome").is_some());
                Some(format!(
                    "{order} failed: {}",
                    why.map_or_else(String::new, ToString::to_string)
                ))
            }
            Some(_) => None,
            None => Some(format!(
                "{order} was acknowledged and has not ended: {}",
                lives.standing(order)
            )),
        })
        .collect()
}

/// Every process belongs to a started attempt, and every attempt that ended well had a process that ran to its end.
fn attempt_faults(markers: &Markers, lives: &Lives) -> Vec<String> {
    let mut faults = Vec::new();
    for attempt in markers.starts.keys() {
        if !lives.attempts.contains_key(attempt) {
            faults.push(format!(
                "a process ran for {}#{}, which no event tells of",
                attempt.0, attempt.1
            ));
        }
    }
    for (attempt, ended_well) in &lives.attempts {
        let name = format!("{}#{}", attempt.0, attempt.1);
        match ended_well {
            None => faults.push(format!("{name} was started and has no end")),
            Some(true) if !markers.ends.contains_key(attempt) => {
                faults.push(format!(
                    "{name} has succeeded, but its process did not run to its end"
                ));
            }
            Some(_) => {}
        }
    }
    faults
}

/// Output of jobs that succeeded is whole and in order.
fn output_faults(lives: &Lives) -> Vec<String> {
    let mut whole = String::new();
    for line in 0..OUTPUT_LINES {
        let _infallible = writeln!(whole, "line {line} of the output");
    }
    lives
        .attempts
        .iter()
        .filter(|((order, _), ended_well)| {
            order.starts_with("output-") && **ended_well == Some(true)
        })
        .filter_map(|(attempt, _)| {
            let written = lives.written.get(attempt).map_or("", String::as_str);
            (written != whole).then(|| {
                format!(
                    "{}#{} wrote {} bytes of {}, or in another order",
                    attempt.0,
                    attempt.1,
                    written.len(),
                    whole.len()
                )
            })
        })
        .collect()
}
