//! Orders: added, handed over, controlled, forgotten.

use crate::world::{World, add, cancel, jobs, order, order_ids, succeeded};
use controller::{AgentDelivery, DeliveryInput, DeliveryOutput, Thing};
use model::{
    AgentCommand, AgentPath, CancellationMode, ControllerAnswer, ControllerCommand, EventId, Mark,
    OrderSelection, OrderState, Problem, SuspensionMode, Timestamp,
};
use std::time::Duration;

fn hopping() -> World {
    let mut world = World::new();
    world.agent("ALFA");
    world.agent("BRAVO");
    world.deploy(&[&jobs("hop", &["ALFA", "ALFA", "BRAVO"])]);
    world.run();
    world
}

#[test]
fn wi03_an_order_changes_its_agent_only_where_the_workflow_says_so() {
    let mut world = hopping();
    world.add("H1", "hop");
    world.run();
    for agent in ["ALFA", "ALFA", "BRAVO"] {
        world.end_job(agent, "H1", succeeded());
    }
    let expected = [
        "OrderAdded",
        "OrderAttachable",
        "OrderAttached",
        "OrderStarted",
        "OrderProcessingStarted",
        "OrderProcessed",
        "OrderMoved",
        "OrderProcessingStarted",
        "OrderProcessed",
        "OrderMoved",
        "OrderDetachable",
        "OrderDetached",
        "OrderAttachable",
        "OrderAttached",
        "OrderProcessingStarted",
        "OrderProcessed",
        "OrderMoved",
        "OrderDetachable",
        "OrderDetached",
        "OrderFinished",
    ];
    assert_eq!(world.story("H1"), expected, "WI-03");
    world.replay();
}

#[test]
fn s4_the_events_alone_give_the_state_after_each_step_and_each_change_is_one() {
    let mut world = hopping();
    let steps: [fn(&mut World); 6] = [
        |world| drop(world.add("H1", "hop")),
        |world| world.end_job("ALFA", "H1", succeeded()),
        |world| {
            let mode = SuspensionMode::default();
            let order_ids = order_ids(&["H1"]);
            world.tell(ControllerCommand::SuspendOrders { order_ids, mode });
        },
        |world| world.end_job("ALFA", "H1", succeeded()),
        |world| world.pass(60),
        |world| world.restart(),
    ];
    for step in steps {
        step(&mut world);
        world.run();
        // S4: the events alone give the state, after each single step.
        world.replay();
    }
    let story = world.story("H1");
    let count = |name: &str| story.iter().filter(|event| **event == name).count();
    assert_eq!(
        count("OrderProcessed"),
        2,
        "S4: each change once: {story:?}"
    );
    assert_eq!(
        count("OrderSuspended"),
        1,
        "S4: each change once: {story:?}"
    );
}

#[test]
fn s77_an_order_stops_before_a_foreign_agent_while_the_controller_is_away_and_goes_on_by_itself() {
    let mut world = hopping();
    world.add("H1", "hop");
    world.run();
    world.at("ALFA").is_reachable = false;
    world.end_job("ALFA", "H1", succeeded());
    world.end_job("ALFA", "H1", succeeded());
    let told = world.story("H1").len();
    world.pass(24 * 3600);
    assert_eq!(
        world.story("H1").len(),
        told,
        "S14: nothing is invented meanwhile"
    );
    world.restart();
    world.at("ALFA").is_reachable = true;
    world.run();
    assert_eq!(
        world.story("H1").last(),
        Some(&"OrderProcessingStarted"),
        "S77: it runs at BRAVO"
    );
    let times: Vec<Timestamp> = world
        .events
        .iter()
        .filter(|event| event.event.type_name() == "OrderProcessed")
        .map(model::Stamped::at)
        .collect();
    assert!(
        times
            .iter()
            .all(|at| at.since(times[0]) < Duration::from_secs(1)),
        "S98: events keep their own time"
    );
}

