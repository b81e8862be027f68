//! Agents that are reset: what is lost, what comes again, and that nothing runs twice.

use crate::world::{World, cancel, jobs, order, succeeded};
use controller::{Coupling, Thing};
use model::{
    AgentPath, ControllerCommand, Event, OrderEvent, OrderId, OrderState, Outcome, Problem,
    Timestamp,
};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

fn reset(force: bool) -> ControllerCommand {
    ControllerCommand::ResetAgent {
        agent_path: AgentPath::from("ALFA"),
        force,
    }
}

fn one_agent() -> World {
    let mut world = World::new();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    world.run();
    world
}

/// The Agent has forgotten everything and says so.
fn is_reset(world: &mut World) {
    let path = AgentPath::from("ALFA");
    let mut is_done = false;
    while !is_done {
        world.act(|state, out| {
            is_done = state.agent_reset(&path, out)?;
            Ok(())
        });
    }
}

/// The connection is lost.
fn is_lost(world: &mut World, code: &str) {
    let path = AgentPath::from("ALFA");
    world.at("ALFA").is_reachable = false;
    world.act(|state, out| state.agent_coupling_failed(&path, Problem::new(code, "no"), out));
}

fn add_for(world: &mut World, id: &str, at: Timestamp) {
    let mut order = order(id, "w");
    order.scheduled_for = Some(at);
    world.tell(ControllerCommand::AddOrder { order });
}

fn agent_story(world: &World) -> Vec<&'static str> {
    let own = world.events.iter().filter_map(|stamped| {
        let Event::Agent(_, event) = &stamped.event else {
            return None;
        };
        (event.type_name() != "AgentEventsObserved").then_some(event.type_name())
    });
    own.collect()
}

fn tail<'a>(story: &[&'a str], count: usize) -> Vec<&'a str> {
    story[story.len().saturating_sub(count)..].to_vec()
}

fn state_of(world: &World, id: &str) -> &'static str {
    let order = world.state.engine().order(&OrderId::from(id));
    order.map_or("gone", |order| order.state.type_name())
}

#[test]
fn s78_an_agent_that_was_reset_gets_its_items_again_and_every_order_that_has_not_begun() {
    let mut world = one_agent();
    world.add("RUNNING", "w");
    let (soon, tomorrow) = (world.now + Duration::from_secs(5), world.now + DAY);
    add_for(&mut world, "SOON", soon);
    add_for(&mut world, "TOMORROW", tomorrow);
    world.run();
    is_lost(&mut world, "AgentNotDedicated");
    world.add("NEVER-SENT", "w");
    world.run();
    world.tell(reset(true));
    let failed = ["OrderDetached", "OrderOutcomeAdded", "OrderFailed"];
    assert_eq!(tail(&world.story("RUNNING"), 4)[0], "OrderProcessed");
    assert_eq!(tail(&world.story("RUNNING"), 3), failed);
    assert_eq!(
        tail(&world.story("SOON"), 3),
        failed,
        "by its own clock the Agent may have started it"
    );
    let again = ["OrderDetached", "OrderAttachable"];
    assert_eq!(tail(&world.story("TOMORROW"), 2), again);
    assert_eq!(
        world.story("NEVER-SENT"),
        ["OrderAdded", "OrderAttachable"],
        "what is still to be sent is not touched"
    );
    world.replay();
    world.restart();
    world.run();
    assert!(
        world
            .state
            .outbox(&"ALFA".into(), &controller::Cursor::default())
            .next()
            .is_none(),
        "nothing is sent before it is reset"
    );
    is_reset(&mut world);
    world.start_agent("ALFA");
    world.run();
    let sent = |world: &mut World, key: &str| {
        let is_item = |thing: &&Thing| matches!(thing, Thing::AttachItem(item) if item.as_str().starts_with(key));
        world.at("ALFA").sent.iter().filter(is_item).count()
    };
    for key in ["Agent:ALFA", "Subagent:ALFA-0", "Workflow:w~"] {
        assert_eq!(sent(&mut world, key), 1, "S78: {key} comes again");
    }
    assert_eq!(state_of(&world, "NEVER-SENT"), "Processing");
    assert_eq!(tail(&world.story("TOMORROW"), 1), ["OrderAttached"]);
    world.end_job("ALFA", "NEVER-SENT", succeeded());
    assert_eq!(state_of(&world, "NEVER-SENT"), "Finished");
    for id in ["RUNNING", "NEVER-SENT"] {
        let starts = world
            .story(id)
            .iter()
            .filter(|kind| **kind == "OrderProcessingStarted")
            .count();
        assert_eq!(starts, 1, "{id} runs once");
    }
    assert_eq!(
        tail(&agent_story(&world), 5),
        [
            "AgentResetStarted",
            "AgentReset",
            "AgentDedicated",
            "AgentCoupled",
            "AgentReady"
        ]
    );
    world.replay();
    world.restart();
}

