//! Pairs in simulated time: what goes on when a member dies, hangs or is cut off, told as stories; random worlds with every fault
//! alone and combined; and each rule switched off once, which the simulation must find.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot be set up fails at that line"
)]

use model::ControllerCommand;
use serde_json::{Value, json};
use sim::client::Refusal;
use sim::net::ClientCall;
use sim::pair::Rules;
use sim::sweep::all_hold;
use sim::workload::{Layout, simple};
use sim::{Fault, Moment, Place, Setting, World, seeds};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOURS: f64 = 0.2;
const SEEDS: u64 = 30;
const THREADS: usize = 2;

const PAIRS: Setting = Setting {
    layout: Layout {
        agents: 1,
        remote: 1,
        controllers: 2,
        directors: 2,
        is_watch_apart: true,
    },
    ..Setting::CALM
};

fn workflow(path: &str, subagent: Option<&str>) -> Value {
    let executable = json!({"TYPE": "ShellScriptExecutable", "script": "#!/bin/sh\n:\n"});
    let mut job = json!({"agentPath": "A0", "executable": executable, "processLimit": 100});
    if let Some(subagent) = subagent {
        job["subagentBundleId"] = json!(subagent);
    }
    json!({"TYPE": "Workflow", "path": path, "instructions": [{"TYPE": "Execute.Named", "jobName": "job"}], "jobs": {"job": job}})
}

struct Story(World);

impl Story {
    fn new(setting: Setting, workflows: &[Value]) -> Story {
        let mut story = Story(World::new(1, setting));
        let mut lines = setting.layout.items(None);
        lines.extend(workflows.iter().map(simple));
        story.ask(ClientCall::Items(lines), Vec::new());
        story.passes(MINUTE);
        story
    }

    fn ask(&mut self, call: ClientCall, orders: Vec<model::OrderId>) {
        let now = self.0.k.now;
        self.0
            .client
            .plan(&mut self.0.k, now, call, orders, Refusal::Wrong);
    }

    fn add(&mut self, id: &str, workflow: &str) {
        let order = seeds::order(id, workflow, 0);
        let ids = vec![order.id.clone()];
        self.ask(seeds::command(&ControllerCommand::AddOrder { order }), ids);
    }

    fn passes(&mut self, span: Duration) {
        self.0.run_for(span);
        if let Some(failure) = self.0.failure() {
            panic!("{failure}");
        }
    }

    fn ended(&self, id: &str) -> Option<&str> {
        self.0.history.ended.get(id).map(String::as_str)
    }

    fn starts(&self, id: &str) -> usize {
        let started = self.0.history.started.keys();
        started
            .filter(|attempt| attempt.order_id.as_str() == id)
            .count()
    }

    fn active(&self) -> Place {
        self.0.controller().unwrap().place
    }

    fn active_director(&self) -> Place {
        self.0.agent(0).unwrap().place
    }

    fn counted(&self, fault: Fault) -> u64 {
        self.0.counts().of(fault)
    }

    fn switches_over(&mut self, cluster: usize) {
        assert!(self.0.switch_over(cluster), "the members are coupled");
    }
}

fn other(place: Place) -> Place {
    match place {
        Place::Controller(index) => Place::Controller(1 - index),
        Place::Agent(index) => Place::Agent(1 - index),
        Place::Watch(_) | Place::Subagent(_) | Place::Client => place,
    }
}

#[test]
fn s127_the_active_controller_dies_and_the_standby_goes_on_with_everything_acknowledged() {
    let mut story = Story::new(PAIRS, &[workflow("w", None)]);
    for number in 0..20 {
        story.add(&format!("before-{number}"), "w");
    }
    story.passes(MINUTE);
    let first = story.active();
    story.0.crash_uncounted(first, true);
    story.passes(15 * SECOND);
    assert_eq!(story.active(), other(first));
    for number in 0..20 {
        story.add(&format!("after-{number}"), "w");
    }
    story.passes(5 * MINUTE);
    assert_eq!(
        story.0.history.ended.len(),
        40,
        "S52: nothing acknowledged is lost, and work goes on"
    );
    assert_eq!(story.0.history.started.len(), 40, "no job ran twice");
    story.0.restart(first);
    story.passes(MINUTE);
    assert_eq!(
        story.active(),
        other(first),
        "S127: who comes back finds its place as the standby"
    );
}