#[test]
fn s42_a_repeated_prefix_of_events_changes_nothing() {
    let mut world = hopping();
    world.add("H1", "hop");
    world.run();
    world.end_job("ALFA", "H1", succeeded());
    let log = world.at("ALFA").log.clone();
    let (count, snapshot) = (
        world.events.len(),
        world.state.snapshot().collect::<Vec<_>>(),
    );
    for end in 0..=log.len() {
        world.deliver(&"ALFA".into(), &log[..end]);
    }
    assert_eq!(world.events.len(), count, "S42: redelivery is idempotent");
    assert_eq!(world.state.snapshot().collect::<Vec<_>>(), snapshot);
}

#[test]
fn an_order_of_a_known_id_is_a_duplicate_and_nothing_happens() {
    let mut world = hopping();
    assert_eq!(
        world.add("A", "hop"),
        ControllerAnswer::OrderAdded {
            ignored_because_duplicate: false
        }
    );
    let count = world.events.len();
    assert_eq!(
        world.add("A", "hop"),
        ControllerAnswer::OrderAdded {
            ignored_because_duplicate: true
        }
    );
    let orders = vec![order("A", "hop")];
    let answer = world.tell(ControllerCommand::AddOrders { orders });
    assert!(
        matches!(answer, ControllerAnswer::OrdersAdded { .. }),
        "duplicates are skipped silently"
    );
    assert_eq!(world.events.len(), count);
}

#[test]
fn wa05_orders_are_added_all_or_none() {
    let mut world = hopping();
    let orders = vec![order("A", "hop"), order("B", "hop"), order("A", "hop")];
    let problem = world.refused(ControllerCommand::AddOrders { orders });
    assert!(
        problem.message.contains("Unexpected duplicates: 2×Order:A"),
        "WA-05: {problem}"
    );
    let orders = vec![
        order("A", "hop"),
        order("B", "missing"),
        order("C|x", "hop"),
    ];
    let problem = world.refused(ControllerCommand::AddOrders { orders });
    assert!(
        problem.message.contains("missing") && problem.message.contains("reserved characters"),
        "both are told: {problem}"
    );
    let orders = (0..1000).map(|n| order(&format!("N{n}"), "hop")).collect();
    world.tell(ControllerCommand::AddOrders { orders });
    assert_eq!(world.state.engine().order_count(), 1000);
}

#[test]
fn oc01_a_fresh_order_at_its_agent_is_cancelled() {
    let mut world = hopping();
    let later = Some(world.now + Duration::from_secs(99));
    for id in ["C", "D", "E"] {
        let order = model::FreshOrder {
            scheduled_for: later,
            ..order(id, "hop")
        };
        world.tell(ControllerCommand::AddOrder { order });
    }
    world.run();
    let ids = OrderSelection::Ids(order_ids(&["C", "D", "E"]));
    let answer = world.tell(ControllerCommand::CancelOrders {
        order_ids: ids,
        mode: CancellationMode::FreshOnly,
    });
    assert_eq!(answer, ControllerAnswer::Accepted);
    world.run();
    for id in ["C", "D", "E"] {
        let expected = [
            "OrderAdded",
            "OrderAttachable",
            "OrderAttached",
            "OrderCancellationMarked",
            "OrderDetachable",
            "OrderDetached",
            "OrderCancelled",
        ];
        assert_eq!(world.story(id), expected, "OC-01, S125");
    }
    world.replay();
}

#[test]
fn s37_a_cancel_for_an_agent_that_is_away_arrives_once_after_restarts() {
    let mut world = hopping();
    world.add("H1", "hop");
    world.run();
    world.at("ALFA").is_reachable = false;
    assert_eq!(
        world.tell(cancel(&["H1"])),
        ControllerAnswer::Accepted,
        "S87: accepted, not refused"
    );
    world.run();
    world.restart();
    world.restart();
    world.at("ALFA").is_reachable = true;
    world.run();
    world.restart();
    world.run();
    world.end_job("ALFA", "H1", succeeded());
    let story = world.story("H1");
    let marked = story
        .iter()
        .filter(|name| **name == "OrderCancellationMarkedOnAgent")
        .count();
    assert_eq!(marked, 1, "S37: {story:?}");
    assert_eq!(story.last(), Some(&"OrderCancelled"));
}

