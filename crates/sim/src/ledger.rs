//! What an observer knows of a log: everything that was ever committed, folded from its text, and who was active when.
//!
//! Always: made outside of the members, from what they commit; never read by one. The invariants of pairs are checked here, where
//! each entry becomes certain.

use crate::invariants::{
    Checked, Violation, acknowledged_survives_failover, one_active_per_epoch, replay_equals_live,
};
use crate::kept::What;
use crate::kernel::Kernel;
use crate::node::Observed;
use crate::pair::{Member, Number};
use crate::place::Place;
use crate::seat::Cluster;
use ::node::Machine;
use model::Stamped;
use std::collections::{BTreeMap, BTreeSet};

/// A log as an observer knows it.
pub struct Ledger<M> {
    /// Which log.
    pub cluster: Cluster,
    /// The fold of everything committed.
    pub shadow: M,
    /// The newest committed entry.
    pub index: u64,
    /// The newest committed event.
    pub last_event: u64,
    /// The term of each committed entry.
    terms: Vec<u64>,
    /// The term in which each entry was committed: that of its own, or a later one.
    committed_in: Vec<u64>,
    /// Who was elected in which term.
    epochs: BTreeMap<u64, Place>,
    /// Data members that were left behind when the watch was told: they cannot follow without help.
    pub behind: BTreeSet<Number>,
}

impl<M: Machine> Ledger<M> {
    /// Of a log that has not begun.
    pub fn new(cluster: Cluster, fresh: M) -> Ledger<M> {
        Ledger {
            cluster,
            shadow: fresh,
            index: 0,
            last_event: 0,
            terms: vec![0],
            committed_in: vec![0],
            epochs: BTreeMap::new(),
            behind: BTreeSet::new(),
        }
    }

    /// The term of a committed entry.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.terms.get(usize::try_from(index).ok()?).copied()
    }

    /// The newest entry that was committed in an earlier term than this one. Whoever is elected in this term has it; of what later
    /// terms commit it may know nothing, if it learns late of its election.
    pub fn committed_before(&self, term: u64) -> u64 {
        let earlier = self.committed_in.partition_point(|within| *within < term);
        u64::try_from(earlier.saturating_sub(1)).unwrap_or(u64::MAX)
    }

    /// Looks at a member after each of its steps. `see` gets each newly committed event with the state after it.
    pub fn observe(
        &mut self,
        k: &mut Kernel,
        place: Place,
        member: &Member,
        mut see: impl FnMut(&mut Kernel, &M, &Observed),
    ) {
        if member.leads() && self.epochs.get(&member.term()) != Some(&place) {
            k.check(one_active_per_epoch::check(
                &self.epochs,
                self.cluster,
                member.term(),
                place,
            ));
            k.check(acknowledged_survives_failover::check(self, place, member));
            if self
                .epochs
                .last_key_value()
                .is_some_and(|(_, before)| *before != place)
            {
                k.counts.count(crate::Fault::FailOver);
            }
            self.epochs.insert(member.term(), place);
        }
        let is_latest = self
            .epochs
            .last_key_value()
            .is_some_and(|(term, _)| *term == member.term());
        if member.leads() && is_latest && !(self.behind.is_empty() && member.behind.is_empty()) {
            let coupled = member.coupled();
            self.behind.retain(|number| !coupled.contains(number));
            self.behind.extend(&member.behind);
        }
        k.check(acknowledged_survives_failover::check_commit(
            self, place, member,
        ));
        while self.index < member.commit() && k.broken.is_none() {
            let index = self.index + 1;
            let Some(entry) = member.kept.entry(index) else {
                return k.violate(Violation::new(
                    "acknowledged_survives_failover",
                    format!("{place} has committed entry {index}, which nobody has seen"),
                ));
            };
            self.index = index;
            self.terms.push(entry.term);
            self.committed_in.push(member.term());
            self.last_event = entry.last_event;
            k.committed.insert(self.cluster, index);
            let judged_at = k.judged.remove(&(self.cluster, entry.term, index));
            let What::Lines(lines) = &entry.what else {
                continue;
            };
            for line in lines.lines() {
                let stamped = match Stamped::from_json(line) {
                    Ok(stamped) => stamped,
                    Err(error) => {
                        let text = format!("{place} wrote what it cannot read: {error}: {line}");
                        return k.violate(Violation::new("replay_equals_live", text));
                    }
                };
                if let Err(why) = self.shadow.evolve(&stamped) {
                    let text = format!("{place} wrote what does not fit: {why}: {line}");
                    return k.violate(Violation::new("legal_transitions", text));
                }
                see(k, &self.shadow, &Observed { stamped, judged_at });
            }
        }
    }

    /// Whether the state from which a member goes on is that of the log.
    pub fn check_equals(&self, place: Place, machine: &M) -> Checked {
        replay_equals_live::check(place, machine, &self.shadow)
    }
}
