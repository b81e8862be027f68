//! What befalls the places of a world: crashes, hangs, restarts, lost disks, cut links, clocks that jump.
//!
//! Always: whatever is done to one place is told to those who were speaking with it. Never here: which fault comes when.

use super::{WATCH, World, agent_machine, kept};
use crate::fault::Fault;
use crate::faults::FaultStep;
use crate::kept::Kept;
use crate::kernel::Happening;
use crate::ledger::Ledger;
use crate::moment::{LocalClock, Moment};
use crate::pair::{Members, Number};
use crate::place::Place;
use crate::seat::{Cluster, SeatHost, SeatStep};
use crate::subagent::SubagentHost;
use cluster::Part;
use std::time::Duration;

impl World {
    /// A node that cannot write ends with exit code 98 and is started again.
    pub(super) fn stop_and_restart(&mut self, place: Place) {
        let pause = self.k.rng.span(1_000_000, 60_000_000);
        self.crash_uncounted(place, false);
        self.k
            .after(pause, Happening::Fault(FaultStep::Restart(place)));
    }

    /// A process is killed and comes back after a while.
    pub fn crash(&mut self, place: Place, is_silent: bool, back_after: Duration) {
        if !self.k.standing(place).is_up {
            return;
        }
        match place {
            Place::Controller(_) => self.k.counts.count(Fault::ControllerCrash),
            Place::Agent(_) => self.k.counts.count(Fault::AgentCrash),
            Place::Watch(_) => self.k.counts.count(Fault::WatchCrash),
            Place::Subagent(_) | Place::Client => {}
        }
        if let Some(stand) = self.stand_of(place) {
            self.k.counts.count(if stand {
                Fault::ActiveCrash
            } else {
                Fault::StandbyCrash
            });
        }
        self.crash_uncounted(place, is_silent);
        self.k
            .after(back_after, Happening::Fault(FaultStep::Restart(place)));
    }

    /// Whether the place is the active member of a pair, or a standby; nothing of others.
    pub fn stand_of(&self, place: Place) -> Option<bool> {
        match place {
            Place::Controller(index) if self.controllers.len() > 1 => {
                Some(self.controllers[index].node.running.is_some())
            }
            Place::Agent(index) if self.setting.layout.directors > 1 => {
                Some(self.agents[index].node.running.is_some())
            }
            Place::Client
            | Place::Controller(_)
            | Place::Watch(_)
            | Place::Agent(_)
            | Place::Subagent(_) => None,
        }
    }

    /// A process is gone and stays away.
    pub fn crash_uncounted(&mut self, place: Place, is_silent: bool) {
        if !self.k.standing(place).is_up {
            return;
        }
        for vote in self.votes.iter_mut().filter(|vote| vote.place == place) {
            vote.crash(&mut self.k);
        }
        match place {
            Place::Controller(index) => self.controllers[index].crash(&mut self.k),
            Place::Agent(index) => {
                self.agents[index].crash(&mut self.k);
                let own = self.own_subagent(index);
                self.subagents[own].crash(&mut self.k, is_silent);
            }
            Place::Subagent(index) => return self.subagents[index].crash(&mut self.k, is_silent),
            Place::Client | Place::Watch(_) => {}
        }
        self.k.note(format_args!("{place} crashes"));
        self.k.end_life(place, is_silent);
        if !is_silent {
            self.tell_others(place);
        }
    }

    /// The connections of a process that is gone break: the other members notice.
    pub(super) fn tell_others(&mut self, place: Place) {
        let gone: Vec<(Cluster, Number)> = self
            .seats()
            .filter(|seat| seat.place == place)
            .map(|seat| (seat.cluster, seat.disk.kept.number))
            .collect();
        for (cluster, number) in gone {
            let others = self
                .seats()
                .filter(|seat| seat.cluster == cluster && seat.place != place);
            let others: Vec<Place> = others.map(|seat| seat.place).collect();
            for other in others {
                if self.k.net.blocked_since(place, other).is_some() {
                    continue;
                }
                let (life, delay) = (self.k.life(other), self.k.rng.span(100, 50_000));
                let what = SeatStep::Broken(number);
                self.k.after(
                    delay,
                    Happening::Seat {
                        cluster,
                        place: other,
                        life,
                        what,
                    },
                );
            }
        }
    }

