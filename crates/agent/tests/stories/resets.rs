//! A Subagent is reset, gets another address or is removed: what becomes of its jobs, and when.

use super::{World, agent};
use agent::{Coupling, State};
use model::{
    AgentCommand, Attempt, Event, EventId, OrderEvent, Outcome, Problem, RunId, SubagentEvent,
    SubagentId, SubagentStamped, SubagentStateEvent,
};

/// A job that only S-A and S-B may have, S-A first, and that runs at S-A.
fn running() -> World {
    let mut world = agent();
    world.item(
        "SubagentBundle:B",
        r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S-A":"2","S-B":"1"}}"#,
    );
    world.workflow(r#""parallelism":9,"subagentBundleIdExpr":"'B'","#);
    world.order("1", 0);
    assert_eq!(world.starts(), ["1@S-A"]);
    world
}

fn reset(world: &mut World, id: &str, force: bool) -> Result<(), Problem> {
    let command = AgentCommand::ResetSubagent {
        subagent_id: id.into(),
        force,
    };
    world.try_ask(command).map(drop)
}

fn shut_down(world: &mut World, id: &str, number: u64) {
    let stamped = SubagentStamped {
        event_id: EventId(number),
        event: SubagentEvent::SubagentShutdown,
    };
    world.report(id, &stamped);
}

/// Lets the Subagent report that it has killed the job because it is shutting down.
fn kill_with_subagent(world: &mut World, id: &str, number: u64, order: &str) {
    let outcome = Outcome::process_lost(Problem::new(
        "ProcessKilledDueToSubagentShutdown",
        "the job was killed because its Subagent was shut down",
    ));
    report_end(world, id, number, order, outcome);
}

fn report_end(world: &mut World, id: &str, number: u64, order: &str, outcome: Outcome) {
    let attempt = Attempt {
        order_id: order.into(),
        number: 1,
    };
    let stamped = SubagentStamped {
        event_id: EventId(number),
        event: SubagentEvent::OrderProcessed { attempt, outcome },
    };
    world.report(id, &stamped);
}

fn lose_connection(world: &mut World, id: &str) {
    let problem = Problem::new("SubagentUnreachable", "connection refused");
    let event = world.state.on_subagent_failed(&id.into(), problem);
    world.record(event);
    world.settle();
}

fn move_to(world: &mut World, id: &str, port: u16) {
    let text = format!(
        r#"{{"TYPE":"SubagentItem","id":"{id}","agentPath":"ALFA","uri":"http://127.0.0.1:{port}"}}"#
    );
    world.item(&format!("Subagent:{id}"), &text);
}

fn remove(world: &mut World, id: &str) {
    let key = serde_json::from_value(format!("Subagent:{id}").into()).unwrap();
    world.ask(AgentCommand::DetachItem { key });
}

/// What happened to the Subagent, without the `Subagent` before each name.
fn story(world: &World, id: &str) -> Vec<&'static str> {
    let own = world.events.iter().filter_map(|event| match event {
        Event::Subagent(of, event)
            if of.as_str() == id
                && !matches!(event, SubagentStateEvent::SubagentEventsObserved { .. }) =>
        {
            Some(event.type_name().trim_start_matches("Subagent"))
        }
        _ => None,
    });
    own.skip_while(|name| matches!(*name, "Dedicated" | "LeaseOffered" | "Coupled"))
        .collect()
}

/// The codes of the problems by which processes were lost.
fn losses(world: &World) -> Vec<String> {
    let lost = world.events.iter().filter_map(|event| match event {
        Event::Order(_, OrderEvent::OrderProcessed { outcome }) if outcome.is_process_lost() => {
            serde_json::to_value(outcome).ok()?["reason"]["problem"]["code"]
                .as_str()
                .map(str::to_owned)
        }
        _ => None,
    });
    lost.collect()
}

fn address(state: &State, id: &str) -> String {
    state.subagents()[id].address().unwrap().to_string()
}

