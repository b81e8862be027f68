//! An Agent's decisions in the words of an operator: which job runs when, and where.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    reason = "a story that cannot be set up fails at that line, and looks at a few events of many"
)]

#[path = "stories/clusters.rs"]
mod clusters;
#[path = "stories/controllers.rs"]
mod controllers;
#[path = "stories/items.rs"]
mod items;
#[path = "stories/pairs.rs"]
mod pairs;
#[path = "stories/resets.rs"]
mod resets;
#[path = "stories/waiting.rs"]
mod waiting;

use agent::{Coupling, Standing, State, Work};
use model::{
    AgentAnswer, AgentCommand, AgentPath, AttachedState, Attempt, CancellationMode, Event, EventId,
    ItemKey, JobHold, Kill, Mark, Order, OrderEvent, OrderState, Outcome, Problem, RunId,
    SignedText, Stamped, SubagentEvent, SubagentId, SubagentStamped, SubagentStateEvent, Timestamp,
    UserId,
};
use std::sync::Arc;
use std::time::Duration;

struct World {
    state: State,
    last: EventId,
    events: Vec<Event>,
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn agent() -> World {
    let mut world = World {
        state: State::new(Arc::default()),
        last: EventId::BEFORE_FIRST,
        events: Vec::new(),
    };
    world.ask(AgentCommand::DedicateAgentDirector {
        agent_path: AgentPath::new("ALFA"),
        directors: vec!["ALFA-0".into()],
        controller_id: "C".into(),
        controller_run_id: RunId::new("c-1"),
        from: None,
    });
    world.item(
        "Agent:ALFA",
        r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0"],"processLimit":3}"#,
    );
    for id in ["ALFA-0", "S-A", "S-B"] {
        world.subagent(id, false);
        world.couple(id);
    }
    world
}

impl World {
    fn record(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.last = self.last.next(NOW);
            let stamped = Stamped {
                event_id: self.last,
                timestamp: None,
                by: None,
                event,
            };
            // What is written must be readable, or a restart would lose it.
            let read = Stamped::from_json(&stamped.to_json()).unwrap();
            assert_eq!(read, stamped);
            self.state.evolve(&stamped).unwrap();
            self.events.push(stamped.event);
        }
    }

    fn settle(&mut self) {
        while let Some(events) = self.state.step(NOW) {
            self.record(events);
        }
    }

    fn try_ask(&mut self, command: AgentCommand) -> Result<AgentAnswer, Problem> {
        let standing = Standing {
            run_id: RunId::new("a-1"),
            last: self.last,
            torn: EventId::BEFORE_FIRST,
            coupling: 1,
            connected: None,
            now: NOW,
        };
        let (events, answer) = self.state.decide(&command, &UserId::new("C"), &standing)?;
        self.record(events);
        self.settle();
        Ok(answer)
    }

    fn ask(&mut self, command: AgentCommand) -> AgentAnswer {
        self.try_ask(command).unwrap()
    }

    fn item(&mut self, key: &str, text: &str) {
        let key: ItemKey =
            serde_json::from_value(serde_json::Value::String(key.to_owned())).unwrap();
        let item = SignedText {
            string: text.into(),
            signature: None,
        };
        self.ask(AgentCommand::AttachItem {
            item,
            key,
            item_revision: None,
        });
    }

    fn subagent(&mut self, id: &str, disabled: bool) {
        let text = format!(
            r#"{{"TYPE":"SubagentItem","id":"{id}","agentPath":"ALFA","uri":"http://127.0.0.1:1","disabled":{disabled}}}"#
        );
        self.item(&format!("Subagent:{id}"), &text);
    }

    fn couple(&mut self, id: &str) {
        let id = SubagentId::new(id);
        let events =
            self.state
                .on_subagent_dedicated(&id, &RunId::new(format!("{id}-life-1")), None);
        self.record(events);
        let event = self.state.on_subagent_coupled(&id);
        self.record(event);
        self.settle();
    }

    /// Lets the Subagent answer as a new process, which does not know the jobs of the earlier one.
    fn restart_subagent(&mut self, id: &str) {
        let run_id = RunId::new("another run");
        let events = self.state.on_subagent_dedicated(&id.into(), &run_id, None);
        self.record(events);
    }

