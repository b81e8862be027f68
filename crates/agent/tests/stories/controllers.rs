//! Two processes claim to be the Agent's Controller: the Agent keeps to one of them.

use crate::{NOW, World, agent};
use agent::Standing;
use model::{
    AgentAnswer, AgentCommand, AgentOwnEvent, AgentPath, Event, EventId, MemberRun, Outcome,
    Problem, RunId, Timestamp, UserId,
};
use std::time::Duration;

/// The coupling that a request gets. Afterwards its event stream is the open one.
const FIRST: u64 = 7;

fn run(member: u64, run_id: &str, address: &str) -> MemberRun {
    MemberRun {
        member,
        run_id: RunId::new(run_id),
        address: address.into(),
    }
}

fn original() -> MemberRun {
    run(1, "run-1", "https://one:4444")
}

fn copy() -> MemberRun {
    run(1, "run-2", "https://two:4444")
}

struct Ask {
    from: Option<MemberRun>,
    epoch: u64,
    event_id: Option<EventId>,
    connected: Option<u64>,
    now: Timestamp,
}

fn ask(from: MemberRun) -> Ask {
    Ask {
        from: Some(from),
        epoch: 1,
        event_id: None,
        connected: None,
        now: NOW,
    }
}

impl Ask {
    fn in_epoch(mut self, epoch: u64) -> Ask {
        self.epoch = epoch;
        self
    }

    /// Sets the coupling whose stream is open.
    fn beside(mut self, coupling: u64) -> Ask {
        self.connected = Some(coupling);
        self
    }

    fn after(mut self, event_id: EventId) -> Ask {
        self.event_id = Some(event_id);
        self
    }

    fn at(mut self, now: Timestamp) -> Ask {
        self.now = now;
        self
    }

    fn couple(self, world: &mut World) -> Result<(), Problem> {
        let coupling = self.connected.map_or(FIRST, |open| open + 1);
        let standing = Standing {
            run_id: RunId::new("a-1"),
            last: world.last,
            torn: EventId::BEFORE_FIRST,
            coupling,
            connected: self.connected,
            now: self.now,
        };
        let command = AgentCommand::CoupleController {
            agent_path: AgentPath::new("ALFA"),
            agent_run_id: RunId::new("a-1"),
            event_id: self.event_id.unwrap_or(world.last),
            controller_run_id: RunId::new("c-1"),
            epoch: self.epoch,
            from: self.from.clone(),
        };
        let (events, answer) = world.state.decide(&command, &UserId::new("C"), &standing)?;
        world.record(events);
        let from = self.from.as_ref();
        match answer.into_result() {
            Ok(AgentAnswer::Coupled { .. }) => {
                world.state.on_coupled(from, self.epoch, coupling);
                Ok(())
            }
            Ok(other) => panic!("{other:?}"),
            Err(problem) => {
                if let Some(from) = from {
                    world.state.on_controller_refused(from, self.now);
                }
                Err(problem)
            }
        }
    }
}

fn told(world: &World) -> Vec<&AgentOwnEvent> {
    let own = world.events.iter().filter_map(|event| match event {
        Event::AgentOwn(
            event @ (AgentOwnEvent::OtherControllerRefused { .. }
            | AgentOwnEvent::OtherControllerGone),
        ) => Some(event),
        _ => None,
    });
    own.collect()
}

fn confirm(world: &mut World, until_event_id: EventId) {
    world.ask(AgentCommand::ReleaseEvents { until_event_id });
}