#[test]
fn s133_an_active_controller_that_is_cut_off_says_nothing_and_finds_its_place_again() {
    let mut story = Story::new(PAIRS, &[workflow("w", None)]);
    let first = story.active();
    for place in [other(first), Place::Watch(0)] {
        story.0.cut(first, place, 2 * MINUTE);
        story.0.cut(place, first, 2 * MINUTE);
    }
    story.passes(20 * SECOND);
    story.add("during", "w");
    // Each read that is answered is compared with all that was ever committed.
    for _ in 0..20 {
        story.ask(ClientCall::Read, Vec::new());
        story.passes(2 * SECOND);
    }
    assert!(
        story.counted(Fault::Inactive) > 0,
        "the old one was asked and has refused"
    );
    story.passes(3 * MINUTE);
    assert_eq!(story.ended("during"), Some("Finished"));
    assert_eq!(story.counted(Fault::Deposed), 1);
    assert_eq!(story.active(), other(first));
}

#[test]
fn s128_a_switch_over_by_command_loses_no_request() {
    let mut story = Story::new(PAIRS, &[workflow("w", None)]);
    for number in 0..10 {
        story.add(&format!("O{number}"), "w");
        let before = story.active();
        story.switches_over(0);
        story.passes(10 * SECOND);
        assert_eq!(story.active(), other(before));
    }
    story.passes(MINUTE);
    assert_eq!(
        (story.0.history.ended.len(), story.0.history.started.len()),
        (10, 10)
    );
}

#[test]
fn s102_everything_dies_at_once_and_nobody_has_to_say_who_was_active() {
    let mut story = Story::new(PAIRS, &[workflow("w", None)]);
    for number in 0..10 {
        story.add(&format!("O{number}"), "w");
    }
    story.passes(3 * SECOND);
    for place in story.0.places() {
        story.0.crash_uncounted(place, false);
    }
    story.passes(MINUTE);
    // The watch stays away: the two members are enough.
    for place in story.0.places() {
        if place != Place::Watch(0) {
            story.0.restart(place);
        }
    }
    story.passes(10 * MINUTE);
    assert_eq!(story.0.history.ended.len(), 10);
}

#[test]
fn a_standby_with_an_empty_disk_learns_everything_and_may_follow_then() {
    let mut story = Story::new(PAIRS, &[workflow("w", None)]);
    for number in 0..30 {
        story.add(&format!("O{number}"), "w");
    }
    story.passes(5 * MINUTE);
    let first = story.active();
    let standby = other(first);
    assert!(story.0.replace(0, standby));
    story.0.restart(standby);
    story.passes(5 * MINUTE);
    story.0.crash_uncounted(first, true);
    story.passes(MINUTE);
    assert_eq!(story.active(), standby);
    story.add("after", "w");
    story.passes(MINUTE);
    assert_eq!(
        story.0.history.ended.len(),
        31,
        "S52: it has what it never saw itself"
    );
}

#[test]
fn s108_a_director_dies_and_jobs_at_other_subagents_go_on() {
    let mut setting = PAIRS;
    setting.manners.duration = (100_000_000, 120_000_000);
    setting.lease = Duration::from_secs(30);
    let workflows = [workflow("remote", Some("S2")), workflow("own", Some("S0"))];
    let mut story = Story::new(setting, &workflows);
    if story.active_director() != Place::Agent(0) {
        story.switches_over(1);
        story.passes(MINUTE);
    }
    assert_eq!(story.active_director(), Place::Agent(0));
    story.add("R", "remote");
    story.add("L", "own");
    story.passes(20 * SECOND);
    assert_eq!((story.starts("R"), story.starts("L")), (1, 1));
    story.0.crash_uncounted(Place::Agent(0), true);
    story.passes(4 * MINUTE);
    assert_eq!(story.active_director(), Place::Agent(1));
    assert_eq!(
        (story.starts("R"), story.ended("R")),
        (1, Some("Finished")),
        "S108: the remote job was not touched"
    );
    assert_eq!(
        story.0.history.processes_lost, 1,
        "the dead Director's own job is said to be lost when its lease is over"
    );
    assert_eq!(
        story.ended("L"),
        None,
        "it waits for the Subagent that it names"
    );
    story.0.restart(Place::Agent(0));
    story.passes(5 * MINUTE);
    assert_eq!((story.starts("L"), story.ended("L")), (2, Some("Finished")));
}

