//! A member of a log in its process: its disk, its timer, its words to the others.
//!
//! Always: one write at a time; time is the place's steady clock. Never here: the rules (see `pair`), and what is done with an entry.

use crate::disk::Disk;
use crate::fault::Fault;
use crate::kept::Kept;
use crate::kernel::{Happening, Kernel};
use crate::moment::Moment;
use crate::pair::{Member, Message, Number, Rules};
use crate::place::Place;
use cluster::Timing;

/// Which log: 0 is the Controller's, then those of the Agents.
pub type Cluster = usize;

/// Something within a member.
#[derive(Clone, Copy, Debug)]
pub enum SeatStep {
    /// The write is on the disk.
    Synced(u64),
    /// The write has failed.
    Failed,
    /// The timer.
    Alarm,
    /// The connection to another member has broken.
    Broken(Number),
}

/// A member in its process.
#[derive(Debug)]
pub struct SeatHost {
    /// Of which log.
    pub cluster: Cluster,
    /// In which process.
    pub place: Place,
    /// Its disk.
    pub disk: Disk,
    /// The member while the process runs.
    pub member: Option<Member>,
    rules: Rules,
    timing: Timing,
    alarm: Option<Moment>,
    /// Since when it may act as the active member, without a break.
    pub acting_since: Option<Moment>,
}

impl SeatHost {
    /// One whose process does not run yet.
    pub fn new(
        cluster: Cluster,
        place: Place,
        kept: Kept,
        rules: Rules,
        timing: Timing,
    ) -> SeatHost {
        SeatHost {
            cluster,
            place,
            disk: Disk::new(kept),
            member: None,
            rules,
            timing,
            alarm: None,
            acting_since: None,
        }
    }

    /// The process starts.
    pub fn start(&mut self, k: &mut Kernel) {
        k.numbers
            .insert((self.cluster, self.disk.kept.number), self.place);
        let (now, chance) = (k.steady(self.place), k.rng.number());
        let member = Member::start(self.disk.kept.clone(), self.rules, self.timing, now, chance);
        self.member = Some(member);
        self.alarm = None;
        self.settle(k);
    }

    /// The process is gone.
    pub fn crash(&mut self, k: &mut Kernel) {
        self.member = None;
        self.acting_since = None;
        self.disk.crash(k);
    }

    /// The disk is lost; another, empty one is there.
    pub fn replace(&mut self, kept: Kept) {
        self.disk = Disk::new(kept);
    }

    /// Another member says something.
    pub fn hear(&mut self, k: &mut Kernel, from: Number, message: Message) {
        let (now, chance) = (k.steady(self.place), k.rng.number());
        if let Some(member) = &mut self.member {
            member.hear(from, message, now, chance);
            self.settle(k);
        }
    }

    /// Something has happened here. Answers whether the disk has failed.
    pub fn step(&mut self, k: &mut Kernel, step: SeatStep) -> bool {
        let now = k.steady(self.place);
        let Some(member) = &mut self.member else {
            return false;
        };
        match step {
            SeatStep::Synced(number) => {
                if let Some((made, index)) = self.disk.synced(number) {
                    member.synced(made, index, now);
                }
            }
            SeatStep::Failed => return true,
            SeatStep::Alarm => {
                if self.alarm.is_none_or(|at| at > k.now) {
                    return false;
                }
                self.alarm = None;
                if member.next_tick().is_some_and(|at| at <= now) {
                    let chance = k.rng.number();
                    member.tick(now, chance);
                }
            }
            SeatStep::Broken(from) => member.broken(from),
        }
        self.settle(k);
        false
    }

    /// Says what is to be said, writes what is to be written, and sets the timer.
    pub fn settle(&mut self, k: &mut Kernel) {
        let Some(member) = &mut self.member else {
            return;
        };
        let from = member.kept.number;
        if member.may_act(k.steady(self.place)) {
            self.acting_since.get_or_insert(k.now);
            k.acted.insert(self.cluster, k.now);
        } else {
            self.acting_since = None;
        }
        for (to, message) in std::mem::take(&mut member.out) {
            say(k, self.cluster, (self.place, from), to, message);
        }
        let life = k.life(self.place);
        let (cluster, place) = (self.cluster, self.place);
        if !self.disk.is_busy()
            && let Some((made, index, ops)) = member.take_ops()
        {
            let number = self.disk.begin(made, index, ops);
            let (is_slow, is_full) = k.meets_disk(place);
            let latency = k.rng.span(50, 5_000) * if is_slow { 100 } else { 1 };
            let what = if is_full {
                SeatStep::Failed
            } else {
                SeatStep::Synced(number)
            };
            k.after(
                latency,
                Happening::Seat {
                    cluster,
                    place,
                    life,
                    what,
                },
            );
        }
        let Some(due) = member.next_tick() else {
            return;
        };
        // An alarm that comes too early looks again.
        let at = k.when(place, due);
        if self.alarm.is_none_or(|planned| planned > at) {
            self.alarm = Some(at);
            let what = SeatStep::Alarm;
            k.at(
                at,
                Happening::Seat {
                    cluster,
                    place,
                    life,
                    what,
                },
            );
        }
    }
}

/// Sends a word to another member; it may be lost, late or doubled, and nothing keeps their order.
pub(crate) fn say(
    k: &mut Kernel,
    cluster: Cluster,
    (from, from_number): (Place, Number),
    to_number: Number,
    message: Message,
) {
    let Some(to) = k.numbers.get(&(cluster, to_number)).copied() else {
        return;
    };
    let word = |message| Happening::Word {
        cluster,
        to,
        to_number,
        from,
        from_number,
        message,
    };
    let (lost, late, doubled) = (k.weather.lost, k.weather.late, k.weather.duplicated);
    let chance = k.rng.below(1_000_000);
    // A cut link keeps some words, and gives them out when they are of no use any more.
    if k.net.blocked_since(from, to).is_some() {
        if chance < 50_000 {
            k.counts.count(Fault::LateWord);
            let delay = k.rng.span(1_000_000, 120_000_000);
            k.after(delay, word(message));
        }
        return;
    }
    if chance < lost {
        return k.counts.count(Fault::LostWord);
    }
    if chance < lost + late {
        k.counts.count(Fault::LateWord);
        let delay = k.rng.span(1_000_000, 120_000_000);
        return k.after(delay, word(message));
    }
    if chance < lost + late + doubled {
        k.counts.count(Fault::DoubleWord);
        let delay = k.rng.span(1_000, 20_000_000);
        k.after(delay, word(message.clone()));
    }
    let delay = k.rng.span(50, 40_000);
    k.after(delay, word(message));
}
