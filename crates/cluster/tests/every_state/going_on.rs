//! Whether the members can go on when nothing more goes wrong: progress, looked for from every state.
//!
//! Always: whoever is not among the survivors stays away for ever, and no message that is on its way arrives.

use cluster::Part;
use cluster::rules;

use crate::member::{A, B, C, D, MAIL, ROOM, Role, SLOTS};
use crate::world::{Setup, Step, World, bit, id};

impl World {
    /// Who has to be able to go on together whenever the others stay away.
    pub(crate) fn survivors(&self, setup: &Setup) -> Vec<u8> {
        let is_here = |member: usize| self.members[member].role != Role::Gone;
        let mut sets = Vec::new();
        if is_here(B) {
            sets.push(bit(A) | bit(B) | bit(C));
            sets.push(bit(A) | bit(B));
        }
        let newest = self.leaders.iter().rev().flatten().next();
        for member in [A, B, C, D] {
            let is_meant = is_here(member)
                && self.waited_for & bit(member) != 0
                && Self::part(setup, member) == Part::Data;
            if !is_meant {
                continue;
            }
            // A leader that crashed may lack what another one and the watch have confirmed: that one is there for it.
            let has_crashed = newest.is_some_and(|leader| usize::from(*leader) == member)
                && self.members[member].leading().is_none();
            let is_elsewhere = (0..SLOTS).any(|other| {
                other != member
                    && Self::part(setup, other) == Part::Data
                    && self.members[other].log.end() >= self.members[C].log.end()
            });
            let pair = bit(member) | bit(C);
            let voters = self.members[member].log.voters();
            if setup.has_watch && !(has_crashed && is_elsewhere) && voters.is_majority(pair) {
                sets.push(pair);
            }
        }
        sets
    }

    /// Whether these can go on without the others, who stay away for ever: one of them leads and all is committed.
    pub(crate) fn can_go_on(&self, setup: &Setup, survivors: u8) -> Result<bool, String> {
        let kind = Setup {
            terms: id(ROOM),
            messages: MAIL,
            ..*setup
        };
        let mut calm = *self;
        calm.forget_mail();
        for member in 0..SLOTS {
            let it = &mut calm.members[member];
            if survivors & bit(member) == 0 {
                if it.is_up() {
                    it.role = Role::Down;
                }
                continue;
            }
            if it.role != Role::Gone {
                // Also a leader, of a term that may be over: it begins anew in order.
                it.on_disk = it.log.len();
                it.role = Role::Follows;
            }
        }
        for member in 0..SLOTS {
            calm.time_passes(member);
        }
        let candidates = (0..SLOTS).filter(|member| survivors & bit(*member) != 0);
        for member in candidates {
            if rules::may_lead(Self::part(setup, member))
                && calm.goes_on_under(&kind, survivors, member)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn goes_on_under(mut self, kind: &Setup, survivors: u8, member: usize) -> Result<bool, String> {
        while self.members[member].leading().is_none() && self.may_ask(kind, member) {
            self.asks(kind, member, false);
            self.delivers(kind)?;
        }
        if self.members[member].leading().is_none() {
            return Ok(false);
        }
        self.happens(kind, Step::Syncs(member))?;
        // Those who keep events first: the watch may have to wait for them.
        for to in [A, B, D, C, A, B, D, C] {
            let step = Step::Sends {
                from: member,
                to,
                is_heartbeat: false,
            };
            let mut steps = Vec::new();
            if let Role::Leads(leading) = self.members[member].role {
                self.steps_of_leader(kind, member, &leading, &mut steps);
            }
            if survivors & bit(to) != 0 && steps.contains(&step) {
                self.happens(kind, step)?;
                self.delivers(kind)?;
            }
        }
        let it = &self.members[member];
        Ok(it.committed == it.log.len() && self.acknowledged == it.log)
    }

    fn delivers(&mut self, kind: &Setup) -> Result<(), String> {
        loop {
            let Some(message) = self.mail().next() else {
                return Ok(());
            };
            self.take(message);
            self.arrives(kind, message)?;
        }
    }
}
