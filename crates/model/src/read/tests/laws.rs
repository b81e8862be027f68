//! What is printed is read as the same workflow.

use crate::read::{Format, Origin, item, print};
use crate::{
    AgentPath, Block, Case, Executable, ExecutableKind, Execute, Fork, ForkBranch, Instruction,
    ItemBody, Job, JobName, JobReference, JobResourcePath, Label, OrderPreparation, Outcome,
    Parameter, ParameterKind, Position, ReturnCodeMeaning, Seconds, Step, Try, ValueType, Workflow,
    WorkflowId,
};
use expr::{CommandLine, Expr, NamedValues, Value};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn name() -> impl Strategy<Value = Arc<str>> {
    "[A-Za-zä][A-Za-z0-9_-]{0,6}".prop_map(Arc::from)
}

fn expression() -> impl Strategy<Value = Expr> {
    prop_oneof![
        prop::sample::select(vec![
            "$x",
            "1 + 2",
            "$a == 'x' && !$b",
            "missing",
            "[1, 'x', {a: true}]",
            "if $a then 1 else orderId",
            "orderId",
            "now('yyyy')",
            "$f ? 'no'",
            "\"a ${b} c\"",
            "''it's''",
            "x => $x",
            "7",
            "1.10",
            "true",
            "JobResource:r:v",
            "''",
            "2024-1-1",
        ])
        .prop_map(|source| Expr::parse(source).unwrap()),
        "\\PC{0,12}".prop_map(Expr::quoted),
        any::<i64>().prop_map(|number| Expr::constant(Value::from(number))),
    ]
}

fn expressions() -> impl Strategy<Value = BTreeMap<Arc<str>, Expr>> {
    btree_map(name(), expression(), 0..3)
}

fn seconds() -> impl Strategy<Value = Seconds> {
    (0_u64..10_000_000).prop_map(Seconds::from_millis)
}

fn ranges() -> impl Strategy<Value = Vec<(i64, i64)>> {
    vec(
        (-10_i64..300, 0_i64..5).prop_map(|(from, more)| (from, from + more)),
        0..3,
    )
}

fn executable() -> impl Strategy<Value = Executable> {
    let kind = prop_oneof![
        "\\PC{0,30}".prop_map(|script| ExecutableKind::Script(script.into())),
        "/?[a-z]{1,5}(/[a-z]{1,5})?".prop_map(|path| ExecutableKind::Path(path.into())),
        prop::sample::select(vec!["/bin/echo 'a b' \"$x\"", "x"]).prop_map(|command| {
            ExecutableKind::CommandLine(Arc::new(CommandLine::parse(command).unwrap()))
        }),
    ];
    let meaning = prop_oneof![
        Just(ReturnCodeMeaning::default()),
        ranges().prop_map(ReturnCodeMeaning::Success),
        ranges().prop_map(ReturnCodeMeaning::Failure),
    ];
    (kind, expressions(), meaning, any::<bool>()).prop_map(
        |(kind, env, return_code_meaning, v1_compatible)| Executable {
            kind,
            env,
            return_code_meaning,
            v1_compatible,
        },
    )
}

fn job() -> impl Strategy<Value = Arc<Job>> {
    let names = vec(name(), 0..3).prop_map(|names| names.into_iter().collect::<BTreeSet<_>>());
    let flags = (any::<bool>(), any::<bool>());
    let times = (option::of(seconds()), option::of(seconds()));
    (
        name(),
        option::of(expression()),
        executable(),
        expressions(),
        names,
        0_u32..4,
        times,
        flags,
    )
        .prop_map(
            |(
                agent,
                subagent_bundle,
                executable,
                default_arguments,
                names,
                parallelism,
                times,
                flags,
            )| {
                Arc::new(Job {
                    agent: AgentPath::new(agent),
                    subagent_bundle,
                    executable,
                    default_arguments,
                    job_resources: names.into_iter().map(JobResourcePath::new).collect(),
                    parallelism,
                    grace_timeout: times.0,
                    timeout: times.1,
                    fail_on_err_written: flags.0,
                    is_not_restartable: flags.1,
                })
            },
        )
}

