//! Drives a case in a world of its own, step by step, and judges what the readers of the event stream have seen.
//!
//! Always: a refusal that the case does not expect fails it, and so does a step that nobody has written down.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::case::Case;
use super::expectation::{Expected, View, lists};
use super::matching::{difference, text_matches, viewed};
use super::step::{Awaited, Step, What};
use crate::world::{AgentPlan, Plan, Refused, World};

/// An event too many would follow its predecessors at once.
const AFTERMATH: Duration = Duration::from_millis(150);
/// What the driver judges; notes are for readers.
const READABLE: [&str; 6] = [
    "events",
    "events without attach, detach",
    "events without attach, detach, stdout",
    "rejected",
    "stdout",
    "note",
];
const COMPLETE_WITHIN: Duration = Duration::from_secs(30);

/// A case with its world.
pub(crate) struct Drive<'a> {
    pub(crate) case: &'a Case,
    pub(crate) world: World,
    added: Vec<String>,
    spoken_of: Vec<String>,
    /// Commands that may not have reached an Agent yet: the order, and the event that the Agent logs.
    on_their_way: Vec<(String, &'static str)>,
    pub(crate) refused: Vec<Refused>,
}

impl<'a> Drive<'a> {
    /// A world with the Agents, Subagents and items of the case.
    pub(crate) async fn start(case: &'a Case) -> Result<Drive<'a>> {
        Drive::start_with(case, plan_of(case)).await
    }

    /// The same with another world.
    pub(crate) async fn start_with(case: &'a Case, plan: Plan) -> Result<Drive<'a>> {
        let drive = Drive::start_empty(case, plan).await?;
        drive.deploy(&case.items()).await?;
        Ok(drive)
    }

    /// The same without the items of the case.
    pub(crate) async fn start_empty(case: &'a Case, plan: Plan) -> Result<Drive<'a>> {
        Ok(Drive::in_world(case, World::start(plan).await?))
    }

    /// A case in a world that somebody else sets up.
    pub(crate) fn in_world(case: &'a Case, world: World) -> Drive<'a> {
        Drive {
            case,
            world,
            added: Vec::new(),
            spoken_of: Vec::new(),
            on_their_way: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Adds or changes items.
    pub(crate) async fn deploy(&self, items: &[Value]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let operations = self.operations(items);
        self.world.api().change_items(&operations).await
    }

    /// The operations that add or change items.
    pub(crate) fn operations(&self, items: &[Value]) -> Vec<Value> {
        let items: Vec<Value> = items.iter().map(|item| self.filled(item)).collect();
        operations(&items)
    }

    /// Does all steps of the case.
    pub(crate) async fn all_steps(&mut self) -> Result<()> {
        self.steps(0..self.case.when.len()).await
    }

    /// Does some steps of the case.
    pub(crate) async fn steps(&mut self, range: std::ops::Range<usize>) -> Result<()> {
        let case = self.case;
        for (index, step) in case
            .when
            .iter()
            .enumerate()
            .skip(range.start)
            .take(range.len())
        {
            self.step(&Step::read(step))
                .await
                .with_context(|| format!("step {}: {step}", index + 1))?;
        }
        Ok(())
    }

    /// Does one step as it stands in a case.
    pub(crate) async fn step_now(&mut self, step: &Value) -> Result<()> {
        self.step(&Step::read(step)).await
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::AddOrder(order) => {
                let order = self.filled(order);
                self.add(&order).await
            }
            Step::Command(command) => {
                let command = self.filled(command);
                self.command(&command).await
            }
            Step::Await(awaited) => self.wait_for(awaited).await,
            Step::OpenGate(name) => {
                self.await_commands_at_agents().await?;
                self.world.open_gate(name)
            }
            Step::Prose(step) => {
                bail!("this step is told in prose, and nobody has written it down: {step}")
            }
        }
    }

    /// Adds an order; a refusal is kept for the judgement.
    pub(crate) async fn add(&mut self, order: &Value) -> Result<()> {
        let id = order["id"].as_str().unwrap_or_default().to_owned();
        let command = json!({"TYPE": "AddOrder", "order": order});
        match self.world.api().command(&command).await? {
            Ok(_) => self.added.push(id),
            Err(refused) => self.refused.push(refused),
        }
        Ok(())
    }

    /// Adds an order by id and workflow.
    pub(crate) async fn add_plain(&mut self, id: &str, workflow: &str) -> Result<()> {
        self.add(&json!({"id": id, "workflowPath": workflow})).await
    }

    /// Sends a command; a refusal is kept for the judgement.
    pub(crate) async fn command(&mut self, command: &Value) -> Result<()> {
        if let Err(refused) = self.world.api().command(command).await? {
            self.refused.push(refused);
            return Ok(());
        }
        let event = match command["TYPE"].as_str() {
            Some("SuspendOrders") => "OrderSuspensionMarkedOnAgent",
            Some("CancelOrders") => "OrderCancellationMarkedOnAgent",
            _ => return Ok(()),
        };
        let orders = command["orderIds"].as_array().into_iter().flatten();
        let orders = orders.filter_map(Value::as_str);
        self.on_their_way
            .extend(orders.map(|order| (order.to_owned(), event)));
        Ok(())
    }

    /// Waits until the Agents have logged the commands for orders whose jobs run there. A job that ends earlier is no error: the Controller
    /// has accepted the command, and the Agent has not received it yet.
    async fn await_commands_at_agents(&mut self) -> Result<()> {
        for (order, event) in std::mem::take(&mut self.on_their_way) {
            let story = self.world.history().of_order(&order);
            let count = |kind: &str| story.iter().filter(|seen| seen.kind == kind).count();
            if count("OrderProcessingStarted") > count("OrderProcessed") {
                self.world.await_event(&order, event).await?;
            }
        }
        Ok(())
    }

    async fn wait_for(&mut self, awaited: &Awaited) -> Result<()> {
        // `both` are those that were waited for before, if any.
        let orders = match (&awaited.orders[..], &self.spoken_of[..]) {
            ([], []) => self.added.clone(),
            ([], spoken_of) => spoken_of.to_vec(),
            (named, _) => named.to_vec(),
        };
        if awaited.orders.len() > 1 {
            self.spoken_of.clone_from(&awaited.orders);
        }
        ensure!(!orders.is_empty(), "no order to wait for");
        for order in &orders {
            match &awaited.what {
                What::Event(kind) => {
                    self.world.await_nth(order, kind, awaited.nth).await?;
                }
                What::Stdout(text) if text.is_empty() => {
                    self.world
                        .await_nth(order, "OrderStdoutWritten", awaited.nth)
                        .await?;
                }
                What::Stdout(text) => self.world.await_stdout(order, text, awaited.nth).await?,
            }
        }
        Ok(())
    }

    /// Whether the case claims nothing but what [`Drive::judge`] can read.
    pub(crate) fn check_readable(&self) -> Result<()> {
        let unread = self
            .case
            .then
            .keys()
            .find(|key| !READABLE.contains(&key.as_str()));
        if let Some(key) = unread {
            bail!("the case claims “{key}”, and nobody judges it");
        }
        Ok(())
    }

    /// Judges everything that the case says in a form that a program can read.
    pub(crate) async fn judge(&self) -> Result<()> {
        self.judge_events().await?;
        self.judge_refusals()?;
        self.judge_stdout().await
    }

    /// Judges the lists of events.
    pub(crate) async fn judge_events(&self) -> Result<()> {
        let lists = lists(self.case)?;
        for (order, (view, expected)) in &lists {
            self.complete(order, *view, expected).await;
        }
        self.settle().await?;
        let faults: Vec<String> = lists
            .iter()
            .filter_map(|(order, (view, expected))| {
                let seen = viewed(self.world.history().of_order(order), expected, *view);
                difference(order, &seen, expected)
            })
            .collect();
        if !faults.is_empty() {
            bail!("{}", faults.join("\n"));
        }
        Ok(())
    }

    /// Judges the events of an order against a list of its own.
    pub(crate) async fn judge_order(&self, order: &str, view: View, list: &Value) -> Result<()> {
        let expected = Expected::read_list(list)?;
        self.complete(order, view, &expected).await;
        self.settle().await?;
        let seen = viewed(self.world.history().of_order(order), &expected, view);
        if let Some(fault) = difference(order, &seen, &expected) {
            bail!(fault);
        }
        Ok(())
    }

    /// Waits until as many events have come as are expected. If they do not come, the comparison says more than a timeout.
    async fn complete(&self, order: &str, view: View, expected: &[Expected]) {
        let history = self.world.history();
        let _complete = history
            .wait_for(COMPLETE_WITHIN, |events| {
                let own = events
                    .iter()
                    .filter(|seen| seen.key == order && seen.is_of_order());
                let seen = viewed(own.cloned().collect(), expected, view);
                (seen.len() >= expected.len()).then_some(())
            })
            .await;
    }

    /// Waits until nothing more comes.
    pub(crate) async fn settle(&self) -> Result<()> {
        tokio::time::sleep(AFTERMATH).await;
        self.world.catch_up().await
    }

    /// Each refusal was expected, and each expected one came.
    pub(crate) fn judge_refusals(&self) -> Result<()> {
        let expected: Vec<String> = match self.case.then.get("rejected") {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Object(map)) => map.values().map(text_of).collect(),
            Some(Value::Array(list)) => list.iter().map(text_of).collect(),
            Some(other) => bail!("rejected is told as {other}"),
        };
        ensure!(
            expected.len() == self.refused.len(),
            "refused were {:?}, expected {expected:?}",
            self.refused
        );
        for (refused, expected) in self.refused.iter().zip(&expected) {
            ensure!(
                is_refusal(refused, expected),
                "refused was {refused}, expected {expected}"
            );
        }
        Ok(())
    }

    async fn judge_stdout(&self) -> Result<()> {
        let Some(by_order) = self.case.then.get("stdout").and_then(Value::as_object) else {
            return Ok(());
        };
        for (order, expected) in by_order {
            self.world.await_event(order, "OrderFinished").await?;
            // The order of sorted lines depends on the locale.
            let words = |text: &str| {
                let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                words.sort();
                words
            };
            let written = self.world.history().stdout_of(order);
            let expected = text_of(expected);
            ensure!(
                words(&written) == words(&expected),
                "{order} wrote {written:?}, expected {expected:?}"
            );
        }
        Ok(())
    }

    /// The state of an order, such as `Failed`.
    pub(crate) async fn state_of(&self, order: &str) -> Result<String> {
        let order = self
            .world
            .api()
            .order(order)
            .await?
            .with_context(|| format!("there is no order {order}"))?;
        let order = order.get("order").unwrap_or(&order);
        Ok(order["state"]["TYPE"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Fills in what the case leaves open: its directory and times relative to now.
    pub(crate) fn filled(&self, value: &Value) -> Value {
        filled(value, &self.world.tmp().display().to_string())
    }
}

/// Whether a refusal is the one that the case tells, by its code or by words of its message.
pub(crate) fn is_refusal(refused: &Refused, expected: &str) -> bool {
    let named = refused
        .code
        .as_deref()
        .is_some_and(|code| expected.contains(code));
    named || text_matches(&refused.message, expected)
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn filled(value: &Value, tmp: &str) -> Value {
    match value {
        Value::String(text) => {
            if let Some(time) = relative_time(text) {
                return json!(time);
            }
            Value::String(text.replace("<TMP>", tmp))
        }
        Value::Array(list) => list.iter().map(|value| filled(value, tmp)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), filled(value, tmp)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// `now + 99 s` in milliseconds since the epoch.
fn relative_time(text: &str) -> Option<i64> {
    let seconds: i64 = text
        .strip_prefix("now + ")?
        .strip_suffix(" s")?
        .parse()
        .ok()?;
    Some(now_millis() + seconds * 1000)
}

/// The present in milliseconds since the epoch.
pub(crate) fn now_millis() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The operations that add or change items; workflows and job resources as texts, all others as they are.
pub(crate) fn operations(items: &[Value]) -> Vec<Value> {
    let mut operations = Vec::new();
    if let Some(version) = items.iter().find_map(|item| item["versionId"].as_str()) {
        operations.push(json!({"TYPE": "AddVersion", "versionId": version}));
    }
    operations.extend(items.iter().map(|item| match item["TYPE"].as_str() {
        Some("Workflow" | "JobResource") => {
            json!({"TYPE": "AddOrChangeSigned", "signed": {"string": item.to_string()}})
        }
        _ => json!({"TYPE": "AddOrChangeSimple", "item": item}),
    }));
    operations
}

/// The world that a case asks for.
pub(crate) fn plan_of(case: &Case) -> Plan {
    let subagents = case.given_texts("subagents");
    let mut agents: Vec<AgentPlan> = case
        .given_texts("agents")
        .iter()
        .zip(case.given_names("agents"))
        .map(|(text, name)| AgentPlan {
            is_pair: false,
            is_local_disabled: text.contains("disabled"),
            ..AgentPlan::named(name)
        })
        .collect();
    if agents.is_empty() && uses_agents(case) {
        agents.push(AgentPlan::named("ALFA"));
    }
    // `ALFA-1 (bare, ALFA)` names its Agent; without a name it is the first one.
    for (text, name) in subagents.iter().zip(case.given_names("subagents")) {
        let owner = agents
            .iter()
            .position(|agent| text.contains(&format!(", {})", agent.name)))
            .unwrap_or(0);
        if let Some(agent) = agents.get_mut(owner) {
            agent.subagents.push(name.to_owned());
        }
    }
    Plan {
        agents,
        ..Plan::default()
    }
}

fn uses_agents(case: &Case) -> bool {
    case.items()
        .iter()
        .any(|item| item.to_string().contains("\"ALFA\""))
}