#[test]
fn a_copied_controller_beside_the_living_one_is_refused_with_both_addresses() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    // A copy has a later epoch than the original, because each start increases the epoch.
    for _ in 0..3 {
        let refused = ask(copy())
            .in_epoch(2)
            .beside(FIRST)
            .couple(&mut world)
            .unwrap_err();
        assert!(refused.is("ControllerIsDouble"), "{refused}");
        let message = refused.to_string();
        assert!(
            message.contains("https://one:4444") && message.contains("https://two:4444"),
            "{message}"
        );
        assert_eq!(refused.arguments["refusedAddress"], "https://two:4444");
        assert_eq!(refused.arguments["coupledAddress"], "https://one:4444");
    }
    assert_eq!(
        told(&world),
        [&AgentOwnEvent::OtherControllerRefused {
            other: copy(),
            coupled: original()
        }],
        "the living one is informed, once"
    );
    // The epoch of the copy does not matter: the original stays.
    ask(original()).beside(FIRST).couple(&mut world).unwrap();
}

#[test]
fn the_successor_of_a_process_that_has_ended_is_coupled_at_once() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    ask(copy()).in_epoch(2).couple(&mut world).unwrap();
    assert!(told(&world).is_empty());
}

#[test]
fn another_member_with_a_later_epoch_takes_over_at_once_and_the_earlier_one_is_refused() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let backup = run(2, "run-b", "https://backup:4444");
    ask(backup)
        .in_epoch(2)
        .beside(FIRST)
        .couple(&mut world)
        .unwrap();
    let refused = ask(original())
        .beside(FIRST + 1)
        .couple(&mut world)
        .unwrap_err();
    assert!(refused.is("ControllerEpochIsOld"), "{refused}");
    let message = refused.to_string();
    assert!(
        message.contains("https://one:4444") && message.contains("https://backup:4444"),
        "{message}"
    );
    assert!(told(&world).is_empty(), "that is no double");
}

#[test]
fn another_member_in_the_same_epoch_is_of_another_cluster() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let other = run(2, "run-b", "https://two:4444");
    let refused = ask(other).beside(FIRST).couple(&mut world).unwrap_err();
    assert!(refused.is("ControllerIsDouble"), "{refused}");
}

#[test]
fn a_second_controller_with_the_same_id_is_refused_with_both_addresses_and_the_first_one_is_told() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let other = run(5, "run-x", "https://two:4444");
    let dedicate = |id: &str, run_id: &str| AgentCommand::DedicateAgentDirector {
        agent_path: AgentPath::new("ALFA"),
        directors: vec!["ALFA-0".into()],
        controller_id: id.into(),
        controller_run_id: RunId::new(run_id),
        from: Some(other.clone()),
    };
    for (id, run_id, code) in [
        ("C", "c-2", "AgentAlreadyDedicated"),
        ("D", "d-1", "AgentWrongController"),
    ] {
        let standing = Standing {
            run_id: RunId::new("a-1"),
            last: world.last,
            torn: EventId::BEFORE_FIRST,
            coupling: FIRST + 1,
            connected: Some(FIRST),
            now: NOW,
        };
        let asked = dedicate(id, run_id);
        let (events, answer) = world
            .state
            .decide(&asked, &UserId::new("C"), &standing)
            .unwrap();
        world.record(events);
        let refused = answer.into_result().unwrap_err();
        assert!(refused.is(code), "{refused}");
        let message = refused.to_string();
        assert!(
            message.contains("https://one:4444") && message.contains("https://two:4444"),
            "{message}"
        );
    }
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn the_other_controller_is_forgotten_when_it_no_longer_tries() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let refuse = |world: &mut World, now| {
        let refused = ask(copy()).in_epoch(2).beside(FIRST).at(now);
        assert!(refused.couple(world).is_err());
    };
    refuse(&mut world, NOW);
    let known = world.state.other_controller().unwrap();
    assert_eq!((&known.other, &known.coupled), (&copy(), &original()));
    let last = world.last;
    confirm(&mut world, last);
    let later = NOW + Duration::from_secs(50);
    refuse(&mut world, later);
    assert_eq!(world.state.step(NOW + Duration::from_secs(100)), None);
    let due = world.state.next_wakeup().unwrap();
    assert_eq!(due, later + Duration::from_mins(1));
    let events = world.state.step(due).unwrap();
    assert_eq!(
        events,
        [Event::AgentOwn(AgentOwnEvent::OtherControllerGone)]
    );
    world.record(events);
    assert!(world.state.other_controller().is_none());
    assert_eq!(world.state.step(due), None);
}