#[test]
fn an_order_that_may_have_come_to_the_agent_fails_at_a_reset_and_is_not_handed_over_again() {
    let mut world = one_agent();
    world.at("ALFA").is_reachable = false;
    world.add("SENT", "w");
    world.run();
    // The order arrives at the Agent and may have begun, but the Controller receives no event of it.
    world.send(&AgentPath::from("ALFA"));
    is_lost(&mut world, "ConnectionLost");
    world.tell(reset(true));
    assert_eq!(
        tail(&world.story("SENT"), 3),
        ["OrderDetached", "OrderOutcomeAdded", "OrderFailed"]
    );
    world.replay();
}

#[test]
fn without_force_the_orders_stay_until_the_agent_has_really_been_reset() {
    let mut world = one_agent();
    world.add("A", "w");
    world.run();
    is_lost(&mut world, "Unreachable");
    world.tell(reset(false));
    let before = world.events.len();
    world.tell(reset(false));
    assert_eq!(world.events.len(), before, "a repetition does nothing");
    assert_eq!(state_of(&world, "A"), "Processing");
    assert_eq!(
        world.state.agent(&"ALFA".into()).unwrap().coupling_state,
        Coupling::Resetting
    );
    world.add("B", "w");
    world.replay();
    world.restart();
    is_reset(&mut world);
    assert_eq!(state_of(&world, "A"), "Failed");
    world.start_agent("ALFA");
    world.run();
    assert_eq!(
        state_of(&world, "B"),
        "Processing",
        "it came up while nothing was sent any more"
    );
    is_reset(&mut world);
    assert_eq!(
        state_of(&world, "B"),
        "Processing",
        "an answer that comes late resets nothing"
    );
    world.replay();
}

#[test]
fn force_may_follow_when_the_agent_does_not_answer() {
    let mut world = one_agent();
    world.add("A", "w");
    world.run();
    is_lost(&mut world, "Unreachable");
    world.tell(reset(false));
    world.tell(reset(true));
    assert_eq!(state_of(&world, "A"), "Failed");
    world.tell(reset(false));
    is_reset(&mut world);
    assert_eq!(
        tail(&agent_story(&world), 3),
        ["AgentResetStarted", "AgentResetStarted", "AgentReset"]
    );
    world.replay();
}

