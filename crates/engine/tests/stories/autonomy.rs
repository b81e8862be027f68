//! What an Agent does while it is cut off: everything up to the first step that is not its own.

use crate::world::{START, World, job, returned, workflow};
use proptest::prelude::*;

#[test]
fn a_workflow_of_one_agent_runs_to_its_end_while_cut_off_s15_s17() {
    let job = job("ALFA");
    let fork =
        format!("{{TYPE: Fork, branches: [{{id: a, workflow: {{instructions: [{job}]}}}}]}}");
    let all = format!(
        "- {job}
- {{TYPE: If, ifThens: [{{predicate: '$returnCode == 0', then: {{instructions: [{job}]}}}}]}}
- {{TYPE: Try, try: {{instructions: [{job}, {{TYPE: Fail}}]}}, catch: {{instructions: [{job}, {{TYPE: Retry}}]}}, retryDelays: [5], maxTries: 2}}
- {{TYPE: Options, stopOnFailure: true, block: {{instructions: [{job}, {{TYPE: EmptyInstruction}}]}}}}
- {{TYPE: Sleep, duration: '7'}}
- {{TYPE: Say, what: orderId}}
- {job}
- {fork}
"
    );
    // The second try must not fail.
    let all = all.replace(
        "{TYPE: Fail}",
        "{TYPE: If, ifThens: [{predicate: 'tryCount == 1', then: {instructions: [{TYPE: Fail}]}}]}",
    );
    let mut world = World::with(&["ALFA"], &all);
    let due = START + 1000;
    world.add(&format!(
        r#"{{"id":"A","workflowPath":"w","scheduledFor":{due}}}"#
    ));
    let heard = world.story("A");
    world.cut("ALFA");
    for _ in 0..20 {
        world.sleep(1000);
    }
    assert_eq!(world.story("A"), heard, "the Controller hears nothing");
    assert_eq!(
        world.starts.len(),
        8,
        "S15: all jobs have run: {}",
        world.agent_story("ALFA", "A")
    );
    world.reconnect("ALFA");
    assert_eq!(world.state("A"), "Finished");
    let told: Vec<_> = world
        .story("A")
        .lines()
        .skip(3)
        .map(str::to_owned)
        .collect();
    let wrote: Vec<_> = world
        .agent_story("ALFA", "A")
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect();
    assert_eq!(
        told[..wrote.len() - 1],
        wrote[..wrote.len() - 1],
        "S17: event for event"
    );
}

#[test]
fn an_order_over_two_agents_stops_exactly_before_the_foreign_step_s19_s77() {
    let mut world = World::with(
        &["ALFA", "BRAVO"],
        &format!("- {0}\n- {0}\n- {1}\n- {0}\n", job("ALFA"), job("BRAVO")),
    );
    world.add(&format!(
        r#"{{"id":"H","workflowPath":"w","scheduledFor":{}}}"#,
        START + 1000
    ));
    world.cut("ALFA");
    world.sleep(1000);
    assert!(
        world
            .agent_story("ALFA", "H")
            .ends_with("OrderMoved 2\nOrderDetachable"),
        "S19: {}",
        world.agent_story("ALFA", "H")
    );
    assert_eq!(world.starts.len(), 2);
    world.reconnect("ALFA");
    assert_eq!(
        world.state("H"),
        "Finished",
        "S77: it goes on without an operator"
    );
    assert_eq!(world.starts.len(), 4);
}

#[test]
fn a_failure_is_caught_at_the_agent_and_else_waits_for_the_controller_s18() {
    let job = job("ALFA");
    let caught = workflow(
        "caught",
        &format!(
            "- {{TYPE: Try, try: {{instructions: [{job}]}}, catch: {{instructions: [{job}]}}}}\n- {job}\n"
        ),
    );
    let open = workflow("open", &format!("- {job}\n- {job}\n"));
    let mut world = World::new(&["ALFA"], &[&caught, &open]);
    world.script("C", "0/try+0:0", [returned(1)]);
    world.script("O", "0", [returned(1)]);
    for (id, path) in [("C", "caught"), ("O", "open")] {
        world.add(&format!(
            r#"{{"id":"{id}","workflowPath":"{path}","scheduledFor":{}}}"#,
            START + 1000
        ));
    }
    world.cut("ALFA");
    world.sleep(1000);
    let ran = |world: &World, id: &str| {
        world
            .starts
            .iter()
            .filter(|(order, _, _)| order == id)
            .count()
    };
    assert_eq!((ran(&world, "C"), ran(&world, "O")), (3, 1));
    assert!(
        world
            .agent_story("ALFA", "O")
            .ends_with("OrderProcessed Failed(returnCode=1)\nOrderDetachable")
    );
    world.reconnect("ALFA");
    assert_eq!((world.state("C"), world.state("O")), ("Finished", "Failed"));
}