fn named_values() -> impl Strategy<Value = NamedValues> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        vec(any::<i64>().prop_map(Value::from), 0..3).prop_map(Value::from),
        btree_map(name(), any::<bool>().prop_map(Value::from), 0..3).prop_map(Value::from),
    ];
    btree_map(name(), value, 0..3)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        named_values().prop_map(|named_values| Outcome::Succeeded { named_values }),
        (
            option::of("\\PC{0,8}".prop_map(Arc::from)),
            named_values(),
            any::<bool>()
        )
            .prop_map(|(message, named_values, uncatchable)| Outcome::Failed {
                message,
                named_values,
                uncatchable
            }),
        Just(Outcome::Failed {
            message: None,
            named_values: NamedValues::from([(Arc::from("returnCode"), Value::from(1_i64))]),
            uncatchable: false,
        }),
    ]
}

fn leaf() -> impl Strategy<Value = Instruction> {
    let bundle = prop::sample::select(vec!["$cluster", "'C' ++ $x"]);
    let bundle = bundle.prop_map(|source| Expr::parse(source).unwrap());
    prop_oneof![
        6 => plain_leaf(),
        // Such a block may not stand in another.
        1 => (name(), option::of(bundle), block(plain_leaf().boxed())).prop_map(
            |(agent, subagent_bundle, block)| Instruction::StickySubagent {
                agent: AgentPath::new(agent),
                subagent_bundle,
                block,
            }
        ),
    ]
}

fn plain_leaf() -> impl Strategy<Value = Instruction> {
    let execute = |job| {
        (job, expressions()).prop_map(|(job, default_arguments)| {
            Instruction::Execute(Execute {
                job,
                default_arguments,
            })
        })
    };
    prop_oneof![
        execute(Just(JobReference::Named(JobName::new("known"))).boxed()),
        execute(job().prop_map(JobReference::Anonymous).boxed()),
        (option::of(expression()), named_values(), any::<bool>()).prop_map(
            |(message, named_values, uncatchable)| Instruction::Fail {
                message,
                named_values,
                uncatchable
            }
        ),
        (option::of(outcome()), option::of(expression()))
            .prop_map(|(outcome, message)| Instruction::Finish { outcome, message }),
        expression().prop_map(|duration| Instruction::Sleep { duration }),
        expression().prop_map(|what| Instruction::Say { what }),
        Just(Instruction::Stop),
        Just(Instruction::Empty),
    ]
}

fn block(
    instruction: impl Strategy<Value = Instruction> + Clone + 'static,
) -> impl Strategy<Value = Block> {
    let step = (any::<bool>(), instruction).prop_map(|(labelled, instruction)| Step {
        // Made unique in the end.
        label: labelled.then(|| Label::new("")),
        instruction,
    });
    let jobs = btree_map(name().prop_map(JobName::new), job(), 0..2);
    (vec(step, 0..3), jobs, expressions()).prop_map(|(steps, jobs, result)| Block {
        steps,
        jobs,
        result,
    })
}

fn instruction() -> impl Strategy<Value = Instruction> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let block = || block(inner.clone()).boxed();
        let case = (expression(), block()).prop_map(|(predicate, then)| Case { predicate, then });
        let mut ids = 0..;
        let branch = move |block| {
            let id: i32 = ids.next().unwrap_or_default();
            ForkBranch {
                id: format!("b{id}").into(),
                block,
            }
        };
        prop_oneof![
            (vec(case, 1..3), option::of(block()))
                .prop_map(|(cases, otherwise)| Instruction::If { cases, otherwise }),
            (block(), block(), vec(seconds(), 0..3), option::of(1_u32..9)).prop_map(
                |(attempt, mut catch, retry_delays, max_tries)| {
                    catch.steps.push(Step {
                        label: None,
                        instruction: Instruction::Retry,
                    });
                    Instruction::Try(Try {
                        attempt,
                        catch,
                        retry_delays,
                        max_tries,
                    })
                }
            ),
            (vec(block(), 1..3), option::of(name()), any::<bool>()).prop_map(
                move |(blocks, agent, join_if_failed)| {
                    let mut branch = branch.clone();
                    let branches = blocks.into_iter().map(&mut branch).collect();
                    Instruction::Fork(Fork {
                        branches,
                        agent: agent.map(AgentPath::new),
                        join_if_failed,
                    })
                }
            ),
            (option::of(any::<bool>()), block()).prop_map(|(stop_on_failure, block)| {
                Instruction::Options {
                    stop_on_failure,
                    block,
                }
            }),
        ]
    })
}

fn value_type() -> impl Strategy<Value = ValueType> {
    let simple = prop::sample::select(vec![
        ValueType::String,
        ValueType::Number,
        ValueType::Boolean,
        ValueType::Any,
    ]);
    simple.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|element| ValueType::List(Box::new(element))),
            btree_map(name(), inner, 0..3).prop_map(ValueType::Object),
        ]
    })
}

