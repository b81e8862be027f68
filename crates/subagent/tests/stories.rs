//! A Subagent's decisions in the words of an operator.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a story that cannot be set up fails at that line"
)]

use expr::Value;
use model::{
    AgentPath, Attempt, ControllerId, EventId, ItemKey, Job, MemberRun, Order, Outcome,
    PlatformInfo, RunId, Seconds, SignedText, SubagentAnswer, SubagentCommand, SubagentEvent,
    WorkflowId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use subagent::{Effect, EndCause, JobEnd, PlannedProgram, State, Surroundings, plan};

struct World {
    state: State,
    coupling: u64,
    /// In milliseconds.
    lease: Option<u64>,
    effects: Vec<Effect>,
}

fn subagent() -> World {
    let platform = PlatformInfo {
        version: "1".into(),
        hostname: "host".into(),
        system: "linux".into(),
    };
    let mut world = World {
        state: State::new(RunId::new("life-1"), platform),
        coupling: 0,
        lease: None,
        effects: Vec::new(),
    };
    world.dedicate("ALFA").unwrap();
    world.couple().unwrap();
    world
}

impl World {
    fn dedicate(&mut self, agent: &str) -> Result<SubagentAnswer, model::Problem> {
        self.dedicate_to(agent, "agent-life")
    }

    fn dedicate_life(&mut self, life: &str) -> Result<SubagentAnswer, model::Problem> {
        self.dedicate_to("ALFA", life)
    }

    fn dedicate_to(&mut self, agent: &str, life: &str) -> Result<SubagentAnswer, model::Problem> {
        let command = SubagentCommand::DedicateSubagent {
            subagent_id: "S".into(),
            agent_path: AgentPath::new(agent),
            agent_run_id: RunId::new(life),
            controller_id: "C".into(),
            from: None,
        };
        self.state.command(0, command, &mut self.effects)
    }

    /// Returns the number of a new coupling that is offered to its Director.
    fn offer(&mut self) -> u64 {
        let Ok(SubagentAnswer::Dedicated { coupling, .. }) = self.dedicate("ALFA") else {
            panic!("it belongs to another Agent");
        };
        coupling
    }

    fn couple(&mut self) -> Result<(), model::Problem> {
        let coupling = self.offer();
        self.couple_as(coupling)
    }

    fn couple_as(&mut self, coupling: u64) -> Result<(), model::Problem> {
        self.couple_with_epoch(coupling, 0)
    }

    fn couple_with_epoch(&mut self, coupling: u64, epoch: u64) -> Result<(), model::Problem> {
        let command = SubagentCommand::CoupleDirector {
            subagent_id: "S".into(),
            subagent_run_id: self.state.run_id().clone(),
            event_id: self.state.report().torn(),
            coupling,
            lease: self.lease.map(Seconds::from_millis),
            epoch,
        };
        self.state.command(0, command, &mut self.effects)?;
        self.coupling = self.state.coupling();
        Ok(())
    }

    fn ask(&mut self, command: SubagentCommand) -> Result<SubagentAnswer, model::Problem> {
        self.state
            .command(self.coupling, command, &mut self.effects)
    }

    fn start(&mut self, number: u32) -> Result<SubagentAnswer, model::Problem> {
        self.ask(start(number))
    }

    /// Starts an attempt, which succeeds at once.
    fn run(&mut self, number: u32) {
        self.start(number).unwrap();
        self.state
            .on_ended(&attempt(number), Outcome::SUCCEEDED, &mut Vec::new());
    }

    fn release(&mut self, until: u64) {
        let until_event_id = EventId(until);
        self.ask(SubagentCommand::ReleaseEvents { until_event_id })
            .unwrap();
    }
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        order_id: "A".into(),
        number,
    }
}

fn start(number: u32) -> SubagentCommand {
    SubagentCommand::StartOrderProcess {
        attempt: attempt(number),
        order: Box::new(order("{}")),
        default_arguments: BTreeMap::new(),
    }
}

fn order(arguments: &str) -> Order {
    let text = format!(
        r#"{{"TYPE":"Order","id":"A","workflowId":{{"path":"w","versionId":"1"}},"position":[0],"state":{{"TYPE":"Ready"}},"arguments":{arguments}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn starts(effects: &[Effect]) -> usize {
    effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Start { .. }))
        .count()
}

#[test]
fn an_attempt_is_started_at_most_once_however_often_it_is_asked_for() {
    let mut world = subagent();
    world.start(1).unwrap();
    world.start(1).unwrap();
    assert_eq!(starts(&world.effects), 1);
    assert_eq!(world.state.running(), 1);
    let mut effects = Vec::new();
    world
        .state
        .on_ended(&attempt(1), Outcome::SUCCEEDED, &mut effects);
    world.start(1).unwrap();
    assert_eq!(
        starts(&world.effects),
        1,
        "its end has not been confirmed, so it is still known"
    );
    assert_eq!(world.state.running(), 0);
}

#[test]
fn a_late_message_of_an_earlier_connection_orders_nothing() {
    let mut world = subagent();
    let earlier = world.coupling;
    world.run(1);
    world.couple().unwrap();
    world.release(1);
    // The attempt has been confirmed and forgotten: only the fence keeps a late repetition from starting it again.
    let late = world.state.command(earlier, start(1), &mut world.effects);
    assert!(late.unwrap_err().is("SubagentNotCoupled"));
    assert_eq!(starts(&world.effects), 1);
}

#[test]
fn s43_an_end_is_kept_until_the_director_has_confirmed_it() {
    let mut world = subagent();
    world.start(1).unwrap();
    world.state.on_output(SubagentEvent::OrderStdoutWritten {
        attempt: attempt(1),
        chunk: "hello\n".into(),
    });
    world
        .state
        .on_ended(&attempt(1), Outcome::SUCCEEDED, &mut Vec::new());
    world.couple().unwrap();
    assert_eq!(world.state.report().after(EventId(0), usize::MAX).len(), 2);
    world.release(2);
    assert!(world.state.report().is_empty());
}

