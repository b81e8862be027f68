//! What operators may rely on when a part is away for long, told as stories in simulated time; and each bug that a seed has found.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot be set up fails at that line"
)]

use model::{CancellationMode, ControllerCommand, FreshOrder, OrderId, OrderSelection, OrderState};
use serde_json::{Value, json};
use sim::client::Refusal;
use sim::kernel::Weather;
use sim::net::ClientCall;
use sim::workload::simple;
use sim::{Moment, Place, Setting, World, seeds};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A workflow of jobs, one after another, each at an Agent.
fn chain(path: &str, agents: &[usize]) -> Value {
    let jobs: serde_json::Map<String, Value> = agents
        .iter()
        .enumerate()
        .map(|(i, agent)| {
            let executable = json!({"TYPE": "ShellScriptExecutable", "script": "#!/bin/sh\n:\n"});
            (format!("job{i}"), json!({"agentPath": format!("A{agent}"), "executable": executable, "processLimit": 100}))
        })
        .collect();
    let steps: Vec<Value> = (0..agents.len())
        .map(|i| json!({"TYPE": "Execute.Named", "jobName": format!("job{i}")}))
        .collect();
    json!({"TYPE": "Workflow", "path": path, "instructions": steps, "jobs": jobs})
}

struct Story(World);

impl Story {
    fn new(workflows: &[Value]) -> Story {
        Story::with(Setting::CALM, workflows)
    }

    fn with(setting: Setting, workflows: &[Value]) -> Story {
        let mut world = World::new(1, setting);
        let mut lines = setting.layout.items(None);
        lines.extend(workflows.iter().map(simple));
        world.client.plan(
            &mut world.k,
            Moment(1_000_000),
            ClientCall::Items(lines),
            Vec::new(),
            Refusal::Wrong,
        );
        let mut story = Story(world);
        story.passes(MINUTE);
        story
    }

    fn ask(&mut self, command: &ControllerCommand, orders: Vec<OrderId>) {
        let now = self.0.k.now;
        self.0.client.plan(
            &mut self.0.k,
            now,
            seeds::command(command),
            orders,
            Refusal::Wrong,
        );
    }

    fn add(&mut self, order: FreshOrder) {
        let id = order.id.clone();
        self.ask(&ControllerCommand::AddOrder { order }, vec![id]);
    }

    fn passes(&mut self, span: Duration) {
        self.0.run_for(span);
        self.holds();
    }

    fn holds(&self) {
        if let Some(failure) = self.0.failure() {
            panic!("{failure}");
        }
    }

    fn all_is_well_again(&mut self) {
        self.0.settle(DAY);
        self.holds();
    }

    fn attached_to(&self, agent: usize) -> usize {
        self.0.agents[agent]
            .node
            .machine()
            .unwrap()
            .state
            .engine
            .order_count()
    }

    fn ended(&self, id: &str) -> Option<&str> {
        self.0.history.ended.get(id).map(String::as_str)
    }

    fn starts_of(&self, id: &str) -> usize {
        self.0
            .history
            .started
            .keys()
            .filter(|attempt| attempt.order_id.as_str() == id)
            .count()
    }

    fn cut(&mut self, a: Place, b: Place) {
        let now = self.0.k.now;
        self.0.k.net.block(a, b, now);
        self.0.k.net.block(b, a, now);
    }

    fn join(&mut self, a: Place, b: Place) {
        self.0.k.heal(a, b);
        self.0.k.heal(b, a);
    }
}

/// Orders that are due at even distances, from one hour on.
fn plan(story: &mut Story, count: u32, span: Duration) {
    for number in 0..count {
        let workflow = if number % 2 == 0 { "even" } else { "odd" };
        let mut order = seeds::order(&format!("O{number}"), workflow, 0);
        let due = story.0.k.now.plus(HOUR + span * number / count);
        order.scheduled_for = Some(due.timestamp());
        story.add(order);
    }
    story.passes(10 * MINUTE);
    assert_eq!(
        story.attached_to(0) + story.attached_to(1),
        count as usize,
        "S22: the plan is at the Agents ahead of time"
    );
}

