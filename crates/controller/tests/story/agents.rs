//! Agents: coupled, lost, refusing, telling nonsense.

use crate::world::{World, jobs, succeeded};
use controller::{Connection, Coupling};
use model::{
    AgentEvent, AgentOwnEvent, AgentPath, AgentWitness, ClusterEvent, ControllerCommand, Event,
    MemberRun, OrderEvent, OrderId, Problem, RunId, SubagentStateEvent,
};

fn one_agent() -> World {
    let mut world = World::new();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    world.run();
    world
}

fn failed(world: &mut World, code: &str) {
    let path = AgentPath::from("ALFA");
    let mut batch = controller::Batch::new(world.now, world.last);
    world
        .state
        .agent_coupling_failed(&path, Problem::new(code, "no"), &mut batch)
        .unwrap();
    world.last = batch.last;
    world.events.extend(batch.events);
}

fn agent_story(world: &World) -> Vec<&'static str> {
    let own = world
        .events
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::Agent(_, event) if event.type_name() != "AgentEventsObserved" => {
                Some(event.type_name())
            }
            _ => None,
        });
    own.collect()
}

#[test]
fn a_coupling_failure_is_told_once_per_distinct_problem() {
    let mut world = one_agent();
    for code in ["A", "A", "A", "B", "B"] {
        failed(&mut world, code);
    }
    let expected = [
        "AgentDedicated",
        "AgentCoupled",
        "AgentReady",
        "AgentCouplingFailed",
        "AgentCouplingFailed",
    ];
    assert_eq!(agent_story(&world), expected);
    assert_eq!(
        world.state.agent(&"ALFA".into()).unwrap().coupling_state,
        Coupling::Reset
    );
    world.replay();
    world.restart();
}

#[test]
fn an_agent_that_was_shut_down_in_order_is_no_trouble() {
    let mut world = one_agent();
    world.at_agent("ALFA", vec![Event::AgentOwn(AgentOwnEvent::ShutDown)]);
    world.run();
    // The Agent's event stream ends, and then no process answers. With two Directors, none is active.
    for code in [
        "AgentConnectionLost",
        "Unreachable",
        "AgentIsShuttingDown",
        "AgentHasNoActiveDirector",
    ] {
        failed(&mut world, code);
        assert_eq!(agent_story(&world).last(), Some(&"AgentShutDown"), "{code}");
        assert_eq!(connection(&world), Connection::ShutDown, "{code}");
    }
}

#[test]
fn an_agent_that_answers_that_it_is_shutting_down_is_shown_as_shut_down() {
    let mut world = one_agent();
    for code in ["AgentIsShuttingDown", "AgentIsShuttingDown", "Unreachable"] {
        failed(&mut world, code);
        assert_eq!(connection(&world), Connection::ShutDown);
    }
    world.act(|state, out| state.agent_coupled(&"ALFA".into(), out));
    assert_eq!(connection(&world), Connection::Connected);
}

fn connection(world: &World) -> Connection {
    world.state.agent(&"ALFA".into()).unwrap().connection()
}

/// Returns the connection of the Agent's own Subagent, which the Agent has reported as connected.
fn subagents_connection(world: &World) -> Connection {
    world.state.subagent_connection(&"ALFA-0".into()).0
}

#[test]
fn an_agent_that_has_been_restarted_in_order_is_shown_as_connected() {
    let mut world = one_agent();
    let ready = AgentOwnEvent::Ready {
        timezone: None,
        platform_info: None,
    };
    // The event of the shutdown arrives only over the next connection, after the restart.
    world.at_agent("ALFA", vec![Event::AgentOwn(AgentOwnEvent::ShutDown)]);
    failed(&mut world, "AgentConnectionLost");
    world.act(|state, out| state.agent_coupled(&"ALFA".into(), out));
    world.run();
    assert_eq!(connection(&world), Connection::ShutDown);
    world.at_agent("ALFA", vec![Event::AgentOwn(ready)]);
    world.run();
    assert_eq!(connection(&world), Connection::Connected);
    world.replay();
    world.restart();
    assert_eq!(connection(&world), Connection::Connected);
}

