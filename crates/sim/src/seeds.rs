//! A random world from a seed: its layout, weather, workload and faults, and the verdict over it.

use crate::client::{Clients, Refusal};
use crate::fault::Counts;
use crate::kernel::{Kernel, Weather};
use crate::moment::Moment;
use crate::net::ClientCall;
use crate::pair::{self, Rules};
use crate::process::Manners;
use crate::rng::Rng;
use crate::subagent::json;
use crate::workload::{Layout, RandomWorkflow, simple};
use crate::world::{Failure, Setting, World};
use expr::Value;
use model::{
    CancellationMode, ControllerCommand, FreshOrder, Kill, OrderId, OrderSelection, SuspensionMode,
    WorkflowPath,
};
use std::time::Duration;

/// So long may everything take after the faults.
const SETTLE_MAX: Duration = Duration::from_hours(12);

/// What came of a world.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The hash of its trace.
    pub hash: u64,
    /// How long it lasted by its own time.
    pub simulated: Duration,
    /// Which faults happened.
    pub counts: Counts,
    /// How many steps its parts took.
    pub steps: u64,
    /// The most of them within half a minute.
    pub steps_most: u64,
    /// How many events the logs had.
    pub events: u64,
    /// How many processes were started.
    pub processes: u64,
    /// How many orders were acknowledged.
    pub orders: usize,
    /// What went wrong.
    pub failure: Option<Failure>,
}

/// Runs the world of `seed`: faults for so many hours, then everything must come to its end.
pub fn run(seed: u64, hours: f64, print: bool) -> Verdict {
    let mut rng = Rng::new(seed ^ 0xA5A5_5A5A);
    let layout = Layout {
        agents: 1 + rng.index(2),
        remote: rng.index(3),
        controllers: 1,
        directors: 1,
        is_watch_apart: true,
    };
    let bad = rng.per_mille(900);
    let setting = Setting {
        layout,
        fault_every: bad.then(|| rng.span(20_000_000, 600_000_000)),
        weather: if bad {
            Weather {
                lost: rng.below(8_000),
                duplicated: rng.below(20_000),
                late: rng.below(6_000),
            }
        } else {
            Weather::FINE
        },
        manners: Manners {
            duration: (5_000, *rng.pick(&[200_000, 5_000_000, 120_000_000])),
            ignoring: 200,
            writes: 3,
        },
        lease: Duration::from_secs(*rng.pick(&[5, 10, 60, 300])),
        drift: rng.below(10_001),
        only: None,
        rules: Rules::ALL,
        timing: pair::timing(Duration::from_millis(500)),
        forgets_marks: false,
        print,
    };
    let mut world = World::new(seed, setting);
    let faulty = Duration::from_secs_f64(hours * 3600.0);
    plan(&mut world.client, &mut world.k, &mut rng, layout, faulty);
    world.run_until(Moment::default().plus(faulty));
    if world.k.broken.is_none() {
        world.settle(SETTLE_MAX);
    }
    verdict(&world)
}

/// Runs the cluster world of `seed`: two Controllers and a watch, two Director pairs, four Subagents more; faults for so many hours,
/// then everything must come to its end. In two worlds of five all faults are of one kind.
pub fn run_clusters(seed: u64, hours: f64, print: bool) -> Verdict {
    run_clusters_by(seed, hours, Rules::ALL, print)
}

/// The same without some of the rules.
pub fn run_clusters_by(seed: u64, hours: f64, rules: Rules, print: bool) -> Verdict {
    let mut rng = Rng::new(seed ^ 0xC1C1_1C1C);
    let layout = Layout {
        agents: 2,
        remote: 2,
        controllers: 2,
        directors: 2,
        is_watch_apart: rng.per_mille(500),
    };
    let is_alone = rng.per_mille(400);
    let only = is_alone.then(|| rng.below(100));
    let weather = Weather {
        lost: rng.below(8_000),
        duplicated: rng.below(20_000),
        late: rng.below(6_000),
    };
    let setting = Setting {
        fault_every: Some(rng.span(3_000_000, 60_000_000)),
        weather: if is_alone && rng.per_mille(500) {
            Weather::FINE
        } else {
            weather
        },
        timing: pair::timing(Duration::from_millis(*rng.pick(&[500, 1000]))),
        only,
        rules,
        ..clusters(layout, &mut rng, print)
    };
    let mut world = World::new(seed, setting);
    let faulty = Duration::from_secs_f64(hours * 3600.0);
    plan(&mut world.client, &mut world.k, &mut rng, layout, faulty);
    plan_reads(&mut world.client, &mut world.k, &mut rng, faulty);
    world.run_until(Moment::default().plus(faulty));
    if world.k.broken.is_none() {
        world.settle(SETTLE_MAX);
    }
    verdict(&world)
}

/// A calm world of these members.
fn clusters(layout: Layout, rng: &mut Rng, print: bool) -> Setting {
    Setting {
        layout,
        manners: Manners {
            duration: (5_000, *rng.pick(&[200_000, 5_000_000, 120_000_000])),
            ignoring: 200,
            writes: 3,
        },
        lease: Duration::from_secs(*rng.pick(&[5, 10, 60, 300])),
        drift: rng.below(10_001),
        print,
        ..Setting::CALM
    }
}

/// People look how things stand, again and again.
pub fn plan_reads(clients: &mut Clients, k: &mut Kernel, rng: &mut Rng, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    for _ in 0..micros / 20_000_000 {
        let at = Moment(rng.between(1_000_000, micros));
        clients.plan(k, at, ClientCall::Read, Vec::new(), Refusal::Fine);
    }
}