#[test]
fn a_controller_that_does_not_confirm_what_it_is_told_makes_room_though_its_connection_seems_open()
{
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let successor = |after_seconds| {
        let now = NOW + Duration::from_secs(after_seconds);
        ask(copy()).in_epoch(2).beside(FIRST).at(now)
    };
    let last = world.last;
    assert!(successor(0).after(last).couple(&mut world).is_err());
    assert!(successor(9).after(last).couple(&mut world).is_err());
    let mut exactly = agent();
    ask(original()).couple(&mut exactly).unwrap();
    assert!(successor(0).after(last).couple(&mut exactly).is_err());
    successor(10).after(last).couple(&mut exactly).unwrap();
    let mut living = agent();
    ask(original()).couple(&mut living).unwrap();
    assert!(successor(0).couple(&mut living).is_err());
    let told_by = living.last;
    confirm(&mut living, told_by);
    successor(11).after(last).couple(&mut world).unwrap();
    assert!(successor(11).couple(&mut living).is_err(), "it is alive");
    assert!(
        world.state.other_controller().is_none(),
        "it is the one that is coupled now"
    );
}

#[test]
fn a_controller_whose_log_lacks_what_was_confirmed_is_refused() {
    let mut world = agent();
    let copied_at = world.last;
    ask(original()).couple(&mut world).unwrap();
    assert!(
        ask(copy())
            .in_epoch(2)
            .beside(FIRST)
            .couple(&mut world)
            .is_err()
    );
    // The original confirms the event about the copy. From then on the copy's log lacks an event that the Agent knows to be confirmed.
    let last = world.last;
    confirm(&mut world, last);
    let refused = ask(copy())
        .in_epoch(3)
        .after(copied_at)
        .couple(&mut world)
        .unwrap_err();
    assert!(refused.is("UnknownEventId"), "{refused}");
    let message = refused.to_string();
    assert!(
        message.contains("restored from a backup, or is a copy")
            && message.contains("mainspring agent reset ALFA")
            && message.contains("https://two:4444")
            && message.contains("https://one:4444"),
        "{message}"
    );
    let last = world.last;
    ask(run(1, "run-3", "https://one:4444"))
        .in_epoch(3)
        .after(last)
        .couple(&mut world)
        .unwrap();
}

#[test]
fn a_controller_that_lets_an_order_go_has_shown_that_it_knows_its_end() {
    let mut world = agent();
    world.workflow("");
    world.order("O", 0);
    let copied_at = world.last;
    world.end("O", "ALFA-0", 1, Outcome::SUCCEEDED);
    let end = world.last;
    world.ask(AgentCommand::DetachOrder {
        order_id: "O".into(),
    });
    assert!(world.state.confirmed() > copied_at && world.state.confirmed() <= end);
    // The same holds after a restart from a snapshot.
    let mut restored = agent::State::new(std::sync::Arc::default());
    for line in world.state.snapshot() {
        restored.restore(&line).unwrap();
    }
    assert_eq!(restored.confirmed(), world.state.confirmed());
    let refused = ask(copy()).after(copied_at).couple(&mut world);
    assert!(refused.unwrap_err().is("UnknownEventId"));
}

#[test]
fn a_controller_of_an_earlier_version_is_coupled_as_ever() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let silent = Ask {
        from: None,
        ..ask(copy()).beside(FIRST)
    };
    silent.couple(&mut world).unwrap();
}

