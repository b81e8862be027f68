//! Laws that hold for any events in any order: nothing panics, a refused event changes nothing, indexes equal a scan.

use crate::world::{START, World, workflow};
use engine::{Next, Site, State};
use model::{
    AttachedState, CancellationMode, ForkChild, Mark, OrderEvent, OrderId, OrderState, Outcome,
    Position, Problem, Resumption, SleepCause, SuspensionMode, Timestamp,
};
use proptest::prelude::*;

const TEXT: &str = "- {TYPE: Try, try: {instructions: [{TYPE: Execute.Anonymous, job: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: ':'}}}]}, catch: {instructions: [{TYPE: Retry}]}, maxTries: 3, retryDelays: [1]}
- {TYPE: Fork, branches: [{id: a, workflow: {instructions: [{TYPE: Sleep, duration: '1'}]}}, {id: b, workflow: {instructions: []}}]}
- {TYPE: Stop}
";

fn position() -> impl Strategy<Value = Position> {
    prop::sample::select(vec![
        "0",
        "0/try+0:0",
        "0/catch+0:0",
        "0/try+1:0",
        "1",
        "1/fork+a:0",
        "1/fork+a:1",
        "1/fork+b:0",
        "2",
        "3",
        "7",
    ])
    .prop_map(|text| text.parse().expect("a position"))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let lost = Outcome::process_lost(Problem::plain("lost"));
    let killed = Outcome::Killed {
        outcome: Box::new(Outcome::failed("killed")),
    };
    prop::sample::select(vec![
        Outcome::SUCCEEDED,
        Outcome::Caught,
        Outcome::failed("bad"),
        lost,
        killed,
    ])
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..5000_i64).prop_map(|millis| Timestamp::from_millis(START + millis))
}

fn event() -> impl Strategy<Value = OrderEvent> {
    let agent_path = || model::AgentPath::from("ALFA");
    let fork = |id: &str| {
        ["a", "b"]
            .map(|branch| ForkChild {
                order_id: OrderId::from(id).child(branch),
                branch_id: Some(branch.into()),
                arguments: expr::NamedValues::new(),
            })
            .to_vec()
    };
    let resumed = |position: Option<Position>, as_succeeded| OrderEvent::OrderResumed {
        position,
        history_operations: Vec::new(),
        as_succeeded,
        restart_killed_job: false,
    };
    let simple = prop::sample::select(vec![
        OrderEvent::OrderStarted,
        OrderEvent::OrderFinished { outcome: None },
        OrderEvent::OrderCancelled,
        OrderEvent::OrderDeletionMarked,
        OrderEvent::OrderDeleted,
        OrderEvent::OrderBroken { problem: None },
        OrderEvent::OrderAwoke,
        OrderEvent::OrderForked {
            children: fork("A"),
        },
        OrderEvent::OrderForked {
            children: fork("B"),
        },
        OrderEvent::OrderRetrying {
            delayed_until: None,
        },
        OrderEvent::OrderProcessingStarted {
            subagent_id: None,
            subagent_bundle_id: None,
            stick: false,
        },
        OrderEvent::OrderStdoutWritten {
            chunk: "text".into(),
        },
        OrderEvent::OrderProcessingHeld {
            hold: Some(Box::new(model::JobHold::OutputIsHeld {
                since: model::Timestamp::default(),
                pid: 1,
                processes: Vec::new(),
            })),
        },
        OrderEvent::OrderStickySubagentEntered {
            agent_path: agent_path(),
            subagent_bundle_id: None,
        },
        OrderEvent::OrderStickySubagentLeft,
        OrderEvent::OrderProcessingKilled,
        OrderEvent::OrderStopped,
        OrderEvent::OrderAttachable {
            agent_path: agent_path(),
        },
        OrderEvent::OrderAttached {
            agent_path: agent_path(),
        },
        OrderEvent::OrderDetachable,
        OrderEvent::OrderDetached,
        OrderEvent::OrderCancellationMarked {
            mode: CancellationMode::default(),
        },
        OrderEvent::OrderStateReset,
        OrderEvent::OrderSuspensionMarked {
            mode: SuspensionMode::default(),
        },
        OrderEvent::OrderSuspended,
        resumed(None, false),
        resumed(None, true),
    ]);
    prop_oneof![
        6 => simple,
        1 => position().prop_map(|to| OrderEvent::OrderMoved { to, reason: None }),
        1 => position().prop_map(|moved_to| OrderEvent::OrderCaught { moved_to }),
        1 => position().prop_map(|moved_to| OrderEvent::OrderFailed { moved_to }),
        1 => position().prop_map(|moved_to| OrderEvent::OrderFailedInFork { moved_to }),
        1 => position().prop_map(move |position| resumed(Some(position), false)),
        1 => outcome().prop_map(|outcome| OrderEvent::OrderProcessed { outcome }),
        1 => outcome().prop_map(|outcome| OrderEvent::OrderOutcomeAdded { outcome }),
        1 => outcome().prop_map(|outcome| OrderEvent::OrderJoined { outcome }),
        1 => time().prop_map(|until| OrderEvent::OrderRetrying { delayed_until: Some(until) }),
        1 => time().prop_map(|until| OrderEvent::OrderSleeping { until, cause: SleepCause::SleepInstruction }),
    ]
}

