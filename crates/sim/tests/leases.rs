//! Directors and Subagents that lose each other over and over, for shorter and longer than the lease, with clocks that are wrong and
//! jump: no order ever has two live processes, and every order comes to its end (S139 to S143).

use serde_json::{Value, json};
use sim::client::Refusal;
use sim::faults::FaultStep;
use sim::kernel::{Happening, Weather};
use sim::net::ClientCall;
use sim::pair::{self, Rules};
use sim::process::Manners;
use sim::rng::Rng;
use sim::sweep::all_hold;
use sim::workload::{Layout, simple};
use sim::{Counts, Fault, Moment, Place, Setting, World, seeds};
use std::time::Duration;

const SEEDS: u64 = 48;
const THREADS: usize = 2;
const LEASE: Duration = Duration::from_secs(10);
const ORDERS: u64 = 60;
const AGENT: Place = Place::Agent(0);

/// One Agent with three further Subagents, jobs of up to three minutes, and clocks that are one percent wrong.
const SETTING: Setting = Setting {
    layout: Layout {
        agents: 1,
        remote: 3,
        controllers: 1,
        directors: 1,
        is_watch_apart: true,
    },
    fault_every: None,
    weather: Weather {
        lost: 2_000,
        duplicated: 10_000,
        late: 20_000,
    },
    manners: Manners {
        duration: (1_000_000, 180_000_000),
        ignoring: 300,
        writes: 3,
    },
    lease: LEASE,
    drift: 10_000,
    only: None,
    rules: Rules::ALL,
    timing: pair::timing(Duration::from_millis(500)),
    forgets_marks: false,
    print: false,
};

fn workflow() -> Value {
    let job = |executable: &Value| json!({"agentPath": "A0", "executable": executable, "processLimit": 100});
    let executable = json!({"TYPE": "ShellScriptExecutable", "script": "#!/bin/sh\n:\n"});
    json!({
        "TYPE": "Workflow", "path": "w",
        "jobs": {"one": job(&executable), "two": job(&executable)},
        "instructions": [{"TYPE": "Execute.Named", "jobName": "one"}, {"TYPE": "Execute.Named", "jobName": "two"}],
    })
}

fn at_work(seed: u64, setting: Setting) -> World {
    let mut world = World::new(seed, setting);
    let mut lines = setting.layout.items(None);
    lines.push(simple(&workflow()));
    let items = ClientCall::Items(lines);
    let begin = Moment(1_000_000);
    world
        .client
        .plan(&mut world.k, begin, items, Vec::new(), Refusal::Wrong);
    for number in 0..ORDERS {
        let order = seeds::order(&format!("O{number}"), "w", 0);
        let id = order.id.clone();
        let at = Moment(60_000_000 + number * 30_000_000);
        let add = seeds::command(&model::ControllerCommand::AddOrder { order });
        world
            .client
            .plan(&mut world.k, at, add, vec![id], Refusal::Wrong);
    }
    world
}

fn cut(world: &mut World, from: Place, to: Place, span: Duration) {
    let now = world.k.now;
    world.k.net.block(from, to, now);
    world
        .k
        .after(span, Happening::Fault(FaultStep::Heal(from, to)));
}

fn stand_still(world: &mut World, place: Place, span: Duration) {
    if world.k.standing(place).is_up && world.k.paused_until(place).is_none() {
        let until = world.k.now.plus(span);
        world.pause(place, until);
    }
}

fn trouble(world: &mut World, rng: &mut Rng) {
    let subagent = Place::Subagent(1 + rng.index(3));
    // Around the lease: some are shorter, some longer.
    let span = rng.span(500_000, 40_000_000);
    match rng.below(10) {
        0..3 => {
            cut(world, AGENT, subagent, span);
            cut(world, subagent, AGENT, span);
        }
        3 => cut(world, AGENT, subagent, span),
        4 => cut(world, subagent, AGENT, span),
        5..7 => stand_still(world, subagent, span),
        7 => world.crash(subagent, rng.per_mille(500), span),
        8 => stand_still(world, AGENT, span),
        _ => {
            let by = i64::try_from(rng.between(1, 7_200_000)).unwrap_or(1);
            world.jump(AGENT, if rng.per_mille(500) { by } else { -by });
            if rng.per_mille(300) {
                world.crash(AGENT, false, span);
            }
        }
    }
}

fn lose_each_other(seed: u64) -> (Counts, Option<String>) {
    let mut rng = Rng::new(seed ^ 0x1EA5E);
    let mut world = at_work(seed, SETTING);
    let end = Moment(60_000_000 + (ORDERS + 4) * 30_000_000);
    while world.k.now < end && world.k.broken.is_none() {
        world.run_for(rng.span(1_000_000, 15_000_000));
        trouble(&mut world, &mut rng);
    }
    if world.k.broken.is_none() {
        world.settle(Duration::from_hours(12));
    }
    let unended = ORDERS - world.history.ended.len() as u64;
    let failure = world.failure().map(|failure| failure.to_string());
    let counts = world.counts().clone();
    (
        counts,
        failure.or_else(|| (unended > 0).then(|| format!("seed {seed}: {unended} have not ended"))),
    )
}

#[test]
fn s142_no_order_has_two_live_processes_whatever_is_cut_stands_still_or_shows_a_wrong_time() {
    let counts = all_hold(1..=SEEDS, THREADS, lose_each_other);
    let counts = counts.unwrap_or_else(|why| panic!("{why}"));
    for (fault, least) in [
        (Fault::LeaseEnd, 500),
        (Fault::GivenUp, 200),
        (Fault::Guarded, 50),
        (Fault::LateMessage, 500),
        (Fault::ClockForward, 50),
        (Fault::ClockBackward, 50),
    ] {
        let happened = counts.of(fault);
        assert!(
            happened >= least,
            "{fault} happened {happened} times: too seldom to prove anything"
        );
    }
}

#[test]
fn s143_cuts_that_are_shorter_than_the_lease_cost_no_job() {
    let setting = Setting {
        weather: Weather::FINE,
        lease: Duration::from_mins(2),
        ..SETTING
    };
    for seed in 1..=4 {
        let mut rng = Rng::new(seed);
        let mut world = at_work(seed, setting);
        for _ in 0..40 {
            world.run_for(rng.span(20_000_000, 60_000_000));
            for index in 1..=3 {
                let span = rng.span(500_000, 15_000_000);
                cut(&mut world, AGENT, Place::Subagent(index), span);
                cut(&mut world, Place::Subagent(index), AGENT, span);
            }
        }
        world.settle(Duration::from_hours(12));
        assert!(
            world.failure().is_none(),
            "{}",
            world.failure().unwrap_or_else(|| unreachable!())
        );
        assert_eq!(world.counts().of(Fault::LeaseEnd), 0);
        assert_eq!(
            world.history.started.len() as u64,
            2 * ORDERS,
            "S143: each job was started once, seed {seed}"
        );
        assert_eq!(world.history.processes_lost, 0);
    }
}
