//! Which faults happen when: drawn from the seed, one after another, and all of them over at a given moment.

use crate::fault::Fault;
use crate::kernel::Happening;
use crate::place::Place;
use crate::seat::Cluster;
use crate::world::World;
use std::time::Duration;

/// A step of a fault.
#[derive(Clone, Copy, Debug)]
pub enum FaultStep {
    /// The next fault is drawn.
    Next,
    /// Messages get through again.
    Heal(Place, Place),
    /// A process starts again.
    Restart(Place),
    /// The next step of a rolling restart of a pair.
    Rolling(Cluster, u32),
    /// All faults are over.
    Calm,
}

impl World {
    /// Carries out a step.
    pub(crate) fn fault_step(&mut self, step: FaultStep) {
        match step {
            FaultStep::Next => {
                let Some(mean) = self.setting.fault_every.filter(|_| !self.is_calm) else {
                    return;
                };
                self.random_fault();
                let micros = u64::try_from(mean.as_micros()).unwrap_or(1_000_000);
                let pause = Duration::from_micros(self.k.rng.between(1, 2 * micros));
                self.k.after(pause, Happening::Fault(FaultStep::Next));
            }
            FaultStep::Heal(from, to) => self.heal(from, to),
            FaultStep::Rolling(cluster, stage) => self.roll(cluster, stage),
            FaultStep::Restart(place) => self.restart(place),
            FaultStep::Calm => self.calm(),
        }
    }

    /// No fault begins any more, and those that last end.
    fn calm(&mut self) {
        self.is_calm = true;
        self.k.weather = crate::kernel::Weather::FINE;
        self.k.note(format_args!("all is well"));
        for place in self.places() {
            self.set_clock_right(place);
        }
        for (from, to) in self.k.net.all_blocked() {
            self.heal(from, to);
        }
        self.k.mend_disks();
        for place in self.places() {
            if !self.k.standing(place).is_up {
                self.restart(place);
            }
        }
    }

    fn random_fault(&mut self) {
        let pairs = self.pairs();
        if !pairs.is_empty() && (self.setting.only.is_some() || self.k.rng.per_mille(800)) {
            let cluster = *self.k.rng.pick(&pairs);
            return self.fault_of_pair(cluster);
        }
        let nodes = self.places();
        let place = *self.k.rng.pick(&nodes);
        let logging: Vec<Place> = nodes
            .iter()
            .copied()
            .filter(|place| !matches!(place, Place::Subagent(_)))
            .collect();
        let logger = *self.k.rng.pick(&logging);
        let long = self.k.rng.per_mille(100);
        let span = if long {
            self.k.rng.span(60_000_000, 1_800_000_000)
        } else {
            self.k.rng.span(10_000, 60_000_000)
        };
        match self.k.rng.below(100) {
            0..30 => {
                let is_silent = self.k.rng.per_mille(200);
                self.crash(place, is_silent, span);
            }
            30..42 => {
                if self.k.standing(place).is_up && self.k.paused_until(place).is_none() {
                    self.k.counts.count(Fault::Pause);
                    self.k
                        .note(format_args!("{place} stands still for {span:?}"));
                    let until = self.k.now.plus(span);
                    self.pause(place, until);
                }
            }
            42..62 => {
                let (a, b) = self.random_link();
                let both = self.k.rng.per_mille(600);
                self.k.counts.count(if both {
                    Fault::PartitionBoth
                } else {
                    Fault::PartitionOneWay
                });
                self.k.note(format_args!(
                    "no way from {a} to {b} for {span:?}, both ways: {both}"
                ));
                self.cut(a, b, span);
                if both {
                    self.cut(b, a, span);
                }
            }
            62..74 => self.k.slow_disk(logger, span),
            74..82 => self.k.fill_disk(logger, span),
            82..86 => {
                self.fail_next_sync(logger);
            }
            _ => {
                let scale = *self.k.rng.pick(&[1_000_i64, 60_000, 3_600_000, 86_400_000]);
                let by = scale * i64::try_from(self.k.rng.between(1, 3)).unwrap_or(1);
                let ahead = self.clock(logger).map_or(0, |clock| clock.ahead);
                // A clock that is far off comes back: scheduled orders would outlast the world otherwise.
                let by = if ahead.abs() > 10_000_000 {
                    -ahead
                } else if self.k.rng.per_mille(500) {
                    by
                } else {
                    -by
                };
                // A watch has no clock that anybody looks at.
                if self.clock(logger).is_some() {
                    self.jump(logger, by);
                }
            }
        }
    }