/// What happens in a random world.
#[derive(Clone, Debug)]
enum Act {
    Event(&'static str, OrderEvent),
    Add(&'static str, Option<i64>),
    /// What follows by itself.
    Follow,
    Wake(i64),
    Cancel(&'static str),
    Suspend(&'static str),
    Resume(&'static str, Option<Position>),
}

fn act() -> impl Strategy<Value = Act> {
    let id = || prop::sample::select(vec!["A", "B", "A|a", "A|b", "B|a", "A|a|a", "NOBODY"]);
    prop_oneof![
        6 => (id(), event()).prop_map(|(id, event)| Act::Event(id, event)),
        2 => (prop::sample::select(vec!["A", "B"]), prop::option::of(0..5000_i64)).prop_map(|(id, at)| Act::Add(id, at)),
        3 => Just(Act::Follow),
        1 => (0..6000_i64).prop_map(Act::Wake),
        1 => id().prop_map(Act::Cancel),
        1 => id().prop_map(Act::Suspend),
        1 => (id(), prop::option::of(position())).prop_map(|(id, position)| Act::Resume(id, position)),
    ]
}

fn orders(state: &State) -> Vec<model::Order> {
    state
        .orders()
        .map(|order| model::Order::clone(order))
        .collect()
}

fn empty(site: Site) -> State {
    let world = World::new(&[], &[&workflow("w", TEXT)]);
    let mut state = State::new(site, "C".into());
    for workflow in world.controller.state.workflows() {
        state.set_workflow(workflow.clone());
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_in_any_order_keep_the_invariants(acts in prop::collection::vec(act(), 0..80), at_agent in any::<bool>()) {
        let site = if at_agent { Site::Agent("ALFA".into()) } else { Site::Controller };
        let mut live = empty(site);
        let blank = live.clone();
        let mut now = Timestamp::from_millis(START);
        let mut log: Vec<(OrderId, OrderEvent, Timestamp)> = Vec::new();
        for act in acts {
            let mut decided: Vec<(OrderId, OrderEvent)> = Vec::new();
            let must_fit = match act {
                Act::Event(id, event) => { decided.push((id.into(), event)); false }
                Act::Add(id, at) => {
                    let mut fresh = model::FreshOrder::new(id.into(), "w".into());
                    fresh.scheduled_for = at.map(|at| Timestamp::from_millis(START + at));
                    decided.extend(live.add(&fresh, now).unwrap().map(|event| (id.into(), event)));
                    true
                }
                Act::Wake(at) => { now = Timestamp::from_millis(START + at); live.wake(now); true }
                Act::Follow => {
                    if let Some(id) = live.pop_restless() {
                        match live.next(&id, now) {
                            Next::Events(events) => decided = events,
                            Next::Job(_) => {
                                if live.order(&id).is_some_and(|order| order.state == model::OrderState::Fresh) {
                                    decided.push((id.clone(), OrderEvent::OrderStarted));
                                }
                                decided.push((id, OrderEvent::OrderProcessingStarted { subagent_id: None, subagent_bundle_id: None, stick: false }));
                            }
                            Next::Rest => {}
                        }
                    }
                    true
                }
                Act::Cancel(id) => { decided = live.cancel(&id.into(), &CancellationMode::default()).unwrap_or_default(); true }
                Act::Suspend(id) => { decided = live.suspend(&id.into(), &SuspensionMode::default()).unwrap_or_default(); true }
                Act::Resume(id, position) => {
                    decided = live.resume(&id.into(), &Resumption { position, ..Resumption::default() }).unwrap_or_default();
                    true
                }
            };
            for (id, event) in decided {
                let before = orders(&live);
                match live.evolve(&id, &event, now) {
                    Ok(_) => log.push((id, event, now)),
                    Err(refused) => {
                        prop_assert!(!must_fit, "what the engine decides must fit: {refused}");
                        prop_assert_eq!(orders(&live), before, "a refused event changes nothing");
                    }
                }
            }
            live.check().map_err(TestCaseError::fail)?;
        }
        let mut replayed = blank.clone();
        for (id, event, at) in &log {
            replayed.evolve(id, event, *at).unwrap();
        }
        prop_assert_eq!(orders(&replayed), orders(&live), "replay equals live");
        let mut restored = blank;
        // Backwards: children before their parents.
        for order in live.orders().collect::<Vec<_>>().into_iter().rev() {
            restored.insert_order(model::Order::clone(order));
        }
        restored.check().map_err(TestCaseError::fail)?;
        prop_assert_eq!(orders(&restored), orders(&live), "a snapshot holds everything");
    }
}

#[test]
fn orders_may_be_restored_before_their_workflow() {
    let mut world = World::with(
        &[],
        "- {TYPE: Fork, branches: [{id: a, workflow: {instructions: [{TYPE: Stop}]}}, {id: b, workflow: {instructions: []}}]}\n",
    );
    world.start("F");
    let mut restored = State::new(Site::Controller, "C".into());
    for order in world.controller.state.orders() {
        restored.insert_order(model::Order::clone(order));
    }
    restored.check().unwrap();
    for workflow in world.controller.state.workflows() {
        restored.set_workflow(workflow.clone());
    }
    restored.check().unwrap();
    restored
        .evolve(&"F|a".into(), &OrderEvent::OrderCancelled, world.now)
        .unwrap();
    let restless: Vec<_> = std::iter::from_fn(|| restored.pop_restless()).collect();
    assert!(restless.contains(&"F".into()));
    assert!(matches!(
        restored.next(&"F".into(), world.now),
        Next::Events(_)
    ));
}

#[test]
fn each_start_of_a_process_has_its_own_number() {
    let mut state = empty(Site::Agent("ALFA".into()));
    let mut order = None;
    let mut controller = empty(Site::Controller);
    let event = controller
        .add(
            &model::FreshOrder::new("A".into(), "w".into()),
            Timestamp::default(),
        )
        .unwrap()
        .unwrap();
    controller
        .evolve(&"A".into(), &event, Timestamp::default())
        .unwrap();
    order.replace(model::Order::clone(controller.order(&"A".into()).unwrap()));
    let mut order = order.unwrap();
    order.state = OrderState::Ready;
    order.attached_state = Some(AttachedState::Attached {
        agent_path: "ALFA".into(),
    });
    order.mark = Some(Box::new(Mark::Suspending {
        mode: SuspensionMode::default(),
    }));
    let id = order.id.clone();
    state
        .evolve(
            &id,
            &OrderEvent::OrderAttachedToAgent {
                order: Box::new(order),
            },
            Timestamp::default(),
        )
        .unwrap();
    for number in 1..=3 {
        let started = OrderEvent::OrderProcessingStarted {
            subagent_id: None,
            subagent_bundle_id: None,
            stick: false,
        };
        state.evolve(&id, &started, Timestamp::default()).unwrap();
        assert_eq!(state.order(&id).unwrap().attempts, number);
        let lost = OrderEvent::OrderProcessed {
            outcome: Outcome::process_lost(Problem::plain("lost")),
        };
        state.evolve(&id, &lost, Timestamp::default()).unwrap();
        state
            .evolve(
                &id,
                &OrderEvent::OrderMoved {
                    to: Position::top(0),
                    reason: None,
                },
                Timestamp::default(),
            )
            .unwrap();
    }
    assert_eq!(
        state.next(&id, Timestamp::default()),
        Next::Events(vec![(id, OrderEvent::OrderDetachable)]),
        "a mark that came with the order is followed"
    );
}
