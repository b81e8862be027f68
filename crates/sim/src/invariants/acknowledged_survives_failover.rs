//! What was ever committed is in the log of every later active member, at its place (S52, S128).

use super::{Checked, Violation};
use crate::ledger::Ledger;
use crate::pair::Member;
use crate::place::Place;
use ::node::Machine;

const NAME: &str = "acknowledged_survives_failover";

/// A member has been elected.
pub fn check<M: Machine>(ledger: &Ledger<M>, place: Place, member: &Member) -> Checked {
    let has = member.kept.newest().1;
    let is_there = has >= ledger.index
        && (ledger.index < member.kept.base.index
            || Some(member.kept.term_at(ledger.index)) == ledger.term_at(ledger.index));
    if is_there {
        return Ok(());
    }
    Err(Violation::new(
        NAME,
        format!(
            "log {}: {place} is elected in epoch {} with {has} entries, and lacks what was committed until {}",
            ledger.cluster,
            member.term(),
            ledger.index
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