#[test]
fn what_an_agent_reports_of_its_subagents_counts_only_while_it_is_connected() {
    let mut world = one_agent();
    let coupled = model::SubagentStateEvent::SubagentCoupled;
    world.at_agent("ALFA", vec![Event::Subagent("ALFA-0".into(), coupled)]);
    world.run();
    assert_eq!(subagents_connection(&world), Connection::Connected);
    let before = world.now;
    world.pass(10);
    failed(&mut world, "Unreachable");
    let lost = world.now;
    world.pass(10);
    failed(&mut world, "Unreachable");
    failed(&mut world, "Untrusted");
    assert_eq!(connection(&world), Connection::Unreachable);
    assert_eq!(subagents_connection(&world), Connection::Unknown);
    let agent = world.state.agent(&"ALFA".into()).unwrap();
    let since = agent.connection_since.unwrap();
    assert!(before < since && since <= lost, "{since}");
    world.act(|state, out| state.agent_coupled(&"ALFA".into(), out));
    assert_eq!(connection(&world), Connection::Connected);
    assert_eq!(subagents_connection(&world), Connection::Connected);
    world.replay();
    world.restart();
}

#[test]
fn a_controller_that_has_just_started_is_not_connected() {
    let mut world = one_agent();
    assert_eq!(connection(&world), Connection::Connected);
    let ready = model::ControllerEvent::ControllerReady { timezone: None };
    world.act(|state, out| out.record(state, None, Event::Controller(ready)));
    assert_eq!(connection(&world), Connection::Connecting);
    assert_ne!(subagents_connection(&world), Connection::Connected);
    world.act(|state, out| state.agent_coupled(&"ALFA".into(), out));
    assert_eq!(connection(&world), Connection::Connected);
}

#[test]
fn s43_a_refused_order_is_visible_and_never_forgotten() {
    let mut world = one_agent();
    world.at("ALFA").refuses = true;
    world.add("A", "w");
    world.run();
    assert_eq!(
        world.story("A"),
        ["OrderAdded", "OrderAttachable", "OrderAgentProblem"]
    );
    assert!(
        world
            .state
            .order_refusal(&"A".into())
            .is_some_and(|problem| problem.is("NoRoom"))
    );
    world.restart();
    world.run();
    assert_eq!(world.story("A").len(), 3, "the same refusal is told once");
    assert!(
        world.state.order_refusal(&"A".into()).is_some(),
        "and remembered"
    );
    world.at("ALFA").refuses = false;
    world.restart();
    world.run();
    assert_eq!(
        world.story("A").last(),
        Some(&"OrderProcessingStarted"),
        "it was sent again"
    );
    assert!(world.state.order_refusal(&"A".into()).is_none());
    world.replay();
}

#[test]
fn an_event_that_does_not_fit_is_put_down_and_blocks_nobody() {
    let mut world = one_agent();
    world.add("A", "w");
    world.run();
    let ghost = Event::Order(OrderId::from("GHOST"), OrderEvent::OrderStarted);
    let last = world.at("ALFA").log.last().unwrap().event_id;
    let ghost = model::Stamped {
        event_id: last.next(world.now),
        timestamp: None,
        by: None,
        event: ghost,
    };
    world.at("ALFA").log.push(ghost);
    world.end_job("ALFA", "A", succeeded());
    assert_eq!(
        world.story("A").last(),
        Some(&"OrderFinished"),
        "S42: the others go on"
    );
    let rejected = world
        .events
        .iter()
        .find_map(|stamped| match &stamped.event {
            Event::Agent(_, AgentEvent::AgentEventRejected { problem, event, .. }) => {
                Some((problem.clone(), event.clone()))
            }
            _ => None,
        });
    let (problem, event) = rejected.expect("it is put down");
    assert_eq!(&*event, "OrderStarted");
    assert!(problem.message.contains("GHOST"), "{problem}");
    world.replay();
}

#[test]
fn s78_an_agent_gets_its_own_items_at_once_and_again_when_they_change() {
    let mut world = one_agent();
    let sent = |world: &mut World| {
        world
            .at("ALFA")
            .sent
            .iter()
            .map(|thing| format!("{thing:?}"))
            .collect::<Vec<_>>()
    };
    let first = sent(&mut world);
    assert_eq!(
        first,
        ["AttachItem(Agent:ALFA)", "AttachItem(Subagent:ALFA-0)"],
        "S78, S124"
    );
    world.deploy(&[r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0"],"processLimit":2}"#]);
    world.run();
    assert_eq!(sent(&mut world).len(), 3);
    let bundle = r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"ALFA-0":"1"}}"#;
    world.deploy(&[bundle]);
    world.run();
    assert!(
        sent(&mut world)
            .last()
            .unwrap()
            .contains("SubagentBundle:B")
    );
}