    pub(super) fn own_subagent(&self, director: usize) -> usize {
        let is_own = |subagent: &SubagentHost| subagent.is_local && subagent.director == director;
        self.subagents.iter().position(is_own).unwrap_or(director)
    }

    /// A process that is down starts.
    pub fn restart(&mut self, place: Place) {
        if self.k.standing(place).is_up || self.k.broken.is_some() {
            return;
        }
        match place {
            Place::Controller(index) => {
                self.k.begin_life(place);
                self.controllers[index].node.start(&mut self.k);
            }
            Place::Agent(index) => {
                let own = self.own_subagent(index);
                let (subagent, mut around) = self.subagent(own);
                subagent.start(&mut around);
                self.k.begin_life(place);
                self.agents[index].node.start(&mut self.k);
            }
            Place::Subagent(index) => {
                let (subagent, mut around) = self.subagent(index);
                subagent.start(&mut around);
            }
            Place::Watch(_) => {
                self.k.begin_life(place);
                self.k.note(format_args!("{place} starts"));
            }
            Place::Client => {}
        }
        for vote in self.votes.iter_mut().filter(|vote| vote.place == place) {
            vote.start(&mut self.k);
        }
    }

    /// An Agent comes back with an empty disk: one without a second Director.
    pub fn wipe_agent(&mut self, index: usize) {
        self.crash_uncounted(Place::Agent(index), false);
        let disk = self.k.standing(Place::Agent(index)).life;
        let machine = agent_machine(index, disk);
        self.agents[index]
            .node
            .wipe(kept(0, 1, Part::Watch), machine.clone());
        self.agent_ledgers[index] = Ledger::new(index + 1, machine);
        self.history.agents[index].was_wiped = true;
        self.restart(Place::Agent(index));
    }

    /// A standby or watch loses its disk and comes back as another member, if all others have theirs. Answers whether it does.
    pub fn replace(&mut self, cluster: Cluster, place: Place) -> bool {
        let is_whole = |seat: &SeatHost| {
            let others = self.seats().filter(|other| other.cluster == cluster);
            let mut numbers = others.map(|other| other.disk.kept.number);
            let members = seat
                .member
                .as_ref()
                .map(|member| member.kept.members().clone());
            members.is_some_and(|members| {
                numbers.all(|number| members.get(&number).is_some_and(|seat| seat.votes))
            })
        };
        let is_led = self.seats().any(|seat| {
            let member = seat
                .member
                .as_ref()
                .filter(|_| seat.cluster == cluster && seat.place != place);
            let is_able = member.is_some_and(|member| {
                member.may_act(self.k.steady(seat.place))
                    && member.kept.changed_at() <= member.commit()
                    && member.commit() >= member.kept.newest().1
            });
            is_able && is_whole(seat)
        });
        // A commit that only the two of them have would be lost with the disk.
        let is_settled = |seat: &SeatHost| seat.disk.kept.newest().1 >= self.ledger_index(cluster);
        let others_have_it = self
            .seats()
            .filter(|seat| seat.cluster == cluster && seat.place != place)
            .all(is_settled);
        if !is_led || !others_have_it {
            return false;
        }
        self.crash_uncounted(place, false);
        self.replaced += 1;
        let number = self.replaced * 10 + WATCH + 1;
        if let Some(seat) = self.seat_mut(cluster, place) {
            let part = seat.disk.kept.part;
            let former = seat.disk.kept.number;
            seat.replace(Kept::new(number, part, Members::new()));
            self.k.numbers.remove(&(cluster, former));
            self.k
                .note(format_args!("{place} has lost its disk of log {cluster}"));
        }
        true
    }

