//! A workflow drawn as a list of steps, with the order standing in it and how the steps before it ended.
//!
//! Always: one line per instruction; nested blocks are indented under the word that leads into them.

use std::collections::BTreeMap;

use model::{
    Block, Branch, ExecutableKind, Instruction, Job, JobReference, Order, OrderState, Outcome,
    Position, PositionStep, Workflow,
};

use crate::screen::{Paint, Tone};
use crate::telling;

/// Draws `workflow`; with `order`, where it stands and how its steps ended.
pub(crate) fn draw(workflow: &Workflow, order: Option<&Order>, paint: Paint) -> String {
    let mut outcomes = BTreeMap::new();
    for entry in order.map_or(&[][..], |order| &order.historic_outcomes) {
        // That a catch block begins clean says nothing about its first step.
        if entry.outcome != Outcome::Caught {
            outcomes.insert(entry.position.normalized(), &entry.outcome);
        }
    }
    let mut drawing = Drawing {
        order,
        standing: order.map(|order| order.position.normalized()),
        outcomes,
        paint,
        out: String::new(),
    };
    drawing.block(&workflow.block, &mut Vec::new());
    drawing.out
}

struct Drawing<'a> {
    order: Option<&'a Order>,
    standing: Option<Position>,
    outcomes: BTreeMap<Position, &'a Outcome>,
    paint: Paint,
    out: String,
}

impl Drawing<'_> {
    fn block(&mut self, block: &Block, parents: &mut Vec<PositionStep>) {
        for (nr, step) in (0..).zip(&block.steps) {
            let position = Position {
                parents: parents.clone(),
                nr,
            };
            let label = step
                .label
                .as_ref()
                .map_or(String::new(), |label| format!("{label}: "));
            self.line(
                &position,
                &format!("{label}{}", instruction(&step.instruction)),
            );
            for (branch, inner) in step.instruction.branches() {
                let indent = "    ".repeat(parents.len() + 1);
                self.out += &format!(
                    "  {indent}{}\n",
                    self.paint
                        .put(Tone::Faint, &lead(&step.instruction, &branch))
                );
                parents.push(PositionStep {
                    nr,
                    branch: branch.normalized(),
                });
                self.block(inner, parents);
                parents.pop();
            }
        }
        let end = Position {
            parents: parents.clone(),
            nr: u32::try_from(block.steps.len()).unwrap_or(u32::MAX),
        };
        if self.standing.as_ref() == Some(&end) {
            self.line(&end, "end");
        }
    }

    fn line(&mut self, position: &Position, text: &str) {
        let is_here = self.standing.as_ref() == Some(position);
        let outcome = self.outcomes.get(position).copied();
        let (mark, tone) = match (is_here, outcome) {
            (true, _) => ("▶", self.order.map_or(Tone::Busy, tone_of_state)),
            (false, Some(outcome)) => (
                if outcome.is_succeeded() { "✓" } else { "✗" },
                telling::tone_of(outcome),
            ),
            (false, None) => (" ", Tone::Faint),
        };
        let indent = "    ".repeat(position.parents.len());
        let told = match outcome.map(telling::outcome_line) {
            Some(told) if told != "ok" => {
                format!("  {}", self.paint.put(tone, &format!("— {told}")))
            }
            _ => String::new(),
        };
        let text = if is_here {
            self.paint.put(Tone::Strong, text)
        } else {
            text.to_owned()
        };
        // As `order resume --position` takes it.
        let place = position.to_string();
        self.out += &format!(
            "{} {indent}{place:>2}  {text}{told}\n",
            self.paint.put(tone, mark)
        );
    }
}

/// The colour of what an order is doing.
pub(crate) fn tone_of_state(order: &Order) -> Tone {
    if order.is_suspended {
        return Tone::Waiting;
    }
    match &order.state {
        OrderState::Finished if order.last_outcome().is_succeeded() => Tone::Good,
        OrderState::Fresh
        | OrderState::DelayingRetry { .. }
        | OrderState::Sleeping { .. }
        | OrderState::Forked { .. } => Tone::Waiting,
        OrderState::Ready | OrderState::Processing { .. } | OrderState::Processed => Tone::Busy,
        OrderState::ProcessingKilled
        | OrderState::Broken { .. }
        | OrderState::Failed
        | OrderState::FailedWhileFresh
        | OrderState::FailedInFork
        | OrderState::Stopped
        | OrderState::StoppedWhileFresh
        | OrderState::Finished
        | OrderState::Cancelled
        | OrderState::Deleted => Tone::Bad,
    }
}

/// The word that leads into a block.
fn lead(instruction: &Instruction, branch: &Branch) -> String {
    match (instruction, branch) {
        (Instruction::If { cases, .. }, Branch::Then(n)) => {
            let predicate = cases
                .get(*n as usize - 1)
                .map_or(String::new(), |case| short(&case.predicate.to_string()));
            format!(
                "{} {predicate}",
                if *n == 1 { "then: if" } else { "else if" }
            )
        }
        (_, Branch::Fork(id)) => format!("branch {id}"),
        (_, branch) => branch.to_string(),
    }
}

