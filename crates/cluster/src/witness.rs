//! The witness: the third vote of a pair, whose state is recorded in the log of another cluster.
//!
//! It keeps no entries, only the position of the newest entry that it has confirmed. A candidate that has this entry has everything that
//! the witness has helped to commit. So its state is a few numbers, which another log can record as an event.
//!
//! Always: pure. A state never goes back to an earlier one. An answer follows from a state that is recorded before the answer is sent.
//! Never here: where the state is recorded, and how members ask; see [`Witness`].

mod found;
mod member;

pub use member::{Witness, WitnessEnd, WitnessStore};

/// Term and index of an entry. The greater of two is the later entry.
pub type EntryId = (u64, u64);

/// The member that leads, or wants to lead, in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The term.
    pub term: u64,
    /// The number of the member.
    pub member: u64,
}

/// The members of the cluster as recorded by an entry of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersAt {
    /// The numbers of all members.
    pub members: Vec<u64>,
    /// The position of that entry.
    pub since: EntryId,
}

/// The request is of an earlier term than the newest known one, or another member has been elected in the same term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated;

/// What a witness must remember forever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessState {
    /// Its member number: drawn once, and the same whichever process continues the witness.
    pub member: u64,
    /// The newest term that it knows.
    pub term: u64,
    /// The member that got its vote in that term, or that was elected in that term.
    pub voted_for: Option<u64>,
    /// Whether that member has been elected.
    pub is_elected: bool,
    /// The newest entry that it has confirmed. A candidate without this entry does not get the vote.
    pub newest: Option<EntryId>,
    /// The numbers of all members, as last received.
    pub members: Vec<u64>,
    /// The entry with which they became the members.
    pub members_since: Option<EntryId>,
}

impl WitnessState {
    /// Returns the state of a new witness, which has confirmed nothing and has not voted.
    pub fn new(member: u64) -> Self {
        Self {
            member,
            ..Self::default()
        }
    }

    /// Returns the state after the elected member has sent entries up to `newest`, or none, and possibly the members of the cluster.
    ///
    /// Only an entry of the leader's own term needs to be remembered: an entry of an earlier term is never committed alone.
    pub fn appended(
        &self,
        leader: Candidate,
        newest: Option<EntryId>,
        members: Option<MembersAt>,
    ) -> Result<Self, Outdated> {
        let mut next = self.clone();
        next.obeys(leader)?;
        if let Some(newest) = newest.filter(|(term, _)| *term == leader.term)
            && Some(newest) > self.newest
        {
            next.newest = Some(newest);
        }
        if let Some(MembersAt { members, since }) = members
            && Some(since) > self.members_since
        {
            next.members = members;
            next.members_since = Some(since);
        }
        Ok(next)
    }

    /// Returns the state after the vote was given to this candidate, whose newest entry is `newest`. Returns `None` if the vote is refused.
    pub fn voted(&self, candidate: Candidate, newest: Option<EntryId>) -> Option<Self> {
        let is_free = candidate.term > self.term
            || (candidate.term == self.term
                && !self.is_elected
                && self.voted_for.is_none_or(|voted| voted == candidate.member));
        (is_free && newest >= self.newest).then(|| Self {
            term: candidate.term,
            voted_for: Some(candidate.member),
            is_elected: false,
            ..self.clone()
        })
    }

    fn obeys(&mut self, leader: Candidate) -> Result<(), Outdated> {
        let is_of_another = self.is_elected && self.voted_for != Some(leader.member);
        if leader.term < self.term || (leader.term == self.term && is_of_another) {
            return Err(Outdated);
        }
        self.term = leader.term;
        self.voted_for = Some(leader.member);
        self.is_elected = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 11;
    const TWO: u64 = 12;

    fn at(term: u64, member: u64) -> Candidate {
        Candidate { term, member }
    }

    fn fresh() -> WitnessState {
        WitnessState::new(13)
    }

    fn appended(state: &WitnessState, leader: Candidate, newest: EntryId) -> WitnessState {
        state.appended(leader, Some(newest), None).unwrap()
    }

    #[test]
    fn a_candidate_that_lacks_a_confirmed_entry_does_not_get_the_vote() {
        let state = appended(&fresh(), at(2, ONE), (2, 7));
        assert_eq!(state.voted(at(3, TWO), Some((2, 6))), None);
        assert_eq!(state.voted(at(3, TWO), None), None);
        assert!(state.voted(at(3, TWO), Some((2, 7))).is_some());
        assert!(state.voted(at(3, TWO), Some((3, 1))).is_some());
    }

    #[test]
    fn one_vote_in_a_term_and_none_in_an_older_one() {
        let state = fresh().voted(at(2, ONE), None).unwrap();
        assert_eq!(state.voted(at(2, TWO), Some((1, 9))), None);
        assert_eq!(state.voted(at(1, TWO), Some((1, 9))), None);
        assert_eq!(state.voted(at(2, ONE), None), Some(state.clone()));
        let elected = state.appended(at(2, TWO), None, None).unwrap();
        assert_eq!(elected.voted(at(2, ONE), None), None);
        assert_eq!(elected.appended(at(2, ONE), None, None), Err(Outdated));
        assert_eq!(elected.appended(at(1, ONE), None, None), Err(Outdated));
    }

    #[test]
    fn entries_of_earlier_terms_and_late_ones_change_nothing() {
        let state = appended(&fresh(), at(2, ONE), (2, 7));
        let later = state.appended(at(3, TWO), Some((2, 9)), None).unwrap();
        assert_eq!(later.newest, Some((2, 7)));
        let state = appended(&state, at(2, ONE), (2, 5));
        assert_eq!(state.newest, Some((2, 7)));
    }

    #[test]
    fn of_two_lists_of_members_the_later_one_counts() {
        let members = |numbers: &[u64], since| {
            let members = numbers.to_vec();
            Some(MembersAt { members, since })
        };
        let state = fresh();
        let state = state.appended(at(2, ONE), None, members(&[1, 2], (2, 9)));
        let state = state.unwrap();
        let late = state.appended(at(2, ONE), None, members(&[1], (1, 30)));
        assert_eq!(late, Ok(state.clone()));
        assert_eq!(state.members, [1, 2]);
    }
}
