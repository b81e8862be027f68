//! Whoever asks a Controller with several members finds the active one by himself; members come and go by one command each.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use testkit::world::{
    Api, Node, Pair, Part, drawn_token, http, is_coupled, mainspring, make_private,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);
/// What a member that hangs may cost a command, with room for a busy machine.
const HANGING_COSTS: Duration = Duration::from_secs(3);

/// A command of an operator to the Controller at these addresses.
fn command(urls: &str, token: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(mainspring()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAINSPRING_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--controller", urls, "--token-file"])
        .arg(token);
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    Ok(command)
}

/// What it prints when it must succeed.
fn succeeds(urls: &str, token: &Path, arguments: &[&str]) -> Result<String> {
    let output = command(urls, token, arguments)?.output()?;
    let told = told(&output);
    ensure!(output.status.success(), "{arguments:?} fails: {told}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn token_of(pair: &Pair) -> PathBuf {
    pair.members[0].data.join("private/admin-token")
}

/// Both addresses, that of this member first.
fn urls(pair: &Pair, first: usize) -> String {
    format!(
        "{},{}",
        pair.members[first].url(),
        pair.members[1 - first].url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_finds_the_active_member_whichever_is_asked_and_one_that_hangs_costs_no_more_than_a_moment()
-> Result<()> {
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    let token = token_of(&pair);
    let add = |urls: &str, id: &str| {
        succeeds(
            urls,
            &token,
            &["order", "add", "marking", "--id", id, "--wait"],
        )
    };

    // Only the standby is told: it knows the other one.
    let standby = pair.members[1].url();
    add(&standby, "by-standby")?;
    let status = succeeds(&standby, &token, &["status"])?;
    ensure!(
        status.contains(&pair.members[0].url()),
        "status is the active member's: {status}"
    );
    let status = succeeds(&standby, &token, &["cluster", "status"])?;
    ensure!(
        status.contains("Coupled") && status.contains("Primary is active since"),
        "S27: {status}"
    );
    ensure!(
        status.contains("If the active member failed now: Backup follows"),
        "{status}"
    );

    // The one that is told first has just died: the other one is not even active yet.
    pair.members[0].kill()?;
    add(&urls(&pair, 0), "by-dead")?;
    let status = succeeds(&urls(&pair, 0), &token, &["cluster", "status"])?;
    ensure!(
        status.contains("Backup is active since") && status.contains("not reached"),
        "{status}"
    );
    ensure!(
        status.contains("If the active member failed now: nobody follows"),
        "{status}"
    );
    pair.members[0].start_ready().await?;
    pair.await_coupled().await?;

    // It hangs: first asked while the other is active already, then at the very moment.
    pair.members[1].stop()?;
    ensure!(
        pair.active().await? == 0,
        "S30: the other one has taken over"
    );
    let begun = Instant::now();
    succeeds(&urls(&pair, 1), &token, &["order", "list"])?;
    ensure!(
        begun.elapsed() < HANGING_COSTS,
        "S30: {:?} for a member that hangs",
        begun.elapsed()
    );
    let json = succeeds(&urls(&pair, 1), &token, &["--json", "cluster", "status"])?;
    let json: Value = serde_json::from_str(&json)?;
    ensure!(
        json["nodeId"] == "Primary" && json["members"][0]["problem"].is_string(),
        "{json}"
    );
    pair.members[1].cont()?;
    pair.await_coupled().await?;
    pair.members[0].stop()?;
    let begun = Instant::now();
    succeeds(
        &urls(&pair, 0),
        &token,
        &["order", "add", "marking", "--id", "by-hung"],
    )?;
    ensure!(
        begun.elapsed() < HANGING_COSTS,
        "S30: {:?} around a hang",
        begun.elapsed()
    );
    pair.members[0].cont()?;
    pair.await_coupled().await?;
    let ids = ["by-standby", "by-dead", "by-hung"].map(str::to_owned);
    pair.await_finished(&ids).await?;

    // Nobody at all: told, and with an end.
    for member in &mut pair.members {
        member.kill()?;
    }
    let nobody = command(&urls(&pair, 0), &token, &["order", "list"])?.output()?;
    ensure!(nobody.status.code() == Some(3), "{}", told(&nobody));
    ensure!(
        told(&nobody).contains("no member is active"),
        "it is told what is waited for"
    );
    Ok(())
}

/// A reading of events into a file.
struct Reading {
    child: Child,
    file: PathBuf,
}

impl Reading {
    fn start(urls: &str, token: &Path, file: PathBuf, arguments: &[&str]) -> Result<Reading> {
        let mut command = command(urls, token, arguments)?;
        command.stdout(std::fs::File::create(&file)?);
        command.stderr(std::fs::File::create(file.with_extension("err"))?);
        let child = command.spawn()?;
        Ok(Reading { child, file })
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// The numbers of the events that it has got, in its order.
    fn ids(&self) -> Vec<u64> {
        let text = self.text();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|event| event["eventId"].as_u64())
            .collect()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_whoever_reads_events_goes_on_at_the_other_member_without_gap_or_repeat() -> Result<()>
{
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    let token = token_of(&pair);
    let dir = tempfile::tempdir()?;
    let begun = pair.all_events().await?;
    let begun = begun.last().and_then(|event| event["eventId"].as_u64());
    let begun = begun.context("the log has events")?;
    // One address is enough: the others are learnt from it.
    let told = pair.members[0].url();
    let after = begun.to_string();
    let everything = ["--json", "events", "--after", after.as_str()];
    let reading = Reading::start(&told, &token, dir.path().join("events"), &everything)?;
    let orders = ["--json", "order", "watch", "--after", after.as_str()];
    let watching = Reading::start(&told, &token, dir.path().join("orders"), &orders)?;
    let one = json!({"TYPE": "Workflow", "path": "talking", "instructions": [{
        "TYPE": "Execute.Anonymous", "job": {"agentPath": "A", "executable": {"TYPE": "ShellScriptExecutable",
            "script": "for n in $(seq 60); do echo \"line $n.\"; sleep 0.1; done"}},
    }]});
    let signed = json!({"string": one.to_string()});
    pair.deploy(&[json!({"TYPE": "AddOrChangeSigned", "signed": signed})])
        .await?;
    pair.add_order("talk", "talking").await?;
    let follow = ["order", "log", "talk", "--follow"];
    let log = Reading::start(&told, &token, dir.path().join("log"), &follow)?;

    // From then on they know both members.
    let until = Instant::now() + PATIENCE;
    while [&reading, &watching, &log]
        .iter()
        .any(|reader| reader.text().is_empty())
        && Instant::now() < until
    {
        tokio::time::sleep(PAUSE).await;
    }

    let mut ids = vec!["talk".to_owned()];
    for round in ["before", "killed", "switched", "hung"] {
        for number in 0..5 {
            let id = format!("{round}-{number}");
            pair.add_order(&id, "marking").await?;
            ids.push(id);
        }
        let active = pair.active().await?;
        match round {
            "before" => pair.members[active].kill()?,
            "killed" => {
                pair.members[1 - active].start_ready().await?;
                pair.await_coupled().await?;
                let command = json!({"TYPE": "ClusterSwitchOver"});
                pair.api_of(active).accept(&command).await?;
            }
            "switched" => {
                pair.await_coupled().await?;
                pair.members[active].stop()?;
            }
            _ => pair.members[1 - active].cont()?,
        }
    }
    pair.await_finished(&ids).await?;
    pair.await_coupled().await?;

    let all = pair.all_events().await?;
    let number = |event: &Value| event["eventId"].as_u64().filter(|id| *id > begun);
    let expected: Vec<u64> = all.iter().filter_map(number).collect();
    let of_orders: Vec<u64> = all
        .iter()
        .filter(|event| {
            event["TYPE"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("Order"))
        })
        .filter_map(number)
        .collect();
    let until = Instant::now() + PATIENCE;
    while (reading.ids().len() < expected.len() || watching.ids().len() < of_orders.len())
        && Instant::now() < until
    {
        tokio::time::sleep(PAUSE).await;
    }
    let mut read = reading.ids();
    // Something may have happened since.
    read.truncate(expected.len());
    ensure!(
        read == expected,
        "S29: {} of {} events, in order",
        read.len(),
        expected.len()
    );
    let mut watched = watching.ids();
    watched.truncate(of_orders.len());
    let told = |ids: &[u64]| -> Vec<String> {
        let is_told = |event: &&Value| number(event).is_some_and(|id| ids.contains(&id));
        all.iter()
            .filter(is_told)
            .map(ToString::to_string)
            .collect()
    };
    let of_one = |ids: &[u64], others: &[u64]| -> Vec<u64> {
        ids.iter()
            .copied()
            .filter(|id| !others.contains(id))
            .collect()
    };
    ensure!(
        watched == of_orders,
        "S29: the events of orders, each once: {} of {}; missing {:?}; besides {:?}",
        watched.len(),
        of_orders.len(),
        told(&of_one(&of_orders, &watched)),
        of_one(&watched, &of_orders)
    );
    let mut written = String::new();
    for n in 1..=60 {
        writeln!(written, "line {n}.")?;
    }
    ensure!(
        log.text() == written,
        "S29: each line of output once: {}",
        log.text()
    );
    Ok(())
}

/// Members with any names, and a watch if wanted.
struct Cluster {
    members: Vec<Node>,
    watch: Option<Child>,
    token: PathBuf,
    /// What is in it.
    drawn: String,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts all of them; the first one has the log, nobody is appointed.
    async fn start(names: &[&str]) -> Result<Cluster> {
        let dir = tempfile::Builder::new()
            .prefix("testkit-members-")
            .tempdir()?;
        let token = dir.path().join("token");
        let drawn = drawn_token();
        std::fs::write(&token, &drawn)?;
        make_private(&token)?;
        let mark = dir.path().display().to_string();
        let mut members: Vec<Node> = Vec::new();
        for name in names {
            let mut node = Node::new(Part::Controller, name, dir.path(), &mark)?;
            let private = node.data.join("private");
            std::fs::create_dir_all(&private)?;
            std::fs::write(private.join("admin-token"), &drawn)?;
            make_private(&private.join("admin-token"))?;
            let mut settings = vec![
                format!("cluster.name={name}"),
                format!("cluster.token-file={}", token.display()),
            ];
            for before in &members {
                settings.push(format!("cluster.members.{}={}", before.name, before.url()));
            }
            if !members.is_empty() {
                settings.push("cluster.join=true".to_owned());
            }
            for setting in settings {
                node.arguments.extend(["--set".to_owned(), setting]);
            }
            node.start_ready().await?;
            members.push(node);
        }
        let cluster = Cluster {
            members,
            watch: None,
            token,
            drawn,
            dir,
        };
        cluster.active().await?;
        Ok(cluster)
    }

    fn start_watch(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.dir.path().join("watch.log"))?;
        let mut command = Command::new(mainspring()?);
        command
            .arg("watch")
            .arg("--data")
            .arg(self.dir.path().join("watch"));
        command.arg("--token-file").arg(&self.token);
        for member in &self.members {
            command.args(["--member", &format!("{}={}", member.name, member.url())]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.watch = Some(child);
        Ok(())
    }

    fn stop_watch(&mut self) -> Result<()> {
        if let Some(mut watch) = self.watch.take() {
            watch.kill()?;
            watch.wait()?;
        }
        Ok(())
    }

    fn urls(&self) -> String {
        let urls: Vec<String> = self.members.iter().map(Node::url).collect();
        urls.join(",")
    }

    fn cli(&self, arguments: &[&str]) -> Result<String> {
        succeeds(&self.urls(), &self.token, arguments)
    }

    fn appoint(&self) -> Result<String> {
        let named = |node: &Node| format!("{}={}", node.name, node.url());
        let members: Vec<String> = self.members.iter().map(named).collect();
        let mut arguments = vec!["cluster", "appoint"];
        for member in &members {
            arguments.extend(["--member", member]);
        }
        self.cli(&arguments)
    }

    fn api(&self, member: usize) -> Result<Api> {
        Api::with_token(&self.members[member].url(), &self.drawn)
    }

    /// How the cluster stands, as a member tells it.
    async fn state(&self, member: usize) -> Option<Value> {
        let api = self.api(member).ok()?;
        let asked = tokio::time::timeout(
            Duration::from_millis(500),
            api.get("/controller/api/cluster"),
        );
        asked.await.ok()?.ok()?.ok()
    }

    /// Waits until a member says what is wanted of it.
    async fn await_that(
        &self,
        member: usize,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < until {
            let state = self.state(member).await;
            if state.as_ref().is_some_and(&is_so) {
                return Ok(());
            }
            last = state.or(last);
            tokio::time::sleep(PAUSE).await;
        }
        let logs: Vec<String> = self.members.iter().map(|node| node.log_tail(12)).collect();
        anyhow::bail!("{what}: {last:?}\n{}", logs.join("\n"))
    }

    /// Waits until one is active; which one.
    async fn active(&self) -> Result<usize> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for member in 0..self.members.len() {
                if self
                    .state(member)
                    .await
                    .is_some_and(|state| state["mayAnswer"] == true)
                {
                    return Ok(member);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        let logs: Vec<String> = self.members.iter().map(|node| node.log_tail(12)).collect();
        anyhow::bail!("nobody has become active\n{}", logs.join("\n"))
    }

    async fn await_coupled(&self) -> Result<()> {
        let active = self.active().await?;
        self.await_that(active, "the members are not coupled", |state| {
            is_coupled(state)
        })
        .await
    }

    /// Makes a workflow known whose orders have nothing to do.
    fn deploy(&self) -> Result<()> {
        let file = self.dir.path().join("nothing.workflow.json");
        std::fs::write(
            &file,
            json!({"TYPE": "Workflow", "path": "nothing", "instructions": [{"TYPE": "Finish"}]})
                .to_string(),
        )?;
        self.cli(&["deploy", &file.display().to_string()]).map(drop)
    }

    fn run_order(&self, id: &str) -> Result<()> {
        self.cli(&["order", "add", "nothing", "--id", id, "--wait"])
            .map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.stop_watch();
    }
}

/// A chunked body has its size in front.
fn body_of(text: &str) -> &str {
    text.find('{').map_or(text, |begin| &text[begin..])
}

/// What `/health` and `/health/active` say.
async fn health(node: &Node) -> Result<(String, u16)> {
    let alive = http::get(node.address, "/health", None).await?;
    ensure!(
        alive.status == 200,
        "the process is alive: {}",
        alive.text()
    );
    let role: Value = serde_json::from_str(body_of(&alive.text()))?;
    let active = http::get(node.address, "/health/active", None).await?;
    Ok((
        role["role"].as_str().unwrap_or_default().to_owned(),
        active.status,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_goes_back_to_a_single_controller_and_who_was_removed_says_so_and_stays_passive()
-> Result<()> {
    let mut cluster = Cluster::start(&["Primary", "Backup"]).await?;
    ensure!(
        health(&cluster.members[0]).await? == ("active".to_owned(), 200),
        "a single one is active"
    );
    ensure!(
        health(&cluster.members[1]).await? == ("joining".to_owned(), 503),
        "it waits to be taken in"
    );
    cluster.deploy()?;
    cluster.start_watch()?;
    cluster.appoint()?;
    cluster.await_coupled().await?;
    ensure!(
        health(&cluster.members[1]).await? == ("standby".to_owned(), 503),
        "it follows"
    );
    cluster.run_order("as-pair")?;

    let told = cluster.cli(&["cluster", "remove"])?;
    ensure!(told.contains("Primary at"), "{told}");
    let is_removed = |state: &Value| state["standing"] == "removed" && state["mayAnswer"] == false;
    cluster
        .await_that(1, "it says that it was removed", is_removed)
        .await?;
    let refused = cluster.api(1)?;
    let refused = refused
        .get("/controller/api/order")
        .await?
        .err()
        .context("it answers nothing")?;
    ensure!(
        refused.status == 503 && refused.message.contains("was removed"),
        "{refused}"
    );
    let status = cluster.cli(&["cluster", "status"])?;
    ensure!(
        status.contains("single Controller") && status.contains("removed"),
        "{status}"
    );

    // It needs nobody's vote any more, and nobody else begins to act while it is away.
    cluster.stop_watch()?;
    cluster.members[1].kill()?;
    cluster.run_order("alone")?;
    cluster.members[1].start_ready().await?;
    cluster.start_watch()?;
    cluster.members[0].kill()?;
    for _ in 0..100 {
        let state = cluster.state(1).await;
        ensure!(
            state
                .as_ref()
                .is_none_or(|state| state["mayAnswer"] == false && state["isActive"] == false),
            "who was removed acts: {state:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
    cluster.members[0].start_ready().await?;
    ensure!(
        cluster.active().await? == 0,
        "the single one is back by itself"
    );
    cluster
        .await_that(1, "it says again that it was removed", is_removed)
        .await?;
    cluster.run_order("alone-again")?;

    // And the way back is the same command as the first time.
    cluster.appoint()?;
    cluster.await_coupled().await?;
    cluster.members[0].kill()?;
    ensure!(
        cluster.active().await? == 1,
        "the other one has taken over again"
    );
    cluster.run_order("pair-again")?;
    let orders = cluster.cli(&["order", "list"])?;
    for id in ["as-pair", "alone", "alone-again", "pair-again"] {
        ensure!(orders.contains(id), "S2: {id} is there: {orders}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_need_no_watch_and_survive_any_one_of_them() -> Result<()> {
    let mut cluster = Cluster::start(&["One", "Two", "Three"]).await?;
    cluster.deploy()?;
    let told = cluster.appoint()?;
    ensure!(!told.contains("watch"), "no watch is needed: {told}");
    cluster.await_coupled().await?;
    let status = cluster.cli(&["cluster", "status"])?;
    ensure!(status.contains("Two or Three follows"), "{status}");
    for round in 0..3 {
        let active = cluster.active().await?;
        cluster.members[active].kill()?;
        cluster.run_order(&format!("killed-{round}"))?;
        ensure!(
            cluster.active().await? != active,
            "another one has taken over"
        );
        cluster.members[active].start_ready().await?;
        cluster.await_coupled().await?;
    }
    cluster.cli(&["cluster", "switch-over"])?;
    cluster.await_coupled().await?;

    // Two of three: the loss of one more would stop them, and it is told so.
    let active = cluster.active().await?;
    let other = (active + 1) % 3;
    cluster.members[other].kill()?;
    let is_lost = |state: &Value| state["TYPE"] == "PassiveLost";
    cluster
        .await_that(active, "the loss is noted", is_lost)
        .await?;
    cluster.run_order("two-of-three")?;
    let status = cluster.cli(&["cluster", "status"])?;
    ensure!(
        status.contains("If the active member failed now: nobody follows"),
        "{status}"
    );
    cluster.members[other].start_ready().await?;
    cluster.await_coupled().await?;

    // Back to one.
    cluster.cli(&["cluster", "remove"])?;
    let active = cluster.active().await?;
    for member in 0..3 {
        if member != active {
            cluster.members[member].kill()?;
        }
    }
    cluster.run_order("single")
}

#[tokio::test(flavor = "multi_thread")]
async fn five_members_survive_two_and_one_of_them_can_be_removed_for_good() -> Result<()> {
    let mut cluster = Cluster::start(&["A", "B", "C", "D", "E"]).await?;
    cluster.deploy()?;
    cluster.appoint()?;
    cluster.await_coupled().await?;
    let active = cluster.active().await?;
    let second = (active + 1) % 5;
    cluster.members[active].kill()?;
    cluster.members[second].kill()?;
    cluster.run_order("three-of-five")?;
    // Both are gone for good: the three that are left are a cluster of their own, and any one of them may be lost.
    let gone = [
        cluster.members[active].name.clone(),
        cluster.members[second].name.clone(),
    ];
    for name in &gone {
        cluster.cli(&["cluster", "remove", name])?;
    }
    cluster.await_coupled().await?;
    let active = cluster.active().await?;
    cluster.members[active].kill()?;
    cluster.run_order("two-of-three")?;
    let refused = command(
        &cluster.urls(),
        &cluster.token,
        &["cluster", "remove", &gone[0]],
    )?
    .output()?;
    ensure!(
        !refused.status.success() && told(&refused).contains("no member"),
        "{}",
        told(&refused)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_moved_is_found_at_its_new_address() -> Result<()> {
    let mut cluster = Cluster::start(&["Primary", "Backup"]).await?;
    cluster.start_watch()?;
    cluster.appoint()?;
    cluster.await_coupled().await?;
    // It comes back elsewhere and says where; it dials, so the others need not know before.
    cluster.members[1].kill()?;
    cluster.members[1]
        .address
        .set_port(testkit::world::free_port()?);
    let url = cluster.members[1].url();
    let setting = format!("cluster.url={url}");
    cluster.members[1]
        .arguments
        .extend(["--set".to_owned(), setting]);
    cluster.members[1].start_ready().await?;
    let is_known = |state: &Value| state["setting"]["idToUri"]["Backup"] == url.as_str();
    cluster
        .await_that(0, "the new address is learnt", is_known)
        .await?;
    cluster.await_coupled().await?;
    let events = cluster.api(0)?.all_events().await?;
    ensure!(
        events
            .iter()
            .any(|event| event["TYPE"] == "ClusterSettingUpdated"),
        "it is an event"
    );
    // Whoever was told the first one's address only, finds the other one there.
    let first = cluster.members[0].url();
    let known = succeeds(&first, &cluster.token, &["cluster", "status"])?;
    ensure!(known.contains(&url), "{known}");

    // The same by command, for a member that does not say where it is.
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let member = format!("Backup={elsewhere}");
    let primary = format!("Primary={first}");
    cluster.members[1].kill()?;
    let arguments = &mut cluster.members[1].arguments;
    arguments.truncate(arguments.len() - 2);
    cluster.members[1].start_ready().await?;
    cluster.await_coupled().await?;
    cluster.cli(&[
        "cluster", "appoint", "--member", &primary, "--member", &member,
    ])?;
    let is_known = |state: &Value| state["setting"]["idToUri"]["Backup"] == elsewhere.as_str();
    cluster
        .await_that(0, "the address is noted", is_known)
        .await?;
    cluster.await_coupled().await
}
