//! Why an order waits: each cause is shown as an obstacle with its times, limits and holders.

use crate::world::{World, cancel, jobs, succeeded};
use controller::Connection;
use model::{Event, JobHold, Obstacle, OrderEvent, Problem, SubagentStateEvent, Timestamp};

/// Creates a world with ALFA, a connected Subagent, and the workflow `w`, whose job has this parallelism.
fn world(parallelism: u32) -> World {
    let mut world = World::new();
    world.agent("ALFA");
    let limited = jobs("w", &["ALFA"]).replace(
        r#""agentPath":"ALFA","#,
        &format!(r#""agentPath":"ALFA","parallelism":{parallelism},"#),
    );
    world.deploy(&[&limited]);
    world.run();
    coupled(&mut world);
    world
}

fn coupled(world: &mut World) {
    tell(world, SubagentStateEvent::SubagentCoupled);
}

fn tell(world: &mut World, event: SubagentStateEvent) {
    world.at_agent("ALFA", vec![Event::Subagent("ALFA-0".into(), event)]);
    world.run();
}

fn obstacles(world: &World, id: &str) -> Vec<Obstacle> {
    world.state.obstacles(&id.into(), world.now)
}

/// Returns the names of the reasons. They are the same after a restart from a snapshot.
fn reasons(world: &mut World, id: &str) -> Vec<&'static str> {
    let now = obstacles(world, id);
    world.restart_in_the_middle();
    // A restarted Controller waits for its Agents. Its own orders must not have changed.
    let names = now.iter().map(Obstacle::type_name);
    names.collect()
}

fn lose_agent(world: &mut World) {
    let problem = Problem::new("Unreachable", "connection refused");
    world.at("ALFA").is_reachable = false;
    world.act(|state, out| state.agent_coupling_failed(&"ALFA".into(), problem.clone(), out));
}

/// Adds an order that runs, and a second one for which no process is started.
fn one_runs_and_one_waits(world: &mut World) {
    world.add("RUNS", "w");
    world.run();
    world.at("ALFA").has_no_subagent = true;
    world.add("WAITS", "w");
    world.run();
}

