//! Which faults happen when: drawn from the seed, one after another, and all of them over at a given moment.

use crate::fault::Fault;
use crate::kernel::Happening;
use crate::place::Place;
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
            FaultStep::Heal(from, to) => self.k.heal(from, to),
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
            self.k.heal(from, to);
        }
        for disk in self.disks() {
            disk.full_until = crate::moment::Moment::default();
            disk.slow_until = crate::moment::Moment::default();
        }
        for place in self.places() {
            if !self.k.standing(place).is_up {
                self.restart(place);
            }
        }
    }

    fn random_fault(&mut self) {
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
                let now = self.k.now;
                self.k.net.block(a, b, now);
                self.k.after(span, Happening::Fault(FaultStep::Heal(a, b)));
                if both {
                    self.k.net.block(b, a, now);
                    self.k.after(span, Happening::Fault(FaultStep::Heal(b, a)));
                }
            }
            62..74 => {
                self.k.counts.count(Fault::SlowDisk);
                let until = self.k.now.plus(span);
                if let Some(disk) = self.disk(logger) {
                    disk.slow_until = until;
                }
            }
            74..82 => {
                self.k.counts.count(Fault::FullDisk);
                self.k
                    .note(format_args!("the disk of {logger} is full for {span:?}"));
                let until = self.k.now.plus(span);
                if let Some(disk) = self.disk(logger) {
                    disk.full_until = until;
                }
            }
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
                self.jump(logger, by);
            }
        }
    }

    fn random_link(&mut self) -> (Place, Place) {
        let agents = self.agents.len();
        let remote: Vec<usize> = (0..self.subagents.len())
            .filter(|i| !self.subagents[*i].is_local)
            .collect();
        let agent = self.k.rng.index(agents);
        let pair = match self.k.rng.below(10) {
            0..6 => (Place::Controller, Place::Agent(agent)),
            6..9 if !remote.is_empty() => {
                let index = *self.k.rng.pick(&remote);
                (
                    Place::Agent(self.subagents[index].agent),
                    Place::Subagent(index),
                )
            }
            _ => (Place::Client, Place::Controller),
        };
        if self.k.rng.per_mille(500) {
            pair
        } else {
            (pair.1, pair.0)
        }
    }
}
