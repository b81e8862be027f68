//! What a message does to the one it arrives at: raft's part, after openraft.

use cluster::rules;
use cluster::{Candidate, EntryId, Part};

use crate::member::{Entry, Leading, Log, Message, ROOM, Role, SLOTS};
use crate::world::{Broken, Setup, World, bit, id};

fn candidate(member: u8, term: u8) -> Candidate {
    Candidate {
        term: term.into(),
        member: member.into(),
    }
}

/// The entry at the end of a log.
fn entry((term, count): (u8, u8)) -> Option<EntryId> {
    Some((term.into(), u64::from(count.checked_sub(1)?)))
}

impl World {
    pub(crate) fn arrives(&mut self, setup: &Setup, message: Message) -> Result<(), String> {
        match message {
            Message::None => {}
            Message::Vote {
                from,
                to,
                term,
                end,
                is_handed_over,
            } => {
                self.is_asked(setup, usize::from(to), from, term, end, is_handed_over);
            }
            Message::Granted { from, to, term } => {
                self.is_granted(setup, usize::from(to), from, term)?;
            }
            Message::Append {
                from,
                to,
                term,
                log,
                is_fresh,
            } => self.appends(setup, usize::from(to), from, term, &log, is_fresh)?,
            Message::Appended {
                from,
                to,
                term,
                count,
                is_fresh,
            } => {
                self.hears(usize::from(to), usize::from(from), term, count, is_fresh)?;
            }
            Message::HandOver { to, term, end, .. } => {
                let member = usize::from(to);
                let it = &self.members[member];
                if it.is_up()
                    && it.term == term
                    && it.log.end() >= end
                    && self.may_ask(setup, member)
                {
                    self.asks(setup, member, true);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn is_asked(
        &mut self,
        setup: &Setup,
        member: usize,
        from: u8,
        term: u8,
        end: (u8, u8),
        is_handed_over: bool,
    ) {
        let it = &self.members[member];
        if !it.is_up() {
            return;
        }
        let is_witness = Self::part(setup, member) == Part::Witness;
        let gives = if is_witness {
            let candidate = candidate(from, term);
            it.as_witness().voted(candidate, entry(end)).is_some()
        } else {
            let is_free =
                term > it.term || (term == it.term && it.vote.is_none_or(|vote| vote == from));
            end >= it.log.end() && is_free && (term > it.term || it.leading().is_none())
        };
        if !gives {
            return;
        }
        self.waits_to_vote(setup, member, is_handed_over);
        let it = &mut self.members[member];
        if term > it.term {
            it.role = Role::Follows;
            it.committed = 0;
        }
        it.term = term;
        it.vote = Some(from);
        let message = Message::Granted {
            from: id(member),
            to: from,
            term,
        };
        self.post(setup, message);
    }

    pub(crate) fn is_granted(
        &mut self,
        setup: &Setup,
        member: usize,
        from: u8,
        term: u8,
    ) -> Result<(), String> {
        let it = &mut self.members[member];
        let Role::Asks(votes) = &mut it.role else {
            return Ok(());
        };
        if it.term != term {
            return Ok(());
        }
        *votes |= bit(usize::from(from));
        let votes = *votes;
        if !it.log.voters().is_majority(votes) {
            return Ok(());
        }
        if !rules::may_lead(Self::part(setup, member)) {
            return Err("a watch leads".to_owned());
        }
        if let Some(other) = self.leaders[usize::from(term)] {
            return Err(format!("two leaders in term {term}: {other} and {member}"));
        }
        self.leaders[usize::from(term)] = Some(id(member));
        let it = &mut self.members[member];
        // Who was elected late for a term that is over can commit nothing.
        let before = self.acknowledged.before_term(term);
        if !it.log.begins_with(&before) {
            return Err(format!("{member} leads term {term} without {before:?}"));
        }
        it.log.push(Entry { term, change: None });
        let others = (0..SLOTS).filter(|other| *other != member);
        let lost = others.fold(0, |set, other| set | bit(other));
        it.role = Role::Leads(Leading {
            lost,
            ..Leading::default()
        });
        if self.leaders[usize::from(term) + 1..]
            .iter()
            .all(Option::is_none)
        {
            self.waited_for = bit(member);
        }
        Ok(())
    }

    pub(crate) fn appends(
        &mut self,
        setup: &Setup,
        member: usize,
        from: u8,
        term: u8,
        log: &Log,
        is_fresh: bool,
    ) -> Result<(), String> {
        if Self::part(setup, member) == Part::Witness {
            self.is_witnessed(setup, member, from, term, log, is_fresh);
            return Ok(());
        }
        let it = &mut self.members[member];
        if !it.is_up() || term < it.term {
            return Ok(());
        }
        if term > it.term {
            it.vote = None;
        }
        it.term = term;
        it.role = Role::Follows;
        it.was_just_started = false;
        let same = it
            .log
            .entries()
            .iter()
            .zip(log.entries())
            .take_while(|(mine, theirs)| mine == theirs)
            .count();
        if same < usize::from(it.log.len().min(log.len())) {
            let acknowledged = self.acknowledged.entries().iter().skip(same);
            let mine = &it.log.entries()[same..];
            if mine
                .iter()
                .zip(acknowledged)
                .any(|(mine, acknowledged)| mine == acknowledged)
            {
                return Err(format!("{member} takes back what was acknowledged"));
            }
            it.log.cut(id(same));
        }
        for entry in &log.entries()[same.min(usize::from(log.len()))..] {
            if usize::from(it.log.len()) < ROOM {
                it.log.push(*entry);
            }
        }
        it.on_disk = it.log.len();
        it.committed = 0;
        let message = Message::Appended {
            from: id(member),
            to: from,
            term,
            count: log.len(),
            is_fresh,
        };
        self.post(setup, message);
        Ok(())
    }

    /// Appends as the witness of the product does.
    fn is_witnessed(
        &mut self,
        setup: &Setup,
        member: usize,
        from: u8,
        term: u8,
        log: &Log,
        is_fresh: bool,
    ) {
        let it = &mut self.members[member];
        if !it.is_up() {
            return;
        }
        let before = it.as_witness();
        let next = before.appended(candidate(from, term), entry(log.end()), None);
        let message = |count| Message::Appended {
            from: id(member),
            to: from,
            term,
            count,
            is_fresh,
        };
        let Ok(next) = next else {
            if setup.broken == Some(Broken::InCharge) && !it.was_just_started {
                self.post(setup, message(0));
            }
            return;
        };
        it.term = term;
        it.role = Role::Follows;
        it.was_just_started = false;
        it.vote = Some(from);
        if next.newest != before.newest {
            // Only the end of the log matters. The rest is kept for comparisons.
            it.log = *log;
            it.on_disk = it.log.len();
        }
        self.post(setup, message(log.len()));
    }

    pub(crate) fn hears(
        &mut self,
        leader: usize,
        other: usize,
        term: u8,
        count: u8,
        is_fresh: bool,
    ) -> Result<(), String> {
        let it = &mut self.members[leader];
        let newest = it.log.len();
        let Role::Leads(leading) = &mut it.role else {
            return Ok(());
        };
        if it.term != term {
            return Ok(());
        }
        leading.confirmed[other] = leading.confirmed[other].max(Some(count));
        if is_fresh {
            leading.fresh |= bit(other);
        }
        let acknowledged = leading.confirmed[other]
            .and_then(|count| count.checked_sub(1))
            .map(u64::from);
        if rules::has_caught_up(acknowledged, u64::from(newest.saturating_sub(1))) {
            self.waits(leader, other, true);
        }
        self.commits(leader)
    }

    /// Everything that a majority has on disk, and that ends with an entry of this term, is committed: and acknowledged.
    pub(crate) fn commits(&mut self, leader: usize) -> Result<(), String> {
        let it = &mut self.members[leader];
        let Role::Leads(leading) = &it.role else {
            return Ok(());
        };
        let has = |member: usize, count: u8| {
            if member == leader {
                it.on_disk >= count
            } else {
                leading.confirmed[member].is_some_and(|confirmed| confirmed >= count)
            }
        };
        let mut committed = it.committed;
        for count in it.committed + 1..=it.log.len() {
            let holders = (0..SLOTS)
                .filter(|member| has(*member, count))
                .fold(0, |set, member| set | bit(member));
            let term = it.log.entries()[usize::from(count) - 1].term;
            if term == it.term && it.log.voters().is_majority(holders) {
                committed = count;
            }
        }
        it.committed = committed;
        let mut prefix = it.log;
        prefix.cut(committed);
        if prefix.len() > self.acknowledged.len() {
            if !prefix.begins_with(&self.acknowledged) {
                return Err(format!("{leader} commits over {:?}", self.acknowledged));
            }
            self.acknowledged = prefix;
        } else if !self.acknowledged.begins_with(&prefix) {
            return Err(format!(
                "{leader} commits something else than {:?}",
                self.acknowledged
            ));
        }
        Ok(())
    }
}
