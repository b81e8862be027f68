//! Mainspring as an operator starts it: Controller, Agent and Subagent as processes of the release build, spoken to over HTTP.
//!
//! Always: everything lies in one temporary directory on a real disk; dropping the stack ends its processes and removes it.

mod follower;
mod http;
mod items;
mod part;
mod slow_link;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

pub(crate) use follower::Follower;
pub(crate) use http::Connection;
pub(crate) use items::{AGENT, CLOCK, JOB_SLOTS, chain, clock, one_slot};
pub(crate) use part::Part;
use slow_link::SlowLink;

use crate::halves::{self, Halves};

/// Where jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// In the Agent's own Subagent: two processes.
    Local,
    /// In a Subagent of its own: three processes.
    Remote,
}

/// Who keeps the Controller's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// One Controller.
    Single,
    /// Two members, both of which must have it, and a watch; what one says to the other arrives so much later.
    Pair(Duration),
}

/// The other member and the watch.
struct Others {
    standby: Part,
    watch: Part,
    _link: Option<SlowLink>,
}

/// A running stack.
pub(crate) struct Stack {
    pub(crate) controller: Part,
    pub(crate) agent: Part,
    pub(crate) subagent: Option<Part>,
    pub(crate) follower: Follower,
    others: Option<Others>,
    api: Connection,
    admin: String,
    node_token: String,
    // The last field: removed after everything that uses it has ended.
    pub(crate) dir: tempfile::TempDir,
}

/// Orders in one request.
const ORDERS_PER_REQUEST: usize = 500;

impl Stack {
    /// Starts the parts, deploys Agent and workflows, and has one order run to warm up.
    pub(crate) fn start(placement: Placement, controller_settings: &[&str]) -> Result<Stack> {
        Stack::start_kept(placement, Keeping::Single, controller_settings)
    }

