//! What was committed in a term is in the log of the active member of every later one, at its place (S52, S128).

use super::{Checked, Violation};
use crate::ledger::Ledger;
use crate::pair::Member;
use crate::place::Place;
use ::node::Machine;

const NAME: &str = "acknowledged_survives_failover";

/// A member has been elected. One that stood still may learn so when a later term has long begun: then it has what was committed
/// before its own, and can commit nothing.
pub fn check<M: Machine>(ledger: &Ledger<M>, place: Place, member: &Member) -> Checked {
    let has = member.kept.newest().1;
    let committed = ledger.committed_before(member.term());
    let is_there = has >= committed
        && (committed < member.kept.base.index
            || Some(member.kept.term_at(committed)) == ledger.term_at(committed));
    if is_there {
        return Ok(());
    }
    Err(Violation::new(
        NAME,
        format!(
            "log {}: {place} is elected in epoch {} with {has} entries, and lacks what was committed until {}",
            ledger.cluster,
            member.term(),
            committed
        ),
    ))
}

/// What a member takes for committed is what was committed.
pub fn check_commit<M: Machine>(ledger: &Ledger<M>, place: Place, member: &Member) -> Checked {
    let index = member.commit().min(ledger.index);
    let here = member.kept.term_at(index);
    if index < member.kept.base.index || Some(here) == ledger.term_at(index) {
        return Ok(());
    }
    Err(Violation::new(
        NAME,
        format!(
            "log {}: {place} has entry {index} of term {here} as committed, which was of {:?}",
            ledger.cluster,
            ledger.term_at(index)
        ),
    ))
}