#[test]
fn s109_directors_change_while_no_controller_can_be_reached() {
    let mut story = Story::new(PAIRS, &[workflow("w", None)]);
    let mut order = seeds::order("later", "w", 0);
    order.scheduled_for = Some(story.0.k.now.plus(10 * MINUTE).timestamp());
    let ids = vec![order.id.clone()];
    story.ask(seeds::command(&ControllerCommand::AddOrder { order }), ids);
    story.passes(2 * MINUTE);
    let first = story.active_director();
    for place in [Place::Controller(0), Place::Controller(1), first] {
        story.0.crash_uncounted(place, true);
    }
    story.passes(20 * MINUTE);
    assert_eq!(story.active_director(), other(first));
    assert_eq!(
        story.starts("later"),
        1,
        "S109: it was started on time by the other Director"
    );
    for place in [Place::Controller(0), Place::Controller(1), first] {
        story.0.restart(place);
    }
    story.passes(5 * MINUTE);
    assert_eq!(story.ended("later"), Some("Finished"));
}

#[test]
fn after_a_jump_of_a_controllers_clock_the_next_active_one_continues_the_vote_for_directors() {
    const DAY: i64 = 24 * 3_600_000;
    let mut setting = PAIRS;
    // The Controller has the third vote of the Directors.
    setting.layout.is_watch_apart = false;
    for by in [-DAY, 365 * DAY] {
        for is_active_off in [true, false] {
            let case = format!("by {by} ms, of the active one: {is_active_off}");
            let mut story = Story::new(setting, &[workflow("w", None)]);
            let (first, director) = (story.active(), story.active_director());
            story
                .0
                .jump(if is_active_off { first } else { other(first) }, by);
            story.add("before", "w");
            story.passes(MINUTE);
            assert_eq!(story.ended("before"), Some("Finished"), "{case}");
            // Crashes both, as if they were on one host.
            story.0.crash_uncounted(first, true);
            story.0.crash_uncounted(director, true);
            story.passes(30 * SECOND);
            assert_eq!(story.active(), other(first), "{case}");
            assert_eq!(story.active_director(), other(director), "{case}");
            story.add("after", "w");
            story.passes(2 * MINUTE);
            assert_eq!(story.ended("after"), Some("Finished"), "{case}");
        }
    }
}

#[test]
fn r1_worlds_of_pairs_keep_every_invariant_and_meet_every_fault() {
    let world = |seed| {
        let verdict = seeds::run_clusters(seed, HOURS, false);
        let failure = verdict
            .failure
            .map(|failure| format!("{failure} --clusters --hours {HOURS}"));
        (verdict.counts, failure)
    };
    let counts = all_hold(1..=SEEDS, THREADS, world).unwrap_or_else(|why| panic!("{why}"));
    let missing = counts.missing(Fault::OF_PAIRS);
    assert!(
        missing.is_empty(),
        "R2: faults that never happened, so nothing was proved about them: {missing:?}"
    );
}

/// Without the rule some of these worlds must break an invariant.
fn is_found(rules: Rules, by: &[&str]) {
    for seed in 1..=300 {
        let verdict = seeds::run_clusters_by(seed, 0.5, rules, false);
        if let Some(failure) = verdict.failure {
            let invariant = failure.violation.invariant;
            assert!(
                by.contains(&invariant),
                "found otherwise than expected: {failure}"
            );
            return;
        }
    }
    panic!("{rules:?}: 300 worlds without the rule, and nothing was found");
}

#[test]
fn without_the_hold_rule_two_survivors_cannot_go_on() {
    is_found(
        Rules {
            holds: false,
            ..Rules::ALL
        },
        &["one_is_enough"],
    );
}

#[test]
fn without_leases_a_deposed_member_answers_and_acts() {
    is_found(
        Rules {
            leases: false,
            ..Rules::ALL
        },
        &["reads_are_fresh"],
    );
}

#[test]
fn without_durable_votes_two_are_active_in_one_epoch() {
    is_found(
        Rules {
            keeps_votes: false,
            ..Rules::ALL
        },
        &["one_active_per_epoch", "acknowledged_survives_failover"],
    );
}

/// Whether the watch is ever told of an entry that is on no disk of a member with a vote, while a new member learns.
fn tells_too_early(rules: Rules) -> bool {
    let mut story = Story::new(Setting { rules, ..PAIRS }, &[workflow("w", None)]);
    let active = story.active();
    let standby = other(active);
    assert!(story.0.replace(0, standby));
    story.0.restart(standby);
    story.0.k.disk_mut(active).slow_until = story.0.k.now.plus(10 * MINUTE);
    for number in 0..20 {
        story.add(&format!("O{number}"), "w");
        for _ in 0..3000 {
            story.passes(Duration::from_millis(1));
            let newest = |place| {
                let seat = story
                    .0
                    .seats()
                    .find(|seat| seat.cluster == 0 && seat.place == place);
                seat.unwrap().disk.kept.newest()
            };
            let members = story
                .0
                .controller()
                .unwrap()
                .seat
                .member
                .as_ref()
                .unwrap()
                .kept
                .members()
                .clone();
            let voting = members.values().filter(|seat| seat.votes).count();
            if members.len() > voting && newest(Place::Watch(0)) > newest(active) {
                return true;
            }
        }
    }
    false
}