#[test]
fn a_reset_subagent_loses_its_jobs_when_they_have_ended_and_not_before() {
    let mut world = running();
    reset(&mut world, "S-A", false).unwrap();
    assert_eq!(world.starts().len(), 1, "the job may still run");
    world.order("2", 0);
    assert_eq!(world.starts(), ["1@S-A", "2@S-B"], "it takes no more jobs");
    reset(&mut world, "S-A", false).unwrap();
    shut_down(&mut world, "S-A", 1);
    assert_eq!(losses(&world), ["ProcessLostDueToReset"]);
    assert_eq!(world.starts(), ["1@S-A", "2@S-B", "1@S-B"]);
    assert_eq!(story(&world, "S-A"), ["ResetStarted", "Shutdown", "Reset"]);
    assert_eq!(world.state.subagents()["S-A"].run_id, None);
    world.couple("S-A");
    world.order("3", 0);
    assert_eq!(world.starts().last().unwrap(), "3@S-A");
}

#[test]
fn a_job_that_is_killed_by_the_reset_of_a_coupled_subagent_is_lost_due_to_the_reset() {
    let mut world = running();
    reset(&mut world, "S-A", false).unwrap();
    kill_with_subagent(&mut world, "S-A", 1, "1");
    assert_eq!(losses(&world), ["ProcessLostDueToReset"]);
    shut_down(&mut world, "S-A", 2);
    assert_eq!(losses(&world), ["ProcessLostDueToReset"], "told once");
    assert_eq!(world.starts(), ["1@S-A", "1@S-B"]);
}

#[test]
fn a_job_that_is_killed_by_the_move_of_a_coupled_subagent_is_lost_due_to_the_new_address() {
    let mut world = running();
    move_to(&mut world, "S-A", 2);
    kill_with_subagent(&mut world, "S-A", 1, "1");
    assert_eq!(losses(&world), ["ProcessLostDueSubagentUriChange"]);
    assert_eq!(world.starts(), ["1@S-A", "1@S-B"]);
}

#[test]
fn a_job_that_is_killed_by_an_ordinary_shutdown_keeps_that_reason() {
    let mut world = running();
    kill_with_subagent(&mut world, "S-A", 1, "1");
    assert_eq!(losses(&world), ["ProcessKilledDueToSubagentShutdown"]);
}

#[test]
fn a_job_that_ends_by_itself_during_a_reset_keeps_its_outcome() {
    let mut world = running();
    reset(&mut world, "S-A", false).unwrap();
    report_end(&mut world, "S-A", 1, "1", Outcome::SUCCEEDED);
    shut_down(&mut world, "S-A", 2);
    assert!(losses(&world).is_empty());
    assert_eq!(world.starts(), ["1@S-A"]);
}

#[test]
fn a_reset_or_move_stays_the_reason_of_a_loss_however_the_wait_ends() {
    let id = SubagentId::new("S-A");
    for (by_move, code) in [
        (false, "ProcessLostDueToReset"),
        (true, "ProcessLostDueSubagentUriChange"),
    ] {
        let begin = || {
            let mut world = running();
            if by_move {
                move_to(&mut world, "S-A", 2);
            } else {
                reset(&mut world, "S-A", false).unwrap();
            }
            lose_connection(&mut world, "S-A");
            world
        };
        let mut world = begin();
        world.restart_subagent("S-A");
        assert_eq!(losses(&world), [code], "another process has come");
        let mut world = begin();
        let events = world.state.on_lease_over(&id);
        world.record(events);
        assert_eq!(losses(&world), [code], "its lease is over");
    }
}

#[test]
fn a_reset_of_a_subagent_that_is_away_waits_unless_it_is_by_force() {
    let mut world = running();
    lose_connection(&mut world, "S-A");
    reset(&mut world, "S-A", false).unwrap();
    let id = SubagentId::new("S-A");
    let enforced = world.state.on_reset_enforced(&id);
    assert!(enforced.is_empty(), "nobody has said by force");
    let mut after = world.restarted();
    after.settle();
    assert!(
        story(&after, "S-A").is_empty(),
        "a restart of the Director neither forgets it nor repeats the job"
    );
    reset(&mut after, "S-A", true).unwrap();
    after.couple("S-B");
    assert_eq!(story(&after, "S-A"), ["ResetStarted"]);
    let enforced = after.state.on_reset_enforced(&id);
    after.record(enforced);
    after.settle();
    assert_eq!(losses(&after), ["ProcessLostDueToReset"]);
    assert_eq!(after.starts(), ["1@S-B"]);
}