#[test]
fn only_an_attempt_whose_own_end_is_confirmed_is_forgotten() {
    let mut world = subagent();
    for number in [1, 2] {
        world.run(number);
    }
    world.release(1);
    world.start(2).unwrap();
    assert_eq!(starts(&world.effects), 2, "its end may still be unknown");
    world.start(1).unwrap();
    assert_eq!(starts(&world.effects), 3, "a new one of the same name");
}

/// Couples as the latest Director, which claims to know this run and its events until `after`.
fn couple_with(world: &mut World, run_id: RunId, after: u64) -> Result<(), model::Problem> {
    let coupling = world.offer();
    let command = SubagentCommand::CoupleDirector {
        subagent_id: "S".into(),
        subagent_run_id: run_id,
        event_id: EventId(after),
        coupling,
        lease: None,
        epoch: 0,
    };
    let answer = world.state.command(0, command, &mut world.effects);
    answer.map(drop)
}

#[test]
fn a_director_that_resumes_at_an_unknown_event_is_refused() {
    let mut world = subagent();
    for number in [1, 2] {
        world.run(number);
    }
    world.release(1);
    let me = world.state.run_id().clone();
    let forgotten = couple_with(&mut world, me.clone(), 0).unwrap_err();
    assert!(forgotten.is("UnknownEventId"), "{forgotten}");
    let never_was = couple_with(&mut world, me.clone(), 3).unwrap_err();
    assert!(never_was.is("UnknownEventId"), "{never_was}");
    let other = RunId::new("another life");
    let restarted = couple_with(&mut world, other, 1).unwrap_err();
    assert!(restarted.is("SubagentRunIdMismatch"), "{restarted}");
    couple_with(&mut world, me, 1).unwrap();
}

#[test]
fn only_the_latest_dedications_may_still_become_couplings() {
    let mut world = subagent();
    let offers: Vec<u64> = (0..17).map(|_| world.offer()).collect();
    let refused = world.couple_as(offers[0]).unwrap_err();
    assert!(refused.is("SubagentNotCoupled"), "{refused}");
    world.couple_as(offers[1]).unwrap();
}

#[test]
fn a_coupling_whose_lease_would_be_over_already_is_refused() {
    let mut world = subagent();
    world.lease = Some(60 * SECOND);
    let coupling = world.offer();
    world.time_is(60 * SECOND);
    let refused = world.couple_as(coupling).unwrap_err();
    assert!(refused.is("SubagentNotCoupled"), "{refused}");
    assert!(world.state.lease().is_none(), "{:?}", world.state.lease());
    world.couple().expect("a new offer counts from now");
}

#[test]
fn another_agent_does_not_take_a_subagent_that_belongs_to_one() {
    let mut world = subagent();
    assert!(
        world
            .dedicate("BRAVO")
            .unwrap_err()
            .is("SubagentAlreadyDedicated")
    );
    world.dedicate("ALFA").unwrap();
}

#[test]
fn a_restarted_subagent_says_that_it_belongs_to_nobody() {
    let platform = PlatformInfo {
        version: "1".into(),
        hostname: "host".into(),
        system: "linux".into(),
    };
    let mut state = State::new(RunId::new("life-2"), platform);
    let command = SubagentCommand::CoupleDirector {
        subagent_id: "S".into(),
        subagent_run_id: RunId::new("life-1"),
        event_id: EventId(7),
        coupling: 1,
        lease: None,
        epoch: 0,
    };
    assert!(
        state
            .command(0, command, &mut Vec::new())
            .unwrap_err()
            .is("SubagentNotDedicated")
    );
}

#[test]
fn s141_a_kill_goes_to_the_running_attempt_and_to_no_other() {
    let mut world = subagent();
    world.start(2).unwrap();
    world
        .ask(SubagentCommand::KillProcess {
            attempt: attempt(1),
            immediately: true,
        })
        .unwrap();
    world
        .ask(SubagentCommand::KillProcess {
            attempt: attempt(2),
            immediately: false,
        })
        .unwrap();
    let kills: Vec<&Effect> = world
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Kill { .. }))
        .collect();
    assert_eq!(
        kills,
        [&Effect::Kill {
            attempt: attempt(2),
            immediately: false,
            cause: EndCause::Killed,
            within: None,
        }]
    );
}

#[test]
fn a_shutdown_without_signal_waits_for_the_jobs_and_takes_no_more() {
    let mut world = subagent();
    world.start(1).unwrap();
    world
        .ask(SubagentCommand::ShutDown {
            process_signal: None,
            restart: true,
        })
        .unwrap();
    assert!(world.start(2).unwrap_err().is("SubagentIsShuttingDown"));
    assert!(!world.effects.contains(&Effect::End { restart: true }));
    let mut effects = Vec::new();
    world
        .state
        .on_ended(&attempt(1), Outcome::SUCCEEDED, &mut effects);
    assert_eq!(effects, [Effect::End { restart: true }]);
    let events = world.state.report().after(EventId(0), usize::MAX);
    let names: Vec<&str> = events
        .iter()
        .map(|stamped| stamped.event.type_name())
        .collect();
    assert_eq!(
        names,
        [
            "SubagentShutdownStarted",
            "OrderProcessed",
            "SubagentShutdown"
        ]
    );
}

#[test]
fn a_shutdown_with_sigkill_kills_what_runs() {
    let mut world = subagent();
    world.start(1).unwrap();
    let signal = Some("SIGKILL".into());
    world
        .ask(SubagentCommand::ShutDown {
            process_signal: signal,
            restart: false,
        })
        .unwrap();
    let kill = Effect::Kill {
        attempt: attempt(1),
        immediately: true,
        cause: EndCause::Shutdown,
        within: None,
    };
    assert!(world.effects.contains(&kill));
    let unknown = SubagentCommand::ShutDown {
        process_signal: Some("SIGHUP".into()),
        restart: false,
    };
    assert!(world.ask(unknown).unwrap_err().is("UnknownProcessSignal"));
}