fn all_ran_on_time(story: &Story, count: usize) {
    let history = &story.0.history;
    assert_eq!(
        history.punctuality.len(),
        count,
        "S83: every planned order was started"
    );
    for (id, start) in &history.punctuality {
        let late = start.started.since(start.due);
        assert!(
            start.started >= start.due && late < SECOND,
            "S95: {id} was due at {}, started {late:?} later",
            start.due
        );
    }
    assert_eq!(history.started.len(), count, "each order's job ran once");
}

#[test]
fn s83_the_controller_is_away_for_a_day_and_a_thousand_planned_orders_run_on_time() {
    let mut story = Story::new(&[chain("even", &[0]), chain("odd", &[1])]);
    plan(&mut story, 1000, 23 * HOUR);
    story.0.crash_uncounted(Place::Controller(0), true);
    story.passes(25 * HOUR);
    all_ran_on_time(&story, 1000);
    assert!(
        story.0.history.ended.is_empty(),
        "S82: the Controller knows nothing of it yet"
    );
    story.0.restart(Place::Controller(0));
    story.all_is_well_again();
    assert_eq!(
        story.0.history.ended.len(),
        1000,
        "S84: the history is complete after the return"
    );
    assert_eq!(story.0.history.processed, 1000);
}

#[test]
fn s93_a_week_of_orders_is_stored_ahead_and_runs_while_the_controller_is_away() {
    let mut story = Story::new(&[chain("even", &[0]), chain("odd", &[1])]);
    plan(&mut story, 168, 7 * DAY);
    story.0.crash_uncounted(Place::Controller(0), true);
    story.passes(4 * DAY);
    // R10: an Agent that is restarted meanwhile knows its plan from its log.
    story.0.crash_uncounted(Place::Agent(0), false);
    story.0.restart(Place::Agent(0));
    story.passes(4 * DAY);
    all_ran_on_time(&story, 168);
    story.0.restart(Place::Controller(0));
    story.all_is_well_again();
    assert_eq!(story.0.history.ended.len(), 168);
}

#[test]
fn s34_a_link_that_is_cut_for_three_days_recovers_by_itself() {
    let mut story = Story::new(&[chain("even", &[0]), chain("odd", &[1])]);
    story.cut(Place::Controller(0), Place::Agent(0));
    story.passes(HOUR);
    story.add(seeds::order("far", "even", 0));
    story.add(seeds::order("near", "odd", 0));
    story.passes(3 * DAY);
    assert_eq!(
        story.ended("near"),
        Some("Finished"),
        "the other Agent does not notice"
    );
    assert_eq!(story.starts_of("far"), 0);
    story.join(Place::Controller(0), Place::Agent(0));
    story.passes(MINUTE);
    assert_eq!(
        story.ended("far"),
        Some("Finished"),
        "S33, S35: what waited is sent within the longest pause"
    );
    story.all_is_well_again();
}

#[test]
fn s16_what_an_agent_does_while_cut_off_survives_its_own_restart_and_arrives_once() {
    let mut story = Story::new(&[chain("local", &[0, 0, 0])]);
    let mut order = seeds::order("A", "local", 0);
    order.scheduled_for = Some(story.0.k.now.plus(HOUR).timestamp());
    story.add(order);
    story.passes(MINUTE);
    story.cut(Place::Controller(0), Place::Agent(0));
    story.passes(2 * HOUR);
    assert_eq!(story.starts_of("A"), 3, "S15: all steps were done alone");
    story.0.crash_uncounted(Place::Agent(0), false);
    story.0.restart(Place::Agent(0));
    story.join(Place::Controller(0), Place::Agent(0));
    story.all_is_well_again();
    assert_eq!(story.ended("A"), Some("Finished"));
    assert_eq!(story.0.history.processed, 3, "S17: each step arrived once");
}

#[test]
fn s19_an_order_stops_before_the_step_of_another_agent_until_the_controller_is_back() {
    let mut story = Story::new(&[chain("over", &[0, 0, 1])]);
    let mut order = seeds::order("A", "over", 0);
    order.scheduled_for = Some(story.0.k.now.plus(HOUR).timestamp());
    story.add(order);
    story.passes(MINUTE);
    story.0.crash_uncounted(Place::Controller(0), true);
    story.passes(DAY);
    assert_eq!(
        story.starts_of("A"),
        2,
        "S19: A1 and A2 have run, B1 has not"
    );
    story.0.restart(Place::Controller(0));
    story.all_is_well_again();
    assert_eq!(
        (story.starts_of("A"), story.ended("A")),
        (3, Some("Finished")),
        "S77: it goes on without an operator"
    );
}

