//! Subagents as their Controller knows them: why nobody takes a job, and a reset that is passed on.

use crate::world::{World, add, jobs};
use controller::Coupling;
use model::{ControllerCommand, Event, Obstacle, Problem, SubagentId, SubagentStateEvent};

fn subagent(world: &mut World, id: &str, disabled: bool) {
    let text = format!(
        r#"{{"TYPE":"SubagentItem","id":"{id}","agentPath":"ALFA","uri":"http://127.0.0.1:1","disabled":{disabled}}}"#
    );
    world.change(&[add(&text)]).unwrap();
    world.run();
}

fn tell(world: &mut World, id: &str, event: SubagentStateEvent) {
    world.at_agent("ALFA", vec![Event::Subagent(id.into(), event)]);
    world.run();
}

/// ALFA with its own Subagent and two others, and an order that is ready for a job there.
fn world() -> World {
    let mut world = World::new();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    for id in ["S-A", "S-B"] {
        subagent(&mut world, id, false);
    }
    world
}

fn reset(id: &str, force: bool) -> ControllerCommand {
    ControllerCommand::ResetSubagent {
        subagent_id: id.into(),
        force,
    }
}

fn coupling(world: &World, id: &str) -> Coupling {
    let mut all = world.state.subagents();
    let found = all.find(|(known, _)| known.as_str() == id);
    found.map(|(_, state)| state.coupling_state).unwrap()
}

#[test]
fn a_reset_is_passed_on_until_the_agent_has_heard_of_it() {
    let mut world = world();
    tell(&mut world, "S-A", SubagentStateEvent::SubagentCoupled);
    let sent = world.state.outbox_len(&"ALFA".into());
    world.tell(reset("S-A", false));
    world.tell(reset("S-A", false));
    assert_eq!(world.state.outbox_len(&"ALFA".into()), sent + 1);
    world.restart();
    world.run();
    assert_eq!(world.state.outbox_len(&"ALFA".into()), sent);
    assert_eq!(coupling(&world, "S-A"), Coupling::Resetting);
    let problem = Problem::plain("connection refused");
    let failed = SubagentStateEvent::SubagentCouplingFailed { problem };
    tell(&mut world, "S-A", failed);
    assert_eq!(coupling(&world, "S-A"), Coupling::Resetting, "still");
    tell(&mut world, "S-A", SubagentStateEvent::SubagentReset);
    assert_eq!(coupling(&world, "S-A"), Coupling::Reset);
    world.replay();
}

#[test]
fn the_subagent_of_a_director_is_not_reset_and_an_unknown_one_neither() {
    let mut world = world();
    assert!(
        world
            .refused(reset("ALFA-0", true))
            .is("SubagentIsDirector")
    );
    assert!(world.refused(reset("S-X", false)).is("UnknownItemPath"));
}

#[test]
fn who_belongs_to_which_cluster_and_whether_its_agent_knows_it_is_told() {
    let mut world = world();
    let bundle = r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S-A":"1","S-B":"$js7CpuLoad"}}"#;
    world.change(&[add(bundle)]).unwrap();
    world.run();
    let id = SubagentId::new("S-A");
    let bundles: Vec<String> = world
        .state
        .bundles_of(&id)
        .map(|bundle| bundle.id.to_string())
        .collect();
    assert_eq!(bundles, ["B"]);
    assert!(world.state.is_attached_as_deployed(&id));
    assert!(!world.state.is_attached_as_deployed(&SubagentId::new("S-X")));
    world.at("ALFA").is_reachable = false;
    subagent(&mut world, "S-A", true);
    assert!(
        !world.state.is_attached_as_deployed(&id),
        "the Agent has not got the change"
    );
    world.at("ALFA").is_reachable = true;
    world.run();
    assert!(world.state.is_attached_as_deployed(&id));
    let without = r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S-B":"1"}}"#;
    world.change(&[add(without)]).unwrap();
    assert_eq!(
        world.state.bundles_of(&id).count(),
        0,
        "it is no member any more"
    );
}

