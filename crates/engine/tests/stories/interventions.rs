//! What operators may do in which state of an order, as one table: either a refusal with its code, or where the order ends up.

use crate::world::{START, World, job, returned};
use model::{CancellationMode, Problem, Resumption, SuspensionMode};

const ORDER: &str = "O";

/// A way to an order in a certain state.
type Way = (&'static str, fn() -> World);

fn held(instructions: &str) -> World {
    let mut world = World::with(&["ALFA"], instructions);
    world.hold(ORDER);
    world.start(ORDER);
    world
}

fn ways() -> [Way; 11] {
    [
        ("on its way", || {
            let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
            world.cut("ALFA");
            world.start(ORDER);
            world
        }),
        ("fresh", || {
            let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
            let due = START + 10_000;
            world.add(&format!(
                r#"{{"id":"{ORDER}","workflowPath":"w","scheduledFor":{due}}}"#
            ));
            world
        }),
        ("job runs", || held(&format!("- {0}\n- {0}\n", job("ALFA")))),
        ("retry later", || {
            let attempt = job("ALFA");
            let mut world = World::with(
                &["ALFA"],
                &format!(
                    "- {{TYPE: Try, try: {{instructions: [{attempt}]}}, catch: {{instructions: [{{TYPE: Retry}}]}}, retryDelays: [10], maxTries: 2}}\n"
                ),
            );
            world.script(ORDER, "0/try+0:0", [returned(1)]);
            world.start(ORDER);
            world
        }),
        ("sleeps", || {
            let mut world = World::with(
                &["ALFA"],
                &format!("- {}\n- {{TYPE: Sleep, duration: '10'}}\n", job("ALFA")),
            );
            world.start(ORDER);
            world
        }),
        ("forked", || {
            let mut world = World::with(
                &["ALFA"],
                &format!(
                    "- {{TYPE: Fork, branches: [{{id: b, workflow: {{instructions: [{0}]}}}}]}}\n- {0}\n",
                    job("ALFA")
                ),
            );
            world.hold("O|b");
            world.start(ORDER);
            world
        }),
        ("stopped", || {
            let mut world = World::with(&["ALFA"], "- {TYPE: Stop}\n");
            world.start(ORDER);
            world
        }),
        ("failed", || {
            let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
            world.script(ORDER, "0", [returned(1)]);
            world.start(ORDER);
            world
        }),
        ("suspended", || {
            let mut world = held(&format!("- {0}\n- {0}\n", job("ALFA")));
            suspend(&mut world).expect("a running order can be suspended");
            world.release(ORDER);
            world
        }),
        ("finished", || {
            let mut world = World::with(&["ALFA"], "");
            world.start(ORDER);
            world
        }),
        ("cancelled", || {
            let mut world = held(&format!("- {0}\n- {0}\n", job("ALFA")));
            cancel(&mut world).expect("a running order can be cancelled");
            world.release(ORDER);
            world
        }),
    ]
}

fn cancel_fresh(world: &mut World) -> Result<(), Problem> {
    world.cancel(ORDER, &CancellationMode::FreshOnly)
}

fn cancel(world: &mut World) -> Result<(), Problem> {
    world.cancel(ORDER, &CancellationMode::default())
}

fn suspend(world: &mut World) -> Result<(), Problem> {
    world.suspend(ORDER, &SuspensionMode::default())
}

fn resume(world: &mut World) -> Result<(), Problem> {
    world.resume(ORDER, &Resumption::default())
}

/// What comes of it when everything else goes well afterwards.
fn outcome(way: fn() -> World, intervention: fn(&mut World) -> Result<(), Problem>) -> String {
    let mut world = way();
    if let Err(problem) = intervention(&mut world) {
        return problem.code.unwrap_or_default();
    }
    if world.is_cut("ALFA") {
        world.reconnect("ALFA");
    }
    for id in [ORDER, "O|b"] {
        world.release(id);
    }
    for _ in 0..30 {
        world.sleep(1000);
    }
    if world.order(ORDER).is_suspended {
        return "suspended".to_owned();
    }
    world.state(ORDER).to_owned()
}

#[test]
fn every_intervention_meets_every_state_s50() {
    let row = |(state, way): Way| {
        let interventions = [cancel_fresh, cancel, suspend, resume];
        let outcomes = interventions.map(|intervention| outcome(way, intervention));
        format!("{state}: {}\n", outcomes.join(", "))
    };
    let table: String = ways().into_iter().map(row).collect();
    // In this order: cancel if fresh, cancel, suspend, resume.
    let expected = "\
on its way: Cancelled, Cancelled, suspended, CannotResumeOrder
fresh: Cancelled, Cancelled, suspended, CannotResumeOrder
job runs: CancelStartedOrder, Cancelled, suspended, CannotResumeOrder
retry later: CancelStartedOrder, Cancelled, suspended, CannotResumeOrder
sleeps: CancelStartedOrder, Cancelled, suspended, CannotResumeOrder
forked: CancelStartedOrder, Cancelled, suspended, CannotResumeOrder
stopped: CancelStartedOrder, Cancelled, CannotSuspendOrder, Finished
failed: CancelStartedOrder, Cancelled, CannotSuspendOrder, Finished
suspended: CancelStartedOrder, Cancelled, suspended, Finished
finished: Finished, Finished, CannotSuspendOrder, CannotResumeOrder
cancelled: Cancelled, Cancelled, CannotSuspendOrder, CannotResumeOrder
";
    assert_eq!(table, expected, "S50:\n{table}");
}