#[test]
fn the_reset_of_an_order_is_not_caught_but_the_failure_of_its_fork_is() {
    let mut world = one_agent();
    let job = r#"{"TYPE":"Execute.Anonymous","job":{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":"}}}"#;
    let caught = |inner: &str, path: &str| {
        format!(
            r#"{{"TYPE":"Workflow","path":"{path}","instructions":[{{"TYPE":"Try","try":{{"instructions":[{inner}]}},"catch":{{"instructions":[]}}}}]}}"#
        )
    };
    let fork = format!(
        r#"{{"TYPE":"Fork","branches":[{{"id":"x","workflow":{{"instructions":[{job}]}}}}],"joinIfFailed":true}}"#
    );
    world.deploy(&[&caught(job, "tried"), &caught(&fork, "forked")]);
    world.add("LK", "tried");
    world.add("FK", "forked");
    world.run();
    world.tell(reset(false));
    is_reset(&mut world);
    assert_eq!(
        tail(&world.story("LK"), 4),
        [
            "OrderProcessed",
            "OrderDetached",
            "OrderOutcomeAdded",
            "OrderFailed"
        ],
        "AG-03"
    );
    assert_eq!(
        tail(&world.story("FK|x"), 4),
        [
            "OrderProcessed",
            "OrderDetached",
            "OrderOutcomeAdded",
            "OrderFailedInFork"
        ]
    );
    assert_eq!(state_of(&world, "FK"), "Finished");
    assert!(world.story("FK").contains(&"OrderCaught"));
    let joined = world
        .events
        .iter()
        .find_map(|stamped| match &stamped.event {
            Event::Order(_, OrderEvent::OrderJoined { outcome }) => Some(outcome.to_string()),
            _ => None,
        });
    assert!(
        joined.is_some_and(|told| told
            .contains("Order:FK|x Disrupted(Other(AgentReset: Agent:ALFA has been reset))")),
        "AG-03"
    );
    world.replay();
    world.restart();
}

#[test]
fn an_order_that_waits_at_the_agent_fails_and_one_that_was_cancelled_is_cancelled() {
    let mut world = one_agent();
    let retrying = r#"{"TYPE":"Workflow","path":"r","instructions":[{"TYPE":"Try","try":{"instructions":[{"TYPE":"Execute.Anonymous","job":{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":"}}}]},"catch":{"instructions":[{"TYPE":"Retry"}]},"retryDelays":[100],"maxTries":3}]}"#;
    world.deploy(&[retrying]);
    for id in ["WAITS", "CANCELLED"] {
        world.add(id, "r");
        world.run();
        world.end_job("ALFA", id, Outcome::failed("no"));
        assert_eq!(state_of(&world, id), "DelayingRetry");
    }
    world.add("KILLED", "w");
    world.run();
    world.at("ALFA").is_reachable = false;
    world.tell(cancel(&["CANCELLED", "KILLED"]));
    world.tell(reset(true));
    assert_eq!(
        tail(&world.story("WAITS"), 4),
        [
            "OrderDetached",
            "OrderStateReset",
            "OrderOutcomeAdded",
            "OrderFailed"
        ],
        "AG-03"
    );
    for id in ["CANCELLED", "KILLED"] {
        assert_eq!(
            world.story(id).last(),
            Some(&"OrderCancelled"),
            "what an operator has been promised holds: {id}"
        );
    }
    world.replay();
    world.restart();
}

#[test]
fn what_the_former_life_still_tells_is_passed_over() {
    let mut world = one_agent();
    world.add("A", "w");
    world.run();
    world.at("ALFA").is_reachable = false;
    let outcome = succeeded();
    let ended = Event::Order(OrderId::from("A"), OrderEvent::OrderProcessed { outcome });
    world.at_agent("ALFA", vec![ended]);
    let log = world.at("ALFA").log.clone();
    world.tell(reset(true));
    let before = world.events.len();
    world.deliver(&"ALFA".into(), &log);
    let path = AgentPath::from("ALFA");
    world.act(|state, out| state.agent_coupled(&path, out));
    assert_eq!(world.events.len(), before);
    assert_eq!(state_of(&world, "A"), "Failed");
    is_reset(&mut world);
    let before = world.events.len();
    world.deliver(&"ALFA".into(), &log);
    assert_eq!(world.events.len(), before);
}