    fn random_link(&mut self) -> (Place, Place) {
        let agents = self.agents.len();
        let remote: Vec<usize> = (0..self.subagents.len())
            .filter(|i| !self.subagents[*i].is_local)
            .collect();
        let agent = self.k.rng.index(agents);
        let controller = Place::Controller(self.k.rng.index(self.controllers.len()));
        let pair = match self.k.rng.below(10) {
            0..6 => (controller, Place::Agent(agent)),
            6..9 if !remote.is_empty() => {
                let index = *self.k.rng.pick(&remote);
                let layout = self.setting.layout;
                // The Directors of an Agent are as far apart as there are Agents.
                let member = if layout.directors > 1 {
                    self.k.rng.index(layout.directors)
                } else {
                    0
                };
                let director = self.subagents[index].agent + layout.agents * member;
                (Place::Agent(director), Place::Subagent(index))
            }
            _ => (Place::Client, controller),
        };
        if self.k.rng.per_mille(500) {
            pair
        } else {
            (pair.1, pair.0)
        }
    }

    /// The members of a pair: the active one if there is one, the others, the watch.
    fn parts(&self, cluster: Cluster) -> (Option<Place>, Vec<Place>, Option<Place>) {
        let is_active = |place: Place| self.stand_of(place) == Some(true);
        let data: Vec<Place> = self
            .seats()
            .filter(|seat| seat.cluster == cluster && seat.disk.kept.part == cluster::Part::Data)
            .map(|seat| seat.place)
            .collect();
        let active = data.iter().copied().find(|place| is_active(*place));
        let others = data
            .into_iter()
            .filter(|place| Some(*place) != active)
            .collect();
        let watch = self
            .votes
            .iter()
            .find(|vote| vote.cluster == cluster)
            .map(|vote| vote.place);
        // A witness is where the active Controller is.
        let witness = || {
            let active = (0..self.controllers.len())
                .find(|index| self.controllers[*index].node.running.is_some());
            Place::Controller(active.unwrap_or(0))
        };
        (active, others, watch.or_else(|| Some(witness())))
    }

    fn stand_still(&mut self, place: Place, span: Duration, fault: Fault) {
        if self.k.standing(place).is_up && self.k.paused_until(place).is_none() {
            self.k.counts.count(Fault::Pause);
            self.k.counts.count(fault);
            self.k
                .note(format_args!("{place} stands still for {span:?}"));
            let until = self.k.now.plus(span);
            self.pause(place, until);
        }
    }

    fn cut_link(&mut self, a: Place, b: Place, span: Duration, (both, one): (Fault, Fault)) {
        let (a, b) = if self.k.rng.per_mille(500) {
            (a, b)
        } else {
            (b, a)
        };
        self.k
            .note(format_args!("no way from {a} to {b} for {span:?}"));
        self.cut(a, b, span);
        if self.k.rng.per_mille(600) {
            self.cut(b, a, span);
            self.k.counts.count(both);
        } else {
            self.k.counts.count(one);
        }
    }

    fn fault_of_pair(&mut self, cluster: Cluster) {
        let (active, others, watch) = self.parts(cluster);
        let (Some(standby), Some(watch)) = (others.first().copied(), watch) else {
            return;
        };
        let active = active.unwrap_or_else(|| others[others.len() - 1]);
        let is_long = self.k.rng.per_mille(60);
        let span = if is_long {
            self.k.rng.span(60_000_000, 600_000_000)
        } else {
            self.k.rng.span(100_000, 40_000_000)
        };
        let is_silent = self.k.rng.per_mille(400);
        let member = *self.k.rng.pick(&[active, standby]);
        let anyone = *self.k.rng.pick(&[active, standby, watch]);
        let members = (Fault::MembersCut, Fault::MembersCutOneWay);
        let from_watch = (Fault::WatchCut, Fault::WatchCutOneWay);
        let kind = self.k.rng.below(100);
        match self.setting.only.unwrap_or(kind) {
            0..14 => self.crash(active, is_silent, span),
            14..21 => self.crash(standby, is_silent, span),
            21..27 => self.crash(watch, is_silent, span),
            27..37 => self.stand_still(active, span, Fault::ActivePause),
            37..42 => self.stand_still(standby, span, Fault::StandbyPause),
            42..47 => self.stand_still(watch, span, Fault::WatchPause),
            47..55 => self.cut_link(active, standby, span, members),
            55..61 => self.cut_link(member, watch, span, from_watch),
            61..67 => {
                self.k.counts.count(Fault::ActiveIsolated);
                self.k.note(format_args!(
                    "{active} is cut off from all others for {span:?}"
                ));
                for other in [standby, watch] {
                    self.cut(active, other, span);
                    self.cut(other, active, span);
                }
            }
            67..69 => {
                self.k.counts.count(Fault::AllCrash);
                self.k.note(format_args!("everything crashes"));
                for place in self.places() {
                    self.crash_uncounted(place, is_silent);
                    let back = self.k.rng.span(100_000, 40_000_000);
                    self.k
                        .after(back, Happening::Fault(FaultStep::Restart(place)));
                }
            }
            69..72 => {
                if self.replace(cluster, standby) {
                    self.k.counts.count(Fault::StandbyWiped);
                    self.k
                        .after(span, Happening::Fault(FaultStep::Restart(standby)));
                }
            }
            72..74 => {
                if matches!(watch, Place::Watch(_)) && self.replace(cluster, watch) {
                    self.k.counts.count(Fault::WatchWiped);
                    self.k
                        .after(span, Happening::Fault(FaultStep::Restart(watch)));
                }
            }
            74..82 => {
                self.switch_over(cluster);
            }
            82..84 => {
                self.k.counts.count(Fault::RollingRestart);
                self.roll(cluster, 0);
            }
            84..88 => self.k.slow_disk(anyone, span),
            88..91 => self.k.fill_disk(anyone, span),
            91..93 => self.fail_next_sync(anyone),
            93..97 => self.lose_host(is_silent, span),
            _ => {
                let ahead = self.clock(member).map_or(0, |clock| clock.ahead);
                let by = i64::try_from(self.k.rng.between(1, 3_600_000)).unwrap_or(1);
                let by = if ahead.abs() > 1_000_000 {
                    -ahead
                } else if self.k.rng.per_mille(500) {
                    by
                } else {
                    -by
                };
                self.jump(member, by);
            }
        }
    }