#[test]
fn an_order_behind_a_full_job_names_the_limit_of_the_job_and_who_holds_it() {
    let mut world = world(1);
    one_runs_and_one_waits(&mut world);
    assert_eq!(
        obstacles(&world, "RUNS"),
        [],
        "a job that runs is no obstacle"
    );
    let told = obstacles(&world, "WAITS");
    let [
        Obstacle::JobProcessLimitReached {
            limit: 1,
            held_by,
            since,
            agent_path,
            ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(held_by.process_count, 1);
    assert_eq!(held_by.orders, ["RUNS".into()]);
    assert_eq!(*agent_path, "ALFA".into());
    assert_eq!(*since, Some(world.now));
    world.restart();
    assert_eq!(
        obstacles(&world, "WAITS")[0].type_name(),
        "JobProcessLimitReached",
        "the holders are known after a restart"
    );
    world.end_job("ALFA", "RUNS", succeeded());
    assert_eq!(
        obstacles(&world, "WAITS")[0].type_name(),
        "WaitingForProcess"
    );
    world.replay();
}

#[test]
fn an_order_at_a_job_with_parallelism_0_never_starts_and_says_so() {
    let mut world = world(0);
    world.at("ALFA").has_no_subagent = true;
    world.add("NEVER", "w");
    world.run();
    let told = obstacles(&world, "NEVER");
    assert!(
        matches!(&told[..], [Obstacle::JobProcessLimitReached { limit: 0, held_by, .. }] if held_by.orders.is_empty()),
        "{told:?}"
    );
    assert!(
        told[0].to_string().starts_with("never starts"),
        "{}",
        told[0]
    );
}

#[test]
fn the_limit_of_the_agent_is_told_apart_from_that_of_the_job() {
    let mut world = world(5);
    let agent = r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0"],"processLimit":1}"#;
    world.deploy(&[agent]);
    one_runs_and_one_waits(&mut world);
    let told = obstacles(&world, "WAITS");
    assert!(
        matches!(&told[..], [Obstacle::AgentProcessLimitReached { limit: 1, held_by, .. }] if held_by.orders == ["RUNS".into()]),
        "{told:?}"
    );
}

#[test]
fn holders_are_counted_and_only_some_are_named() {
    let mut world = world(5);
    for id in ["1", "2", "3", "4", "5"] {
        world.add(id, "w");
    }
    world.run();
    world.at("ALFA").has_no_subagent = true;
    world.add("WAITS", "w");
    world.run();
    let told = obstacles(&world, "WAITS");
    assert!(
        matches!(&told[..], [Obstacle::JobProcessLimitReached { held_by, .. }]
            if held_by.process_count == 5 && held_by.orders.len() == model::NAMED_MAX),
        "{told:?}"
    );
}

#[test]
fn an_unreachable_agent_is_the_reason_of_all_its_orders_with_the_time_of_its_loss() {
    let mut world = world(1);
    one_runs_and_one_waits(&mut world);
    world.pass(60);
    let lost_at = world.now;
    lose_agent(&mut world);
    world.add("COMES", "w");
    for (id, expected) in [
        ("RUNS", vec!["AgentNotConnected"]),
        ("WAITS", vec!["AgentNotConnected"]),
        ("COMES", vec!["AgentNotConnected", "WaitingForAgentToTake"]),
    ] {
        let told = obstacles(&world, id);
        let names: Vec<_> = told.iter().map(Obstacle::type_name).collect();
        assert_eq!(names, expected, "{id}");
        let Obstacle::AgentNotConnected {
            connection,
            since,
            problem,
            ..
        } = &told[0]
        else {
            panic!("{told:?}");
        };
        assert_eq!(*connection, Connection::Unreachable);
        let since = since.unwrap();
        assert!(since >= lost_at && since <= world.now, "{since}");
        assert!(problem.as_ref().unwrap().is("Unreachable"));
    }
    // The time of the loss and its reason are the same after a restart.
    let before = obstacles(&world, "WAITS");
    world.restart_in_the_middle();
    assert_eq!(obstacles(&world, "WAITS"), before);
}

#[test]
fn a_command_that_an_agent_has_not_confirmed_is_told() {
    let mut world = world(1);
    one_runs_and_one_waits(&mut world);
    lose_agent(&mut world);
    world.tell(cancel(&["RUNS"]));
    assert_eq!(
        reasons(&mut world, "RUNS"),
        ["AgentNotConnected", "WaitingForAgentToMark"]
    );
    let told = obstacles(&world, "RUNS").remove(1).to_string();
    assert!(
        told.starts_with("the cancellation waits for Agent ALFA"),
        "{told}"
    );
}

#[test]
fn an_agent_that_refuses_an_order_is_told_with_its_problem() {
    let mut world = world(1);
    world.at("ALFA").refuses = true;
    world.add("O", "w");
    world.run();
    assert_eq!(
        reasons(&mut world, "O"),
        ["AgentRefusesOrder", "WaitingForAgentToTake"]
    );
}

#[test]
fn an_item_that_an_agent_refuses_is_told_as_what_its_orders_wait_for() {
    let mut world = world(1);
    world.at("ALFA").is_reachable = false;
    world.deploy(&[&jobs("new", &["ALFA"])]);
    world.add("O", "new");
    world.run();
    let order = world.state.engine().order(&"O".into()).unwrap();
    let key = model::ItemKey::workflow(&order.workflow_id);
    let thing = controller::Thing::AttachItem(key.clone());
    let problem = Problem::plain("no room");
    world.act(|state, out| state.agent_refused(&"ALFA".into(), &thing, problem.clone(), out));
    let told = obstacles(&world, "O");
    assert!(
        matches!(&told[..], [Obstacle::AgentRefusesItem { key: refused, .. }, Obstacle::WaitingForAgentToTake { .. }] if *refused == key),
        "{told:?}"
    );
}

#[test]
fn a_job_at_a_subagent_that_its_agent_has_lost_is_told() {
    let mut world = world(1);
    world.add("O", "w");
    world.run();
    let started = OrderEvent::OrderProcessed {
        outcome: model::Outcome::process_lost(Problem::plain("lost")),
    };
    // The story's Agent starts jobs nowhere; it starts this one again on its Subagent.
    world.at("ALFA").has_no_subagent = true;
    let on_subagent = OrderEvent::OrderProcessingStarted {
        subagent_id: Some("ALFA-0".into()),
        subagent_bundle_id: None,
        stick: false,
    };
    let moved = OrderEvent::OrderMoved {
        to: model::Position::default(),
        reason: None,
    };
    let events = [started, moved, on_subagent].map(|event| Event::Order("O".into(), event));
    world.at_agent("ALFA", events.into());
    world.run();
    assert_eq!(obstacles(&world, "O"), []);
    let problem = Problem::plain("connection refused");
    tell(
        &mut world,
        SubagentStateEvent::SubagentCouplingFailed { problem },
    );
    let told = obstacles(&world, "O");
    assert!(
        matches!(&told[..], [Obstacle::SubagentNotConnected { subagent_id, since: Some(_), problem: Some(_), .. }] if *subagent_id == "ALFA-0".into()),
        "{told:?}"
    );
    lose_agent(&mut world);
    let names: Vec<_> = obstacles(&world, "O")
        .iter()
        .map(Obstacle::type_name)
        .collect();
    assert_eq!(
        names,
        ["AgentNotConnected"],
        "what it knew of its Subagent is old"
    );
}

#[test]
fn what_holds_up_a_running_job_is_told_until_it_ends() {
    let mut world = world(1);
    world.add("O", "w");
    world.run();
    let since = Timestamp::from_millis(1_799_999_999_000);
    let held = |hold: Option<JobHold>| {
        let hold = hold.map(Box::new);
        Event::Order("O".into(), OrderEvent::OrderProcessingHeld { hold })
    };
    let short = JobHold::MachineIsShort {
        since,
        message: "no process".into(),
    };
    world.at_agent("ALFA", vec![held(Some(short))]);
    world.run();
    assert_eq!(reasons(&mut world, "O"), ["MachineIsShort"]);
    coupled_again(&mut world);
    world.at_agent("ALFA", vec![held(None)]);
    world.run();
    assert_eq!(obstacles(&world, "O"), []);
    let kept = JobHold::OutputIsHeld {
        since,
        pid: 7,
        processes: vec![8],
    };
    world.at_agent("ALFA", vec![held(Some(kept))]);
    world.run();
    let told = obstacles(&world, "O");
    assert!(
        matches!(&told[..], [Obstacle::OutputIsHeld { pid: 7, since: at, processes, .. }] if *at == since && *processes == [8]),
        "{told:?}"
    );
    world.end_job("ALFA", "O", succeeded());
    assert_eq!(obstacles(&world, "O"), []);
    world.replay();
}

/// Couples the Agent again after a restart of the Controller.
fn coupled_again(world: &mut World) {
    world.act(|state, out| state.agent_coupled(&"ALFA".into(), out));
}

#[test]
fn an_order_at_an_agent_that_is_away_still_tells_what_does_not_depend_on_the_agent() {
    let mut world = world(1);
    let mut due = crate::world::order("LATER", "w");
    due.scheduled_for = Some(world.now + std::time::Duration::from_hours(1));
    world.tell(model::ControllerCommand::AddOrder { order: due });
    world.run();
    lose_agent(&mut world);
    let names: Vec<_> = obstacles(&world, "LATER")
        .iter()
        .map(Obstacle::type_name)
        .collect();
    assert_eq!(names, ["AgentNotConnected", "WaitingForOtherTime"]);
}