    /// The same with a Controller that is kept by one or by two.
    pub(crate) fn start_kept(
        placement: Placement,
        keeping: Keeping,
        controller_settings: &[&str],
    ) -> Result<Stack> {
        let dir = tempfile::Builder::new()
            .prefix("mainspring-bench-")
            .tempdir()?;
        let node_token = "0123456789abcdef0123456789abcdef";
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, node_token)?;
        private(&token_file)?;
        let token_file = token_file.display().to_string();
        let mut settings = vec![format!("agent-token-file={token_file}")];
        settings.extend(
            controller_settings
                .iter()
                .map(|&setting| setting.to_owned()),
        );
        let mut controller = Part::new("controller", "controller", dir.path())?;
        controller.set(&settings);
        if keeping != Keeping::Single {
            controller.set(&[format!("cluster.token-file={token_file}")]);
        }
        let mut agent = Part::new("agent", AGENT, dir.path())?;
        agent.arguments(&["--name", AGENT, "--token-file", &token_file]);
        agent.set(&[format!("subagent-token-file={token_file}")]);
        let mut subagent = None;
        if placement == Placement::Remote {
            let mut part = Part::new("subagent", "subagent", dir.path())?;
            part.arguments(&["--token-file", &token_file]);
            part.start()?;
            subagent = Some(part);
        }
        controller.start()?;
        agent.start()?;
        for part in [&mut controller, &mut agent]
            .into_iter()
            .chain(&mut subagent)
        {
            part.wait_until_it_works(Duration::from_secs(30))?;
        }
        let admin = std::fs::read_to_string(controller.data.join("private/admin-token"))?
            .trim()
            .to_owned();
        let mut api = Connection::open(controller.address, &admin)?;
        await_cluster(&mut api, "mayAnswer", &json!(true))?;
        let others = match keeping {
            Keeping::Single => None,
            Keeping::Pair(delay) => Some(pair(
                &controller,
                &mut api,
                &token_file,
                &settings,
                delay,
                dir.path(),
            )?),
        };
        let follower = follow(&controller, &admin)?;
        let node_token = node_token.to_owned();
        let mut stack = Stack {
            controller,
            agent,
            subagent,
            follower,
            others,
            api,
            admin,
            node_token,
            dir,
        };
        let operations = items::operations(&stack, placement);
        stack.deploy(&operations)?;
        stack.add_orders((0..1).map(|_| order("warm-up", "noop")))?;
        stack.await_finished(1, Duration::from_secs(30))?;
        Ok(stack)
    }

    pub(crate) fn deploy(&mut self, operations: &[Value]) -> Result<()> {
        let lines: Vec<String> = operations.iter().map(Value::to_string).collect();
        let body = lines.join("\n");
        self.api.post(
            "/controller/api/item",
            "application/x-ndjson",
            body.as_bytes(),
        )?;
        Ok(())
    }

    /// Adds orders, many in one request.
    pub(crate) fn add_orders(&mut self, orders: impl Iterator<Item = String>) -> Result<()> {
        let mut orders = orders.peekable();
        while orders.peek().is_some() {
            let some: Vec<String> = orders.by_ref().take(ORDERS_PER_REQUEST).collect();
            let body = format!("{{\"TYPE\":\"AddOrders\",\"orders\":[{}]}}", some.join(","));
            let answer = self.command_text(&body)?;
            if answer["TYPE"] == "Problem" {
                bail!("the orders were refused: {answer}");
            }
        }
        Ok(())
    }

    pub(crate) fn command(&mut self, command: &Value) -> Result<Value> {
        self.command_text(&command.to_string())
    }

    fn command_text(&mut self, body: &str) -> Result<Value> {
        let answer = self.api.post(
            "/controller/api/command",
            "application/json",
            body.as_bytes(),
        )?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Waits until `count` orders in all have finished.
    pub(crate) fn await_finished(&self, count: u64, within: Duration) -> Result<Instant> {
        self.follower
            .await_count("OrderFinished", count, within)
            .with_context(|| self.log_tails())
    }

    /// The ends of the parts' logs, for the message of a measurement that got stuck.
    pub(crate) fn log_tails(&self) -> String {
        self.parts()
            .into_iter()
            .map(|part| part.log_tail(8))
            .collect()
    }

    /// Flushes of the Controller's and of the Agent's log since their starts.
    pub(crate) fn flushes(&mut self) -> Result<[u64; 2]> {
        Ok([self.controller_flushes()?, self.agent_flushes()?])
    }

    fn controller_flushes(&mut self) -> Result<u64> {
        for path in ["/controller/api/journalInfo", "/controller/api"] {
            let json: Value = serde_json::from_slice(&self.api.get(path)?)?;
            if let Some(syncs) = number_in(&json, "syncs") {
                return Ok(syncs);
            }
        }
        bail!("the Controller does not tell how often it has flushed")
    }

    fn agent_flushes(&self) -> Result<u64> {
        let mut connection = Connection::open(self.agent.address, &self.node_token)?;
        let json: Value = serde_json::from_slice(&connection.get("/agent/api")?)?;
        number_in(&json, "syncs").context("the Agent does not tell how often it has flushed")
    }

    /// All processes with their names.
    pub(crate) fn parts(&self) -> Vec<&Part> {
        [&self.controller, &self.agent]
            .into_iter()
            .chain(&self.subagent)
            .collect()
    }

    /// Returns the processes that keep the Controller's log: the members and the watch.
    pub(crate) fn members(&self) -> Vec<&Part> {
        let others = self.others.iter();
        let others = others.flat_map(|others| [&others.standby, &others.watch]);
        [&self.controller].into_iter().chain(others).collect()
    }

    /// Puts the other member and the watch into the other half of the machine, and everything else into this one.
    pub(crate) fn put_apart(&self, halves: &Halves) -> Result<()> {
        for part in self.parts() {
            for process in part.processes()? {
                halves::put(process, &halves.here)?;
            }
        }
        let others = self.others.iter();
        for part in others.flat_map(|others| [&others.standby, &others.watch]) {
            halves::put(part.pid()?, &halves.there)?;
        }
        Ok(())
    }

    /// A new connection to the Controller, after its restart.
    pub(crate) fn reconnect(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            match Connection::open(self.controller.address, &self.admin) {
                Ok(api) => {
                    self.api = api;
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| self.log_tails());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Follows the Controller's events anew, from now on.
    pub(crate) fn follow_again(&mut self) -> Result<()> {
        self.follower = Follower::start(self.controller.address, &self.admin)?;
        Ok(())
    }

    pub(crate) fn take_snapshot(&mut self) -> Result<()> {
        let answer = self.command(&json!({"TYPE": "TakeSnapshot"}))?;
        if answer["TYPE"] == "Problem" {
            bail!("no snapshot: {answer}");
        }
        Ok(())
    }

    pub(crate) fn agent_takes_snapshot(&self) -> Result<()> {
        let mut connection = Connection::open(self.agent.address, &self.node_token)?;
        connection.post(
            "/agent/api/command",
            "application/json",
            b"{\"TYPE\":\"TakeSnapshot\"}",
        )?;
        Ok(())
    }
}

/// Starts the other member and the watch, appoints both members and waits until they are coupled.
fn pair(
    controller: &Part,
    api: &mut Connection,
    token_file: &str,
    settings: &[String],
    delay: Duration,
    dir: &Path,
) -> Result<Others> {
    let link = (!delay.is_zero())
        .then(|| SlowLink::start(controller.address, delay))
        .transpose()?;
    let dialled = link.as_ref().map_or_else(
        || controller.url(),
        |link| format!("http://{}", link.address),
    );
    let mut standby = Part::new("controller", "standby", dir)?;
    let private_dir = standby.data.join("private");
    std::fs::create_dir_all(&private_dir)?;
    let admin_token = private_dir.join("admin-token");
    std::fs::copy(controller.data.join("private/admin-token"), &admin_token)?;
    private(&admin_token)?;
    standby.set(settings);
    standby.set(&[
        format!("cluster.token-file={token_file}"),
        "cluster.name=Backup".to_owned(),
        "cluster.join=true".to_owned(),
        format!("cluster.members.Primary={dialled}"),
    ]);
    standby.start()?;
    standby.wait_until_it_answers(Duration::from_secs(30))?;
    let mut watch = Part::new("watch", "watch", dir)?;
    let members = [
        format!("Primary={}", controller.url()),
        format!("Backup={}", standby.url()),
    ];
    watch.arguments(&["--token-file", token_file]);
    for member in &members {
        watch.arguments(&["--member", member]);
    }
    watch.start()?;
    let appoint = json!({
        "TYPE": "ClusterAppointNodes",
        "idToUri": {"Primary": dialled, "Backup": standby.url()},
        "activeId": "Primary",
    });
    api.post(
        "/controller/api/command",
        "application/json",
        appoint.to_string().as_bytes(),
    )?;
    await_cluster(api, "TYPE", &json!("Coupled"))?;
    Ok(Others {
        standby,
        watch,
        _link: link,
    })
}

/// Waits until the Controller says this of its cluster.
fn await_cluster(api: &mut Connection, field: &str, wanted: &Value) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let state: Value = serde_json::from_slice(&api.get("/controller/api/cluster")?)?;
        if state[field] == *wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not {field} {wanted} within 30 s: {state}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Follows the Controller's events once it is the active one: a moment after it may be.
fn follow(controller: &Part, admin: &str) -> Result<Follower> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Follower::start(controller.address, admin) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            started => return started,
        }
    }
}

/// The JSON of an order that starts at once.
pub(crate) fn order(id: &str, workflow: &str) -> String {
    format!("{{\"id\":\"{id}\",\"workflowPath\":\"{workflow}\"}}")
}

/// The JSON of an order that starts at a moment.
pub(crate) fn order_at(id: &str, workflow: &str, at_millis: i64) -> String {
    format!("{{\"id\":\"{id}\",\"workflowPath\":\"{workflow}\",\"scheduledFor\":{at_millis}}}")
}

fn number_in(json: &Value, name: &str) -> Option<u64> {
    match json {
        Value::Object(fields) => fields
            .get(name)
            .and_then(Value::as_u64)
            .or_else(|| fields.values().find_map(|value| number_in(value, name))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}