#[test]
fn an_order_says_which_subagents_do_not_take_its_job_and_why() {
    let mut world = world();
    world.at("ALFA").has_no_subagent = true;
    let computed = r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S-A":"1","S-B":"$js7CpuLoad"}}"#;
    world.change(&[add(computed)]).unwrap();
    let of_bundle = jobs("b", &["ALFA"]).replace(
        r#""agentPath":"ALFA","#,
        r#""agentPath":"ALFA","subagentBundleIdExpr":"'B'","#,
    );
    world.deploy(&[&of_bundle]);
    world.add("ANY", "w");
    world.add("B", "b");
    world.run();
    let told = |world: &World, id: &str| {
        let obstacles = world.state.obstacles(&id.into(), world.now);
        let mut names = Vec::new();
        for obstacle in obstacles {
            let Obstacle::WaitingForSubagent {
                subagent_bundle_id,
                subagents,
                ..
            } = obstacle
            else {
                continue;
            };
            names.extend(subagent_bundle_id.map(|id| id.to_string()));
            let subagents = subagents.iter();
            names.extend(subagents.map(|it| format!("{} {}", it.subagent_id, it.reason)));
        }
        names.join(", ")
    };
    assert_eq!(
        told(&world, "ANY"),
        "ALFA-0 is not connected, S-A is not connected, S-B is not connected"
    );
    tell(&mut world, "S-B", SubagentStateEvent::SubagentCoupled);
    assert_eq!(told(&world, "ANY"), "", "S-B could take it");
    assert_eq!(
        told(&world, "B"),
        "B, S-A is not connected, S-B may have no priority now"
    );
    subagent(&mut world, "S-B", true);
    assert_eq!(
        told(&world, "B"),
        "B, S-A is not connected, S-B is disabled"
    );
    assert_eq!(told(&world, "NOBODY"), "");
}

#[test]
fn the_loss_of_a_subagent_that_is_connected_is_not_confirmed() {
    let mut world = world();
    let confirm = || ControllerCommand::ConfirmSubagentLoss {
        subagent_id: "S-A".into(),
    };
    tell(&mut world, "S-A", SubagentStateEvent::SubagentCoupled);
    assert!(world.refused(confirm()).is("SubagentIsCoupled"));
    let problem = Problem::plain("connection refused");
    let failed = SubagentStateEvent::SubagentCouplingFailed { problem };
    tell(&mut world, "S-A", failed);
    assert_eq!(world.tell(confirm()), model::ControllerAnswer::Accepted);
}