#[test]
fn the_living_controller_is_informed_again_of_another_address_or_after_five_minutes() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let other = run(1, "run-3", "https://three:4444");
    let mut count = |from: MemberRun, seconds| {
        let now = NOW + Duration::from_secs(seconds);
        let asked = ask(from).in_epoch(2).beside(FIRST).at(now);
        assert!(asked.couple(&mut world).is_err());
        let last = world.last;
        confirm(&mut world, last);
        told(&world).len()
    };
    assert_eq!(count(copy(), 0), 1);
    assert_eq!(count(copy(), 299), 1);
    assert_eq!(count(copy(), 300), 2);
    assert_eq!(count(other, 301), 3);
}

#[test]
fn a_controller_that_took_over_is_informed_of_a_copy_that_its_predecessor_knew() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let refused = ask(copy()).beside(FIRST).couple(&mut world);
    refused.unwrap_err();
    let last = world.last;
    confirm(&mut world, last);
    let backup = run(2, "run-b", "https://backup:4444");
    let takes_over = ask(backup.clone()).in_epoch(2).beside(FIRST);
    takes_over.couple(&mut world).unwrap();
    let beside = ask(run(2, "run-c", "https://two:4444")).in_epoch(2);
    assert!(beside.beside(FIRST + 1).couple(&mut world).is_err());
    let AgentOwnEvent::OtherControllerRefused { coupled, .. } = told(&world)[1] else {
        panic!("{:?}", told(&world))
    };
    assert_eq!(*coupled, backup);
}

#[test]
fn the_other_controller_is_gone_only_when_it_is_itself_coupled() {
    let refused = || {
        let mut world = agent();
        ask(original()).couple(&mut world).unwrap();
        let refused = ask(copy()).in_epoch(2).beside(FIRST);
        assert!(refused.couple(&mut world).is_err());
        world
    };
    for (from, is_gone) in [
        (original(), false),
        (copy(), true),
        // The same process at another address, and a later process at the same address.
        (run(1, "run-2", "https://three:4444"), true),
        (run(1, "run-4", "https://two:4444"), true),
    ] {
        let mut world = refused();
        ask(from.clone()).in_epoch(3).couple(&mut world).unwrap();
        assert_eq!(world.state.other_controller().is_none(), is_gone, "{from}");
    }
}

#[test]
fn a_controller_that_couples_once_more_is_still_the_one_with_the_open_stream() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    // Its stream is still that of its first coupling.
    ask(original()).beside(FIRST).couple(&mut world).unwrap();
    let beside = ask(copy()).in_epoch(2).beside(FIRST);
    assert!(beside.couple(&mut world).is_err());
}

#[test]
fn the_open_stream_of_a_predecessor_is_not_the_successors() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let backup = run(2, "run-b", "https://backup:4444");
    let takes_over = ask(backup).in_epoch(2).beside(FIRST);
    takes_over.couple(&mut world).unwrap();
    // The stream of the predecessor is open until its connection is found broken. That says nothing of the successor, which may have
    // been restarted meanwhile.
    let restarted = run(2, "run-c", "https://backup:4444");
    let again = ask(restarted).in_epoch(3).beside(FIRST);
    again.couple(&mut world).unwrap();
    assert!(told(&world).is_empty());
}

#[test]
fn a_controller_that_means_another_agent_is_told_so_and_nobody_else_is() {
    let mut world = agent();
    ask(original()).couple(&mut world).unwrap();
    let asked = AgentCommand::DedicateAgentDirector {
        agent_path: AgentPath::new("BRAVO"),
        directors: vec!["ALFA-0".into()],
        controller_id: "C".into(),
        controller_run_id: RunId::new("c-1"),
        from: Some(copy()),
    };
    let standing = Standing {
        run_id: RunId::new("a-1"),
        last: world.last,
        torn: EventId::BEFORE_FIRST,
        coupling: FIRST + 1,
        connected: Some(FIRST),
        now: NOW,
    };
    let refused = world.state.decide(&asked, &UserId::new("C"), &standing);
    assert!(refused.unwrap_err().is("AgentPathMismatch"));
}