    /// A process stands still until then.
    pub fn pause(&mut self, place: Place, until: Moment) {
        self.k.pause(place, until);
        if let Place::Agent(director) = place {
            let own = self.own_subagent(director);
            self.k.pause(Place::Subagent(own), until);
        }
    }

    /// The next sync of a node fails.
    pub(crate) fn fail_next_sync(&mut self, place: Place) {
        self.failing.insert(place);
    }

    /// A clock jumps by so many milliseconds.
    pub fn jump(&mut self, place: Place, by: i64) {
        self.k.counts.count(if by > 0 {
            Fault::ClockForward
        } else {
            Fault::ClockBackward
        });
        self.k
            .note(format_args!("the clock of {place} jumps by {by} ms"));
        let now = self.k.now;
        if let Some(clock) = self.clock_mut(place) {
            clock.ahead += by;
        }
        match place {
            Place::Controller(index) => self.controllers[index].node.well_since = now,
            Place::Agent(index) => self.agents[index].node.well_since = now,
            Place::Client | Place::Watch(_) | Place::Subagent(_) => {}
        }
    }

    /// A clock is set right.
    pub(crate) fn set_clock_right(&mut self, place: Place) {
        let ahead = self.clock(place).map_or(0, |clock| clock.ahead);
        if ahead != 0 {
            self.jump(place, -ahead);
        }
    }

    pub(crate) fn clock(&self, place: Place) -> Option<LocalClock> {
        match place {
            Place::Controller(index) => Some(self.controllers[index].node.clock),
            Place::Agent(index) => Some(self.agents[index].node.clock),
            Place::Client | Place::Watch(_) | Place::Subagent(_) => None,
        }
    }

    pub(super) fn clock_mut(&mut self, place: Place) -> Option<&mut LocalClock> {
        match place {
            Place::Controller(index) => Some(&mut self.controllers[index].node.clock),
            Place::Agent(index) => Some(&mut self.agents[index].node.clock),
            Place::Client | Place::Watch(_) | Place::Subagent(_) => None,
        }
    }

    /// The places of one host.
    pub(super) fn host_of(&self, place: Place) -> Vec<Place> {
        match place {
            Place::Agent(index) => vec![place, Place::Subagent(self.own_subagent(index))],
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                vec![place]
            }
        }
    }

    /// No message gets through from one host to another for so long.
    pub fn cut(&mut self, from: Place, to: Place, span: Duration) {
        let now = self.k.now;
        for a in self.host_of(from) {
            for b in self.host_of(to) {
                self.k.net.block(a, b, now);
                self.k.after(span, Happening::Fault(FaultStep::Heal(a, b)));
            }
        }
    }

    /// Messages get through again.
    pub fn heal(&mut self, from: Place, to: Place) {
        if self.k.net.blocked_since(from, to).is_some() {
            self.cuts.insert((from, to), self.k.now);
        }
        self.k.heal(from, to);
    }

    /// The active member hands over by command. Answers whether it does.
    pub fn switch_over(&mut self, cluster: Cluster) -> bool {
        let places: Vec<Place> = self
            .seats()
            .filter(|seat| seat.cluster == cluster)
            .map(|seat| seat.place)
            .collect();
        for place in places {
            if self.k.paused_until(place).is_some() {
                continue;
            }
            let World {
                k,
                controllers,
                agents,
                ..
            } = self;
            let seat = match place {
                Place::Controller(index) if cluster == 0 => &mut controllers[index].node.seat,
                Place::Agent(index) => &mut agents[index].node.seat,
                Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                    continue;
                }
            };
            let now = k.steady(place);
            if seat
                .member
                .as_mut()
                .is_some_and(|member| member.hand_over(now))
            {
                k.counts.count(Fault::SwitchOver);
                k.note(format_args!("{place} hands over log {cluster}"));
                seat.settle(k);
                return true;
            }
        }
        false
    }
}