    /// A workflow with one job, and `extra` fields of the job.
    fn workflow(&mut self, extra: &str) {
        let text = format!(
            r#"{{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"ALFA",{extra}"executable":{{"TYPE":"ShellScriptExecutable","script":":"}}}}}}]}}"#
        );
        self.item("Workflow:w~1", &text);
    }

    fn order(&mut self, id: &str, priority: i64) {
        let text = format!(
            r#"{{"TYPE":"Order","id":"{id}","workflowId":{{"path":"w","versionId":"1"}},"position":[0],"state":{{"TYPE":"Fresh"}},"priority":{priority}}}"#
        );
        let mut order: Order = serde_json::from_str(&text).unwrap();
        order.attached_state = Some(AttachedState::Attaching {
            agent_path: AgentPath::new("ALFA"),
        });
        self.ask(AgentCommand::AttachOrder {
            order: Box::new(order),
        });
    }

    /// Where each job was started, in order: `order@subagent`.
    fn starts(&self) -> Vec<String> {
        let start = |event: &Event| match event {
            Event::Order(
                id,
                OrderEvent::OrderProcessingStarted {
                    subagent_id: Some(subagent),
                    ..
                },
            ) => Some(format!("{id}@{subagent}")),
            _ => None,
        };
        self.events.iter().filter_map(start).collect()
    }

    fn end(&mut self, order: &str, subagent: &str, number: u64, outcome: Outcome) {
        let attempts = self.state.engine.order(&order.into()).unwrap().attempts;
        let attempt = Attempt {
            order_id: order.into(),
            number: attempts,
        };
        let stamped = SubagentStamped {
            event_id: EventId(number),
            event: SubagentEvent::OrderProcessed { attempt, outcome },
        };
        self.report(subagent, &stamped);
    }

    fn report(&mut self, subagent: &str, stamped: &SubagentStamped) {
        let id = SubagentId::new(subagent);
        let events = self.state.on_subagent_event(&id, stamped);
        self.record(events);
        let observed = self.state.on_subagent_observed(&id, stamped.event_id);
        self.record(observed);
        self.settle();
    }

    /// Returns the names of the order's events.
    fn story(&self, order: &str) -> Vec<&'static str> {
        let of_order =
            |event: &&Event| matches!(event, Event::Order(id, _) if id.as_str() == order);
        let events = self.events.iter().filter(of_order);
        events.map(Event::type_name).collect()
    }

    fn state_of(&self, order: &str) -> &OrderState {
        &self.state.engine.order(&order.into()).unwrap().state
    }

    /// The same Agent after a crash: the fold of a snapshot.
    fn restarted(&self) -> World {
        let mut state = State::new(Arc::default());
        for line in self.state.snapshot() {
            state.restore(&line).unwrap();
        }
        let lines = |state: &State| state.snapshot().collect::<Vec<_>>();
        assert_eq!(
            lines(&state),
            lines(&self.state),
            "a snapshot of the restored state is the same"
        );
        World {
            state,
            last: self.last,
            events: Vec::new(),
        }
    }
}