#[test]
fn an_order_that_keeps_to_a_subagent_waits_for_that_and_no_other() {
    let mut world = world();
    world.at("ALFA").has_no_subagent = true;
    let bundle = r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S-A":"1","S-B":"1"}}"#;
    let solo = r#"{"TYPE":"SubagentBundle","id":"SOLO","subagentToPriority":{"S-B":"1"}}"#;
    world.change(&[add(bundle), add(solo)]).unwrap();
    let names = |asked: &str| {
        let job = |extra: &str| {
            format!(
                r#"{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"ALFA",{extra}"executable":{{"TYPE":"ShellScriptExecutable","script":":"}}}}}}"#
            )
        };
        format!(
            r#"{{"TYPE":"StickySubagent","agentPath":"ALFA","subagentBundleIdExpr":"'B'","subworkflow":{{"instructions":[{}]}}}}"#,
            job(asked)
        )
    };
    for (path, asked) in [
        ("any", ""),
        ("same", r#""subagentBundleIdExpr":"'B'","#),
        ("other", r#""subagentBundleIdExpr":"'SOLO'","#),
    ] {
        let text = format!(
            r#"{{"TYPE":"Workflow","path":"{path}","instructions":[{}]}}"#,
            names(asked)
        );
        world.deploy(&[&text]);
        world.add(path, path);
    }
    world.run();
    let told = |world: &World, id: &str| {
        let obstacles = world.state.obstacles(&id.into(), world.now);
        let names = obstacles.into_iter().filter_map(|obstacle| match obstacle {
            Obstacle::WaitingForSubagent {
                subagent_bundle_id,
                subagents,
                ..
            } => {
                let ids: Vec<_> = subagents.iter().map(|it| it.subagent_id.as_str()).collect();
                let cluster = subagent_bundle_id.map_or_else(String::new, |id| id.to_string());
                Some(format!("{cluster}: {}", ids.join(" ")))
            }
            _ => None,
        });
        names.collect::<Vec<_>>().join(", ")
    };
    // The tie names the cluster for the jobs that ask for nothing else.
    assert_eq!(told(&world, "any"), "B: S-A S-B");
    assert_eq!(told(&world, "same"), "B: S-A S-B");
    assert_eq!(told(&world, "other"), "SOLO: S-B");
}

#[test]
fn of_many_subagents_that_take_no_job_some_are_named_and_all_are_counted() {
    let mut world = world();
    world.at("ALFA").has_no_subagent = true;
    for n in 0..model::NAMED_MAX {
        subagent(&mut world, &format!("S-{n:02}"), false);
    }
    world.add("ANY", "w");
    world.run();
    let obstacles = world.state.obstacles(&"ANY".into(), world.now);
    let counts = obstacles.iter().find_map(|obstacle| match obstacle {
        Obstacle::WaitingForSubagent {
            subagents,
            subagent_count,
            ..
        } => Some((subagents.len(), *subagent_count)),
        _ => None,
    });
    assert_eq!(counts, Some((model::NAMED_MAX, model::NAMED_MAX + 3)));
}

#[test]
fn what_was_to_be_sent_to_an_agent_that_was_deleted_is_not_sent_to_its_next_one() {
    let mut world = world();
    world.at("ALFA").is_reachable = false;
    world.tell(reset("S-A", false));
    world.tell(ControllerCommand::ResetAgent {
        agent_path: "ALFA".into(),
        force: true,
    });
    let keys = [
        "Subagent:S-A",
        "Subagent:S-B",
        "Subagent:ALFA-0",
        "Agent:ALFA",
    ];
    let mut operations = Vec::from(keys.map(crate::world::delete));
    operations.push(crate::world::remove("w"));
    world.change(&operations).unwrap();
    world.run();
    assert!(world.state.agent(&"ALFA".into()).is_none());
    assert_eq!(world.state.outbox_len(&"ALFA".into()), 0);
}

#[test]
fn force_may_follow_the_reset_of_a_subagent_and_nothing_else_is_passed_on_twice() {
    let mut world = world();
    world.at("ALFA").is_reachable = false;
    let mut asked = |force| {
        let before = world.events.len();
        world.tell(reset("S-A", force));
        world.events.len() - before
    };
    let asked: Vec<usize> = [false, false, true, true, false].map(&mut asked).into();
    assert_eq!(asked, [1, 0, 1, 0, 0]);
}

#[test]
fn what_a_user_wants_of_a_subagent_stays_to_be_sent_until_its_agent_has_heard_of_it() {
    let news = |world: &mut World, event: SubagentStateEvent| {
        world.at_agent("ALFA", vec![Event::Subagent("S-A".into(), event)]);
        world.hear(&"ALFA".into());
        world.state.outbox_len(&"ALFA".into())
    };
    let failed = || SubagentStateEvent::SubagentCouplingFailed {
        problem: Problem::plain("connection refused"),
    };
    let mut world = world();
    world.tell(reset("S-A", false));
    assert_eq!(world.state.outbox_len(&"ALFA".into()), 1);
    assert_eq!(news(&mut world, SubagentStateEvent::SubagentCoupled), 1);
    assert_eq!(news(&mut world, failed()), 1);
    assert_eq!(news(&mut world, SubagentStateEvent::SubagentReset), 0);

    let confirmed = || {
        let mut world = self::world();
        news(&mut world, failed());
        world.tell(ControllerCommand::ConfirmSubagentLoss {
            subagent_id: "S-A".into(),
        });
        assert_eq!(world.state.outbox_len(&"ALFA".into()), 1);
        assert_eq!(news(&mut world, failed()), 1, "it is still away");
        let before = world.events.len();
        world.tell(ControllerCommand::ConfirmSubagentLoss {
            subagent_id: "S-A".into(),
        });
        assert_eq!(world.events.len(), before, "it is already so");
        world
    };
    let lost = SubagentStateEvent::SubagentLost { confirmed_by: None };
    assert_eq!(news(&mut confirmed(), lost), 0);
    assert_eq!(
        news(&mut confirmed(), SubagentStateEvent::SubagentCoupled),
        0
    );
}