    /// Returns the places on one of three hosts: a Controller and a Director of each Agent, or the watch, and Subagents. The seed
    /// determines which Controller shares a host with which Directors.
    fn host(&self, host: usize) -> Vec<Place> {
        let layout = self.setting.layout;
        let mut places = Vec::new();
        if host < layout.controllers {
            let member = usize::from((host == 1) != (self.seed % 2 == 1));
            let directors = (0..layout.agents).map(|agent| agent + layout.agents * member);
            places.push(Place::Controller(host));
            places.extend(directors.map(Place::Agent));
        } else {
            places.push(Place::Watch(0));
        }
        let subagents = self.subagents.iter().enumerate();
        let remote = subagents.filter(|(index, subagent)| !subagent.is_local && index % 3 == host);
        places.extend(remote.map(|(_, subagent)| subagent.place));
        places
    }

    /// Crashes, pauses or cuts off everything on a host at once.
    fn lose_host(&mut self, is_silent: bool, span: Duration) {
        let layout = self.setting.layout;
        if layout.controllers != 2 || layout.directors != 2 {
            return;
        }
        let number = self.k.rng.index(3);
        let host = self.host(number);
        let told = |what: &str| format!("host {number} {what} for {span:?}");
        match self.k.rng.below(3) {
            0 => {
                self.k.counts.count(Fault::HostCrash);
                self.k.note(format_args!("{}", told("is gone")));
                for place in host {
                    self.crash_uncounted(place, is_silent);
                    self.k
                        .after(span, Happening::Fault(FaultStep::Restart(place)));
                }
            }
            1 => {
                self.k.counts.count(Fault::HostPause);
                self.k.note(format_args!("{}", told("stands still")));
                let until = self.k.now.plus(span);
                for place in host {
                    if self.k.standing(place).is_up && self.k.paused_until(place).is_none() {
                        self.pause(place, until);
                    }
                }
            }
            _ => {
                self.k.counts.count(Fault::HostCut);
                self.k.note(format_args!("{}", told("is cut off")));
                let mut others = self.places();
                others.push(Place::Client);
                others.retain(|place| !host.contains(place));
                for place in host {
                    for other in &others {
                        self.cut(place, *other, span);
                        self.cut(*other, place, span);
                    }
                }
            }
        }
    }

    /// Standby, switch-over, the other one, the watch.
    fn roll(&mut self, cluster: Cluster, stage: u32) {
        let (_, others, watch) = self.parts(cluster);
        let place = match stage {
            0 | 2 => others.first().copied(),
            3 => watch,
            _ => None,
        };
        if stage == 1 {
            self.switch_over(cluster);
        }
        if let Some(place) = place.filter(|_| !self.is_calm) {
            self.crash_uncounted(place, false);
            let back = self.k.rng.span(500_000, 3_000_000);
            self.k
                .after(back, Happening::Fault(FaultStep::Restart(place)));
        }
        if stage < 3 && !self.is_calm {
            let next = Duration::from_secs(15);
            self.k.after(
                next,
                Happening::Fault(FaultStep::Rolling(cluster, stage + 1)),
            );
        }
    }
}
