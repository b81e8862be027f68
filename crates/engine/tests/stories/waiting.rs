//! Why an order waits, as its engine tells it: the time it waits for, the command that it needs, since when.

use crate::world::{START, World, job};
use engine::Obstacle;
use model::{CancellationMode, Resumption, SuspensionMode, TimeCause, Timestamp};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn obstacles(world: &World, id: &str, now: Timestamp) -> Vec<Obstacle> {
    world.controller.state.obstacles(&id.into(), now)
}

fn ahead_of_its_time(instructions: &str, due: i64) -> World {
    let mut world = World::with(&["ALFA"], instructions);
    let scheduled = START + due;
    world.add(&format!(
        r#"{{"id":"O","workflowPath":"w","scheduledFor":{scheduled}}}"#
    ));
    world
}

#[test]
fn an_order_waits_for_its_time_until_it_is_due() {
    let world = ahead_of_its_time("- {TYPE: Stop}\n", 1000);
    for now in [0, 999] {
        let waits = Obstacle::WaitingForOtherTime {
            until: at(1000),
            cause: TimeCause::Schedule,
        };
        assert_eq!(obstacles(&world, "O", at(now)), [waits]);
    }
    assert_eq!(obstacles(&world, "O", at(1000)), []);
    assert_eq!(obstacles(&world, "O", at(1001)), []);
}

#[test]
fn a_started_order_no_longer_waits_for_its_time_when_the_clock_is_set_back() {
    let mut world = ahead_of_its_time("- {TYPE: Sleep, duration: '10'}\n", 1000);
    world.sleep(1000);
    let sleeps = Obstacle::WaitingForOtherTime {
        until: at(11_000),
        cause: TimeCause::Sleep,
    };
    assert_eq!(obstacles(&world, "O", at(500)), [sleeps]);
}

#[test]
fn an_order_that_stands_still_names_the_commands_that_help() {
    let waiting = |world: &World| match obstacles(world, "O", world.now).as_slice() {
        [
            Obstacle::WaitingForCommand {
                state,
                since,
                commands,
            },
        ] => {
            assert_eq!(*since, Some(at(0)));
            format!("{state}: {}", commands.join(", "))
        }
        other => panic!("{other:?}"),
    };
    let started = |instructions: &str| {
        let mut world = World::with(&["ALFA"], instructions);
        world.start("O");
        world
    };
    assert_eq!(
        waiting(&started("- {TYPE: Fail}\n")),
        "Failed: resume, cancel"
    );
    assert_eq!(
        waiting(&started("- {TYPE: Stop}\n")),
        "Stopped: resume, cancel"
    );
    let faulty = "- {TYPE: If, ifThens: [{predicate: '1', then: {instructions: []}}]}\n";
    assert_eq!(waiting(&started(faulty)), "FailedWhileFresh: cancel");
    let mut suspended = ahead_of_its_time("- {TYPE: Stop}\n", 1000);
    suspended
        .suspend("O", &SuspensionMode::default())
        .expect("it waits");
    assert_eq!(waiting(&suspended), "Suspended: resume, cancel");
    suspended
        .cancel("O", &CancellationMode::default())
        .expect("it stands still");
    assert_eq!(obstacles(&suspended, "O", suspended.now), []);
}

#[test]
fn an_order_waits_for_a_process_since_it_came_to_its_job() {
    let mut world = World::with(&["ALFA"], &format!("- {0}\n- {0}\n", job("ALFA")));
    world.keep_waiting("O");
    world.start("O");
    let agent = |world: &World| {
        let state = &world.agents.values().next().expect("an Agent").state;
        state.obstacles(&"O".into(), world.now)
    };
    let waits = |millis| {
        [Obstacle::WaitingForProcess {
            since: Some(at(millis)),
        }]
    };
    world.sleep(1000);
    assert_eq!(agent(&world), waits(0));
    assert_eq!(obstacles(&world, "O", world.now), waits(0));

    let mut world = ahead_of_its_time(&format!("- {}\n", job("ALFA")), 5000);
    world.keep_waiting("O");
    world.sleep(7000);
    assert_eq!(agent(&world), waits(5000), "since it is due");
    world
        .suspend("O", &SuspensionMode::default())
        .expect("it waits");
    world.sleep(1000);
    world
        .resume("O", &Resumption::default())
        .expect("it stands still");
    assert_eq!(agent(&world), waits(8000), "since it was resumed");
}

#[test]
fn an_order_waits_for_the_end_of_its_delay() {
    let mut world = World::with(
        &[],
        "- {TYPE: Try, retryDelays: [2], try: {instructions: [{TYPE: Fail}]}, catch: {instructions: [{TYPE: Retry}]}}\n",
    );
    world.start("O");
    let waits = Obstacle::WaitingForOtherTime {
        until: at(2000),
        cause: TimeCause::RetryDelay,
    };
    assert_eq!(obstacles(&world, "O", world.now), [waits]);
}