#[test]
fn members_are_appointed_at_addresses_that_can_be_and_that_differ() {
    let appoint = |backup: &str| ControllerCommand::ClusterAppointNodes {
        id_to_uri: [("Primary", "http://one:4444"), ("Backup", backup)]
            .map(|(id, uri)| (id.into(), uri.into()))
            .into(),
        active_id: "Primary".into(),
    };
    let mut world = World::new();
    for (backup, told) in [
        (
            "x",
            "\"x\" is no address of Backup: write it as in \"https://host:4444\"",
        ),
        (
            "http://one:4444",
            "Backup and Primary cannot both be at http://one:4444",
        ),
    ] {
        let problem = world.refused(appoint(backup));
        assert_eq!(problem.message, told);
    }
    assert_eq!(*world.state.cluster(), model::ClusterState::Empty);
    world.tell(appoint("http://two:4444"));
    assert_eq!(world.state.cluster().type_name(), "NodesAppointed");
}

#[test]
fn members_are_replaced_by_others_only_while_they_are_not_coupled() {
    let appoint = |other: &str| ControllerCommand::ClusterAppointNodes {
        id_to_uri: [("Primary", "http://one:4444"), (other, "http://two:4444")]
            .map(|(id, uri)| (id.into(), uri.into()))
            .into(),
        active_id: "Primary".into(),
    };
    let mut world = World::new();
    world.tell(appoint("Backup"));
    let active_id = || "Primary".into();
    let coupling = [
        ClusterEvent::ClusterCouplingPrepared {
            active_id: active_id(),
        },
        ClusterEvent::ClusterCoupled {
            active_id: active_id(),
        },
    ];
    for event in coupling {
        assert!(world.act(|state, out| state.cluster_changed(event, out)));
        let problem = world.refused(appoint("Third"));
        assert!(problem.is("ClusterNodesAlreadyAppointed"), "{problem}");
    }
    let before = world.events.len();
    world.tell(appoint("Backup"));
    assert_eq!(world.events.len(), before, "it is already so");
    let lost = ClusterEvent::ClusterPassiveLost {
        id: "Backup".into(),
    };
    assert!(world.act(|state, out| state.cluster_changed(lost, out)));
    world.tell(appoint("Third"));
    let setting = world.state.cluster().setting().unwrap();
    assert!(setting.id_to_uri.contains_key("Third"));
    world.replay();
}

#[test]
fn an_agent_gets_what_an_order_needs_before_the_order() {
    let mut world = World::new();
    world.agent("ALFA");
    world.run();
    let resource = r#"{"TYPE":"JobResource","path":"R","variables":{"a":"1"}}"#;
    let workflow =
        jobs("w", &["ALFA"]).replacen("\"path\"", "\"jobResourcePaths\":[\"R\"],\"path\"", 1);
    world.deploy(&[resource, &workflow]);
    world.at("ALFA").sent.clear();
    world.add("A", "w");
    world.add("B", "w");
    world.run();
    let sent: Vec<String> = world
        .at("ALFA")
        .sent
        .iter()
        .map(|thing| format!("{thing:?}"))
        .collect();
    let first_order = sent.iter().position(|thing| thing.contains("AttachOrder"));
    let last_item = sent.iter().rposition(|thing| thing.contains("AttachItem"));
    assert!(last_item.unwrap() < first_order.unwrap(), "{sent:?}");
}