#[test]
fn a_batch_stops_at_the_first_refusal() {
    let mut world = subagent();
    let bad = SubagentCommand::AttachItem {
        item: SignedText {
            string: "{".into(),
            signature: None,
        },
        key: ItemKey::workflow(&WorkflowId {
            path: "w".into(),
            version_id: "1".into(),
        }),
        item_revision: None,
    };
    let batch = SubagentCommand::Batch {
        commands: vec![bad, start(1)],
    };
    let SubagentAnswer::Batch { responses } = world.ask(batch).unwrap() else {
        panic!()
    };
    assert_eq!(responses.len(), 1);
    assert_eq!(starts(&world.effects), 0);
}

fn job(json: &str) -> (Arc<model::Workflow>, Arc<Job>) {
    let text = format!(
        r#"{{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[{{"TYPE":"Execute.Anonymous","job":{json}}}]}}"#
    );
    let key = ItemKey::workflow(&WorkflowId {
        path: "w".into(),
        version_id: "1".into(),
    });
    let model::ItemBody::Workflow(workflow) = model::stored_item(&key, &text).unwrap().body else {
        panic!()
    };
    let job = workflow.job(&model::Position::top(0)).unwrap().1.clone();
    (workflow, job)
}

const SIMPLE: &str =
    r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":"}}"#;

fn end(code: i32) -> JobEnd {
    JobEnd {
        code: Some(code),
        signal: None,
        cause: EndCause::ByItself,
        values: Ok(Vec::new()),
        last_error_line: None,
    }
}

#[test]
fn a_return_code_decides_between_success_and_failure() {
    let (_, job) = job(SIMPLE);
    assert!(end(0).outcome(&job).is_succeeded());
    let failed = end(7).outcome(&job);
    assert!(matches!(&failed, Outcome::Failed { .. }), "{failed:?}");
    assert_eq!(failed.named_values()["returnCode"], Value::from(7));
    let lenient = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","returnCodeMeaning":{"success":"0,5..9"}}}"#;
    let (_, lenient) = self::job(lenient);
    assert!(end(7).outcome(&lenient).is_succeeded());
    assert!(!end(4).outcome(&lenient).is_succeeded());
}

#[test]
fn a_process_ended_by_a_signal_has_the_code_that_a_shell_shows() {
    let (_, job) = job(SIMPLE);
    let killed = JobEnd {
        code: None,
        signal: Some(9),
        cause: EndCause::Killed,
        values: Ok(vec![("A".into(), "1".into())]),
        last_error_line: None,
    };
    let outcome = killed.outcome(&job);
    assert_eq!(outcome.named_values()["returnCode"], Value::from(137));
    assert!(
        !outcome.named_values().contains_key("A"),
        "values of a killed process are dropped"
    );
    assert!(matches!(outcome, Outcome::Killed { .. }));
}

#[test]
fn a_job_that_must_not_be_repeated_has_failed_when_its_process_was_ended_from_outside() {
    let once = r#"{"agentPath":"ALFA","isNotRestartable":true,"executable":{"TYPE":"ShellScriptExecutable","script":":"}}"#;
    for cause in [EndCause::Shutdown, EndCause::LostDirector] {
        let ended = JobEnd { cause, ..end(0) };
        assert!(ended.outcome(&job(SIMPLE).1).is_process_lost());
        let outcome = ended.outcome(&job(once).1);
        assert!(
            !outcome.is_process_lost() && !outcome.is_succeeded(),
            "{outcome}"
        );
    }
}

#[test]
fn error_output_is_a_failure_where_the_job_says_so() {
    let strict = r#"{"agentPath":"ALFA","failOnErrWritten":true,"executable":{"TYPE":"ShellScriptExecutable","script":":"}}"#;
    let (_, strict) = job(strict);
    let written = JobEnd {
        last_error_line: Some("last".into()),
        ..end(0)
    };
    let Outcome::Failed {
        message: Some(message),
        named_values,
        ..
    } = written.outcome(&strict)
    else {
        panic!()
    };
    assert_eq!(&*message, "The job's error channel: last");
    assert!(named_values.is_empty(), "{named_values:?}");
    let (_, easy) = job(SIMPLE);
    assert!(written.outcome(&easy).is_succeeded());
}

#[test]
fn a_job_whose_exit_status_is_lost_has_neither_succeeded_nor_failed_with_a_code() {
    let (_, job) = job(SIMPLE);
    let lost = JobEnd {
        code: None,
        signal: None,
        ..end(0)
    };
    let outcome = lost.outcome(&job).to_string();
    assert!(outcome.contains("ProcessExitStatusLost"), "{outcome}");
    assert!(!lost.outcome(&job).is_process_lost(), "not repeated");
}

#[test]
fn a_bad_line_of_return_values_fails_the_job_and_says_which() {
    let (_, job) = job(SIMPLE);
    let bad = JobEnd {
        values: Err("line 3 has no '='".into()),
        ..end(0)
    };
    let Outcome::Failed {
        message: Some(message),
        named_values,
        ..
    } = bad.outcome(&job)
    else {
        panic!()
    };
    assert_eq!(
        (&*message, &named_values["returnCode"]),
        ("line 3 has no '='", &Value::from(0))
    );
}

fn planned(
    job_json: &str,
    arguments: &str,
    resources: &[&str],
) -> Result<subagent::JobPlan, model::Problem> {
    planned_for("A", job_json, arguments, resources)
}

fn planned_for(
    id: &str,
    job_json: &str,
    arguments: &str,
    resources: &[&str],
) -> Result<subagent::JobPlan, model::Problem> {
    let (workflow, _) = job(job_json);
    let mut job_resources = BTreeMap::new();
    for text in resources {
        let origin = model::read::Origin::default();
        let item = model::read::item(text, model::read::Format::Json, &origin).unwrap();
        let model::ItemBody::JobResource(resource) = item.body else {
            panic!()
        };
        job_resources.insert(resource.path.clone(), resource);
    }
    let env = BTreeMap::from([
        ("LANG".to_owned(), "C".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ]);
    let around = Surroundings {
        now: model::Timestamp::from_millis(1_700_000_000_000),
        env: &env,
        temp_dir: PathBuf::from("/tmp/values"),
        job_resources: &job_resources,
        grace_default: Duration::from_secs(15),
    };
    let attempt = model::Attempt {
        order_id: id.into(),
        ..attempt(1)
    };
    plan(
        &attempt,
        &order(arguments),
        &workflow,
        &ControllerId::new("C"),
        &around,
    )
}

#[test]
fn the_environment_comes_from_expressions_and_a_missing_value_removes_a_variable() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":"env","env":{"A":"orderId","B":"$n + 1","LANG":"missing","E":"env('HOME')","C":"controllerId"}}}"#;
    let plan = planned(json, r#"{"n":41}"#, &[]).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        plan.env,
        BTreeMap::from([
            ("A".to_owned(), text("A")),
            ("B".to_owned(), text("42")),
            ("C".to_owned(), text("C")),
            ("E".to_owned(), text("/root")),
            ("LANG".to_owned(), None),
        ])
    );
    assert_eq!(plan.grace, Duration::from_secs(15));
}

