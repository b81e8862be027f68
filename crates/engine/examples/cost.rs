//! What the engine costs: time per event of orders that run a job at an Agent, and time per order that waits.
//! `cargo run --release -p engine --example cost`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a measurement reads the clock and prints"
)]

use engine::{Next, Site, State};
use model::read::{self, Format, Origin};
use model::{FreshOrder, ItemBody, Order, OrderEvent, OrderId, Outcome, Timestamp, VersionId};
use std::time::Instant;

const TEXT: &str = "{TYPE: Workflow, path: w, instructions: [{TYPE: Execute.Anonymous, job: {agentPath: A, executable: {TYPE: ShellScriptExecutable, script: ':'}}}]}";

fn main() {
    let version = VersionId::from("1");
    let origin = Origin {
        name: None,
        version: Some(&version),
    };
    let Ok(item) = read::item(TEXT, Format::Yaml, &origin) else {
        return;
    };
    let ItemBody::Workflow(workflow) = item.body else {
        return;
    };
    let now = Timestamp::from_millis(1_735_000_000_000);
    let mut agent = State::new(Site::Agent("A".into()), "C".into());
    let mut controller = State::new(Site::Controller, "C".into());
    agent.set_workflow(workflow.clone());
    controller.set_workflow(workflow);

    for n in [10_000, 100_000] {
        let started = Instant::now();
        let mut events = 0_u32;
        for i in 0..n {
            let id = OrderId::new(format!("#2026-11-21#T{i}-root"));
            events += run(&mut agent, &controller, &id, now);
        }
        let nanos = started.elapsed().as_nanos() / u128::from(events);
        println!("{n} orders with a job at an Agent: {nanos} ns per event, {events} events");
    }

    let before = resident();
    let started = Instant::now();
    let waiting = 1_000_000_u64;
    for i in 0..waiting {
        let id = OrderId::new(format!("#2026-11-21#T{i}-root"));
        let mut fresh = FreshOrder::new(id, "w".into());
        fresh.scheduled_for = Some(Timestamp::from_millis(
            1_800_000_000_000 + i.cast_signed() % 86_400_000,
        ));
        if let Ok(Some(event)) = controller.add(&fresh, now) {
            let _refused = controller.evolve(&fresh.id, &event, now);
        }
    }
    let added = started.elapsed();
    let started = Instant::now();
    while let Some(id) = controller.pop_restless() {
        if let Next::Events(events) = controller.next(&id, now) {
            for (id, event) in events {
                let _refused = controller.evolve(&id, &event, now);
            }
        }
    }
    println!(
        "{waiting} waiting orders: {} ns to add, {} ns until they rest, {} bytes each; an Order is {} bytes",
        added.as_nanos() / u128::from(waiting),
        started.elapsed().as_nanos() / u128::from(waiting),
        (resident() - before) / waiting,
        size_of::<Order>()
    );
    // The first one pays for what the process has not run yet.
    for _ in 0..3 {
        let started = Instant::now();
        let copy = controller.clone();
        let cloned = started.elapsed();
        println!("a clone of {} orders: {cloned:?}", copy.order_count());
    }
}

/// Lets an order run at the Agent; how many events that were.
fn run(agent: &mut State, controller: &State, id: &OrderId, now: Timestamp) -> u32 {
    let Ok(Some(added)) = controller.add(&FreshOrder::new(id.clone(), "w".into()), now) else {
        return 0;
    };
    let mut source = controller.clone();
    if source.evolve(id, &added, now).is_err() {
        return 0;
    }
    let Some(order) = source.order(id).map(|order| Box::new(Order::clone(order))) else {
        return 0;
    };
    let mut events = 1;
    let _refused = agent.evolve(id, &OrderEvent::OrderAttachedToAgent { order }, now);
    while let Some(id) = agent.pop_restless() {
        let decided = match agent.next(&id, now) {
            Next::Rest => continue,
            Next::Events(decided) => decided,
            Next::Job(_) => vec![
                (
                    id.clone(),
                    OrderEvent::OrderProcessingStarted {
                        subagent_id: None,
                        subagent_bundle_id: None,
                        stick: false,
                    },
                ),
                (
                    id.clone(),
                    OrderEvent::OrderProcessed {
                        outcome: Outcome::SUCCEEDED,
                    },
                ),
            ],
        };
        for (id, event) in decided {
            let _refused = agent.evolve(&id, &event, now);
            events += 1;
        }
    }
    let _refused = agent.evolve(id, &OrderEvent::OrderDetached, now);
    events + 1
}

/// Resident memory of this process in bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement looks at its own process"
)]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