/// Found by seeds: a member that was just taken in had an entry, and so had the watch, but not the disk of the active member that
/// died: the one that had everything had no vote yet, and nobody could follow.
#[test]
fn a_member_without_a_vote_does_not_count_for_the_hold_rule() {
    assert!(!tells_too_early(Rules::ALL));
    assert!(tells_too_early(Rules {
        holds_for_votes: false,
        ..Rules::ALL
    }));
}

/// From which event on the active Director and one with a new disk have the Agent's events, while no Controller confirms any.
fn begins_of_events(rules: Rules) -> (u64, u64) {
    let mut story = Story::new(Setting { rules, ..PAIRS }, &[workflow("w", None)]);
    for number in 0..100 {
        story.add(&format!("early-{number}"), "w");
        let mut order = seeds::order(&format!("late-{number}"), "w", 0);
        order.scheduled_for = Some(Moment::default().plus(20 * MINUTE).timestamp());
        let ids = vec![order.id.clone()];
        story.ask(seeds::command(&ControllerCommand::AddOrder { order }), ids);
    }
    story.passes(15 * MINUTE);
    for controller in [Place::Controller(0), Place::Controller(1)] {
        story.0.crash_uncounted(controller, true);
    }
    story.passes(20 * MINUTE);
    let active = story.active_director();
    assert!(story.0.replace(1, other(active)));
    story.0.restart(other(active));
    story.passes(5 * MINUTE);
    let torn = |place| {
        let mut directors = story.0.agents.iter().map(|host| &host.node);
        directors.find(|node| node.place == place).unwrap().torn()
    };
    (torn(active), torn(other(active)))
}

/// Found by a seed: a Director that began with a snapshot lacked the events before it that the Controller had not confirmed yet.
#[test]
fn who_learns_by_a_snapshot_gets_the_unconfirmed_events_too() {
    let (active, new) = begins_of_events(Rules::ALL);
    assert!(
        active > 0,
        "the active Director has a log that begins behind a snapshot"
    );
    assert_eq!(active, new);
    let (active, new) = begins_of_events(Rules {
        sends_unread: false,
        ..Rules::ALL
    });
    assert!(new > active, "events are missing that nobody has confirmed");
}

/// Found by these seeds: who asked for votes in a term that was over was not told so, and asked for ever.
#[test]
fn who_asks_in_a_term_that_is_over_learns_of_the_later_one() {
    for seed in [322, 406] {
        let failure = seeds::run_clusters(seed, 1.0, false).failure;
        assert!(failure.is_none(), "{}", failure.unwrap());
    }
}

#[test]
fn without_fences_at_the_subagent_a_late_word_of_an_earlier_coupling_does_harm() {
    is_found(
        Rules {
            fences: false,
            ..Rules::ALL
        },
        &[
            "one_start_per_attempt",
            "no_job_on_two_subagents",
            "released_only_confirmed",
            "effect_after_commit",
        ],
    );
}

/// The active Controller is heard by the others for ten minutes, and hears nobody.
fn deaf(rules: Rules) -> Option<&'static str> {
    let mut world = World::new(1, Setting { rules, ..PAIRS });
    world.run_for(MINUTE);
    let active = world.controller()?.place;
    for place in [other(active), Place::Watch(0)] {
        world.cut(place, active, 10 * MINUTE);
    }
    world.run_for(9 * MINUTE);
    world.failure().map(|failure| failure.violation.invariant)
}

#[test]
fn without_yielding_an_active_member_that_hears_nobody_blocks_the_others() {
    assert_eq!(deaf(Rules::ALL), None);
    assert_eq!(
        deaf(Rules {
            yields: false,
            ..Rules::ALL
        }),
        Some("one_is_enough")
    );
}

#[test]
fn the_same_seed_gives_the_same_world_of_pairs() {
    let hash = |seed| seeds::run_clusters(seed, 0.1, false).hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
    assert!(Moment::default() < Moment(1));
}