fn parameter() -> impl Strategy<Value = Parameter> {
    let computed = || {
        prop::sample::select(vec![
            "$other",
            "now('yyyy')",
            "orderId",
            "[$a, 1]",
            "{a: $b}",
        ])
        .prop_map(|source| Expr::parse(source).unwrap())
    };
    let text = || "\\PC{0,8}".prop_map(Expr::quoted);
    prop_oneof![
        option::of(value_type()).prop_map(|value_type| Parameter {
            value_type,
            kind: ParameterKind::Required
        }),
        (option::of(value_type()), computed()).prop_map(|(value_type, value)| Parameter {
            value_type,
            kind: ParameterKind::Default(value)
        }),
        (option::of(value_type()), computed()).prop_map(|(value_type, value)| Parameter {
            value_type,
            kind: ParameterKind::Final(value)
        }),
        text().prop_map(|value| Parameter {
            value_type: Some(ValueType::String),
            kind: ParameterKind::Default(value)
        }),
        expression().prop_map(|value| Parameter {
            value_type: None,
            kind: ParameterKind::Default(value)
        }),
    ]
}

prop_compose! {
    fn workflow()(
        order_preparation in option::of((btree_map(name(), parameter(), 0..3), any::<bool>())),
        time_zone in prop::sample::select(vec!["UTC", "Europe/Berlin"]),
        resources in vec(name(), 0..3),
        calendar in option::of(name()),
        mut block in block(instruction().boxed()),
        known in job(),
        path in name(),
        version in "\\PC{0,4}",
    ) -> Workflow {
        block.jobs.insert(JobName::new("known"), known);
        let mut labels = BTreeMap::new();
        number_labels(&mut block, &Position::top(0), &mut labels);
        let version: String = version.chars().filter(|c| !c.is_control()).collect();
        Workflow {
            id: Arc::new(WorkflowId { path: path.to_string().into(), version_id: version.into() }),
            order_preparation: order_preparation
                .map(|(parameters, allow_undeclared)| OrderPreparation { parameters, allow_undeclared }),
            time_zone: time_zone.into(),
            job_resources: resources.into_iter().collect::<BTreeSet<_>>().into_iter().map(JobResourcePath::new).collect(),
            calendar,
            block,
            labels,
        }
    }
}

/// Makes the labels unique and notes where they stand.
fn number_labels(block: &mut Block, first: &Position, labels: &mut BTreeMap<Label, Position>) {
    for (nr, step) in (0..).zip(&mut block.steps) {
        let position = Position {
            parents: first.parents.clone(),
            nr,
        };
        if let Some(label) = &mut step.label {
            *label = Label::new(format!("label {}", labels.len()));
            labels.insert(label.clone(), position.clone());
        }
        let branches: Vec<_> = step
            .instruction
            .branches()
            .into_iter()
            .map(|(branch, _)| branch)
            .collect();
        let blocks: Vec<&mut Block> = match &mut step.instruction {
            Instruction::If { cases, otherwise } => cases
                .iter_mut()
                .map(|case| &mut case.then)
                .chain(otherwise)
                .collect(),
            Instruction::Try(handler) => vec![&mut handler.attempt, &mut handler.catch],
            Instruction::Fork(fork) => fork
                .branches
                .iter_mut()
                .map(|branch| &mut branch.block)
                .collect(),
            Instruction::Options { block, .. } | Instruction::StickySubagent { block, .. } => {
                vec![block]
            }
            Instruction::Execute(_)
            | Instruction::Retry
            | Instruction::Fail { .. }
            | Instruction::Finish { .. }
            | Instruction::Sleep { .. }
            | Instruction::Stop
            | Instruction::Say { .. }
            | Instruction::Empty
            | Instruction::ImplicitEnd => Vec::new(),
        };
        for (branch, block) in branches.into_iter().zip(blocks) {
            number_labels(block, &position.enter(branch), labels);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_as_the_same_workflow(workflow in workflow()) {
        let printed = print::workflow(&workflow);
        let text = serde_json::to_string_pretty(&printed).unwrap();
        let read = match item(&text, Format::Json, &Origin::default()) {
            Ok(read) => read,
            Err(faults) => panic!("{}", faults.draw(&text, "printed")),
        };
        let ItemBody::Workflow(read) = read.body else { panic!("no workflow") };
        prop_assert_eq!(&*read, &workflow, "{}", text);
        prop_assert_eq!(print::workflow(&read), printed, "equal workflows are printed alike");
    }
}
