//! What an observer asks of a member that was elected: everything that was committed in earlier terms, and nothing of later ones.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot be set up fails at that line"
)]

use cluster::Part;
use controller_node::ControllerMachine;
use model::ControllerId;
use sim::kept::{Entry, Kept, Op, What};
use sim::kernel::Kernel;
use sim::ledger::Ledger;
use sim::pair::{self, Member, Members, Rules, Seat};
use sim::{Place, seeds};
use std::collections::BTreeSet;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(100);

/// What is being written is on the disk now.
fn synced(member: &mut Member) {
    let (made, index, _) = member.take_ops().unwrap();
    member.synced(made, index, NOW);
}

/// A member that has just been elected in `term`, with entries of these terms, and one of its own behind them that is on no disk yet.
fn elected(term: u64, entries: &[u64]) -> Member {
    let seat = Seat {
        part: Part::Data,
        votes: true,
    };
    let mut kept = Kept::new(1, Part::Data, Members::from([(1, seat)]));
    for (index, term) in (1..).zip(entries) {
        kept.apply(&Op::Append(Entry {
            term: *term,
            index,
            last_event: 0,
            what: What::Blank,
        }));
    }
    kept.term = term - 1;
    let timing = pair::timing(Duration::from_millis(500));
    let mut member = Member::start(kept, Rules::ALL, timing, NOW, 0);
    synced(&mut member);
    assert!(member.leads() && member.term() == term && member.commit() == 0);
    member
}

struct Observer {
    k: Kernel,
    ledger: Ledger<ControllerMachine>,
}

impl Observer {
    fn new() -> Observer {
        let state = controller::State::new(ControllerId::new("Controller"), BTreeSet::new());
        Observer {
            k: Kernel::new(1, false),
            ledger: Ledger::new(0, ControllerMachine::new(state)),
        }
    }

    /// Sees a member; answers which invariant is broken.
    fn sees(&mut self, place: usize, member: &Member) -> Option<&'static str> {
        let place = Place::Controller(place);
        self.ledger
            .observe(&mut self.k, place, member, |_, _, _| {});
        self.k.broken.as_ref().map(|broken| broken.invariant)
    }

    /// Sees a member that is elected in `term`, has entries of these terms, and commits them with one of its own.
    fn sees_commit(&mut self, place: usize, term: u64, entries: &[u64]) {
        let mut member = elected(term, entries);
        assert_eq!(self.sees(place, &member), None);
        synced(&mut member);
        assert_eq!(self.sees(place, &member), None);
        assert_eq!(self.ledger.index, entries.len() as u64 + 1);
    }
}

#[test]
fn who_learns_late_of_its_election_lacks_what_later_terms_have_committed() {
    let mut observer = Observer::new();
    observer.sees_commit(0, 1, &[]);
    observer.sees_commit(0, 3, &[1]);
    assert_eq!(observer.ledger.index, 2);
    assert_eq!(observer.sees(1, &elected(2, &[1])), None);
}

#[test]
fn who_learns_late_of_its_election_lacks_an_earlier_entry_that_only_a_later_term_has_committed() {
    let mut observer = Observer::new();
    observer.sees_commit(0, 1, &[]);
    observer.sees_commit(0, 3, &[1, 1]);
    assert_eq!(observer.ledger.index, 3);
    assert_eq!(observer.sees(1, &elected(2, &[1])), None);
}

#[test]
fn s128_whoever_is_elected_without_what_an_earlier_term_has_committed_is_found() {
    let lacking = [
        elected(2, &[]),
        elected(4, &[1]),
        elected(4, &[1, 2, 2]),
        elected(4, &[1, 1]),
    ];
    for member in lacking {
        let mut observer = Observer::new();
        observer.sees_commit(0, 1, &[]);
        observer.sees_commit(0, 3, &[1]);
        let found = observer.sees(1, &member);
        assert_eq!(found, Some("acknowledged_survives_failover"), "{member:?}");
    }
}

/// Found by this seed: the standby had asked for votes and stood still; when it went on, its vote was there, and the other one, that
/// had given it, was active in the next term.
#[test]
fn a_director_that_stood_still_when_it_was_elected_does_no_harm() {
    let failure = seeds::run_clusters(2096, 1.0, false).failure;
    assert!(failure.is_none(), "{}", failure.unwrap());
}