#[test]
fn a_day_without_the_controller_starts_every_order_at_its_time_s83_s95() {
    const QUARTER: u64 = 15 * 60 * 1000;
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    for n in 1..=96_u64 {
        let due = START + i64::try_from(n * QUARTER).expect("within a day");
        world.add(&format!(
            r#"{{"id":"Q{n}","workflowPath":"w","scheduledFor":{due}}}"#
        ));
    }
    let heard = world.story("Q1");
    world.cut("ALFA");
    for n in 1..=96 {
        world.sleep(QUARTER - 1);
        assert_eq!(world.starts.len(), n - 1, "S95: Q{n} does not start early");
        world.sleep(1);
        assert_eq!(world.starts.len(), n, "S83, S95: Q{n} starts at its time");
    }
    assert_eq!(world.story("Q1"), heard, "S81: the Agent keeps it all");
    world.reconnect("ALFA");
    for n in 1..=96 {
        assert_eq!(world.state(&format!("Q{n}")), "Finished", "S98: Q{n}");
    }
}

/// A random workflow over two Agents, and the jobs in the order in which they run.
#[derive(Clone, Debug)]
enum Piece {
    Job(&'static str),
    Sleep,
    Say,
    Empty,
    If(bool, Vec<Piece>, Vec<Piece>),
    Options(Vec<Piece>),
    /// The block ends well.
    Try(Vec<Piece>),
    /// The block fails at its end and the catch block runs.
    Caught(Vec<Piece>, Vec<Piece>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let leaf = prop_oneof![
        4 => Just(Piece::Job("ALFA")),
        1 => Just(Piece::Job("BRAVO")),
        1 => Just(Piece::Sleep),
        1 => Just(Piece::Say),
        1 => Just(Piece::Empty),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let block = prop::collection::vec(inner, 0..4);
        prop_oneof![
            (any::<bool>(), block.clone(), block.clone())
                .prop_map(|(truth, then, other)| Piece::If(truth, then, other)),
            block.clone().prop_map(Piece::Options),
            block.clone().prop_map(Piece::Try),
            (block.clone(), block).prop_map(|(attempt, catch)| Piece::Caught(attempt, catch)),
        ]
    })
}

fn texts(pieces: &[Piece]) -> String {
    pieces.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn text(piece: &Piece) -> String {
    match piece {
        Piece::Job(agent) => job(agent),
        Piece::Sleep => "{TYPE: Sleep, duration: '1'}".to_owned(),
        Piece::Say => "{TYPE: Say, what: orderId}".to_owned(),
        Piece::Empty => "{TYPE: EmptyInstruction}".to_owned(),
        Piece::If(truth, then, other) => format!(
            "{{TYPE: If, ifThens: [{{predicate: '{truth}', then: {{instructions: [{}]}}}}], else: {{instructions: [{}]}}}}",
            texts(then),
            texts(other)
        ),
        Piece::Options(block) => format!(
            "{{TYPE: Options, stopOnFailure: false, block: {{instructions: [{}]}}}}",
            texts(block)
        ),
        Piece::Try(block) => {
            format!(
                "{{TYPE: Try, try: {{instructions: [{}]}}, catch: {{instructions: [{{TYPE: Fail}}]}}}}",
                texts(block)
            )
        }
        Piece::Caught(attempt, catch) => {
            let fail = if attempt.is_empty() {
                "{TYPE: Fail}"
            } else {
                ", {TYPE: Fail}"
            };
            format!(
                "{{TYPE: Try, try: {{instructions: [{}{fail}]}}, catch: {{instructions: [{}]}}}}",
                texts(attempt),
                texts(catch)
            )
        }
    }
}

/// The Agents of the jobs in the order in which they run.
fn path(pieces: &[Piece], agents: &mut Vec<&'static str>) {
    for piece in pieces {
        match piece {
            Piece::Job(agent) => agents.push(agent),
            Piece::Sleep | Piece::Say | Piece::Empty => {}
            Piece::If(truth, then, other) => path(if *truth { then } else { other }, agents),
            Piece::Options(block) | Piece::Try(block) => path(block, agents),
            Piece::Caught(attempt, catch) => {
                path(attempt, agents);
                path(catch, agents);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// S20, S23: cut off, an Agent executes the longest prefix of a workflow that needs nobody else, and no more.
    #[test]
    fn an_agent_executes_the_maximal_local_prefix_s20(pieces in prop::collection::vec(piece(), 0..6)) {
        let mut pieces = pieces;
        pieces.insert(0, Piece::Job("ALFA"));
        let mut agents = Vec::new();
        path(&pieces, &mut agents);
        let local = agents.iter().take_while(|agent| **agent == "ALFA").count();
        let instructions: String = pieces.iter().flat_map(|piece| ["- ".to_owned(), text(piece), "\n".to_owned()]).collect();
        let mut world = World::with(&["ALFA", "BRAVO"], &instructions);
        world.add(&format!(r#"{{"id":"R","workflowPath":"w","scheduledFor":{}}}"#, START + 1000));
        world.cut("ALFA");
        for _ in 0..120 {
            world.sleep(1000);
        }
        prop_assert_eq!(world.starts.len(), local, "{}", world.agent_story("ALFA", "R"));
        prop_assert!(world.agent_story("ALFA", "R").ends_with("OrderDetachable"));
        world.reconnect("ALFA");
        for _ in 0..120 {
            world.sleep(1000);
        }
        prop_assert_eq!(world.state("R"), "Finished", "{}", world.story("R"));
        let ran: Vec<_> = world.starts.iter().map(|(_, _, agent)| agent.as_str()).collect();
        prop_assert_eq!(ran, agents);
    }
}