#[test]
fn a_command_for_an_order_that_is_being_attached_reaches_its_agent() {
    let killing = r#""kill":{"immediately":true}"#;
    let wishes = [
        r#"{"TYPE":"CancelOrders","orderIds":["H1"]}"#.to_owned(),
        format!(
            r#"{{"TYPE":"CancelOrders","orderIds":["H1"],"mode":{{"TYPE":"FreshOrStarted",{killing}}}}}"#
        ),
        r#"{"TYPE":"SuspendOrders","orderIds":["H1"]}"#.to_owned(),
        format!(r#"{{"TYPE":"SuspendOrders","orderIds":["H1"],"mode":{{{killing}}}}}"#),
    ];
    for wish in wishes {
        let mut world = hopping();
        running_unheard(&mut world, "H1");
        let is_known = world.story("H1").contains(&"OrderAttached");
        assert!(!is_known, "its job runs, and nobody knows here");
        let answer = world.tell(ControllerCommand::from_json(&wish).unwrap());
        assert_eq!(answer, ControllerAnswer::Accepted, "{wish}");
        world.run();
        let mark = world.at("ALFA").mark_of("H1");
        assert!(mark.is_some(), "{wish}: {:?}", world.story("H1"));
        world.end_job("ALFA", "H1", succeeded());
        let last = world.story("H1").last().copied();
        let expected = if wish.contains("Cancel") {
            "OrderCancelled"
        } else {
            "OrderSuspended"
        };
        assert_eq!(last, Some(expected), "{wish}: {:?}", world.story("H1"));
        world.restart();
        world.replay();
    }
}

/// Adds an order whose job runs at the Agent before the Controller has received any event of the order.
fn running_unheard(world: &mut World, id: &str) {
    world.add(id, "hop");
    while !world.at("ALFA").has_job(id) {
        world.send(&AgentPath::from("ALFA"));
    }
}

#[test]
fn a_mark_is_not_confirmed_by_the_confirmation_of_an_earlier_one() {
    let suspend = |more: &str| {
        let json = format!(r#"{{"TYPE":"SuspendOrders","orderIds":["H1"],"mode":{{{more}}}}}"#);
        ControllerCommand::from_json(&json).unwrap()
    };
    let agent = AgentPath::from("ALFA");
    // The last mark is made before or after the earlier one is sent and confirmed.
    for (is_sent, is_heard) in [(true, false), (false, false), (true, true)] {
        let mut world = hopping();
        world.add("H1", "hop");
        world.run();
        world.tell(suspend(""));
        world.send(&agent);
        world.tell(suspend(r#""kill":{}"#));
        if is_sent {
            world.send(&agent);
        }
        if is_heard {
            world.hear(&agent);
        }
        world.tell(cancel(&["H1"]));
        world.run();
        let mark = world.at("ALFA").mark_of("H1");
        assert!(
            matches!(mark, Some(Mark::Cancelling { .. })),
            "{is_sent} {is_heard}: {mark:?}"
        );
        world.replay();
    }
}

#[test]
fn a_cancellation_for_fresh_orders_that_comes_too_late_is_recorded_as_refused() {
    let mut world = hopping();
    running_unheard(&mut world, "H1");
    let only_fresh = ControllerCommand::CancelOrders {
        order_ids: OrderSelection::Ids(order_ids(&["H1"])),
        mode: CancellationMode::FreshOnly,
    };
    assert_eq!(world.tell(only_fresh), ControllerAnswer::Accepted);
    world.run();
    let order = world.state.engine().order(&"H1".into()).unwrap();
    assert_eq!(order.mark, None, "nothing is left to wait for");
    assert_eq!(world.state.order_refusal(&"H1".into()), None);
    assert_eq!(world.state.outbox_len(&"ALFA".into()), 0);
    let refused = world.events.iter().any(|stamped| {
        matches!(&stamped.event, model::Event::Order(_, model::OrderEvent::OrderAgentProblem { problem }) if problem.is("CancelStartedOrder"))
    });
    assert!(refused, "{:?}", world.story("H1"));
    world.replay();
}

#[test]
fn a_weaker_cancellation_does_not_replace_a_stronger_one() {
    let mut world = hopping();
    world.add("H1", "hop");
    world.tell(cancel(&["H1"]));
    let only_fresh = ControllerCommand::CancelOrders {
        order_ids: OrderSelection::Ids(order_ids(&["H1"])),
        mode: CancellationMode::FreshOnly,
    };
    assert_eq!(world.tell(only_fresh), ControllerAnswer::Accepted);
    world.run();
    assert_eq!(world.story("H1").last(), Some(&"OrderCancelled"));
}

#[test]
fn an_order_that_its_agent_refuses_or_was_never_sent_is_cancelled_and_suspended_at_once() {
    let agent = AgentPath::from("ALFA");
    let suspend = ControllerCommand::SuspendOrders {
        order_ids: order_ids(&["H1"]),
        mode: SuspensionMode::default(),
    };
    for (wish, last) in [
        (cancel(&["H1"]), "OrderCancelled"),
        (suspend, "OrderSuspended"),
    ] {
        let mut world = hopping();
        world.at("ALFA").refuses = true;
        world.add("H1", "hop");
        world.run();
        world.tell(wish.clone());
        assert_ne!(
            world.story("H1").last(),
            Some(&last),
            "it may be under way once more"
        );
        let problem = Problem::new("NoRoom", "the Agent has no room");
        world.act(|state, out| {
            state.agent_refused(&agent, &Thing::AttachOrder("H1".into()), problem, out)
        });
        assert_eq!(world.story("H1").last(), Some(&last));
        world.replay();

        let mut world = hopping();
        world.at("ALFA").is_reachable = false;
        let problem = Problem::new("Unreachable", "gone");
        world.act(|state, out| state.agent_coupling_failed(&agent, problem, out));
        world.add("H1", "hop");
        world.run();
        world.tell(wish);
        assert_eq!(world.story("H1").last(), Some(&last), "it was never sent");
        world.act(|state, out| state.agent_coupled(&agent, out));
        world.at("ALFA").is_reachable = true;
        world.run();
        assert_eq!(world.story("H1").last(), Some(&last));
        assert!(!world.at("ALFA").has_job("H1"));
        world.replay();
    }
}

#[test]
fn oc10_orders_are_cancelled_by_a_predicate_over_their_ids() {
    let mut world = hopping();
    for id in ["BATCH-A1", "BATCH-A2", "BATCH-B"] {
        world.add(id, "hop");
    }
    let command = r#"{"TYPE":"CancelOrders","orderIds":"orderId => substring($orderId ++ '        ', 0, 7) == 'BATCH-A'"}"#;
    world.tell(ControllerCommand::from_json(command).unwrap());
    world.run();
    for id in ["BATCH-A1", "BATCH-A2", "BATCH-B"] {
        let is_marked = world.story(id).contains(&"OrderCancellationMarked")
            || world.story(id).contains(&"OrderCancelled");
        assert_eq!(is_marked, id.starts_with("BATCH-A"), "OC-10: {id}");
    }
    let wrong = r#"{"TYPE":"CancelOrders","orderIds":"orderId => $orderId ++ 'x'"}"#;
    let problem = world.refused(ControllerCommand::from_json(wrong).unwrap());
    assert!(problem.is("InvalidPredicate"), "{problem}");
}

#[test]
fn a_command_for_several_orders_does_all_or_nothing_and_tells_all_refusals() {
    let mut world = hopping();
    world.add("A", "hop");
    let problem = world.refused(cancel(&["A", "X", "Y"]));
    assert!(
        problem.is_unknown_order()
            && problem.message.contains('X')
            && problem.message.contains('Y'),
        "{problem}"
    );
    let problem = world.refused(cancel(&["A", "A"]));
    assert!(problem.message.contains("2×Order:A"), "{problem}");
}

#[test]
fn oc15_a_fresh_order_is_suspended_and_resumed_and_a_second_resume_is_refused() {
    let mut world = hopping();
    let later = Some(world.now + Duration::from_secs(100));
    world.tell(ControllerCommand::AddOrder {
        order: model::FreshOrder {
            scheduled_for: later,
            ..order("F", "hop")
        },
    });
    world.run();
    world.tell(ControllerCommand::SuspendOrders {
        order_ids: order_ids(&["F"]),
        mode: SuspensionMode::default(),
    });
    world.run();
    let resume = || ControllerCommand::ResumeOrders {
        order_ids: order_ids(&["F"]),
        as_succeeded: false,
        restart_killed_job: None,
    };
    assert_eq!(world.tell(resume()), ControllerAnswer::Accepted);
    world.run();
    assert!(world.refused(resume()).is("CannotResumeOrder"), "OC-15");
    world.pass(101);
    let expected = [
        "OrderAdded",
        "OrderAttachable",
        "OrderAttached",
        "OrderSuspensionMarked",
        "OrderDetachable",
        "OrderDetached",
        "OrderSuspended",
        "OrderResumed",
        "OrderAttachable",
        "OrderAttached",
        "OrderStarted",
        "OrderProcessingStarted",
    ];
    assert_eq!(world.story("F"), expected, "OC-15");
}

#[test]
fn oc28_orders_are_forgotten_when_they_have_ended() {
    let mut world = hopping();
    world.deploy(&[&jobs("one", &["ALFA"])]);
    world.add("D", "one");
    world.run();
    let forget = ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: order_ids(&["D"]),
    };
    world.tell(forget);
    world.end_job("ALFA", "D", succeeded());
    assert_eq!(world.story("D").last(), Some(&"OrderDeleted"), "OC-28");
    assert!(world.state.engine().order(&"D".into()).is_none());
}

#[test]
fn oc11_a_cancelled_order_is_final() {
    let mut world = hopping();
    let order = model::FreshOrder {
        scheduled_for: Some(world.now + Duration::from_secs(9)),
        ..order("A", "hop")
    };
    world.tell(ControllerCommand::AddOrder { order });
    world.tell(cancel(&["A"]));
    world.run();
    assert_eq!(
        world.state.engine().order(&"A".into()).unwrap().state,
        OrderState::Cancelled
    );
    let resume =
        ControllerCommand::from_json(r#"{"TYPE":"ResumeOrder","orderId":"A","asSucceeded":true}"#)
            .unwrap();
    assert!(world.refused(resume).is("CannotResumeOrder"), "OC-11");
}

#[test]
fn jn01_events_may_go_when_all_registered_users_have_released_them() {
    let mut world = World::with_releasers(&["A", "B"]);
    world.deploy(&[r#"{"TYPE":"Lock","path":"L"}"#]);
    let last = world.last;
    let release = |until| ControllerCommand::ReleaseEvents {
        until_event_id: until,
    };
    let refused = world.tell_as("X", release(last));
    assert!(
        matches!(refused, ControllerAnswer::Problem { code: Some(code), .. } if code == "UserIsNotEnabledToReleaseEvents")
    );
    world.tell_as("A", release(last));
    assert_eq!(
        world.state.released(),
        EventId::BEFORE_FIRST,
        "S44: B has not confirmed"
    );
    world.tell_as("B", release(last));
    assert_eq!(world.state.released(), last);
    let before = world.events.len();
    let again = world.tell_as("B", release(last));
    assert_eq!(again, ControllerAnswer::Accepted);
    assert_eq!(world.events.len(), before, "repeated");
    let back = world.tell_as("B", release(EventId(last.0 - 1)));
    assert!(
        matches!(back, ControllerAnswer::Problem { code: Some(code), .. } if code == "ReverseReleaseEvents")
    );
    let ahead = world.tell_as("B", release(EventId(world.last.0 + 1)));
    assert!(
        matches!(ahead, ControllerAnswer::Problem { code: Some(code), .. } if code == "UnknownEventId")
    );
    world.restart();
    assert_eq!(world.state.released(), last, "remembered");
}

#[test]
fn a_workflow_without_jobs_ends_at_the_controller() {
    let mut world = World::new();
    world
        .change(&[add(
            r#"{"TYPE":"Workflow","path":"dock/empty","instructions":[]}"#,
        )])
        .unwrap();
    world.add("E1", "dock/empty");
    let order = model::FreshOrder {
        delete_when_terminated: true,
        ..order("E2", "dock/empty")
    };
    world.tell(ControllerCommand::AddOrder { order });
    assert_eq!(
        world.story("E1"),
        ["OrderAdded", "OrderStarted", "OrderFinished"],
        "WI-01"
    );
    assert_eq!(
        world.story("E2"),
        [
            "OrderAdded",
            "OrderStarted",
            "OrderFinished",
            "OrderDeleted"
        ],
        "WI-01"
    );
}

#[test]
fn an_order_that_its_agent_has_already_is_sent_again_only_after_it_has_been_back() {
    let mut world = hopping();
    world.add("H1", "hop");
    let agent = AgentPath::from("ALFA");
    let things = |world: &World, since| {
        let mut delivery = AgentDelivery::new(agent.clone());
        let mut out = Vec::new();
        let coupled = DeliveryInput::Coupled {
            coupling: 1,
            held: order_ids(&["H1"]),
            since,
        };
        delivery.handle(Duration::ZERO, coupled, &mut out);
        let committed = DeliveryInput::Committed(&world.state);
        delivery.handle(Duration::ZERO, committed, &mut out);
        let sent = out.iter().flat_map(|output| match output {
            DeliveryOutput::Send { commands, .. } => commands.as_slice(),
            DeliveryOutput::Record { .. } | DeliveryOutput::Look | DeliveryOutput::Close(_) => &[],
        });
        sent.filter(|command| matches!(command, AgentCommand::AttachOrder { .. }))
            .count()
    };
    let (thing, since) = world
        .state
        .outbox(&agent, &controller::Cursor::default())
        .find(|(thing, _)| thing.order_id().is_some())
        .map(|(thing, since)| (thing.clone(), since))
        .unwrap();
    assert_eq!(thing, controller::Thing::AttachOrder("H1".into()));
    assert_eq!(
        things(&world, since),
        0,
        "coupled afterwards, the Agent has it"
    );
    let before = EventId(since.0 - 1);
    assert_eq!(
        things(&world, before),
        1,
        "coupled before, the Agent had it in an earlier visit"
    );
}

#[test]
fn expressions_at_the_controller_read_its_own_environment() {
    let mut world = World::new();
    world.deploy(&[r#"{"TYPE":"Workflow","path":"zone","instructions":[
        {"TYPE":"If","predicate":"env('ZONE') == 'north' && (env('NOWHERE') ? 'none') == 'none'",
         "then":{"instructions":[]},"else":{"instructions":[{"TYPE":"Fail"}]}}]}"#]);
    world.run();
    world.add("Z", "zone");
    world.run();
    assert_eq!(
        world.story("Z").last(),
        Some(&"OrderFinished"),
        "{:?}",
        world.story("Z")
    );
}

#[test]
fn a_predicate_selects_no_forked_children() {
    let mut world = World::new();
    world.agent("ALFA");
    let job = r#"{"TYPE":"Execute.Anonymous","job":{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":"}}}"#;
    world.deploy(&[&format!(
        r#"{{"TYPE":"Workflow","path":"f","instructions":[{{"TYPE":"Fork","branches":[{{"id":"a","workflow":{{"instructions":[{job}]}}}}]}}]}}"#
    )]);
    world.add("P", "f");
    world.run();
    assert!(world.at("ALFA").has_job("P|a"));
    let command = r#"{"TYPE":"CancelOrders","orderIds":"orderId => true"}"#;
    world.tell(ControllerCommand::from_json(command).unwrap());
    world.run();
    assert!(world.story("P").contains(&"OrderCancellationMarked"));
    assert!(!world.story("P|a").contains(&"OrderCancellationMarked"));
}

#[test]
fn the_controller_is_woken_at_once_for_what_waits_and_else_when_an_order_is_due() {
    let mut world = World::new();
    world.deploy(&[r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#]);
    assert_eq!(world.state.next_wakeup(), None, "nothing is to be done");
    let mut due = order("D", "w");
    let at = world.now + Duration::from_mins(1);
    due.scheduled_for = Some(at);
    world.tell(ControllerCommand::AddOrder { order: due });
    assert_eq!(world.state.next_wakeup(), Some(at));
    // An order or an item that has just come, before anything follows for it.
    let mut batch = controller::Batch::new(world.now, world.last);
    let add = ControllerCommand::AddOrder {
        order: order("A", "w"),
    };
    let mut by_order = world.state.clone();
    by_order
        .execute(&add, &"operator".into(), &mut batch)
        .unwrap();
    assert_eq!(by_order.next_wakeup(), Some(model::Timestamp::default()));
    let mut batch = controller::Batch::new(world.now, world.last);
    let mut by_item = world.state.clone();
    let item = crate::world::add(r#"{"TYPE":"JobResource","path":"R","variables":{}}"#);
    by_item
        .change_items(&[item], &controller::Fresh::at(world.now), &mut batch)
        .unwrap()
        .unwrap();
    assert_eq!(by_item.next_wakeup(), Some(model::Timestamp::default()));
}

#[test]
fn an_order_whose_step_ends_the_node_is_known_and_set_aside() {
    let mut world = World::new();
    world.deploy(&[
        r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#,
        r#"{"TYPE":"Workflow","path":"stops","instructions":[{"TYPE":"Fail"}]}"#,
    ]);
    world.state.set_idle();
    assert_eq!(world.state.working_on(), None);
    let mut due = order("BAD", "stops");
    due.scheduled_for = Some(world.now + Duration::from_mins(1));
    world.tell(ControllerCommand::AddOrder { order: due });
    world.state.set_idle();
    // The step is decided when it is due, and the node ends while it is recorded.
    let mut dying = world.state.clone();
    let mut batch = controller::Batch::new(world.now + Duration::from_mins(1), world.last);
    dying.advance(&mut batch).unwrap();
    assert_eq!(dying.working_on().as_deref(), Some("Order:BAD"));
    dying.set_idle();
    assert_eq!(dying.working_on(), None);

    let id = model::OrderId::from("BAD");
    let why = model::Problem::plain("its step has ended the node");
    assert!(!world.state.is_set_aside(&id));
    let events = world.state.set_aside(&id, &why).unwrap();
    world.act(|state, out| {
        for event in events {
            out.record(state, None, event)?;
        }
        Ok(())
    });
    assert!(world.state.is_set_aside(&id));
    world.pass(100);
    assert_eq!(world.story("BAD"), ["OrderAdded", "OrderBroken"]);
    world.add("GOOD", "w");
    world.run();
    assert_eq!(world.story("GOOD").last(), Some(&"OrderFinished"));
    assert_eq!(world.state.set_aside(&"UNKNOWN".into(), &why), None);
}

#[test]
fn how_several_orders_are_resumed_is_passed_on() {
    for (as_succeeded, restart) in [(true, Some(true)), (true, Some(false)), (false, Some(true))] {
        let mut world = hopping();
        world.add("F", "hop");
        world.run();
        let kill = Some(model::Kill {
            immediately: true,
            workflow_position: None,
        });
        world.tell(ControllerCommand::SuspendOrders {
            order_ids: order_ids(&["F"]),
            mode: SuspensionMode {
                reset_state: false,
                kill,
            },
        });
        world.run();
        let outcome = model::Outcome::Killed {
            outcome: Box::new(model::Outcome::failed("killed")),
        };
        world.end_job("ALFA", "F", outcome);
        world.tell(ControllerCommand::ResumeOrders {
            order_ids: order_ids(&["F"]),
            as_succeeded,
            restart_killed_job: restart,
        });
        let resumed = world.events.iter().find_map(|stamped| match stamped.event {
            model::Event::Order(
                _,
                model::OrderEvent::OrderResumed {
                    as_succeeded,
                    restart_killed_job,
                    ..
                },
            ) => Some((as_succeeded, Some(restart_killed_job))),
            _ => None,
        });
        assert_eq!(
            resumed,
            Some((as_succeeded, restart)),
            "{:?}",
            world.story("F")
        );
    }
}

#[test]
fn a_refusal_names_a_hundred_faults_and_counts_only_what_it_does_not_name() {
    let mut world = World::new();
    let mut refused = |count: usize| {
        let ids: Vec<String> = (0..count).map(|n| format!("{n:03}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        world.refused(crate::world::cancel(&ids)).message
    };
    assert!(refused(100).ends_with("099"), "{}", refused(100));
    assert!(refused(101).ends_with("and 1 more"), "{}", refused(101));
}

/// A batch that takes only a few events.
struct SmallBatch(controller::Batch);

impl controller::Recorder for SmallBatch {
    fn now(&self) -> model::Timestamp {
        self.0.now
    }
    fn last_event_id(&self) -> EventId {
        self.0.last
    }
    fn is_full(&self) -> bool {
        self.0.events.len() >= 2
    }
    fn record(
        &mut self,
        state: &mut controller::State,
        at: Option<model::Timestamp>,
        event: model::Event,
    ) -> Result<(), controller::NotApplicable> {
        self.0.record(state, at, event)
    }
}

#[test]
fn what_can_wait_is_left_for_the_next_batch_when_one_is_full() {
    let mut world = World::new();
    world.deploy(&[r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#]);
    let mut state = world.state.clone();
    let mut small = SmallBatch(controller::Batch::new(world.now, world.last));
    for id in ["A", "B", "C"] {
        let command = ControllerCommand::AddOrder {
            order: order(id, "w"),
        };
        state
            .execute(&command, &"operator".into(), &mut small)
            .unwrap();
    }
    let mut batches = 0;
    while state.next_wakeup().is_some() {
        small = SmallBatch(controller::Batch::new(world.now, small.0.last));
        state.advance(&mut small).unwrap();
        batches += 1;
        assert!(small.0.events.len() <= 3, "{small:?}", small = small.0);
    }
    assert!(batches >= 3, "{batches}");
    for id in ["A", "B", "C"] {
        let order = state.engine().order(&id.into()).unwrap();
        assert!(order.is_terminated(), "{order:?}");
    }
}

#[test]
fn a_mass_of_steps_leaves_room_for_others_after_ten_thousand_events() {
    let mut world = World::new();
    world.deploy(&[r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#]);
    let orders = (0..5001).map(|n| order(&format!("{n}"), "w")).collect();
    let before = world.events.len() + 5001;
    world.tell(ControllerCommand::AddOrders { orders });
    assert_eq!(
        world.events.len() - before,
        10_000,
        "each starts and finishes"
    );
    assert_eq!(
        world.state.next_wakeup(),
        Some(Timestamp::default()),
        "and at once the next round"
    );
    world.run();
    assert_eq!(world.events.len() - before, 10_002);
}