/// An instruction in a few words.
pub(crate) fn instruction(instruction: &Instruction) -> String {
    match instruction {
        Instruction::Execute(execute) => match &execute.job {
            JobReference::Named(name) => format!("job {name}"),
            JobReference::Anonymous(job) => format!("job ({})", program(job)),
        },
        Instruction::If { .. } => "if".to_owned(),
        Instruction::Try(attempt) => {
            let tries = attempt
                .max_tries
                .map_or(String::new(), |n| format!(", at most {n} times"));
            format!("try{tries}")
        }
        Instruction::Retry => "retry".to_owned(),
        Instruction::Fail {
            message,
            uncatchable,
            ..
        } => {
            let message = message.as_ref().map_or(String::new(), |message| {
                format!(" {}", short(&message.to_string()))
            });
            format!(
                "fail{}{message}",
                if *uncatchable { " uncatchably" } else { "" }
            )
        }
        Instruction::Finish { .. } => "finish".to_owned(),
        Instruction::Fork(fork) => format!("fork into {} branches", fork.branches.len()),
        Instruction::Options {
            stop_on_failure, ..
        } => stop_on_failure.map_or("options".to_owned(), |stop| {
            format!("options: stop on failure {stop}")
        }),
        Instruction::StickySubagent { agent, .. } => format!("one Subagent of {agent} for"),
        Instruction::Sleep { duration } => format!("sleep {} s", short(&duration.to_string())),
        Instruction::Stop => "stop".to_owned(),
        Instruction::Say { what } => format!("say {}", short(&what.to_string())),
        Instruction::Empty => "(nothing)".to_owned(),
        Instruction::ImplicitEnd => "end".to_owned(),
    }
}

fn program(job: &Job) -> String {
    let what = match &job.executable.kind {
        ExecutableKind::Path(path) => short(path),
        ExecutableKind::Script(_) => "script".to_owned(),
        ExecutableKind::CommandLine(_) => "command".to_owned(),
    };
    format!("{what} at {}", job.agent)
}

/// The first line, cut where it gets long.
fn short(text: &str) -> String {
    const MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MAX && line.len() == text.trim_end().len() {
        return line.to_owned();
    }
    format!("{}…", line.chars().take(MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use model::read::{Format, Origin, item};
    use model::{ItemBody, WorkflowId};
    use std::sync::Arc;

    use super::*;

    const TEXT: &str = r"
TYPE: Workflow
path: w
instructions:
  - TYPE: Try
    maxTries: 3
    try:
      instructions:
        - {TYPE: Execute.Named, jobName: dump, label: first}
        - {TYPE: Execute.Named, jobName: dump}
    catch:
      instructions:
        - {TYPE: Retry}
  - TYPE: If
    predicate: $rows == 0
    then:
      instructions:
        - {TYPE: Fail, message: 'nothing there'}
jobs:
  dump:
    agentName: A
    executable: {TYPE: ShellScriptExecutable, script: 'true'}
";

    fn workflow() -> Arc<Workflow> {
        match item(TEXT, Format::Yaml, &Origin::default()).unwrap().body {
            ItemBody::Workflow(workflow) => workflow,
            ItemBody::JobResource(_)
            | ItemBody::Agent(_)
            | ItemBody::Subagent(_)
            | ItemBody::Bundle(_)
            | ItemBody::Kept(_) => panic!("not a workflow"),
        }
    }

    fn order(json: &str) -> Order {
        let mut order: Order = serde_json::from_str(json).unwrap();
        order.workflow_id = Arc::new(WorkflowId {
            path: "w".into(),
            version_id: "1".into(),
        });
        order
    }

    #[test]
    fn an_order_stands_where_it_stands_and_shows_how_it_came_there() {
        let order = order(
            r#"{"id":"O","workflowId":{"path":"w","versionId":"1"},"position":[0,"try+1",1],"state":{"TYPE":"Processing"},
            "historicOutcomes":[{"position":[0,"try+0",0],"outcome":{"TYPE":"Succeeded"}},
              {"position":[0,"try+0",1],"outcome":{"TYPE":"Failed","message":"no space"}},
              {"position":[0,"try+1",0],"outcome":{"TYPE":"Succeeded"}}]}"#,
        );
        let drawn = draw(&workflow(), Some(&order), Paint { is_on: false });
        let expected = "   0  try, at most 3 times
      try
✓     0/try:0  first: job dump
▶     0/try:1  job dump  — failed: no space
      catch
      0/catch:0  retry
   1  if
      then: if $rows == 0
      1/then:0  fail 'nothing there'
";
        assert_eq!(
            drawn.replace("\"nothing there\"", "'nothing there'"),
            expected,
            "{drawn}"
        );
    }
}