#[test]
fn a_subagent_that_is_idle_and_away_is_reset_at_once() {
    let mut world = agent();
    lose_connection(&mut world, "S-A");
    reset(&mut world, "S-A", false).unwrap();
    assert_eq!(
        story(&world, "S-A"),
        ["CouplingFailed", "ResetStarted", "Reset"]
    );
}

#[test]
fn a_reset_subagent_that_comes_back_as_another_process_is_reset_by_that() {
    let mut world = running();
    reset(&mut world, "S-A", false).unwrap();
    lose_connection(&mut world, "S-A");
    world.restart_subagent("S-A");
    world.settle();
    assert_eq!(
        story(&world, "S-A"),
        [
            "ResetStarted",
            "CouplingFailed",
            "Restarted",
            "Reset",
            "Dedicated"
        ]
    );
    assert_eq!(
        world.state.subagents()["S-A"].run_id,
        Some(RunId::new("another run"))
    );
    assert_eq!(world.starts(), ["1@S-A", "1@S-B"]);
}

#[test]
fn the_subagent_of_a_director_is_not_reset_and_an_unknown_one_neither() {
    let mut world = agent();
    let refused = reset(&mut world, "ALFA-0", true).unwrap_err();
    assert!(refused.is("SubagentIsDirector"), "{refused}");
    let refused = reset(&mut world, "S-X", true).unwrap_err();
    assert!(refused.is("UnknownKey"), "{refused}");
}

#[test]
fn the_jobs_at_an_old_address_are_lost_when_they_have_ended_there() {
    let mut world = running();
    move_to(&mut world, "S-A", 2);
    assert_eq!(address(&world.state, "S-A"), "http://127.0.0.1:1");
    assert_eq!(world.starts().len(), 1, "the job may still run there");
    let world = world.restarted();
    assert_eq!(address(&world.state, "S-A"), "http://127.0.0.1:1");
    let mut world = world;
    world.couple("S-B");
    world.couple("S-A");
    shut_down(&mut world, "S-A", 1);
    assert_eq!(losses(&world), ["ProcessLostDueSubagentUriChange"]);
    assert_eq!(address(&world.state, "S-A"), "http://127.0.0.1:2");
    assert_eq!(world.starts(), ["1@S-B"]);
}

#[test]
fn an_idle_subagent_moves_without_being_ended() {
    let mut world = agent();
    move_to(&mut world, "S-A", 2);
    assert_eq!(address(&world.state, "S-A"), "http://127.0.0.1:2");
    assert_eq!(story(&world, "S-A"), ["Reset"]);
    assert_eq!(world.state.subagents()["S-A"].coupling, Coupling::Uncoupled);
    move_to(&mut world, "ALFA-0", 2);
    assert!(
        story(&world, "ALFA-0").is_empty(),
        "its own Subagent is in the Director's process, wherever that is reached"
    );
}

#[test]
fn a_subagent_that_is_removed_ends_its_jobs_then_its_process_and_goes() {
    let mut world = running();
    remove(&mut world, "S-A");
    world.order("2", 0);
    assert_eq!(world.starts(), ["1@S-A", "2@S-B"], "it takes no more jobs");
    world.end("1", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(story(&world, "S-A"), ["ResetStarted"]);
    remove(&mut world, "S-A");
    let mut world = world.restarted();
    world.couple("S-A");
    assert!(world.state.subagents().contains_key("S-A"));
    shut_down(&mut world, "S-A", 2);
    assert!(!world.state.subagents().contains_key("S-A"));
    assert!(losses(&world).is_empty());
}

#[test]
fn a_subagent_that_is_removed_while_it_is_away_goes_without_being_told() {
    let mut world = agent();
    lose_connection(&mut world, "S-A");
    remove(&mut world, "S-A");
    assert!(!world.state.subagents().contains_key("S-A"));
}