#[test]
fn a_witness_of_directors_takes_back_no_promise() {
    let mut world = one_agent();
    let run_id = world
        .state
        .agent(&"ALFA".into())
        .unwrap()
        .agent_run_id
        .clone();
    let run_id = run_id.unwrap();
    let remember = |world: &mut World, run_id: &RunId, witness: &AgentWitness| {
        let path = AgentPath::from("ALFA");
        world.act(|state, out| state.agent_witness(&path, run_id, witness.clone(), out))
    };
    let begun = AgentWitness {
        member: 13,
        ..AgentWitness::default()
    };
    let voted = AgentWitness {
        term: 3,
        voted_for: Some(11),
        newest: Some((2, 7)),
        ..begun.clone()
    };
    let other = AgentWitness {
        voted_for: Some(12),
        ..voted.clone()
    };
    assert!(remember(&mut world, &run_id, &begun));
    assert!(remember(&mut world, &run_id, &voted));
    assert!(remember(&mut world, &run_id, &voted), "it is already so");
    assert!(!remember(&mut world, &run_id, &other), "one vote in a term");
    assert!(!remember(&mut world, &run_id, &begun), "nor none any more");
    let of_another_life = RunId::from("OTHER");
    assert!(!remember(&mut world, &of_another_life, &voted));
    let updates = agent_story(&world);
    let updates = updates
        .iter()
        .filter(|kind| **kind == "AgentWitnessUpdated");
    assert_eq!(updates.count(), 2);
    world.replay();
    // Every member that becomes active has the witness.
    world.restart();
    let known = &world.state.agent(&"ALFA".into()).unwrap().witness;
    assert_eq!(known.as_ref(), Some(&voted));
}

#[test]
fn events_of_an_agent_keep_their_time_when_they_arrive_later() {
    let mut world = one_agent();
    world.add("A", "w");
    world.run();
    world.at("ALFA").is_reachable = false;
    let then = world.now;
    world.end_job("ALFA", "A", succeeded());
    world.pass(3600);
    world.at("ALFA").is_reachable = true;
    world.run();
    let processed = world.events.iter().find(|stamped| {
        matches!(
            &stamped.event,
            Event::Order(_, OrderEvent::OrderProcessed { .. })
        )
    });
    let processed = processed.expect("it has arrived");
    assert!(processed.at().since(then) < std::time::Duration::from_mins(1));
    world.replay();
}

#[test]
fn another_controller_that_the_agent_has_refused_is_shown_as_long_as_it_tries() {
    let mut world = one_agent();
    let run = |run_id: &str, address: &str| MemberRun {
        member: 1,
        run_id: RunId::new(run_id),
        address: address.into(),
    };
    let refused = AgentOwnEvent::OtherControllerRefused {
        other: run("2", "https://two:4444"),
        coupled: run("1", "https://one:4444"),
    };
    world.at_agent("ALFA", vec![Event::AgentOwn(refused)]);
    world.run();
    let problem = |world: &World| world.state.agent(&"ALFA".into()).unwrap().shown_problem();
    let shown = problem(&world).unwrap();
    assert!(shown.is("ControllerIsDouble"), "{shown}");
    let message = shown.to_string();
    assert!(
        message.contains("https://one:4444") && message.contains("https://two:4444"),
        "{message}"
    );
    assert_eq!(connection(&world), Connection::Connected, "it works");
    world.replay();
    world.restart();
    assert_eq!(problem(&world), Some(shown));
    world.at_agent(
        "ALFA",
        vec![Event::AgentOwn(AgentOwnEvent::OtherControllerGone)],
    );
    world.run();
    assert_eq!(problem(&world), None);
    world.replay();
}

#[test]
fn a_line_of_an_agent_that_cannot_be_read_is_put_down_once_and_passed_over() {
    let mut world = one_agent();
    let path = AgentPath::from("ALFA");
    let known = world.state.agent(&path).unwrap().event_id;
    let unreadable = |world: &mut World, path: &str, event_id| {
        let problem = Problem::new("NotAnEvent", "the line is cut off");
        let before = world.events.len();
        world.act(|state, out| state.agent_event_unreadable(&path.into(), event_id, problem, out));
        world.events.len() - before
    };
    let next = model::EventId(known.0 + 1);
    assert_eq!(
        unreadable(&mut world, "ALFA", known),
        0,
        "taken over before"
    );
    assert_eq!(
        unreadable(&mut world, "ALFA", model::EventId(known.0 - 1)),
        0
    );
    assert_eq!(unreadable(&mut world, "NOBODY", next), 0);
    assert_eq!(unreadable(&mut world, "ALFA", next), 1);
    assert_eq!(agent_story(&world).last(), Some(&"AgentEventRejected"));
    assert_eq!(world.state.agent(&path).unwrap().event_id, next);
    assert_eq!(unreadable(&mut world, "ALFA", next), 0, "once");
    world.replay();
}

