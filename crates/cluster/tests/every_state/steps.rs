//! Everything that may happen next in a world.

use cluster::Part;
use cluster::rules;

use crate::member::{B, D, Leading, Role, SLOTS, Voters};
use crate::world::{Setup, Step, World, bit};

impl World {
    /// Everything that may happen next.
    pub(crate) fn steps(&self, setup: &Setup, steps: &mut Vec<Step>) {
        steps.clear();
        let is_full = self.mail().count() >= setup.messages;
        for message in self.mail() {
            if self.members[message.to()].is_up() {
                steps.push(Step::Arrives(message));
                if setup.doubles {
                    steps.push(Step::ArrivesAndStays(message));
                }
            }
            // Else it is as good as lost while it waits.
            if is_full {
                steps.push(Step::IsLost(message));
            }
        }
        for member in 0..SLOTS {
            let it = &self.members[member];
            match &it.role {
                Role::Gone => continue,
                Role::Down => {
                    steps.push(Step::Starts(member));
                    continue;
                }
                Role::Follows | Role::Asks(_) => {
                    if self.may_ask(setup, member) {
                        steps.push(Step::Asks(member));
                    }
                }
                Role::Leads(leading) => self.steps_of_leader(setup, member, leading, steps),
            }
            if self.crashes < setup.crashes {
                steps.push(Step::Crashes(member));
            }
        }
        if setup.wipes && self.members[B].role != Role::Gone && self.crashes < setup.crashes {
            steps.push(Step::Wipes);
        }
    }

    pub(crate) fn may_ask(&self, setup: &Setup, member: usize) -> bool {
        let it = &self.members[member];
        rules::may_lead(Self::part(setup, member))
            && it.term < setup.terms
            && it.log.voters().all() & bit(member) != 0
            && !matches!(it.role, Role::Leads(_))
    }

    pub(crate) fn steps_of_leader(
        &self,
        setup: &Setup,
        member: usize,
        leading: &Leading,
        steps: &mut Vec<Step>,
    ) {
        let it = &self.members[member];
        let blanks = it
            .log
            .entries()
            .iter()
            .map(|entry| entry.term)
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        let changes = it
            .log
            .entries()
            .iter()
            .filter(|e| e.change.is_some())
            .count();
        let taken = usize::from(it.log.len()) - blanks - changes;
        if !leading.has_handed_over && taken < usize::from(setup.entries) {
            steps.push(Step::Takes(member));
        }
        if it.on_disk < it.log.len() {
            steps.push(Step::Syncs(member));
        }
        if self.change_due(setup, member, leading).is_some() {
            steps.push(Step::Changes(member));
        }
        for other in (0..SLOTS).filter(|other| *other != member) {
            if self.members[other].role == Role::Gone {
                continue;
            }
            let lacks = leading.confirmed[other].is_none_or(|count| count < it.log.len());
            let is_free = Self::part(setup, other) == Part::Data
                || self.may_go_to_watch(setup, member, leading);
            if lacks && is_free {
                steps.push(Step::Sends {
                    from: member,
                    to: other,
                    is_heartbeat: false,
                });
            }
            if (!lacks || !is_free) && leading.fresh & bit(other) == 0 {
                steps.push(Step::Sends {
                    from: member,
                    to: other,
                    is_heartbeat: true,
                });
            }
            if Self::part(setup, other) != Part::Data {
                continue;
            }
            let is_waited_for = leading.lost & bit(other) == 0;
            if is_waited_for {
                steps.push(Step::Loses {
                    leader: member,
                    other,
                });
            }
            if setup.hand_overs
                && is_waited_for
                && !leading.has_handed_over
                && rules::may_lead(Self::part(setup, other))
            {
                steps.push(Step::HandsOver {
                    from: member,
                    to: other,
                });
            }
        }
    }

    /// The next change of who votes, when the one that came with an empty disk has learnt everything.
    pub(crate) fn change_due(
        &self,
        setup: &Setup,
        leader: usize,
        leading: &Leading,
    ) -> Option<Voters> {
        let it = &self.members[leader];
        if !setup.wipes || self.members[D].role == Role::Gone || leading.has_handed_over {
            return None;
        }
        let newest_change = it
            .log
            .entries()
            .iter()
            .rposition(|entry| entry.change.is_some());
        let is_settled = newest_change.is_none_or(|at| usize::from(it.committed) > at);
        let is_active =
            it.committed > 0 && it.log.entries()[usize::from(it.committed) - 1].term == it.term;
        match it.log.voters() {
            Voters::Old if is_active && leading.lost & bit(D) == 0 => Some(Voters::Both),
            Voters::Both if is_active && is_settled => Some(Voters::New),
            Voters::Old | Voters::Both | Voters::New => None,
        }
    }
}