#[test]
fn s37_a_cancellation_survives_the_controller_and_reaches_an_agent_that_was_away() {
    let mut story = Story::new(&[chain("even", &[0])]);
    let mut order = seeds::order("A", "even", 0);
    order.scheduled_for = Some(story.0.k.now.plus(DAY).timestamp());
    story.add(order);
    story.passes(MINUTE);
    story.cut(Place::Controller(0), Place::Agent(0));
    story.passes(MINUTE);
    let order_ids = OrderSelection::Ids(vec!["A".into()]);
    story.ask(
        &ControllerCommand::CancelOrders {
            order_ids,
            mode: CancellationMode::default(),
        },
        Vec::new(),
    );
    story.passes(MINUTE);
    assert!(story.0.client.is_done(), "S87: it is accepted at once");
    story.0.crash_uncounted(Place::Controller(0), false);
    story.0.restart(Place::Controller(0));
    story.passes(HOUR);
    story.join(Place::Controller(0), Place::Agent(0));
    story.all_is_well_again();
    assert_eq!(
        (story.ended("A"), story.starts_of("A")),
        (Some("Cancelled"), 0)
    );
}

#[test]
fn s42_requests_that_arrive_twice_are_done_once() {
    let weather = Weather {
        duplicated: 1_000_000,
        ..Weather::FINE
    };
    let mut story = Story::with(
        Setting {
            weather,
            ..Setting::CALM
        },
        &[chain("over", &[0, 1, 0])],
    );
    for number in 0..20 {
        story.add(seeds::order(&format!("O{number}"), "over", 0));
    }
    story.all_is_well_again();
    assert_eq!(story.0.history.ended.len(), 20);
    assert_eq!(story.0.history.started.len(), 60);
}

#[test]
fn an_agent_that_has_lost_its_disk_is_named_and_others_go_on() {
    let mut story = Story::new(&[chain("even", &[0]), chain("odd", &[1])]);
    story.add(seeds::order("before", "even", 0));
    story.passes(10 * MINUTE);
    story.0.wipe_agent(0);
    story.passes(10 * MINUTE);
    story.add(seeds::order("lost", "even", 0));
    story.add(seeds::order("other", "odd", 0));
    story.passes(10 * MINUTE);
    let state = &story.0.controller().unwrap().machine().unwrap().state;
    let problem = state.agent(&"A0".into()).unwrap().problem.clone().unwrap();
    assert!(problem.is("AgentNotDedicated"), "{problem}");
    assert_eq!(
        (story.ended("before"), story.ended("other")),
        (Some("Finished"), Some("Finished"))
    );
    assert_eq!(
        story.starts_of("lost"),
        0,
        "nothing is handed to a stranger"
    );
}

/// Found by a seed: the Controller took an order for one that the Agent had kept since the connection was made.
#[test]
fn an_order_that_comes_back_to_an_agent_over_the_same_connection_is_handed_over_again() {
    let mut setting = Setting::CALM;
    setting.manners.duration = (60_000_000, 61_000_000);
    let mut story = Story::with(
        setting,
        &[chain("to and fro", &[0, 1, 0])].map(|mut workflow| {
            workflow["path"] = json!("to-and-fro");
            workflow
        }),
    );
    story.add(seeds::order("A", "to-and-fro", 0));
    story.passes(5 * SECOND);
    assert_eq!(story.attached_to(0), 1);
    story.cut(Place::Controller(0), Place::Agent(0));
    story.passes(30 * SECOND);
    story.join(Place::Controller(0), Place::Agent(0));
    story.passes(10 * MINUTE);
    assert_eq!(
        (story.starts_of("A"), story.ended("A")),
        (3, Some("Finished"))
    );
}