/// What came of this world so far.
pub fn verdict(world: &World) -> Verdict {
    Verdict {
        hash: world.k.trace.hash(),
        simulated: world.k.now.since(Moment::default()),
        counts: world.k.counts.clone(),
        steps: world.k.steps,
        steps_most: world.k.steps_most,
        events: world.history.events
            + world
                .history
                .agents
                .iter()
                .map(|agent| agent.events)
                .sum::<u64>(),
        processes: world.processes.started,
        orders: world.history.acknowledged.len(),
        failure: world.failure(),
    }
}

/// An order for a workflow, with the argument that its predicates ask for.
pub fn order(id: &str, workflow: &str, n: i64) -> FreshOrder {
    let mut order = FreshOrder::new(OrderId::from(id), WorkflowPath::from(workflow));
    order.arguments.insert("n".into(), Value::from(n));
    order
}

/// A command as a call.
pub fn command(command: &ControllerCommand) -> ClientCall {
    ClientCall::Command(json(command))
}

fn plan(clients: &mut Clients, k: &mut Kernel, rng: &mut Rng, layout: Layout, span: Duration) {
    let begin = Moment(1_000_000);
    let limit = rng.per_mille(300).then(|| rng.between(1, 3));
    let mut lines = layout.items(limit);
    let resource = |value: u64| {
        simple(
            &serde_json::json!({"TYPE": "JobResource", "path": "Common", "variables": {"v": format!("'{value}'")}, "env": {"V": format!("'{value}'")}}),
        )
    };
    lines.push(resource(1));
    let workflows: Vec<RandomWorkflow> = (0..rng.between(1, 4))
        .map(|i| RandomWorkflow::grow(rng, layout, &format!("W{i}")))
        .collect();
    lines.extend(
        workflows
            .iter()
            .map(|workflow| simple(&workflow.json("first"))),
    );
    clients.plan(
        k,
        begin,
        ClientCall::Items(lines),
        Vec::new(),
        Refusal::Wrong,
    );
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let orders_from = Moment(begin.0 + 600_000_000.min(micros / 4));
    for number in 0..rng.between(5, 40) {
        let at = Moment(rng.between(orders_from.0, micros.max(orders_from.0 + 1)));
        plan_order(clients, k, rng, &workflows, number, at);
    }
    for change in 0..rng.below(4) {
        let at = Moment(rng.between(orders_from.0, micros.max(orders_from.0 + 1)));
        let line = match rng.below(3) {
            0 => simple(&rng.pick(&workflows).json(&format!("change {change}"))),
            1 => resource(change + 2),
            _ => layout.agent_item(rng.index(layout.agents), Some(rng.between(1, 5))),
        };
        clients.plan(
            k,
            at,
            ClientCall::Items(vec![line]),
            Vec::new(),
            Refusal::Wrong,
        );
    }
}

fn plan_order(
    clients: &mut Clients,
    k: &mut Kernel,
    rng: &mut Rng,
    workflows: &[RandomWorkflow],
    number: u64,
    at: Moment,
) {
    let workflow = rng.pick(workflows);
    let n = i64::try_from(rng.below(10)).unwrap_or(0);
    let id = format!("O{number}");
    let mut fresh = order(&id, &workflow.path, n);
    if rng.per_mille(500) {
        let ahead = rng.span(1_000_000, 3_600_000_000);
        fresh.scheduled_for = Some(at.plus(ahead).timestamp());
    }
    fresh.delete_when_terminated = rng.per_mille(200);
    let id = fresh.id.clone();
    clients.expect(id.clone(), workflow.expected(n));
    if fresh.delete_when_terminated {
        clients.expect_nothing(&id);
    }
    let added = if rng.per_mille(800) {
        ControllerCommand::AddOrder { order: fresh }
    } else {
        ControllerCommand::AddOrders {
            orders: vec![fresh],
        }
    };
    clients.plan(k, at, command(&added), vec![id.clone()], Refusal::Wrong);
    if rng.per_mille(100) {
        let again = at.plus(rng.span(1_000, 3_600_000_000));
        clients.plan(k, again, command(&added), vec![id.clone()], Refusal::Fine);
        // A repetition that comes after the order was deleted is a new order.
    }
    for _ in 0..(if rng.per_mille(250) {
        rng.between(1, 3)
    } else {
        0
    }) {
        clients.expect_nothing(&id);
        // Often while the order is on its way to its first Agent.
        let at = at.plus(if rng.per_mille(400) {
            rng.span(1_000, 400_000)
        } else {
            rng.span(1_000_000, 1_800_000_000)
        });
        let wish = wish(rng, &id);
        clients.plan(k, at, command(&wish), Vec::new(), Refusal::Fine);
    }
}

/// What an operator may want of an order.
fn wish(rng: &mut Rng, id: &OrderId) -> ControllerCommand {
    let kill = rng.per_mille(400).then(|| Kill {
        immediately: rng.per_mille(300),
        workflow_position: None,
    });
    match rng.below(10) {
        0..3 => ControllerCommand::CancelOrders {
            order_ids: OrderSelection::Ids(vec![id.clone()]),
            mode: if rng.per_mille(200) {
                CancellationMode::FreshOnly
            } else {
                CancellationMode::FreshOrStarted { kill }
            },
        },
        3..6 => ControllerCommand::SuspendOrders {
            order_ids: vec![id.clone()],
            mode: SuspensionMode {
                reset_state: rng.per_mille(300),
                kill,
            },
        },
        6..9 => ControllerCommand::ResumeOrder {
            order_id: id.clone(),
            position: None,
            history_operations: Vec::new(),
            as_succeeded: rng.per_mille(200),
            restart_killed_job: rng.per_mille(300).then_some(true),
        },
        _ => ControllerCommand::DeleteOrdersWhenTerminated {
            order_ids: vec![id.clone()],
        },
    }
}