#[test]
fn arguments_do_not_hide_predefined_words() {
    let json = r#"{"agentPath":"ALFA","defaultArguments":{"js7ControllerId":"'X'"},"executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"A":"$js7OrderId","C":"$js7ControllerId","O":"$js7Other"}}}"#;
    let plan = planned(json, r#"{"js7OrderId":"B","js7Other":"mine"}"#, &[]).unwrap();
    let found = ["A", "C", "O"].map(|name| plan.env[name].as_deref());
    assert_eq!(found, [Some("A"), Some("C"), Some("mine")]);
}

#[test]
fn an_unknown_name_in_the_environment_is_named_and_nothing_is_started() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"X":"$nobody"}}}"#;
    assert_eq!(
        planned(json, "{}", &[]).unwrap_err().message,
        "No such named value: nobody"
    );
}

#[test]
fn a_job_resource_sees_the_machine_but_not_what_the_order_carries() {
    let json = r#"{"agentPath":"ALFA","jobResourcePaths":["R"],"executable":{"TYPE":"ShellScriptExecutable","script":":"}}"#;
    let good = r#"{"TYPE":"JobResource","path":"R","variables":{},"env":{"H":"env('HOME')","O":"$js7OrderId"}}"#;
    let plan = planned(json, "{}", &[good]).unwrap();
    assert_eq!(plan.env["H"].as_deref(), Some("/root"));
    assert_eq!(plan.env["O"].as_deref(), Some("A"));
    let plan = planned(json, r#"{"js7OrderId":"B"}"#, &[good]).unwrap();
    assert_eq!(
        plan.env["O"].as_deref(),
        Some("A"),
        "who the order is it does not say itself"
    );
    let nosy = r#"{"TYPE":"JobResource","path":"R","variables":{},"env":{"H":"$secret"}}"#;
    assert!(planned(json, r#"{"secret":"x"}"#, &[nosy]).is_err());
    assert!(
        planned(json, "{}", &[])
            .unwrap_err()
            .message
            .contains("JobResource:R")
    );
}

#[test]
fn the_environment_of_a_job_resource_sees_its_own_variables_and_these_do_not_see_each_other() {
    let json = r#"{"agentPath":"ALFA","jobResourcePaths":["R"],"executable":{"TYPE":"ShellScriptExecutable","script":":"}}"#;
    let resource = r#"{"TYPE":"JobResource","path":"R","variables":{"v":"'dv'","o":"$js7OrderId ++ '!'","secret":"'own'","self":"$v"},"env":{"D":"$v","O":"$o","S":"$secret"}}"#;
    let plan = planned(json, r#"{"secret":"the order's"}"#, &[resource]).unwrap();
    assert_eq!(plan.env["D"].as_deref(), Some("dv"));
    assert_eq!(plan.env["O"].as_deref(), Some("A!"));
    assert_eq!(plan.env["S"].as_deref(), Some("own"));
    let through_another = r#"{"TYPE":"JobResource","path":"R","variables":{"v":"'dv'","self":"$v"},"env":{"D":"$self"}}"#;
    let refused = planned(json, "{}", &[through_another]).unwrap_err();
    assert!(
        refused.message.contains("No such named value: v"),
        "{refused}"
    );
}

#[test]
fn to_file_names_a_file_of_its_own_for_each_use() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"F":"toFile('content', 'list-*.txt')","G":"toFile('other', '*.txt')"}}}"#;
    let plan = planned(json, "{}", &[]).unwrap();
    assert_eq!(plan.files.len(), 2);
    assert_eq!(plan.files[0].1, "content");
    assert_eq!(plan.env["F"].as_deref(), plan.files[0].0.to_str());
    assert_ne!(plan.files[0].0, plan.files[1].0);
    assert!(plan.files[0].0.starts_with("/tmp/values"));
    // Also of others that run at the same time, whatever their ids have in common.
    let long = "x".repeat(80);
    let mut taken = BTreeSet::new();
    for id in [
        "T-1".to_owned(),
        "T_1".to_owned(),
        "T|1".to_owned(),
        format!("{long}|a"),
        format!("{long}|b"),
    ] {
        let plan = planned_for(&id, json, "{}", &[]).unwrap();
        assert!(taken.insert(plan.files[0].0.clone()), "{id}: {taken:?}");
    }
    let escaping = json.replace("list-*.txt", "../*.txt");
    assert!(planned(&escaping, "{}", &[]).is_err());
}