/// Found by a seed: the end of a job and the order to start it crossed when the Agent came back.
#[test]
fn a_job_that_ended_while_its_agent_was_away_is_not_started_again() {
    let mut setting = Setting::CALM;
    setting.layout.agents = 1;
    setting.manners.duration = (20_000_000, 30_000_000);
    let mut story = Story::with(setting, &[chain("even", &[0])]);
    for number in 0..20 {
        story.add(seeds::order(&format!("O{number}"), "even", 0));
    }
    story.passes(5 * SECOND);
    assert_eq!(story.0.history.started.len(), 20);
    story.0.crash_uncounted(Place::Agent(0), false);
    story.passes(MINUTE);
    story.0.restart(Place::Agent(0));
    story.all_is_well_again();
    let repeated = story
        .0
        .history
        .started
        .keys()
        .filter(|attempt| attempt.number > 1)
        .count();
    assert_eq!(
        repeated as u64, story.0.history.processes_lost,
        "only jobs of the Agent's own Subagent are repeated"
    );
    assert_eq!(story.0.history.ended.len(), 20);
}

/// Found by a seed: a child that was forked anew counted its attempts anew, and its Subagent took the start for a repetition.
#[test]
fn a_fork_that_is_tried_again_runs_its_jobs_again() {
    let mut workflow = chain("again", &[0]);
    workflow["jobs"]["job0"]["executable"]["env"] = json!({"EXIT": "'1'"});
    let branch = json!({"id": "b", "workflow": {"instructions": workflow["instructions"]}});
    let fork = json!({"TYPE": "Fork", "branches": [branch], "joinIfFailed": true});
    workflow["instructions"] = json!([{
        "TYPE": "Try", "try": {"instructions": [fork]}, "catch": {"instructions": [{"TYPE": "Retry"}]}, "maxTries": 5,
    }]);
    let mut setting = Setting::CALM;
    setting.manners.duration = (5_000, 6_000);
    let mut story = Story::with(setting, &[workflow]);
    story.add(seeds::order("A", "again", 0));
    story.passes(10 * MINUTE);
    assert_eq!(story.starts_of("A|b"), 5);
    let state = &story.0.controller().unwrap().machine().unwrap().state;
    assert_eq!(
        state.engine().order(&"A".into()).unwrap().state,
        OrderState::Failed
    );
}

/// Cancels 60 orders, each at a different moment of its way to the Agent and its first job.
fn cancelled_on_their_way(setting: Setting) -> Story {
    let mut story = Story::with(setting, &[chain("long", &[0; 12])]);
    for number in 0..60 {
        let id = format!("O{number}");
        let added = ControllerCommand::AddOrder {
            order: seeds::order(&id, "long", 0),
        };
        let kill = Some(model::Kill::default());
        let cancelled = ControllerCommand::CancelOrders {
            order_ids: OrderSelection::Ids(vec![OrderId::from(id.as_str())]),
            mode: CancellationMode::FreshOrStarted { kill },
        };
        let at = story.0.k.now.plus(SECOND * number);
        let after = at.plus(Duration::from_millis(1) * number);
        for (at, command) in [(at, added), (after, cancelled)] {
            let (call, ids) = (seeds::command(&command), Vec::new());
            // The cancellation may arrive first.
            let refusal = Refusal::Fine;
            story.0.client.plan(&mut story.0.k, at, call, ids, refusal);
        }
    }
    story.0.run_for(5 * MINUTE);
    story
}

#[test]
fn an_order_is_cancelled_at_every_moment_of_its_way_to_the_agent() {
    let story = cancelled_on_their_way(Setting::CALM);
    story.holds();
    let refused = story.0.client.refusals;
    let ends = story.0.history.ended.values();
    let cancelled = ends.filter(|end| *end == "Cancelled").count();
    assert!(refused < 20, "{refused} came before their orders");
    assert_eq!(
        cancelled as u64 + refused,
        60,
        "{:?}",
        story.0.history.ended
    );
}

#[test]
fn a_wish_that_an_agent_passes_over_is_found() {
    let mut setting = Setting {
        forgets_marks: true,
        ..Setting::CALM
    };
    // Ten minutes: the job does not end before it is noticed.
    setting.manners.duration = (600_000_000, 700_000_000);
    let story = cancelled_on_their_way(setting);
    let failure = story.0.failure().map(|failure| failure.violation.invariant);
    assert_eq!(failure, Some("marks_take_effect"));
}