#[test]
fn an_agent_that_never_comes_back_can_be_deleted_after_a_reset_by_force() {
    let mut world = one_agent();
    world.add("A", "w");
    world.run();
    is_lost(&mut world, "Unreachable");
    world.tell(reset(true));
    world.tell(cancel(&["A"]));
    world.tell(ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: vec![OrderId::from("A")],
    });
    world
        .change(&[
            crate::world::remove("w"),
            crate::world::delete("Agent:ALFA"),
            crate::world::delete("Subagent:ALFA-0"),
        ])
        .unwrap();
    world.run();
    assert!(world.state.agent(&"ALFA".into()).is_none());
    assert_eq!(world.state.items().count(), 0, "nothing is left behind");
    world.replay();
}

#[test]
fn what_cannot_be_reset_is_refused_and_what_has_nothing_is_left_alone() {
    let mut world = one_agent();
    let unknown = ControllerCommand::ResetAgent {
        agent_path: AgentPath::from("NOBODY"),
        force: true,
    };
    assert!(world.refused(unknown).is("UnknownItemPath"));
    world.tell(reset(false));
    is_reset(&mut world);
    let before = world.events.len();
    world.tell(reset(false));
    assert_eq!(world.events.len(), before, "it has just been reset");
    is_lost(&mut world, "AgentWrongController");
    assert!(world.refused(reset(false)).is("AgentNotDedicated"));
    world.tell(reset(true));
    assert_eq!(agent_story(&world).last(), Some(&"AgentResetStarted"));
    world.replay();
}

#[test]
fn an_order_that_stands_broken_or_leaves_the_agent_is_not_touched() {
    let mut world = World::new();
    world.agent("ALFA");
    world.agent("BRAVO");
    world.deploy(&[&jobs("w", &["ALFA", "BRAVO"])]);
    world.add("LEAVES", "w");
    world.run();
    // The Agent gives the order back, and the answer is under way when the reset comes.
    let ended = Event::Order(
        OrderId::from("LEAVES"),
        OrderEvent::OrderProcessed {
            outcome: succeeded(),
        },
    );
    world.at_agent("ALFA", vec![ended]);
    world.give_back("ALFA");
    let is_leaving = |world: &World| {
        let order = world.state.engine().order(&OrderId::from("LEAVES"));
        matches!(
            order.and_then(|order| order.attached_state.as_ref()),
            Some(model::AttachedState::Detaching { .. })
        )
    };
    assert!(is_leaving(&world));
    world.tell(reset(true));
    world.run();
    assert!(matches!(
        world
            .state
            .engine()
            .order(&OrderId::from("LEAVES"))
            .map(|order| &order.state),
        Some(OrderState::Processing { .. })
    ));
    assert_eq!(
        world.story("LEAVES").last(),
        Some(&"OrderProcessingStarted"),
        "it goes on at the other Agent"
    );
    world.replay();
}

#[test]
fn a_mass_of_orders_is_given_up_in_pieces_that_a_restart_may_interrupt() {
    const COUNT: usize = 2500;
    for is_by_force in [true, false] {
        let mut world = one_agent();
        let orders = (0..COUNT).map(|number| order(&format!("N{number}"), "w"));
        world.tell(ControllerCommand::AddOrders {
            orders: orders.collect(),
        });
        world.run();
        is_lost(&mut world, "Unreachable");
        let failed = |world: &World| {
            let counts = world.state.engine().counts_by_state();
            counts.get("Failed").copied().unwrap_or(0)
        };
        world.tell(reset(is_by_force));
        let path = AgentPath::from("ALFA");
        if !is_by_force {
            world.act(|state, out| {
                assert!(!state.agent_reset(&path, out)?, "there is more");
                Ok(())
            });
        }
        let orders = world.state.engine().orders();
        let first = orders.filter(|order| order.is_detached()).count();
        assert!(
            first > 0 && first < COUNT,
            "one batch is no place for all: {first}"
        );
        world.replay();
        world.restart_in_the_middle();
        world.run();
        is_reset(&mut world);
        world.run();
        assert_eq!(failed(&world), COUNT);
        world.replay();
        world.restart();
    }
}