#[test]
fn an_agent_that_is_dedicated_or_coupled_once_more_is_so_already() {
    let mut world = one_agent();
    let path = AgentPath::from("ALFA");
    let dedicated = |world: &mut World, run_id: &str| {
        let run_id = RunId::from(run_id);
        world.act(|state, out| {
            state.agent_dedicated(&"ALFA".into(), run_id, model::EventId::BEFORE_FIRST, out)
        });
    };
    let before = world.events.len();
    dedicated(&mut world, "RUN");
    world.act(|state, out| state.agent_coupled(&path, out));
    world.act(|state, out| state.agent_coupled(&"NOBODY".into(), out));
    assert_eq!(world.events.len(), before);
    // It is being reset: what is dedicated now is dedicated for nothing.
    world.tell(ControllerCommand::ResetAgent {
        agent_path: path.clone(),
        force: false,
    });
    let before = world.events.len();
    dedicated(&mut world, "NEXT");
    world.act(|state, out| state.agent_coupled(&path, out));
    assert_eq!(world.events.len(), before);
    assert_eq!(connection(&world), Connection::Resetting);
}

#[test]
fn a_log_of_another_agent_or_controller_does_not_fit() {
    let mut world = one_agent();
    let record = |world: &mut World, event| {
        let mut batch = controller::Batch::new(world.now, world.last);
        controller::Recorder::record(&mut batch, &mut world.state, None, event)
    };
    let dedicated = |run_id: &str| {
        let dedicated = AgentEvent::AgentDedicated {
            agent_run_id: RunId::from(run_id),
            agent_event_id: model::EventId::BEFORE_FIRST,
        };
        Event::Agent("ALFA".into(), dedicated)
    };
    assert!(record(&mut world, dedicated("OTHER")).is_err());
    assert!(record(&mut world, dedicated("RUN")).is_ok());

    let at = model::Timestamp::from_millis(7);
    let initialized = |id: &str| {
        Event::Controller(model::ControllerEvent::ControllerInitialized {
            controller_id: id.into(),
            initially_started_at: at,
        })
    };
    assert_eq!(world.state.initially_started_at(), None);
    let refused = record(&mut world, initialized("OTHER")).unwrap_err();
    assert!(refused.to_string().contains("OTHER"), "{refused}");
    assert_eq!(world.state.initially_started_at(), None);
    record(&mut world, initialized("C")).unwrap();
    assert_eq!(world.state.initially_started_at(), Some(at));
    assert_eq!(world.state.controller_id().as_str(), "C");
}

#[test]
fn what_an_agent_says_of_an_item_counts_only_while_the_item_is_offered_to_it() {
    let mut world = one_agent();
    world.add("A", "w");
    let attachments = |world: &World| {
        let id = world.state.current_version(&"w".into()).unwrap();
        world.state.attachments(&model::ItemKey::workflow(id))
    };
    // The Agent has got the workflow and the order; its events have not arrived.
    world.send(&"ALFA".into());
    let log = world.at("ALFA").log.clone();
    let offered = vec![("ALFA".into(), controller::Attachment::Attachable)];
    assert_eq!(attachments(&world), offered);
    let workflow = world.state.current_version(&"w".into()).cloned().unwrap();
    let key = model::ItemKey::workflow(&workflow);
    let detachable = Event::Item(model::ItemEvent::ItemDetachable {
        key,
        delegate_id: "ALFA".into(),
    });
    world.act(|state, out| out.record(state, None, detachable));
    world.deliver(&"ALFA".into(), &log);
    assert_eq!(
        attachments(&world),
        [("ALFA".into(), controller::Attachment::Detachable)],
        "it is being taken back"
    );
}

#[test]
fn a_cluster_has_two_members_at_least_and_begins_at_one_of_them() {
    let appoint = |ids: &[&str], active: &str| {
        let addresses = ids.iter().enumerate();
        ControllerCommand::ClusterAppointNodes {
            id_to_uri: addresses
                .map(|(n, id)| ((*id).into(), format!("http://host-{n}:4444").into()))
                .collect(),
            active_id: active.into(),
        }
    };
    let mut world = World::new();
    for (ids, active) in [
        (&["Primary"][..], "Primary"),
        (&["Primary", "Backup"][..], "Third"),
        (&[][..], "Primary"),
    ] {
        let problem = world.refused(appoint(ids, active));
        assert!(problem.is("InvalidClusterSetting"), "{problem}");
    }
    world.tell(appoint(&["Primary", "Backup", "Third"], "Primary"));
    assert_eq!(world.state.cluster().type_name(), "NodesAppointed");
}

