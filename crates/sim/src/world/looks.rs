//! What can be seen of a world from outside: who is well, who has been, and whether the invariants hold.
//!
//! Always: looking changes nothing but what an observer knows.

use super::{Failure, World};
use crate::fault::Counts;
use crate::invariants;
use crate::moment::Moment;
use crate::node::Node;
use crate::pair::Number;
use crate::place::Place;
use crate::seat::{Cluster, SeatHost};
use agent_node::AgentMachine;
use controller_node::ControllerMachine;
use std::collections::BTreeSet;
use std::time::Duration;

impl World {
    /// The member of the Controller that is active; of two that lead, the later one.
    pub fn controller(&self) -> Option<&Node<ControllerMachine>> {
        let active = self.controllers.iter().map(|controller| &controller.node);
        active
            .filter(|node| node.running.is_some())
            .max_by_key(|node| node.running.as_ref().map(|running| running.term))
    }

    /// The Director of an Agent that is active; of two that lead, the later one.
    pub fn agent(&self, agent: usize) -> Option<&Node<AgentMachine>> {
        let active = self
            .agents
            .iter()
            .filter(|host| host.agent == agent)
            .map(|host| &host.node);
        active
            .filter(|node| node.running.is_some())
            .max_by_key(|node| node.running.as_ref().map(|running| running.term))
    }

    /// All members of all logs.
    pub fn seats(&self) -> impl Iterator<Item = &SeatHost> {
        let controllers = self.controllers.iter().map(|host| &host.node.seat);
        controllers
            .chain(self.agents.iter().map(|host| &host.node.seat))
            .chain(&self.votes)
    }

    /// What went wrong, if anything did.
    pub fn failure(&self) -> Option<Failure> {
        let violation = self.k.broken.clone()?;
        Some(Failure {
            seed: self.seed,
            at: self.k.now,
            violation,
            tail: self.k.trace.tail(),
        })
    }

    /// The faults that have happened.
    pub fn counts(&self) -> &Counts {
        &self.k.counts
    }

    /// All processes of Mainspring. An Agent's own Subagent is part of its Agent.
    pub fn places(&self) -> Vec<Place> {
        let remote = self
            .subagents
            .iter()
            .filter(|subagent| !subagent.is_local)
            .map(|subagent| subagent.place);
        let agents = (0..self.agents.len()).map(Place::Agent);
        let watches = self
            .votes
            .iter()
            .map(|vote| vote.place)
            .filter(|place| matches!(place, Place::Watch(_)));
        let watches: BTreeSet<Place> = watches.collect();
        (0..self.controllers.len())
            .map(Place::Controller)
            .chain(watches)
            .chain(agents)
            .chain(remote)
            .collect()
    }

    /// Whether nothing has hindered a node for so long.
    pub fn is_well(&self, place: Place, span: Duration) -> bool {
        let standing = self.k.standing(place);
        let (clock, acting_since) = match place {
            Place::Controller(index) => {
                let node = &self.controllers[index].node;
                (node.well_since, node.seat.acting_since)
            }
            Place::Agent(index) => {
                let node = &self.agents[index].node;
                (node.well_since, node.seat.acting_since)
            }
            Place::Watch(_) | Place::Subagent(_) | Place::Client => return standing.is_up,
        };
        let Some(acting_since) = acting_since else {
            return false;
        };
        let last_pause = standing
            .paused
            .map_or(Moment::default(), |(_, until)| until);
        let disk = self.k.disk(place);
        let begin = [
            standing.since,
            last_pause,
            disk.slow_until,
            disk.full_until,
            clock,
            acting_since,
        ]
        .into_iter()
        .max();
        standing.is_up
            && begin.is_some_and(|begin| self.k.now.since(begin) > span && begin < self.k.now)
    }

    /// How far a log is.
    pub fn ledger_index(&self, cluster: Cluster) -> u64 {
        match cluster.checked_sub(1) {
            None => self.controller_ledger.index,
            Some(agent) => self.agent_ledgers[agent].index,
        }
    }

    /// The logs of pairs.
    pub fn pairs(&self) -> Vec<Cluster> {
        self.setting.layout.pairs()
    }

    /// For how long nobody has been active in a log.
    pub fn idle_for(&self, cluster: Cluster) -> Duration {
        let acted = self.k.acted.get(&cluster).copied().unwrap_or_default();
        self.k.now.since(acted)
    }

    /// Whether nothing has hindered a member of a log for so long.
    pub fn has_been_well(&self, seat: &SeatHost, span: Duration) -> bool {
        let standing = self.k.standing(seat.place);
        let last_pause = standing
            .paused
            .map_or(Moment::default(), |(_, until)| until);
        let disk = self.k.disk(seat.place);
        let begin = [standing.since, last_pause, disk.slow_until, disk.full_until]
            .into_iter()
            .max();
        standing.is_up
            && begin.is_some_and(|begin| begin < self.k.now && self.k.now.since(begin) > span)
    }

    /// Whether two places have reached each other for so long.
    pub fn has_been_joined(&self, a: Place, b: Place, span: Duration) -> bool {
        [(a, b), (b, a)].into_iter().all(|(from, to)| {
            self.k.net.blocked_since(from, to).is_none()
                && self
                    .cuts
                    .get(&(from, to))
                    .is_none_or(|healed| self.k.now.since(*healed) > span)
        })
    }

    /// Whether a data member was left behind when the watch was told.
    pub fn is_behind(&self, cluster: Cluster, number: Number) -> bool {
        match cluster.checked_sub(1) {
            None => self.controller_ledger.behind.contains(&number),
            Some(agent) => self.agent_ledgers[agent].behind.contains(&number),
        }
    }

    /// The invariants that need a look at the whole.
    pub(super) fn look(&mut self) {
        self.history.pending_marks = invariants::marks_take_effect::observe(self);
        let checks = [
            invariants::one_is_enough::check(self),
            invariants::marks_take_effect::check(self),
            invariants::order_in_one_place::check(self),
            invariants::no_job_on_two_subagents::check(&self.processes),
            invariants::legal_transitions::check(self),
            invariants::due_orders_start::check(self),
            invariants::progress::check(self),
            invariants::acknowledged_is_durable::check(self),
        ];
        for checked in checks {
            self.k.check(checked);
        }
        for agent in &self.agents {
            if agent.node.is_settled()
                && let Some(machine) = agent.node.machine()
                && !self.history.agents[agent.agent].was_wiped
            {
                self.history
                    .check_released(&mut self.k, agent.agent, machine, agent.node.torn());
            }
        }
        let long_ago = Moment(self.k.now.0.saturating_sub(600_000_000));
        self.k.net.forget_closed(long_ago);
    }

    /// Whether every order has come to its end and everything has arrived.
    pub fn is_settled(&self) -> bool {
        self.client.is_done()
            && invariants::no_order_lost::check(self).is_ok()
            && invariants::agent_events_arrive_once_in_order::check_complete(self).is_ok()
    }
}
