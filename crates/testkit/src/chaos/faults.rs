//! The faults: which one comes when is drawn from the seed; each heals after a while.
//!
//! Always: every fault is counted by its kind and written down with its time. A process that ends without having been killed is
//! noted as a finding and started again.

use std::collections::BTreeMap;
use std::iter::repeat_n;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::world::{Mode, World};

/// The kinds, with how many cards of the deck each has. A run draws the deck again and again, so that each kind comes in a short run, too.
const KINDS: [(&str, usize); 6] = [
    ("kill", 10),
    ("stop", 2),
    ("cut", 2),
    ("freeze", 1),
    ("hold requests", 1),
    ("hold answers", 1),
];

enum Heal {
    Start(String),
    Continue(String),
    Open(String),
}

/// Makes and heals faults.
pub(crate) struct Faults {
    rng: StdRng,
    begin: Instant,
    heals: Vec<(Instant, Heal)>,
    next: Instant,
    /// The kinds that are still to come, in a drawn order.
    deck: Vec<&'static str>,
    pub(crate) counts: BTreeMap<&'static str, usize>,
    pub(crate) killed: BTreeMap<String, usize>,
    pub(crate) diary: Vec<String>,
    pub(crate) findings: Vec<String>,
}

impl Faults {
    pub(crate) fn new(rng: StdRng) -> Faults {
        let now = Instant::now();
        Faults {
            rng,
            begin: now,
            heals: Vec::new(),
            next: now + Duration::from_secs(2),
            deck: Vec::new(),
            counts: KINDS.iter().map(|(kind, _)| (*kind, 0)).collect(),
            killed: BTreeMap::new(),
            diary: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, world: &mut World) -> Result<()> {
        let now = Instant::now();
        self.heal_due(world, now)?;
        self.look_for_dead(world, now)?;
        if now < self.next {
            return Ok(());
        }
        self.next = now + self.millis(300..1600);
        let kind = self.draw();
        if !self.make(kind, world, now)? {
            // It did not fit now; it comes at the end of this deck.
            self.deck.insert(0, kind);
        }
        Ok(())
    }

    fn draw(&mut self) -> &'static str {
        if self.deck.is_empty() {
            let cards = KINDS
                .iter()
                .flat_map(|(kind, cards)| repeat_n(*kind, *cards));
            self.deck = cards.collect();
            self.deck.shuffle(&mut self.rng);
        }
        self.deck.pop().expect("a new deck has cards")
    }

    /// Makes a fault somewhere; false when this kind of fault is there already.
    fn make(&mut self, kind: &'static str, world: &mut World, now: Instant) -> Result<bool> {
        if kind == "kill" || kind == "stop" {
            let names = world.node_names();
            let name = names[self.rng.random_range(0..names.len())].clone();
            let node = world.node(&name);
            if node.pid().is_none() || (kind == "stop" && node.is_stopped()) {
                return Ok(false);
            }
            if kind == "kill" {
                node.kill()?;
                // It cannot be continued any more.
                self.heals.retain(
                    |(_, heal)| !matches!(heal, Heal::Continue(stopped) if *stopped == name),
                );
                *self.killed.entry(name.clone()).or_default() += 1;
                let at = now + self.millis(0..2500);
                self.heals.push((at, Heal::Start(name.clone())));
            } else {
                node.stop()?;
                let at = now + self.millis(200..8000);
                self.heals.push((at, Heal::Continue(name.clone())));
            }
            self.note(kind, &name);
            return Ok(true);
        }
        let mode = match kind {
            "cut" => Mode::Cut,
            "freeze" => Mode::Frozen,
            "hold requests" => Mode::RequestsHeld,
            _ => Mode::AnswersHeld,
        };
        let names: Vec<String> = world.proxies().keys().cloned().collect();
        let name = names[self.rng.random_range(0..names.len())].clone();
        let proxy = &world.proxies()[&name];
        if proxy.mode() != Mode::Open {
            return Ok(false);
        }
        proxy.set(mode);
        let at = now + self.millis(100..12_000);
        self.heals.push((at, Heal::Open(name.clone())));
        self.note(kind, &name);
        Ok(true)
    }

    fn heal_due(&mut self, world: &mut World, now: Instant) -> Result<()> {
        let (due, later) = std::mem::take(&mut self.heals)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.heals = later;
        Faults::heal(world, due)
    }

    fn heal(world: &mut World, due: Vec<(Instant, Heal)>) -> Result<()> {
        for (_, heal) in due {
            match heal {
                Heal::Start(name) => world.node(&name).start()?,
                Heal::Continue(name) => world.node(&name).cont()?,
                Heal::Open(name) => world.proxies()[&name].set(Mode::Open),
            }
        }
        Ok(())
    }

    /// Heals everything at once.
    pub(crate) async fn heal_all(&mut self, world: &mut World) -> Result<()> {
        let all = std::mem::take(&mut self.heals);
        Faults::heal(world, all)?;
        self.look_for_dead(world, Instant::now())?;
        let restarts = std::mem::take(&mut self.heals);
        Faults::heal(world, restarts)?;
        for name in world.node_names() {
            world.node(&name).wait_ready().await?;
        }
        Ok(())
    }

    /// Only a signal of ours may end a process here.
    pub(crate) fn look_for_dead(&mut self, world: &mut World, now: Instant) -> Result<()> {
        for name in world.node_names() {
            let node = world.node(&name);
            if node.pid().is_none() {
                continue;
            }
            if let Some(status) = node.try_wait()? {
                let tail = node.log_tail(8);
                let at = self.begin.elapsed().as_secs_f64();
                self.findings.push(format!(
                    "{at:.1} s: {name} ended by itself with {status}:\n{tail}"
                ));
                self.heals.push((now, Heal::Start(name)));
            }
        }
        Ok(())
    }

    fn note(&mut self, kind: &'static str, name: &str) {
        *self.counts.entry(kind).or_default() += 1;
        let at = self.begin.elapsed().as_secs_f64();
        self.diary.push(format!("{at:8.2} s {kind} {name}"));
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }
}
