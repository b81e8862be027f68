//! What an Agent does by itself while no Controller is there: `docs/autonomy.md`, one story per instruction.
//!
//! A real Agent with its own log, its own Subagent and real processes. The Controller has been there once, has handed over
//! workflow and order, and is gone.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot set up its world fails at that line, and looks at a few events of many"
)]

use agent_node::AgentSettings;
use model::{
    AgentAnswer, AgentCommand, AgentPath, AttachedState, EventId, Instruction, ItemKey, Order,
    OrderState, Position, RunId, SignedText, Stamped, Timestamp, WorkflowId,
};
use net::{Client, ClientSettings, Credentials, Secret};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running Agent and the memory of its Controller.
struct Agent {
    client: Client,
    stop: CancellationToken,
    task: JoinHandle<Result<agent_node::Exit, agent_node::RunError>>,
}

impl Agent {
    async fn start(data: &Path) -> Agent {
        let settings = AgentSettings {
            name: "ALFA".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            data: data.to_owned(),
            ..AgentSettings::default()
        };
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            agent_node::run(settings, stopped, |url| {
                ready.send(url.to_owned()).unwrap();
            })
            .await
        });
        let Ok(url) = is_ready.await else {
            panic!("the Agent does not start: {:?}", task.await)
        };
        let token = std::fs::read_to_string(data.join("private/token")).unwrap();
        let mut settings = ClientSettings::new(url);
        settings.credentials = Credentials::Bearer(Secret::new(token.trim()));
        Agent {
            client: Client::new(settings).unwrap(),
            stop,
            task,
        }
    }

    async fn ask(&self, coupling: Option<u64>, command: &AgentCommand) -> AgentAnswer {
        let path = coupling.map_or_else(
            || "/agent/api/command".to_owned(),
            |coupling| format!("/agent/api/command?coupling={coupling}"),
        );
        self.client.post_json(&path, command).await.unwrap()
    }

    /// Couples anew; answers the coupling's number.
    async fn couple(&self) -> u64 {
        let dedicated = AgentCommand::DedicateAgentDirector {
            agent_path: AgentPath::new("ALFA"),
            directors: vec!["ALFA-0".into()],
            controller_id: "C".into(),
            controller_run_id: RunId::new("run-of-c"),
            from: None,
        };
        let answer = self.ask(None, &dedicated).await;
        let AgentAnswer::Dedicated { agent_run_id, .. } = answer else {
            panic!("{answer:?}")
        };
        let couple = AgentCommand::CoupleController {
            agent_path: AgentPath::new("ALFA"),
            agent_run_id,
            event_id: EventId::BEFORE_FIRST,
            controller_run_id: RunId::new("run-of-c"),
            epoch: 0,
            from: None,
        };
        let answer = self.ask(None, &couple).await;
        let AgentAnswer::Coupled { coupling, .. } = answer else {
            panic!("{answer:?}")
        };
        coupling
    }

    async fn send(&self, commands: Vec<AgentCommand>) {
        let coupling = self.couple().await;
        let answer = self
            .ask(Some(coupling), &AgentCommand::Batch { commands })
            .await;
        let AgentAnswer::Batch { responses } = answer else {
            panic!("{answer:?}")
        };
        for response in responses {
            assert!(
                !matches!(response, AgentAnswer::Problem { .. }),
                "{response:?}"
            );
        }
    }

    /// The Controller's only visit: it takes the Agent and hands over a workflow.
    async fn hand_over(&self, workflow: &str) {
        self.send(vec![
            item(
                "Agent:ALFA",
                r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0"]}"#,
            ),
            item(
                "Subagent:ALFA-0",
                r#"{"TYPE":"SubagentItem","id":"ALFA-0","agentPath":"ALFA","uri":"http://127.0.0.1:1"}"#,
            ),
            item("Workflow:w~1", workflow),
        ])
        .await;
    }

    async fn attach(&self, order: Order) {
        self.send(vec![AgentCommand::AttachOrder {
            order: Box::new(order),
        }])
        .await;
    }

    /// Reads what happens to the order until `last` has happened; answers the events as short lines.
    async fn story_of(&self, order_id: &str, last: &str) -> Vec<String> {
        let mut story = Vec::new();
        let read = async {
            let path = "/agent/api/event?after=0&heartbeat=1";
            let mut stream = self
                .client
                .get_stream(path, Duration::from_secs(5))
                .await
                .unwrap();
            while let Some(line) = stream.next_line().await.unwrap() {
                let stamped = Stamped::from_json(std::str::from_utf8(&line).unwrap()).unwrap();
                let model::Event::Order(id, event) = &stamped.event else {
                    continue;
                };
                if id.as_str() != order_id {
                    continue;
                }
                story.push(short(event));
                if event.type_name() == last {
                    return;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .is_err()
        {
            panic!("{last} does not come; so far {story:#?}");
        }
        story
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn item(key: &str, text: &str) -> AgentCommand {
    let key: ItemKey = serde_json::from_value(serde_json::Value::String(key.to_owned())).unwrap();
    let item = SignedText {
        string: text.into(),
        signature: None,
    };
    AgentCommand::AttachItem {
        item,
        key,
        item_revision: None,
    }
}

fn workflow(instructions: &str) -> String {
    format!(r#"{{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[{instructions}]}}"#)
}

fn job(script: &str) -> String {
    job_at("ALFA", script)
}

fn job_at(agent: &str, script: &str) -> String {
    format!(
        r#"{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"{agent}","executable":{{"TYPE":"ShellScriptExecutable","script":{}}}}}}}"#,
        serde_json::to_string(script).unwrap()
    )
}

fn order(id: &str) -> Order {
    let workflow_id = Arc::new(WorkflowId {
        path: "w".into(),
        version_id: "1".into(),
    });
    let json = serde_json::json!({
        "TYPE": "Order", "id": id, "workflowId": workflow_id, "position": [0], "state": {"TYPE": "Fresh"},
    });
    let mut order: Order = serde_json::from_value(json).unwrap();
    order.position = Position::top(0);
    order.state = OrderState::Fresh;
    order.attached_state = Some(AttachedState::Attaching {
        agent_path: AgentPath::new("ALFA"),
    });
    order
}

fn short(event: &model::OrderEvent) -> String {
    use model::OrderEvent as E;
    match event {
        E::OrderMoved { to, .. } => format!("OrderMoved {to}"),
        E::OrderCaught { moved_to } => format!("OrderCaught {moved_to}"),
        E::OrderProcessed { outcome } => format!("OrderProcessed {outcome}"),
        E::OrderOutcomeAdded { outcome } => format!("OrderOutcomeAdded {outcome}"),
        E::OrderStdoutWritten { chunk } => format!("OrderStdoutWritten {}", chunk.trim_end()),
        E::OrderForked { children } => {
            let ids: Vec<&str> = children
                .iter()
                .map(|child| child.order_id.as_str())
                .collect();
            format!("OrderForked {}", ids.join(" "))
        }
        other => other.type_name().to_owned(),
    }
}

/// Runs one order through a workflow at an Agent without Controller; answers its story up to `last`.
async fn alone(instructions: &str, last: &str) -> Vec<String> {
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(instructions)).await;
    agent.attach(order("A")).await;
    let story = agent.story_of("A", last).await;
    agent.stop().await;
    story
}

macro_rules! story {
    ($($line:expr),* $(,)?) => { vec![$($line.to_string()),*] };
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_execute_all_jobs_of_an_agent_run() {
    let jobs = [job("echo one"), job("echo two")].join(",");
    assert_eq!(
        alone(&jobs, "OrderDetachable").await,
        story![
            "OrderAttachedToAgent",
            "OrderStarted",
            "OrderProcessingStarted",
            "OrderStdoutWritten one",
            "OrderProcessed Succeeded",
            "OrderMoved 1",
            "OrderProcessingStarted",
            "OrderStdoutWritten two",
            "OrderProcessed Succeeded",
            "OrderMoved 2",
            "OrderDetachable",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_step_of_another_agent_stops_the_order_exactly_before_it() {
    let jobs = [job(":"), job_at("BRAVO", ":")].join(",");
    let story = alone(&jobs, "OrderDetachable").await;
    assert_eq!(
        story[story.len() - 3..],
        [
            "OrderProcessed Succeeded",
            "OrderMoved 1",
            "OrderDetachable"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_if_decides_by_a_result() {
    let first = job("echo CODE=7 >>$MAINSPRING_RETURN_VALUES");
    let choice = format!(
        r#"{{"TYPE":"If","ifThens":[{{"predicate":"$CODE == '7'","then":{{"instructions":[{}]}}}}],"else":{{"instructions":[{{"TYPE":"Fail"}}]}}}}"#,
        job("echo seven")
    );
    let story = alone(&format!("{first},{choice}"), "OrderDetachable").await;
    assert!(
        story.contains(&"OrderMoved 1/then:0".to_owned()),
        "{story:?}"
    );
    assert!(
        story.contains(&"OrderStdoutWritten seven".to_owned()),
        "{story:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_try_catches_and_retries_after_a_delay() {
    let instructions = format!(
        r#"{{"TYPE":"Try","try":{{"instructions":[{}]}},"catch":{{"instructions":[{{"TYPE":"Retry"}}]}},"retryDelays":[0.2],"maxTries":2}}"#,
        job("exit 9")
    );
    assert_eq!(
        alone(&instructions, "OrderDetachable").await,
        story![
            "OrderAttachedToAgent",
            "OrderMoved 0/try+0:0",
            "OrderStarted",
            "OrderProcessingStarted",
            "OrderProcessed Failed(returnCode=9)",
            "OrderCaught 0/catch+0:0",
            "OrderRetrying",
            "OrderAwoke",
            "OrderMoved 0/try+1:0",
            "OrderProcessingStarted",
            "OrderProcessed Failed(returnCode=9)",
            "OrderDetachable",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_fork_runs_its_branches_and_the_join_waits_for_the_controller() {
    let branch = |id: &str| {
        format!(
            r#"{{"id":"{id}","workflow":{{"instructions":[{}]}}}}"#,
            job(&format!("echo {id}"))
        )
    };
    let instructions = format!(
        r#"{},{{"TYPE":"Fork","branches":[{},{}]}}"#,
        job(":"),
        branch("x"),
        branch("y")
    );
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(&instructions)).await;
    agent.attach(order("A")).await;
    let parent = agent.story_of("A", "OrderDetachable").await;
    assert!(
        parent.contains(&"OrderForked A|x A|y".to_owned()),
        "{parent:?}"
    );
    for child in ["x", "y"] {
        let story = agent
            .story_of(&format!("A|{child}"), "OrderDetachable")
            .await;
        assert!(
            story.contains(&format!("OrderStdoutWritten {child}")),
            "{story:?}"
        );
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_sleep_options_and_empty_instructions_are_done_alone() {
    let instructions = format!(
        r#"{},{{"TYPE":"EmptyInstruction"}},{{"TYPE":"Sleep","duration":"0.1"}},{{"TYPE":"Options","stopOnFailure":true,"block":{{"instructions":[{}]}}}}"#,
        job(":"),
        job("echo in options")
    );
    let story = alone(&instructions, "OrderDetachable").await;
    assert!(story.contains(&"OrderSleeping".to_owned()), "{story:?}");
    assert!(
        story.contains(&"OrderStdoutWritten in options".to_owned()),
        "{story:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_failure_without_catch_waits_for_the_controller() {
    let story = alone(&job("exit 3"), "OrderDetachable").await;
    assert_eq!(
        story[story.len() - 2..],
        ["OrderProcessed Failed(returnCode=3)", "OrderDetachable"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_finish_and_fail_are_the_controllers_last_word() {
    let story = alone(
        &format!(r#"{},{{"TYPE":"Finish"}}"#, job(":")),
        "OrderDetachable",
    )
    .await;
    assert_eq!(
        story[story.len() - 2..],
        ["OrderMoved 1", "OrderDetachable"]
    );
    let story = alone(
        &format!(r#"{},{{"TYPE":"Fail","message":"'no'"}}"#, job(":")),
        "OrderDetachable",
    )
    .await;
    assert_eq!(
        story[story.len() - 2..],
        ["OrderOutcomeAdded Failed(no)", "OrderDetachable"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_an_order_starts_at_its_time_and_not_before() {
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(&job("echo due"))).await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let due = Timestamp::from_millis(i64::try_from(now).unwrap() + 700);
    let mut scheduled = order("A");
    scheduled.scheduled_for = Some(due);
    agent.attach(scheduled).await;
    agent.story_of("A", "OrderDetachable").await;
    let path = "/agent/api/event?after=0&heartbeat=1&return=OrderStarted";
    let mut stream = agent
        .client
        .get_stream(path, Duration::from_secs(5))
        .await
        .unwrap();
    let line = stream.next_line().await.unwrap().unwrap();
    let started = Stamped::from_json(std::str::from_utf8(&line).unwrap()).unwrap();
    assert!(
        started.at() >= due,
        "started at {} before {due}",
        started.at()
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_what_happened_alone_survives_the_agents_own_restart() {
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(&job("echo written"))).await;
    agent.attach(order("A")).await;
    let before = agent.story_of("A", "OrderDetachable").await;
    agent.stop().await;
    let agent = Agent::start(data.path()).await;
    assert_eq!(agent.story_of("A", "OrderDetachable").await, before);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_command_of_an_earlier_connection_does_nothing() {
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(&job(":"))).await;
    let earlier = agent.couple().await;
    agent.couple().await;
    let late = AgentCommand::AttachOrder {
        order: Box::new(order("A")),
    };
    for coupling in [Some(earlier), None] {
        let answer = agent.ask(coupling, &late).await;
        assert!(
            matches!(&answer, AgentAnswer::Problem { code: Some(code), .. } if code == "AgentNotCoupled"),
            "{answer:?}"
        );
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_retries_without_end_does_not_keep_others_from_running() {
    let endless = r#"{"TYPE":"Try","try":{"instructions":[{"TYPE":"Fail"}]},"catch":{"instructions":[{"TYPE":"Retry"}]}}"#;
    let choice = format!(
        r#"{},{{"TYPE":"If","ifThens":[{{"predicate":"orderId == 'ENDLESS'","then":{{"instructions":[{endless}]}}}}]}}"#,
        job("echo ran")
    );
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(&choice)).await;
    agent.attach(order("ENDLESS")).await;
    agent.story_of("ENDLESS", "OrderRetrying").await;
    agent.attach(order("A")).await;
    let story = agent.story_of("A", "OrderDetachable").await;
    assert!(
        story.contains(&"OrderStdoutWritten ran".to_owned()),
        "{story:?}"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_case_when_decides_by_a_result() {
    let first = job("echo CODE=2 >>$MAINSPRING_RETURN_VALUES");
    let case = |code: u8| {
        format!(
            r#"{{"predicate":"$CODE == '{code}'","then":{{"instructions":[{}]}}}}"#,
            job(&format!("echo case {code}"))
        )
    };
    let choice = format!(
        r#"{{"TYPE":"CaseWhen","cases":[{},{}],"else":{{"instructions":[{{"TYPE":"Fail"}}]}}}}"#,
        case(1),
        case(2)
    );
    let story = alone(&format!("{first},{choice}"), "OrderDetachable").await;
    assert!(
        story.contains(&"OrderStdoutWritten case 2".to_owned()),
        "{story:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_fail_that_is_caught_continues_in_the_catch_block() {
    let instructions = format!(
        r#"{},{{"TYPE":"Try","try":{{"instructions":[{{"TYPE":"Fail","message":"'no'"}}]}},"catch":{{"instructions":[{}]}}}}"#,
        job(":"),
        job("echo caught")
    );
    let story = alone(&instructions, "OrderDetachable").await;
    let caught = ["OrderOutcomeAdded Failed(no)", "OrderCaught 1/catch+0:0"];
    assert!(story.windows(2).any(|two| two == caught), "{story:?}");
    assert!(
        story.contains(&"OrderStdoutWritten caught".to_owned()),
        "{story:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_an_order_at_stop_waits_there_for_the_controller() {
    let instructions = format!(r#"{},{{"TYPE":"Stop"}},{}"#, job(":"), job("echo after"));
    let story = alone(&instructions, "OrderDetachable").await;
    assert_eq!(
        story[story.len() - 2..],
        ["OrderMoved 1", "OrderDetachable"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_say_runs() {
    let instructions = format!(r#"{},{{"TYPE":"Say","what":"'hello'"}}"#, job(":"));
    let story = alone(&instructions, "OrderDetachable").await;
    assert!(story.contains(&"OrderSaid".to_owned()), "{story:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_jobs_in_a_sticky_subagent_block_run() {
    let instructions = format!(
        r#"{{"TYPE":"StickySubagent","agentPath":"ALFA","subworkflow":{{"instructions":[{},{}]}}}}"#,
        job("echo one"),
        job("echo two")
    );
    let story = alone(&instructions, "OrderDetachable").await;
    assert!(
        story.contains(&"OrderStdoutWritten two".to_owned()),
        "{story:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_labels_start_and_stop_positions_count() {
    let labelled = job("echo second").replacen('{', r#"{"label":"second","#, 1);
    let instructions = [job("echo first"), labelled, job("echo third")].join(",");
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path()).await;
    agent.hand_over(&workflow(&instructions)).await;
    // The Controller resolves the labels of an order before it attaches the order.
    let mut part = order("A");
    part.position = Position::top(1);
    part.stop_positions = vec![Position::top(2)].into();
    agent.attach(part).await;
    let story = agent.story_of("A", "OrderDetachable").await;
    let written: Vec<&String> = story
        .iter()
        .filter(|line| line.starts_with("OrderStdoutWritten"))
        .collect();
    assert_eq!(written, ["OrderStdoutWritten second"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_suspension_and_a_cancellation_that_have_arrived_take_effect() {
    let data = tempfile::tempdir().unwrap();
    let gate = data.path().join("gate");
    let wait = format!(
        "echo started; until [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let wait = job(&wait).replacen(r#""agentPath""#, r#""processLimit":2,"agentPath""#, 1);
    let agent = Agent::start(&data.path().join("agent")).await;
    agent
        .hand_over(&workflow(&format!("{wait},{}", job("echo after"))))
        .await;
    let marks = [
        ("S", r#"{"TYPE":"Suspending"}"#, "OrderSuspensionMarked"),
        (
            "C",
            r#"{"TYPE":"Cancelling","mode":{"TYPE":"FreshOrStarted"}}"#,
            "OrderCancellationMarked",
        ),
    ];
    for (id, mark, _) in &marks {
        agent.attach(order(id)).await;
        agent.story_of(id, "OrderStdoutWritten").await;
        agent
            .send(vec![AgentCommand::MarkOrder {
                order_id: (*id).into(),
                mark: serde_json::from_str(mark).unwrap(),
            }])
            .await;
    }
    // From here on no Controller is connected.
    std::fs::write(&gate, "").unwrap();
    for (id, _, marked) in &marks {
        let story = agent.story_of(id, "OrderDetachable").await;
        assert!(story.contains(&(*marked).to_owned()), "{id}: {story:?}");
        assert!(
            !story.contains(&"OrderStdoutWritten after".to_owned()),
            "{id}: {story:?}"
        );
    }
    agent.stop().await;
}

/// Returns the rows of the table in `docs/autonomy.md`, each as its cells.
fn table() -> Vec<Vec<String>> {
    include_str!("../../../docs/autonomy.md")
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|-"))
        .skip(1)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

#[test]
fn s18_each_line_of_the_published_table_names_its_stories_and_each_of_them_is_here() {
    let own = include_str!("autonomy.rs");
    let rows = table();
    assert!(rows.len() > 10, "{rows:?}");
    for row in &rows {
        let stories = &row[2];
        assert!(!stories.is_empty(), "{} names no story", row[0]);
        for story in stories
            .split(',')
            .map(|story| story.trim().trim_matches('`'))
        {
            assert!(
                own.contains(&format!("async fn {story}()")),
                "{} names the story “{story}”, which does not exist",
                row[0]
            );
        }
    }
}

/// Returns the name of an instruction in the table. A new instruction does not compile without one.
fn word(instruction: &Instruction) -> &'static str {
    match instruction {
        Instruction::Execute(_) => "Execute",
        Instruction::If { .. } => "If, CaseWhen",
        Instruction::Try(_) => "Try",
        Instruction::Retry => "Retry",
        Instruction::Fail { .. } => "Fail",
        Instruction::Finish { .. } => "Finish",
        Instruction::Fork(_) => "Fork",
        Instruction::Options { .. } => "Options",
        Instruction::StickySubagent { .. } => "StickySubagent",
        Instruction::Sleep { .. } => "Sleep",
        Instruction::Stop => "Stop",
        Instruction::Say { .. } => "Say",
        Instruction::Empty => "EmptyInstruction",
        Instruction::ImplicitEnd => "end of the workflow",
    }
}

#[test]
fn s18_each_instruction_stands_in_the_published_table() {
    let empty = || model::Block::default();
    let every = [
        Instruction::If {
            cases: Vec::new(),
            otherwise: None,
        },
        Instruction::Retry,
        Instruction::Fail {
            message: None,
            named_values: BTreeMap::new(),
            uncatchable: false,
        },
        Instruction::Finish {
            outcome: None,
            message: None,
        },
        Instruction::Options {
            stop_on_failure: None,
            block: empty(),
        },
        Instruction::StickySubagent {
            agent: AgentPath::new("ALFA"),
            subagent_bundle: None,
            block: empty(),
        },
        Instruction::Stop,
        Instruction::Empty,
        Instruction::ImplicitEnd,
    ];
    let words = every.iter().map(word);
    let words = words.chain(["Execute", "Try", "Fork", "Sleep", "Say"]);
    let rows = table();
    for word in words {
        assert!(
            rows.iter().any(|row| row[0].contains(word)),
            "docs/autonomy.md has no line for {word}"
        );
    }
}