#[test]
fn a_command_line_is_split_into_words_with_variables() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"CommandLineExecutable","command":"'/bin/echo' x 'y y' \"z\" $WORD"}}"#;
    let plan = planned(json, r#"{"WORD":"last"}"#, &[]).unwrap();
    let words = ["/bin/echo", "x", "y y", "z", "last"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(plan.program, PlannedProgram::Command(words));
}

#[test]
fn coupling_confirms_what_the_director_has_so_an_ended_attempt_does_not_answer_for_a_new_one() {
    let mut world = subagent();
    world.run(1);
    let coupling = world.offer();
    let command = SubagentCommand::CoupleDirector {
        subagent_id: "S".into(),
        subagent_run_id: world.state.run_id().clone(),
        event_id: world.state.report().last(),
        coupling,
        lease: None,
        epoch: 0,
    };
    world.state.command(0, command, &mut world.effects).unwrap();
    world.coupling = world.state.coupling();
    assert!(world.state.report().is_empty());
    // The order was deleted and added anew under its old name.
    world.start(1).unwrap();
    assert_eq!(starts(&world.effects), 2);
}

#[test]
fn s78_the_agents_next_life_takes_the_subagent_when_the_jobs_of_the_former_one_have_ended() {
    let mut world = subagent();
    world.start(1).unwrap();
    let dedicate = |world: &mut World, life: &str| world.dedicate_life(life);
    assert!(
        dedicate(&mut world, "next-life")
            .unwrap_err()
            .is("SubagentIsBusy")
    );
    let is_kill = |effect: &&Effect| matches!(effect, Effect::Kill { attempt: killed, immediately: true, .. } if *killed == attempt(1));
    assert_eq!(
        world.effects.iter().filter(is_kill).count(),
        1,
        "nobody waits for the job any more"
    );
    assert!(
        world.start(2).unwrap_err().is("SubagentNotCoupled"),
        "the former life's Director is refused"
    );
    assert!(
        dedicate(&mut world, "agent-life")
            .unwrap_err()
            .is("SubagentAlreadyDedicated"),
        "it never comes back"
    );
    let mut effects = Vec::new();
    world
        .state
        .on_ended(&attempt(1), Outcome::SUCCEEDED, &mut effects);
    let Ok(SubagentAnswer::Dedicated { coupling, .. }) = dedicate(&mut world, "next-life") else {
        panic!("the former life's jobs have ended");
    };
    assert!(
        world.state.report().is_empty(),
        "what the former life's jobs said is for nobody"
    );
    world.couple_as(coupling).unwrap();
    let before = starts(&world.effects);
    world.start(1).unwrap();
    assert_eq!(
        starts(&world.effects),
        before + 1,
        "an attempt of the same name is another one now"
    );
    for former in 0..coupling {
        let late = world.state.command(former, start(2), &mut world.effects);
        assert!(
            late.unwrap_err().is("SubagentNotCoupled"),
            "what the former life's Director has sent comes late"
        );
    }
    assert!(
        dedicate(&mut world, "agent-life")
            .unwrap_err()
            .is("SubagentAlreadyDedicated")
    );
}

const SECOND: u64 = 1000;

impl World {
    /// Coupled with a lease of a minute, all at once.
    fn under_lease() -> World {
        let mut world = subagent();
        world.lease = Some(60 * SECOND);
        world.couple().unwrap();
        world
    }

    fn time_is(&mut self, millis: u64) {
        self.state
            .wake(Duration::from_millis(millis), &mut self.effects);
    }

    fn hears(&mut self, number: u64) {
        self.state.renew(self.coupling, number);
    }

    fn kills(&self) -> Vec<(u32, EndCause, Option<Duration>)> {
        let kill = |effect: &Effect| match effect {
            Effect::Kill {
                attempt,
                cause,
                within,
                ..
            } => Some((attempt.number, *cause, *within)),
            Effect::Start { .. } | Effect::End { .. } => None,
        };
        self.effects.iter().filter_map(kill).collect()
    }
}

#[test]
fn s140_s142_when_the_lease_ends_every_job_is_ended_and_none_is_started() {
    let mut world = World::under_lease();
    let length = world.state.lease().map(subagent::Lease::length);
    assert_eq!(length, Some(Duration::from_mins(1)));
    world.start(1).unwrap();
    world.start(2).unwrap();
    world
        .state
        .on_ended(&attempt(2), Outcome::SUCCEEDED, &mut Vec::new());
    assert_eq!(
        world.state.next_wakeup(),
        Some(Duration::from_mins(1)),
        "S136: the end is known beforehand"
    );
    world.time_is(60 * SECOND - 1);
    assert_eq!(world.kills(), []);
    world.time_is(60 * SECOND);
    let grace = Some(Duration::from_secs(15));
    assert_eq!(world.kills(), [(1, EndCause::LostDirector, grace)]);
    world.time_is(61 * SECOND);
    assert_eq!(world.kills().len(), 1, "said once");
    let refused = world.start(3).unwrap_err();
    assert!(refused.is("SubagentNotCoupled"), "S142: {refused}");
    world.hears(1);
    assert!(
        world.start(3).is_err(),
        "a late word does not bring an ended lease back"
    );
    world.couple().unwrap();
    world.start(3).unwrap();
    assert_eq!(
        starts(&world.effects),
        3,
        "the Director is back and goes on"
    );
}

#[test]
fn s143_a_director_that_is_heard_in_time_keeps_its_jobs() {
    let mut world = World::under_lease();
    world.start(1).unwrap();
    for number in 1..20 {
        world.time_is(number * 29 * SECOND);
        world.hears(number);
    }
    assert_eq!(world.kills(), []);
    // It was away for most of a minute and couples anew.
    world.time_is((19 * 29 + 25) * SECOND);
    world.couple().unwrap();
    world.time_is((19 * 29 + 70) * SECOND);
    assert_eq!(world.kills(), [], "S143: everything goes on");
}

#[test]
fn s142_a_coupling_or_request_that_was_under_way_for_long_prolongs_nothing() {
    let mut world = World::under_lease();
    world.start(1).unwrap();
    let late = world.offer();
    world.time_is(50 * SECOND);
    let coupling = world.offer();
    world.time_is(59 * SECOND);
    world.couple_as(late).unwrap();
    assert_eq!(
        world.state.next_wakeup(),
        Some(Duration::from_mins(1)),
        "a minute from when the Director may have asked, not from when it arrived"
    );
    world.couple_as(coupling).unwrap();
    assert_eq!(world.state.next_wakeup(), Some(Duration::from_secs(110)));
    let refused = world.couple_as(late).unwrap_err();
    assert!(refused.is("SubagentNotCoupled"), "{refused}");
    world.time_is(200 * SECOND);
    assert!(
        world.couple_as(coupling).is_ok() && world.start(2).is_err(),
        "a repeated coupling is answered, but its lease has ended"
    );
}

#[test]
fn the_end_of_a_job_whose_director_was_lost_says_so_and_may_be_repeated() {
    let (_, job) = job(SIMPLE);
    let end = JobEnd {
        code: Some(0),
        signal: None,
        cause: EndCause::LostDirector,
        values: Ok(Vec::new()),
        last_error_line: None,
    };
    let outcome = end.outcome(&job);
    assert!(outcome.is_process_lost());
    assert!(
        serde_json::to_string(&outcome)
            .unwrap()
            .contains("ProcessKilledDueToLostDirector")
    );
}

#[test]
fn s131_a_director_of_an_older_epoch_is_not_obeyed() {
    let mut world = subagent();
    let couple = |world: &mut World, epoch: u64| {
        let coupling = world.offer();
        let command = SubagentCommand::CoupleDirector {
            subagent_id: "S".into(),
            subagent_run_id: world.state.run_id().clone(),
            event_id: world.state.report().torn(),
            coupling,
            lease: None,
            epoch,
        };
        let coupled = world.state.command(0, command, &mut world.effects);
        world.coupling = world.state.coupling();
        coupled
    };
    couple(&mut world, 5).unwrap();
    world.start(1).unwrap();
    let refused = couple(&mut world, 4).unwrap_err();
    assert!(refused.is("DirectorEpochIsOld"), "{refused}");
    world.start(2).unwrap();
    assert_eq!(starts(&world.effects), 2, "the newer one is not disturbed");
    couple(&mut world, 6).unwrap();
}

#[test]
fn a_variable_that_no_process_can_be_given_is_named_with_its_bound() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"LONG":"$x"}}}"#;
    let argument = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes));
    assert!(planned(json, &argument(131_000), &[]).is_ok());
    let problem = planned(json, &argument(132_000), &[]).unwrap_err();
    assert!(problem.is("ValueIsTooLarge"), "{problem}");
    assert!(
        problem.message.contains("LONG") && problem.message.contains("131070"),
        "{problem}"
    );
    let many: Vec<_> = (0..50).map(|n| format!(r#""V{n}":"$x""#)).collect();
    let json = format!(
        r#"{{"agentPath":"ALFA","executable":{{"TYPE":"ShellScriptExecutable","script":":","env":{{{}}}}}}}"#,
        many.join(",")
    );
    let problem = planned(&json, &argument(130_000), &[]).unwrap_err();
    assert!(
        problem.message.contains("the environment of the job"),
        "{problem}"
    );
}

fn director(member: u64, run_id: &str, address: &str) -> MemberRun {
    MemberRun {
        member,
        run_id: RunId::new(run_id),
        address: address.into(),
    }
}

struct Claim {
    agent: &'static str,
    life: &'static str,
    from: MemberRun,
    epoch: u64,
}

impl Claim {
    fn of(from: MemberRun) -> Claim {
        Claim {
            agent: "ALFA",
            life: "agent-life",
            from,
            epoch: 1,
        }
    }

    /// Dedicates and couples. Returns the number of the coupling.
    fn make(&self, world: &mut World) -> Result<u64, model::Problem> {
        let dedicate = SubagentCommand::DedicateSubagent {
            subagent_id: "S".into(),
            agent_path: AgentPath::new(self.agent),
            agent_run_id: RunId::new(self.life),
            controller_id: "C".into(),
            from: Some(self.from.clone()),
        };
        let answer = world.state.command(0, dedicate, &mut world.effects)?;
        let SubagentAnswer::Dedicated { coupling, .. } = answer else {
            panic!("{answer:?}")
        };
        let couple = SubagentCommand::CoupleDirector {
            subagent_id: "S".into(),
            subagent_run_id: world.state.run_id().clone(),
            event_id: world.state.report().torn(),
            coupling,
            lease: world.lease.map(Seconds::from_millis),
            epoch: self.epoch,
        };
        world.state.command(0, couple, &mut world.effects)?;
        Ok(coupling)
    }
}

fn refused_as_double(claim: &Claim, world: &mut World) {
    let refused = claim.make(world).unwrap_err();
    assert!(refused.is("DirectorIsDouble"), "{refused}");
    let message = refused.to_string();
    assert!(
        message.contains("https://one:1") && message.contains("https://two:1"),
        "{message}"
    );
}

#[test]
fn a_second_director_is_refused_while_the_first_one_is_connected_and_named_with_it() {
    let mut world = subagent();
    let first = Claim::of(director(1, "run-1", "https://one:1"));
    let open = first.make(&mut world).unwrap();
    world.state.on_stream_opened(open);
    world.coupling = open;
    world.start(1).unwrap();
    world.effects.clear();
    let two = |member| director(member, "run-2", "https://two:1");
    let mut copy = Claim::of(two(1));
    copy.epoch = 2;
    let mut of_another_cluster = Claim::of(two(2));
    of_another_cluster.epoch = 1;
    let mut namesake = Claim::of(two(3));
    namesake.life = "another-life";
    let mut stranger = Claim::of(two(3));
    stranger.agent = "BRAVO";
    for claim in [&copy, &of_another_cluster, &namesake] {
        refused_as_double(claim, &mut world);
    }
    let refused = stranger.make(&mut world).unwrap_err();
    assert!(refused.is("SubagentAlreadyDedicated"), "{refused}");
    let message = refused.to_string();
    assert!(
        message.contains("https://one:1") && message.contains("https://two:1"),
        "{message}"
    );
    assert!(
        world.effects.is_empty(),
        "no job is ended: {:?}",
        world.effects
    );
    world.start(2).unwrap();

    // Another Director of the same Agent, which has become active, takes over.
    let mut other = Claim::of(two(2));
    other.epoch = 2;
    other.make(&mut world).unwrap();
}

#[test]
fn the_successor_of_a_director_that_has_gone_is_coupled_at_once() {
    let mut world = subagent();
    let first = Claim::of(director(1, "run-1", "https://one:1"));
    let successor = Claim::of(director(1, "run-2", "https://two:1"));
    let open = first.make(&mut world).unwrap();
    world.state.on_stream_opened(open);
    // The same process couples anew, before its earlier stream has ended.
    let again = first.make(&mut world).unwrap();
    world.state.on_stream_opened(again);
    world.state.on_stream_closed(open);
    refused_as_double(&successor, &mut world);
    world.state.on_stream_closed(again);
    successor.make(&mut world).unwrap();
}

#[test]
fn a_director_that_sends_nothing_any_more_makes_room_though_its_stream_seems_open() {
    let mut world = subagent();
    world.lease = Some(60_000);
    let at = |world: &mut World, seconds| {
        world
            .state
            .wake(Duration::from_secs(seconds), &mut Vec::new());
    };
    at(&mut world, 1);
    let first = Claim::of(director(1, "run-1", "https://one:1"));
    let successor = Claim::of(director(1, "run-2", "https://two:1"));
    let open = first.make(&mut world).unwrap();
    world.state.on_stream_opened(open);
    at(&mut world, 6);
    refused_as_double(&successor, &mut world);
    world.state.renew(open, 1);
    at(&mut world, 11);
    refused_as_double(&successor, &mut world);
    at(&mut world, 13);
    successor.make(&mut world).unwrap();
}

#[test]
fn the_shorter_the_lease_the_sooner_a_silent_director_makes_room() {
    // Two intervals of its requests, which come six times in a lease and at least every three seconds.
    for (lease, makes_room_after) in [(6_000, 2_000), (12_000, 4_000), (60_000, 6_000)] {
        let silent_for = |millis| {
            let mut world = subagent();
            world.lease = Some(lease);
            let first = Claim::of(director(1, "run-1", "https://one:1"));
            let open = first.make(&mut world).unwrap();
            world.state.on_stream_opened(open);
            world.time_is(millis);
            let successor = Claim::of(director(1, "run-2", "https://two:1"));
            successor.make(&mut world).map_err(|refused| {
                assert!(refused.is("DirectorIsDouble"), "{refused}");
            })
        };
        assert!(silent_for(makes_room_after - 1).is_err(), "{lease}");
        assert!(silent_for(makes_room_after).is_ok(), "{lease}");
    }
}

#[test]
fn a_director_that_couples_anew_is_still_the_connected_one_by_its_earlier_stream() {
    let mut world = subagent();
    let first = Claim::of(director(1, "run-1", "https://one:1"));
    let open = first.make(&mut world).unwrap();
    world.state.on_stream_opened(open);
    first.make(&mut world).unwrap();
    let successor = Claim::of(director(1, "run-2", "https://two:1"));
    refused_as_double(&successor, &mut world);
    world.state.on_stream_closed(open);
    successor.make(&mut world).unwrap();
}

#[test]
fn the_stream_of_a_director_says_nothing_of_the_one_that_took_over() {
    let mut world = subagent();
    let first = Claim::of(director(1, "run-1", "https://one:1"));
    let open = first.make(&mut world).unwrap();
    world.state.on_stream_opened(open);
    let mut backup = Claim::of(director(2, "run-b", "https://two:1"));
    backup.epoch = 2;
    backup.make(&mut world).unwrap();
    // The former one's stream is open until its connection is found broken.
    let mut restarted = Claim::of(director(2, "run-c", "https://two:1"));
    restarted.epoch = 3;
    restarted.make(&mut world).unwrap();
    // The former one has not ended: it is of an older epoch.
    let refused = first.make(&mut world).unwrap_err();
    assert!(refused.is("DirectorEpochIsOld"), "{refused}");
}

#[test]
fn a_director_that_repeats_its_coupling_is_still_protected_from_a_copy_of_it() {
    let mut world = subagent();
    let first = Claim::of(director(1, "run-1", "https://one:1"));
    let open = first.make(&mut world).unwrap();
    world.state.on_stream_opened(open);
    // The answer was lost on the way.
    world.couple_with_epoch(open, 1).unwrap();
    refused_as_double(
        &Claim::of(director(1, "run-2", "https://two:1")),
        &mut world,
    );
}

#[test]
fn a_subagent_knows_whose_it_is_and_what_its_director_has_sent() {
    let platform = PlatformInfo {
        version: "1".into(),
        hostname: "host".into(),
        system: "linux".into(),
    };
    let nobodys = State::new(RunId::new("life-1"), platform);
    assert_eq!((nobodys.owner(), nobodys.controller_id()), (None, None));
    let mut world = subagent();
    let owner = world.state.owner().unwrap();
    assert_eq!((owner.0.as_str(), owner.1.as_str()), ("S", "ALFA"));
    assert_eq!(world.state.controller_id(), Some(&ControllerId::new("C")));

    let resource = r#"{"TYPE":"JobResource","path":"R","variables":{"v":"1"}}"#;
    let workflow = r#"{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[]}"#;
    for (key, text) in [("JobResource:R", resource), ("Workflow:w~1", workflow)] {
        let item = SignedText {
            string: text.into(),
            signature: None,
        };
        let key: ItemKey = serde_json::from_value(key.into()).unwrap();
        let item_revision = None;
        world
            .ask(SubagentCommand::AttachItem {
                item,
                key,
                item_revision,
            })
            .unwrap();
    }
    let id = WorkflowId {
        path: "w".into(),
        version_id: "1".into(),
    };
    assert_eq!(*world.state.workflow(&id).unwrap().id, id);
    let resources: Vec<&str> = world
        .state
        .job_resources()
        .keys()
        .map(model::JobResourcePath::as_str)
        .collect();
    assert_eq!(resources, ["R"]);
    world.dedicate_life("next-life").unwrap();
    assert!(
        world.state.job_resources().is_empty(),
        "the next life sends its own"
    );
    assert!(world.state.workflow(&id).is_none());
}

#[test]
fn what_waits_for_confirmation_is_counted_with_its_text() {
    let mut world = subagent();
    world.start(1).unwrap();
    assert!(world.state.report().is_empty());
    let chunk: Arc<str> = "x".repeat(1000).into();
    for _ in 0..4 {
        world.state.on_output(SubagentEvent::OrderStdoutWritten {
            attempt: attempt(1),
            chunk: chunk.clone(),
        });
    }
    let report = world.state.report();
    assert!(!report.is_empty());
    let all = report.bytes();
    assert!(all >= 4 * chunk.len(), "{all}");
    let count = |limit| report.after(EventId(0), limit).len();
    assert_eq!(
        count(3 * chunk.len()),
        2,
        "an event takes more than its text"
    );
    assert_eq!((count(all - 1), count(all)), (3, 4));
    world.release(2);
    assert_eq!(world.state.report().bytes(), all / 2);
    world.release(4);
    assert_eq!(world.state.report().bytes(), 0);
}

/// The environment of the job at `position` 0 in a workflow in the time zone of Tokyo, of an order that was due a second after 1970.
fn environment(job: &str, resources: &[&str]) -> BTreeMap<String, Option<String>> {
    let text = format!(
        r#"{{"TYPE":"Workflow","path":"w","versionId":"1","timeZone":"Asia/Tokyo","instructions":[{{"TYPE":"Execute.Anonymous","job":{job}}}]}}"#
    );
    let read = |text: &str| {
        let origin = model::read::Origin::default();
        let item = model::read::item(text, model::read::Format::Json, &origin);
        item.unwrap().body
    };
    let model::ItemBody::Workflow(workflow) = read(&text) else {
        panic!()
    };
    let resources = resources.iter().map(|text| {
        let model::ItemBody::JobResource(resource) = read(text) else {
            panic!()
        };
        (resource.path.clone(), resource)
    });
    let job_resources = resources.collect();
    let mut order = order("{}");
    order.scheduled_for = Some(model::Timestamp::from_millis(1_000));
    let around = Surroundings {
        now: model::Timestamp::from_millis(1_700_000_000_000),
        env: &BTreeMap::new(),
        temp_dir: PathBuf::from("/tmp/values"),
        job_resources: &job_resources,
        grace_default: Duration::from_secs(15),
    };
    let controller_id = ControllerId::new("C");
    let plan = plan(&attempt(1), &order, &workflow, &controller_id, &around).unwrap();
    let files = plan.files.iter().map(|(path, content)| {
        let path = path.to_string_lossy().into_owned();
        (path, Some(content.clone()))
    });
    plan.env.into_iter().chain(files).collect()
}

#[test]
fn a_job_and_its_job_resource_see_the_clock_the_time_zone_and_the_orders_names() {
    let words = r#"{"ID":"orderId","CONTROLLER":"controllerId","NOW":"now(format='yyyy-MM-dd HH:mm')","DUE":"scheduledOrEmpty(format='yyyy-MM-dd HH:mm:ss')","FILE":"toFile('content', '*.txt')"}"#;
    let in_job = format!(
        r#"{{"agentPath":"ALFA","executable":{{"TYPE":"ShellScriptExecutable","script":":","env":{words}}}}}"#
    );
    let by_resource = r#"{"agentPath":"ALFA","jobResourcePaths":["R"],"executable":{"TYPE":"ShellScriptExecutable","script":":"}}"#;
    let resource = format!(r#"{{"TYPE":"JobResource","path":"R","variables":{{}},"env":{words}}}"#);
    for env in [
        environment(&in_job, &[]),
        environment(by_resource, &[&resource]),
    ] {
        let found = |name: &str| env[name].clone().unwrap();
        assert_eq!((found("ID"), found("CONTROLLER")), ("A".into(), "C".into()));
        assert_eq!(
            found("NOW"),
            "2023-11-15 07:13",
            "in the workflow's time zone"
        );
        assert_eq!(found("DUE"), "1970-01-01 09:00:01");
        assert_eq!(found(&found("FILE")), "content");
    }
}

#[test]
fn a_job_reads_a_variable_of_any_job_resource_and_that_sees_what_a_job_resource_sees() {
    let job = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"V":"JobResource:R:v","F":"JobResource:R:f"}}}"#;
    let resource = r#"{"TYPE":"JobResource","path":"R","variables":{"v":"$js7OrderId ++ '!'","f":"toFile('content', '*.txt')"}}"#;
    let env = environment(job, &[resource]);
    assert_eq!(env["V"].as_deref(), Some("A!"));
    let file = env["F"].as_deref().unwrap();
    assert_eq!(env[file].as_deref(), Some("content"));
}

