//! Two Directors that keep one Agent, and a Controller that is a pair itself.

use super::{NOW, World, agent};
use agent::State;
use model::{
    AgentAnswer, AgentCommand, AgentPath, ClusterEvent, ClusterState, Event, RunId, SubagentId,
};
use std::sync::Arc;

fn second_director(world: &mut World, uri: &str) {
    let text =
        format!(r#"{{"TYPE":"SubagentItem","id":"ALFA-1","agentPath":"ALFA","uri":"{uri}"}}"#);
    world.item("Subagent:ALFA-1", &text);
}

fn two_directors(world: &mut World) {
    world.item(
        "Agent:ALFA",
        r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0","ALFA-1"]}"#,
    );
}

fn told(world: &World) -> Vec<&'static str> {
    let of_pair = world.events.iter().filter_map(|event| match event {
        Event::Cluster(event) => Some(event.type_name()),
        _ => None,
    });
    of_pair.collect()
}

fn see(world: &mut World, event: ClusterEvent) {
    let event = world.state.on_cluster(event);
    world.record(event);
    world.settle();
}

#[test]
fn s130_a_single_agent_becomes_a_pair_as_soon_as_both_directors_are_known() {
    let mut world = agent();
    two_directors(&mut world);
    assert!(
        told(&world).is_empty(),
        "where the second one is, nobody has said"
    );
    second_director(&mut world, "http://127.0.0.1:2");
    assert_eq!(told(&world), ["ClusterNodesAppointed"]);
    let setting = world.state.cluster().setting().unwrap();
    assert_eq!(
        setting.active_id.as_str(),
        "Primary",
        "the Agent begins at its first Director"
    );
    assert_eq!(
        &*setting.id_to_uri[&model::NodeId::new("Backup")],
        "http://127.0.0.1:2"
    );
    second_director(&mut world, "http://127.0.0.1:3");
    assert_eq!(told(&world).last(), Some(&"ClusterSettingUpdated"));
}

#[test]
fn a_second_director_that_moves_while_coupled_is_noted_when_it_is_lost() {
    let mut world = agent();
    two_directors(&mut world);
    second_director(&mut world, "http://127.0.0.1:2");
    let active_id = "Primary".into();
    see(
        &mut world,
        ClusterEvent::ClusterCouplingPrepared { active_id },
    );
    let active_id = "Primary".into();
    see(&mut world, ClusterEvent::ClusterCoupled { active_id });
    second_director(&mut world, "http://127.0.0.1:3");
    assert_eq!(told(&world).last(), Some(&"ClusterCoupled"));
    let id = "Backup".into();
    see(&mut world, ClusterEvent::ClusterPassiveLost { id });
    assert_eq!(told(&world).last(), Some(&"ClusterSettingUpdated"));
    let id = "Backup".into();
    let late = world
        .state
        .on_cluster(ClusterEvent::ClusterPassiveLost { id });
    assert_eq!(late, None, "what does not fit is not written");
}

#[test]
fn each_director_knows_its_own_subagent() {
    let mut world = agent();
    two_directors(&mut world);
    let own = |state: &State| state.local_subagent().map(SubagentId::to_string);
    assert_eq!(own(&world.state).as_deref(), Some("ALFA-0"));
    let second = world.state.clone().at(1);
    assert_eq!(own(&second).as_deref(), Some("ALFA-1"));
}

#[test]
fn s131_a_controller_of_an_older_epoch_is_refused_also_after_a_restart() {
    let mut world = agent();
    let couple = |epoch: u64, event_id| AgentCommand::CoupleController {
        agent_path: AgentPath::new("ALFA"),
        agent_run_id: RunId::new("a-1"),
        event_id,
        controller_run_id: RunId::new("c-1"),
        epoch,
        from: None,
    };
    let at = world.last;
    assert!(matches!(
        world.ask(couple(3, at)),
        AgentAnswer::Coupled { .. }
    ));
    let events = world.events.len();
    assert!(matches!(
        world.ask(couple(3, at)),
        AgentAnswer::Coupled { .. }
    ));
    assert_eq!(world.events.len(), events, "the same epoch is no news");
    assert!(
        world
            .try_ask(couple(2, at))
            .unwrap_err()
            .is("ControllerEpochIsOld")
    );

    let mut restarted = State::new(Arc::default());
    for line in world.state.snapshot() {
        restarted.restore(&line).unwrap();
    }
    world.state = restarted;
    assert!(
        world
            .try_ask(couple(2, at))
            .unwrap_err()
            .is("ControllerEpochIsOld")
    );
    assert!(matches!(
        world.ask(couple(4, at)),
        AgentAnswer::Coupled { .. }
    ));
    assert_eq!(world.state.controller_epoch(), 4);
}

#[test]
fn s129_how_the_pair_stands_is_in_the_snapshot() {
    let mut world = agent();
    two_directors(&mut world);
    second_director(&mut world, "http://127.0.0.1:2");
    let mut restored = State::new(Arc::default());
    for line in world.state.snapshot() {
        restored.restore(&line).unwrap();
    }
    assert_eq!(restored.cluster(), world.state.cluster());
    assert!(matches!(
        restored.cluster(),
        ClusterState::NodesAppointed { .. }
    ));
    assert_eq!(restored.step(NOW), None, "nothing is appointed twice");
}

#[test]
fn the_directors_of_an_agent_that_is_reset_part_and_are_no_pair_again() {
    let mut world = agent();
    two_directors(&mut world);
    second_director(&mut world, "http://127.0.0.1:2");
    let active_id = || "Primary".into();
    see(
        &mut world,
        ClusterEvent::ClusterCouplingPrepared {
            active_id: active_id(),
        },
    );
    see(
        &mut world,
        ClusterEvent::ClusterCoupled {
            active_id: active_id(),
        },
    );
    let events = world.state.on_parting();
    let removed = Event::Cluster(ClusterEvent::ClusterNodeRemoved {
        id: "Backup".into(),
    });
    assert_eq!(events, [removed]);
    world.record(events);
    world.settle();
    assert_eq!(told(&world).last(), Some(&"ClusterNodeRemoved"));
    second_director(&mut world, "http://127.0.0.1:3");
    assert_eq!(told(&world).last(), Some(&"ClusterNodeRemoved"));
    assert_eq!(world.state.on_parting(), [], "they have parted");

    let mut single = agent();
    assert_eq!(single.state.on_parting(), []);
    two_directors(&mut single);
    second_director(&mut single, "http://127.0.0.1:2");
    assert!(
        told(&single).is_empty(),
        "who is reset does not become a pair"
    );
}