#[test]
fn members_get_other_addresses_and_are_coupled_anew_for_that() {
    let appoint = |backup: &str| ControllerCommand::ClusterAppointNodes {
        id_to_uri: [("Primary", "http://one:4444"), ("Backup", backup)]
            .map(|(id, uri)| (id.into(), uri.into()))
            .into(),
        active_id: "Primary".into(),
    };
    let story = |world: &World| {
        let events = world
            .events
            .iter()
            .filter_map(|stamped| match &stamped.event {
                Event::Cluster(event) => Some(event.type_name()),
                _ => None,
            });
        events.collect::<Vec<_>>()
    };
    let mut world = World::new();
    world.tell(appoint("http://two:4444"));
    world.tell(appoint("http://three:4444"));
    assert_eq!(
        story(&world),
        ["ClusterNodesAppointed", "ClusterSettingUpdated"]
    );
    let active_id = || "Primary".into();
    for event in [
        ClusterEvent::ClusterCouplingPrepared {
            active_id: active_id(),
        },
        ClusterEvent::ClusterCoupled {
            active_id: active_id(),
        },
    ] {
        world.act(|state, out| state.cluster_changed(event, out));
    }
    world.tell(appoint("http://four:4444"));
    assert_eq!(
        story(&world)[4..],
        ["ClusterPassiveLost", "ClusterSettingUpdated"]
    );
    let setting = world.state.cluster().setting().unwrap();
    let uris: Vec<&str> = setting.id_to_uri.values().map(|uri| &**uri).collect();
    assert_eq!(uris, ["http://four:4444", "http://one:4444"]);
    world.replay();
}

#[test]
fn a_restarted_controller_knows_how_the_directors_stand_and_writes_nothing_of_a_single_one() {
    let mut world = one_agent();
    let line = |world: &World| {
        let mut lines = world.state.snapshot();
        lines.find(|line| line.contains("AgentRefState")).unwrap()
    };
    let single = line(&world);
    assert!(
        !single.contains("cluster") && !single.contains("isResetByForce"),
        "{single}"
    );
    let setting = model::ClusterSetting {
        id_to_uri: [("Primary", "http://one:1"), ("Backup", "http://two:1")]
            .map(|(id, uri)| (id.into(), uri.into()))
            .into(),
        active_id: "Primary".into(),
        cluster_watch_id: None,
    };
    let appointed = ClusterEvent::ClusterNodesAppointed { setting };
    world.at_agent("ALFA", vec![Event::Cluster(appointed)]);
    world.run();
    let cluster = |world: &World| world.state.agent(&"ALFA".into()).unwrap().cluster.clone();
    assert_eq!(cluster(&world).type_name(), "NodesAppointed");
    let before = cluster(&world);
    world.restart();
    assert_eq!(cluster(&world), before);
    world.tell(ControllerCommand::ResetAgent {
        agent_path: "ALFA".into(),
        force: true,
    });
    world.restart_in_the_middle();
    assert!(world.state.agent(&"ALFA".into()).unwrap().is_reset_by_force);
}

#[test]
fn the_reset_of_one_agent_leaves_the_subagents_of_others_alone() {
    let mut world = one_agent();
    world.agent("BRAVO");
    let dedicated = SubagentStateEvent::SubagentDedicated {
        subagent_run_id: RunId::from("S"),
        platform_info: None,
    };
    for agent in ["ALFA", "BRAVO"] {
        let id = format!("{agent}-0");
        world.at_agent(agent, vec![Event::Subagent(id.into(), dedicated.clone())]);
    }
    world.run();
    world.tell(ControllerCommand::ResetAgent {
        agent_path: "ALFA".into(),
        force: true,
    });
    let known: Vec<_> = world
        .state
        .subagents()
        .map(|(id, state)| (id.as_str(), state.subagent_run_id.is_some()))
        .collect();
    assert_eq!(known, [("ALFA-0", false), ("BRAVO-0", true)]);
}