#[test]
fn a_file_name_of_to_file_has_a_star_and_stays_in_its_directory() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"F":"toFile('content', $name)"}}}"#;
    let ask = |name: &str| planned(json, &format!(r#"{{"name":"{name}"}}"#), &[]);
    assert!(ask("a-*.txt").is_ok());
    for name in ["a.txt", "", "../*.txt", "/*", "a*\\u0000"] {
        let refused = ask(name).unwrap_err();
        assert!(
            refused.message.contains("toFile needs"),
            "{name}: {refused}"
        );
    }
}

#[test]
fn a_variable_with_a_nul_character_is_named_and_nothing_is_started() {
    let json = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"X":"$x"}}}"#;
    let refused = planned(json, r#"{"x":"a\u0000b"}"#, &[]).unwrap_err();
    assert!(
        refused.message.contains("variable X") && refused.message.contains("NUL"),
        "{refused}"
    );
}

#[test]
fn variables_may_be_as_long_as_the_system_allows_and_not_a_byte_longer() {
    let one = r#"{"agentPath":"ALFA","executable":{"TYPE":"ShellScriptExecutable","script":":","env":{"LONG":"$x"}}}"#;
    let long = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes));
    assert!(planned(one, &long(131_070 - 4), &[]).is_ok());
    assert!(planned(one, &long(131_070 - 3), &[]).is_err());

    // Thirty-two of the longest and a last one are four MiB.
    let many: Vec<_> = (10..42).map(|n| format!(r#""V{n}":"$x""#)).collect();
    let all = format!(
        r#"{{"agentPath":"ALFA","executable":{{"TYPE":"ShellScriptExecutable","script":":","env":{{{},"Z":"$last"}}}}}}"#,
        many.join(",")
    );
    let with_last = |bytes: usize| {
        let (x, last) = ("x".repeat(131_070 - 3), "x".repeat(bytes));
        planned(&all, &format!(r#"{{"x":"{x}","last":"{last}"}}"#), &[])
    };
    assert!(with_last(63).is_ok());
    let refused = with_last(64).unwrap_err();
    assert!(
        refused.message.contains("the environment of the job"),
        "{refused}"
    );
}