#[test]
fn jobs_go_to_all_available_subagents_in_turn() {
    let mut world = agent();
    world.workflow(r#""parallelism":100,"#);
    for id in ["1", "2", "3"] {
        world.order(id, 0);
    }
    assert_eq!(world.starts(), ["1@ALFA-0", "2@S-A", "3@S-B"]);
}

#[test]
fn the_agents_process_limit_holds_and_a_free_process_goes_to_the_next_in_line() {
    let mut world = agent();
    world.workflow(r#""parallelism":100,"#);
    for id in ["1", "2", "3", "4"] {
        world.order(id, 0);
    }
    assert_eq!((world.state.running(), world.state.waiting()), (3, 1));
    world.end("1", "ALFA-0", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts().last().unwrap(), "4@ALFA-0");
}

#[test]
fn a_jobs_parallelism_holds_and_a_higher_priority_goes_first() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    world.order("first", 0);
    world.order("low", -1);
    world.order("high", 5);
    assert_eq!(world.starts(), ["first@ALFA-0"]);
    world.end("first", "ALFA-0", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts()[1..], ["high@S-A"]);
}

#[test]
fn a_disabled_subagent_is_not_chosen_and_comes_back_when_it_is_enabled() {
    let mut world = agent();
    for id in ["ALFA-0", "S-A", "S-B"] {
        world.subagent(id, true);
    }
    world.workflow(r#""parallelism":9,"#);
    world.order("1", 0);
    assert!(world.starts().is_empty());
    world.subagent("S-B", false);
    assert_eq!(world.starts(), ["1@S-B"]);
}

#[test]
fn a_named_subagent_is_used_even_while_it_is_hidden_from_selection() {
    let mut world = agent();
    world.subagent("S-A", true);
    world.workflow(r#""subagentBundleIdExpr":"'S-A'","#);
    world.order("1", 0);
    assert_eq!(world.starts(), ["1@S-A"]);
}

#[test]
fn a_cluster_takes_the_highest_priority_that_is_available() {
    let mut world = agent();
    world.item(
        "SubagentBundle:B",
        r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"ALFA-0":"1","S-A":"2","S-B":"2"}}"#,
    );
    world.workflow(r#""subagentBundleIdExpr":"'B'","parallelism":9,"#);
    for id in ["1", "2", "3"] {
        world.order(id, 0);
    }
    assert_eq!(world.starts(), ["1@S-A", "2@S-B", "3@S-A"]);
}

#[test]
fn a_job_for_a_subagent_that_does_not_exist_fails_and_says_so() {
    let mut world = agent();
    world.workflow(r#""subagentBundleIdExpr":"'NOWHERE'","#);
    world.order("1", 0);
    let failure = world.events.iter().find_map(|event| match event {
        Event::Order(_, OrderEvent::OrderOutcomeAdded { outcome }) => Some(outcome.to_string()),
        _ => None,
    });
    assert!(failure.unwrap().contains("SubagentBundle:NOWHERE"));
    assert_ne!(
        *world.state_of("1"),
        OrderState::Fresh,
        "the job's instruction was carried out, and failed"
    );
}

#[test]
fn the_jobs_of_a_restarted_subagent_are_lost_and_repeated() {
    let mut world = agent();
    world.workflow(r#""parallelism":9,"#);
    world.order("1", 0);
    assert_eq!(world.starts(), ["1@ALFA-0"]);
    world.restart_subagent("ALFA-0");
    world.settle();
    assert_eq!(world.starts(), ["1@ALFA-0", "1@S-A"]);
    assert_eq!(world.state.engine.order(&"1".into()).unwrap().attempts, 2);
}

#[test]
fn a_job_that_must_not_be_repeated_is_not_repeated_after_a_loss() {
    let mut world = agent();
    world.workflow(r#""isNotRestartable":true,"#);
    world.order("1", 0);
    world.restart_subagent("ALFA-0");
    world.settle();
    assert_eq!(world.starts().len(), 1);
    let order = world.state.engine.order(&"1".into()).unwrap();
    assert!(
        matches!(order.attached_state, Some(AttachedState::Detaching { .. })),
        "{order:?}"
    );
    let history: Vec<_> = order
        .historic_outcomes
        .iter()
        .map(|entry| entry.outcome.to_string())
        .collect();
    assert_eq!(history.len(), 1, "the loss is the failure: {history:?}");
    assert!(
        history[0].contains("ProcessLostDueToRestart"),
        "{history:?}"
    );
    assert!(!order.last_outcome().is_process_lost());
}

#[test]
fn an_order_starts_with_its_job_and_is_fresh_while_it_waits_for_a_slot() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    for id in ["1", "2", "3"] {
        world.order(id, 0);
    }
    assert_eq!(*world.state_of("2"), OrderState::Fresh);
    assert_eq!(world.state.waiting(), 2);
    world.ask(AgentCommand::MarkOrder {
        order_id: "2".into(),
        mark: Mark::Cancelling {
            mode: CancellationMode::FreshOnly,
        },
    });
    world.end("1", "ALFA-0", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts(), ["1@ALFA-0", "3@S-A"]);
    assert_eq!(
        world.story("2"),
        ["OrderAttachedToAgent", "OrderDetachable"]
    );
    assert_eq!(
        world.story("3"),
        [
            "OrderAttachedToAgent",
            "OrderStarted",
            "OrderProcessingStarted"
        ]
    );
}

#[test]
fn an_order_that_waits_fresh_for_a_slot_waits_after_a_restart_too_and_starts_once() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    world.order("1", 0);
    world.order("2", 0);
    let mut world = world.restarted();
    world.settle();
    assert!(world.starts().is_empty());
    for id in ["ALFA-0", "S-A", "S-B"] {
        let event = world.state.on_subagent_coupled(&id.into());
        world.record(event);
    }
    world.end("1", "ALFA-0", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts().len(), 1, "{:?}", world.starts());
    assert!(world.starts()[0].starts_with("2@"));
}

#[test]
fn s42_a_report_that_comes_twice_is_taken_over_once() {
    let mut world = agent();
    world.workflow("");
    world.order("1", 0);
    let attempt = Attempt {
        order_id: "1".into(),
        number: 1,
    };
    let hello = SubagentStamped {
        event_id: EventId(1),
        event: SubagentEvent::OrderStdoutWritten {
            attempt,
            chunk: "hello".into(),
        },
    };
    world.report("ALFA-0", &hello);
    world.report("ALFA-0", &hello);
    let chunks = world
        .events
        .iter()
        .filter(|event| event.type_name() == "OrderStdoutWritten")
        .count();
    assert_eq!(chunks, 1);
    let observed = world
        .events
        .iter()
        .filter(|event| event.type_name() == "SubagentEventsObserved")
        .count();
    assert_eq!(observed, 1, "nor is it noted twice that it has come");
}

#[test]
fn what_holds_up_a_job_is_known_until_it_ends_and_only_of_its_attempt() {
    let mut world = agent();
    world.workflow("");
    world.order("1", 0);
    let hold = JobHold::OutputIsHeld {
        since: Timestamp::default(),
        pid: 7,
        processes: vec![8],
    };
    let held = |event_id, number| SubagentStamped {
        event_id: EventId(event_id),
        event: SubagentEvent::OrderProcessingHeld {
            attempt: Attempt {
                order_id: "1".into(),
                number,
            },
            hold: Some(Box::new(hold.clone())),
        },
    };
    let known = |world: &World| match world.state_of("1") {
        OrderState::Processing { hold, .. } => hold.as_deref().cloned(),
        other => panic!("{other:?}"),
    };
    world.report("ALFA-0", &held(1, 2));
    assert_eq!(known(&world), None, "of another attempt");
    world.report("ALFA-0", &held(2, 1));
    assert_eq!(known(&world), Some(hold.clone()));
    assert_eq!(
        known(&world.restarted()),
        Some(hold.clone()),
        "after a restart"
    );
    assert_eq!(world.starts().len(), 1, "it still takes its slot");
    world.end("1", "ALFA-0", 3, Outcome::SUCCEEDED);
    assert!(!matches!(
        world.state_of("1"),
        OrderState::Processing { .. }
    ));
}

#[test]
fn a_report_of_an_earlier_attempt_changes_nothing() {
    let mut world = agent();
    world.workflow(r#""parallelism":9,"#);
    world.order("1", 0);
    world.restart_subagent("ALFA-0");
    world.settle();
    let late = SubagentStamped {
        event_id: EventId(1),
        event: SubagentEvent::OrderProcessed {
            attempt: Attempt {
                order_id: "1".into(),
                number: 1,
            },
            outcome: Outcome::SUCCEEDED,
        },
    };
    world.report("ALFA-0", &late);
    assert!(matches!(world.state_of("1"), OrderState::Processing { .. }));
}

#[test]
fn work_is_found_by_what_is_new_and_offered_again_from_the_start_after_a_reconnection() {
    let mut world = agent();
    world.workflow(r#""parallelism":9,"subagentBundleIdExpr":"'S-A'","#);
    world.order("1", 0);
    world.order("2", 0);
    let id = SubagentId::new("S-A");
    let all: Vec<(u64, Work)> = world.state.work_after(&id, 0).collect();
    assert_eq!(all.len(), 2);
    let cursor = all.last().unwrap().0;
    assert_eq!(world.state.work_after(&id, cursor).count(), 0);
    let kill = |place: Option<&str>| CancellationMode::FreshOrStarted {
        kill: Some(Kill {
            immediately: true,
            workflow_position: place.map(|place| serde_json::from_str(place).unwrap()),
        }),
    };
    // Elsewhere: the job ends by itself.
    for place in [
        r#"{"workflowId":{"path":"w","versionId":"1"},"position":[1]}"#,
        r#"{"workflowId":{"path":"w","versionId":"2"},"position":[0]}"#,
    ] {
        world.ask(AgentCommand::MarkOrder {
            order_id: "1".into(),
            mark: Mark::Cancelling {
                mode: kill(Some(place)),
            },
        });
    }
    assert_eq!(world.state.work_after(&id, cursor).count(), 0);
    let here = r#"{"workflowId":{"path":"w","versionId":"1"},"position":[0]}"#;
    world.ask(AgentCommand::MarkOrder {
        order_id: "1".into(),
        mark: Mark::Cancelling {
            mode: kill(Some(here)),
        },
    });
    let new: Vec<Work> = world
        .state
        .work_after(&id, cursor)
        .map(|(_, work)| work)
        .collect();
    assert!(
        matches!(&new[..], [Work::Kill { attempt, immediately: true }] if attempt.order_id.as_str() == "1")
    );
    assert_eq!(world.state.work_after(&id, 0).count(), 3);
    world.end(
        "1",
        "S-A",
        1,
        Outcome::Killed {
            outcome: Box::new(Outcome::failed("")),
        },
    );
    assert_eq!(world.state.work_after(&id, 0).count(), 1);
}

#[test]
fn s53_a_restarted_agent_offers_the_running_jobs_again_and_forgets_nothing() {
    let mut world = agent();
    world.workflow(r#""parallelism":9,"#);
    for id in ["1", "2", "3", "4"] {
        world.order(id, 0);
    }
    let mut after = world.restarted();
    assert_eq!(after.state.running(), 3);
    assert_eq!(after.state.work_after(&"S-A".into(), 0).count(), 1);
    after.settle();
    assert!(
        after.starts().is_empty(),
        "nothing starts before a Subagent is coupled"
    );
    assert_eq!(after.state.waiting(), 1);
}

#[test]
fn a_repeated_command_is_answered_as_done() {
    let mut world = agent();
    world.workflow("");
    world.order("1", 0);
    let events = world.events.len();
    world.order("1", 0);
    world.workflow("");
    world.ask(AgentCommand::DetachOrder {
        order_id: "unknown".into(),
    });
    world.ask(AgentCommand::MarkOrder {
        order_id: "unknown".into(),
        mark: Mark::Cancelling {
            mode: CancellationMode::FreshOnly,
        },
    });
    assert_eq!(world.events.len(), events);
}

#[test]
fn an_agent_is_not_taken_by_another_controller_or_another_life_of_its_own() {
    let mut world = agent();
    let ask = |controller: &str, run: &str| AgentCommand::DedicateAgentDirector {
        agent_path: AgentPath::new("ALFA"),
        directors: vec!["ALFA-0".into()],
        controller_id: controller.into(),
        controller_run_id: RunId::new(run),
        from: None,
    };
    assert!(matches!(
        world.try_ask(ask("C", "c-1")),
        Ok(AgentAnswer::Dedicated { .. })
    ));
    assert!(
        world
            .try_ask(ask("D", "c-1"))
            .unwrap_err()
            .is("AgentWrongController")
    );
    assert!(
        world
            .try_ask(ask("C", "c-2"))
            .unwrap_err()
            .is("AgentAlreadyDedicated")
    );
}

#[test]
fn coupling_fails_when_the_agents_log_is_not_the_known_one() {
    let mut world = agent();
    let couple = |run: &str, event_id: EventId| AgentCommand::CoupleController {
        agent_path: AgentPath::new("ALFA"),
        agent_run_id: RunId::new(run),
        event_id,
        controller_run_id: RunId::new("c-1"),
        epoch: 0,
        from: None,
    };
    let last = world.last;
    assert!(matches!(
        world.try_ask(couple("a-1", last)),
        Ok(AgentAnswer::Coupled { .. })
    ));
    assert!(
        world
            .try_ask(couple("a-2", last))
            .unwrap_err()
            .is("AgentRunIdMismatch")
    );
    let refused = world
        .try_ask(couple("a-1", EventId(last.0 + 1)))
        .unwrap_err();
    assert!(refused.is("UnknownEventId"), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("this Agent was restored from a backup")
            && told.contains("mainspring agent reset ALFA"),
        "the way out is told: {told}"
    );
}

#[test]
fn one_problem_of_a_subagent_is_told_once() {
    let world = agent();
    let problem = Problem::new("SubagentUnreachable", "connection refused");
    let id = SubagentId::new("S-A");
    let mut world = world;
    let event = world.state.on_subagent_failed(&id, problem.clone());
    assert!(event.is_some());
    world.record(event);
    assert_eq!(
        world.state.subagents()["S-A"].coupling,
        Coupling::Failed(problem.clone())
    );
    assert!(world.state.on_subagent_failed(&id, problem).is_none());
}

#[test]
fn s78_a_reset_is_for_one_life_and_a_late_repetition_leaves_the_next_one_alone() {
    let mut world = agent();
    let reset = |life: Option<&str>| AgentCommand::Reset {
        agent_run_id: life.map(RunId::new),
    };
    let refused = world.try_ask(reset(Some("a-0"))).unwrap_err();
    assert!(refused.is("AgentRunIdMismatch"), "{refused}");
    assert_eq!(world.ask(reset(Some("a-1"))), AgentAnswer::Accepted);
    assert!(
        world
            .state
            .judge_reset(None)
            .is_ok_and(|has_something| has_something),
        "whichever life it is"
    );
    let fresh = State::new(Arc::default());
    assert_eq!(
        fresh.judge_reset(Some(&RunId::new("a-1"))),
        Ok(false),
        "who has forgotten everything has nothing to forget"
    );
}

impl World {
    fn is_away(&mut self, id: &str) {
        let problem = Problem::new("SubagentUnreachable", "no answer");
        let event = self.state.on_subagent_failed(&id.into(), problem);
        self.record(event);
        self.settle();
    }

    fn offers(&mut self, id: &str, seconds: u64) {
        let lease = Duration::from_secs(seconds);
        let event = self.state.on_lease_offered(&id.into(), lease);
        self.record(event);
    }

    fn lease_is_over(&mut self, id: &str) {
        let events = self.state.on_lease_over(&id.into());
        self.record(events);
        self.settle();
    }

    /// Two orders at work: `1` at the Agent's own Subagent, `2` at S-A.
    fn at_work(job: &str) -> World {
        let mut world = agent();
        world.offers("S-A", 60);
        world.workflow(job);
        world.order("1", 0);
        world.order("2", 0);
        assert_eq!(world.starts(), ["1@ALFA-0", "2@S-A"]);
        world
    }

    fn last_end(&self, order: &str) -> Option<String> {
        let end = |event: &Event| match event {
            Event::Order(id, OrderEvent::OrderProcessed { outcome }) if id.as_str() == order => {
                Some(outcome.to_string())
            }
            _ => None,
        };
        self.events.iter().rev().find_map(end)
    }
}

#[test]
fn s139_s142_the_job_of_a_lost_subagent_is_repeated_at_the_next_one_only_when_the_lease_is_over() {
    let mut world = World::at_work(r#""parallelism":9,"#);
    world.is_away("S-A");
    assert!(world.state.waits_for(&"S-A".into()));
    assert!(
        !world.state.waits_for(&"ALFA-0".into()),
        "it is there, with its job"
    );
    world.is_away("S-B");
    assert!(!world.state.waits_for(&"S-B".into()), "it has no job");
    world.couple("S-B");
    assert_eq!(world.starts().len(), 2, "S142: its process may still run");
    world.lease_is_over("S-A");
    assert_eq!(world.starts()[2..], ["2@S-B"], "S139: by itself");
    let end = world.last_end("2").unwrap();
    assert!(end.contains("ProcessLostDueToSubagentLoss"), "{end}");
    let lost = SubagentStateEvent::SubagentLost { confirmed_by: None };
    assert!(world.events.contains(&Event::Subagent("S-A".into(), lost)));
    let events = world.events.len();
    world.lease_is_over("S-A");
    assert_eq!(world.events.len(), events, "once");
}

#[test]
fn s139_a_job_that_must_not_be_repeated_fails_with_its_lost_subagent() {
    let mut world = World::at_work(r#""parallelism":9,"isNotRestartable":true,"#);
    world.is_away("S-A");
    world.lease_is_over("S-A");
    assert_eq!(world.starts().len(), 2);
    let order = world.state.engine.order(&"2".into()).unwrap();
    assert!(
        matches!(order.attached_state, Some(AttachedState::Detaching { .. })),
        "{order:?}"
    );
}

#[test]
fn s143_a_subagent_that_is_back_in_time_tells_itself_how_its_jobs_ended() {
    let mut world = World::at_work(r#""parallelism":9,"#);
    world.is_away("S-A");
    world.couple("S-A");
    world.lease_is_over("S-A");
    assert_eq!(world.starts().len(), 2, "nothing is given up");
    world.end("2", "S-A", 1, Outcome::SUCCEEDED);
    assert!(world.last_end("2").unwrap().contains("Succeeded"));
}

#[test]
fn what_a_lost_subagent_tells_later_changes_nothing_and_it_is_told_to_end_it() {
    let mut world = World::at_work(r#""parallelism":9,"#);
    let attempt = |number| Attempt {
        order_id: "2".into(),
        number,
    };
    world.is_away("S-A");
    let known = [attempt(1)];
    assert!(
        world.state.given_up(&"S-A".into(), &known).is_empty(),
        "it is still waited for"
    );
    world.lease_is_over("S-A");
    world.couple("S-A");
    assert_eq!(world.state.given_up(&"S-A".into(), &known), known);
    let repeated = [attempt(2)];
    let at = |id: &str| world.state.given_up(&id.into(), &repeated);
    assert!(at("S-B").is_empty(), "it runs there");
    assert_eq!(at("S-A"), repeated, "it does not run there");
    assert_eq!(world.state.given_up(&"S-B".into(), &known), known);
    let ends = world.events.len();
    let stamped = SubagentStamped {
        event_id: EventId(1),
        event: SubagentEvent::OrderProcessed {
            attempt: attempt(1),
            outcome: Outcome::SUCCEEDED,
        },
    };
    world.report("S-A", &stamped);
    assert_eq!(
        world.events.len(),
        ends + 1,
        "only that the report was heard"
    );
    assert!(matches!(world.state_of("2"), OrderState::Processing { .. }));
}

#[test]
fn for_how_long_to_wait_is_known_after_a_restart_of_the_agent_also_when_the_setting_has_changed() {
    let mut world = World::at_work(r#""parallelism":9,"#);
    // A shorter lease was to be given, and nobody knows whether it has arrived.
    world.couple("S-A");
    world.offers("S-A", 20);
    let longest = |world: &World| world.state.subagents()[&SubagentId::new("S-A")].longest_lease();
    assert_eq!(longest(&world), Some(Duration::from_mins(1)));
    let mut restarted = world.restarted();
    assert!(restarted.state.waits_for(&"S-A".into()));
    assert_eq!(longest(&restarted), Some(Duration::from_mins(1)));
    restarted.couple("S-B");
    restarted.lease_is_over("S-A");
    assert_eq!(restarted.starts(), ["2@S-B"]);
    world.is_away("S-A");
    world.couple("S-A");
    assert_eq!(longest(&world), Some(Duration::from_secs(20)));
}

#[test]
fn an_operator_who_knows_that_the_machine_is_off_need_not_wait() {
    let mut world = World::at_work(r#""parallelism":9,"#);
    let confirm = || AgentCommand::ConfirmSubagentLoss {
        subagent_id: "S-A".into(),
        user_id: UserId::new("anna"),
    };
    let refused = world.try_ask(confirm()).unwrap_err();
    assert!(refused.is("SubagentIsCoupled"), "{refused}");
    world.is_away("S-A");
    world.ask(confirm());
    assert_eq!(world.starts()[2..], ["2@S-B"]);
    let lost = SubagentStateEvent::SubagentLost {
        confirmed_by: Some(UserId::new("anna")),
    };
    assert!(world.events.contains(&Event::Subagent("S-A".into(), lost)));
}

#[test]
fn a_controller_with_another_log_or_before_the_kept_events_does_not_couple() {
    let mut world = agent();
    let couple = |controller: &str, event_id: EventId| AgentCommand::CoupleController {
        agent_path: AgentPath::new("ALFA"),
        agent_run_id: RunId::new("a-1"),
        event_id,
        controller_run_id: RunId::new(controller),
        epoch: 0,
        from: None,
    };
    let last = world.last;
    let refused = world.try_ask(couple("c-2", last)).unwrap_err();
    assert!(refused.is("AgentAlreadyDedicated"), "{refused}");
    let standing = Standing {
        run_id: RunId::new("a-1"),
        last,
        torn: last,
        coupling: 1,
        connected: None,
        now: NOW,
    };
    let user = UserId::new("C");
    let behind = couple("c-1", EventId(last.0 - 1));
    let refused = world.state.decide(&behind, &user, &standing).unwrap_err();
    assert!(refused.is("UnknownEventId"), "{refused}");
    assert!(
        world
            .state
            .decide(&couple("c-1", last), &user, &standing)
            .is_ok()
    );
}

#[test]
fn an_order_is_not_taken_back_before_it_is_ready_to_leave() {
    let mut world = agent();
    world.workflow("");
    world.order("1", 0);
    let detach = AgentCommand::DetachOrder {
        order_id: "1".into(),
    };
    let refused = world.try_ask(detach.clone()).unwrap_err();
    assert!(refused.is("OrderNotDetachable"), "{refused}");
    world.end("1", "ALFA-0", 1, Outcome::SUCCEEDED);
    world.ask(detach);
    assert!(world.state.engine.order(&"1".into()).is_none());
}

#[test]
fn the_report_of_an_earlier_attempt_does_not_count_for_the_running_one() {
    let mut world = agent();
    world.workflow(r#""parallelism":9,"#);
    world.order("1", 0);
    world.restart_subagent("ALFA-0");
    for id in ["S-A", "S-B"] {
        world.subagent(id, true);
    }
    let event = world.state.on_subagent_coupled(&"ALFA-0".into());
    world.record(event);
    world.settle();
    let order = world.state.engine.order(&"1".into()).unwrap();
    assert_eq!(order.attempts, 2);
    let OrderState::Processing {
        subagent_id: Some(there),
        ..
    } = order.state.clone()
    else {
        panic!("{order:?}")
    };
    let report = |number| SubagentStamped {
        event_id: EventId(100 + u64::from(number)),
        event: SubagentEvent::OrderProcessed {
            attempt: Attempt {
                order_id: "1".into(),
                number,
            },
            outcome: Outcome::SUCCEEDED,
        },
    };
    assert_eq!(world.state.on_subagent_event(&there, &report(1)), []);
    assert_eq!(world.state.on_subagent_event(&there, &report(2)).len(), 1);
}

#[test]
fn a_tie_to_a_subagent_of_another_agent_has_no_effect() {
    let mut world = agent();
    world.workflow("");
    let text = r#"{"TYPE":"Order","id":"T","workflowId":{"path":"w","versionId":"1"},"position":[0],"state":{"TYPE":"Ready"},
        "stickySubagents":[{"agentPath":"BRAVO","stuckSubagentId":"S-B"}]}"#;
    let mut order: Order = serde_json::from_str(text).unwrap();
    order.attached_state = Some(AttachedState::Attaching {
        agent_path: AgentPath::new("ALFA"),
    });
    world.ask(AgentCommand::AttachOrder {
        order: Box::new(order),
    });
    assert_eq!(world.starts(), ["T@ALFA-0"]);
}

#[test]
fn a_suspension_with_kill_is_a_task_for_the_subagent_that_runs_the_job() {
    let mut world = agent();
    world.workflow("");
    world.order("1", 0);
    let kills = |world: &World| {
        let work = world.state.work_after(&"ALFA-0".into(), 0);
        work.filter(|(_, work)| matches!(work, Work::Kill { .. }))
            .count()
    };
    let suspend = |kill: Option<Kill>| AgentCommand::MarkOrder {
        order_id: "1".into(),
        mark: Mark::Suspending {
            mode: model::SuspensionMode {
                reset_state: false,
                kill,
            },
        },
    };
    world.ask(suspend(None));
    assert_eq!(kills(&world), 0);
    world.ask(suspend(Some(Kill::default())));
    assert_eq!(kills(&world), 1);
}
