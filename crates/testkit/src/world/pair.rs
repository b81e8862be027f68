//! A Controller kept by two members and a watch, with one Agent: real processes, to be killed, stopped and switched over.
//!
//! Always: whoever asks goes to the member that is active, whichever it is; jobs write their starts and ends into files outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::binary::mainspring;
use super::certificates::{certified, make_certificates};
use super::client::Api;
use super::node::{Node, Part};
use super::ports::free_port;
use super::proxy::Proxy;
use super::stage::{drawn_token, make_private};
use super::wreckage::{self, WORLD_VARIABLE};

/// The names of the members.
pub const MEMBERS: [&str; 2] = ["Primary", "Backup"];
const AGENT: &str = "A";
const WATCH: &str = "watch";
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So long a member may take for an order before the other one is asked: a hung one answers never.
const TRY: Duration = Duration::from_millis(250);

/// What a pair is to consist of, beyond two members, a watch and an Agent.
#[derive(Clone, Debug, Default)]
pub struct PairPlan {
    /// Settings of both members, as `--set` takes them.
    pub settings: Vec<String>,
    /// The Backup dials the Primary through a proxy.
    pub is_link_proxied: bool,
    /// Everybody speaks TLS and is known by a certificate; there is no token besides the user's.
    pub is_tls: bool,
    /// Whose directory is not beside the others, and where: a member's, the Agent's, the watch's.
    pub homes: BTreeMap<String, PathBuf>,
}

/// All of it.
#[derive(Debug)]
pub struct Pair {
    /// The members, in the order of their names above.
    pub members: Vec<Node>,
    /// The Agent.
    pub agent: Node,
    /// Between the members, if the plan has it so.
    pub link: Option<Proxy>,
    watches: BTreeMap<String, Child>,
    apis: Vec<Api>,
    certificates: Option<PathBuf>,
    mark: String,
    /// Of the administrator, at every member; and of the watch without TLS.
    token: String,
    // The last field: removed after everything that uses it has ended.
    dir: tempfile::TempDir,
}

impl Pair {
    /// Returns the directory that contains the directories of all parts.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the mark of the processes of this pair.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Starts everything, appoints the members and waits until they are coupled.
    pub async fn start(settings: &[&str]) -> Result<Pair> {
        Pair::start_with(PairPlan {
            settings: settings.iter().map(|&setting| setting.into()).collect(),
            ..PairPlan::default()
        })
        .await
    }

    /// The same with more of a plan.
    pub async fn start_with(plan: PairPlan) -> Result<Pair> {
        let mut pair = Pair::start_alone(plan).await?;
        pair.members[1].start_ready().await?;
        pair.start_watch()?;
        pair.appoint().await?;
        pair.await_coupled().await?;
        Ok(pair)
    }

    /// Starts the Agent and the Primary, which is a Controller of its own: the Backup and the watch wait to be started.
    pub async fn start_alone(plan: PairPlan) -> Result<Pair> {
        let dir = tempfile::Builder::new().prefix("testkit-pair-").tempdir()?;
        for (name, home) in &plan.homes {
            std::os::unix::fs::symlink(home, dir.path().join(name))?;
        }
        let mark = dir.path().display().to_string();
        let certificates = plan.is_tls.then(|| dir.path().join("certificates"));
        if let Some(folder) = &certificates {
            std::fs::create_dir(folder)?;
            make_certificates(
                folder,
                &[
                    (MEMBERS[0], net::Role::Controller),
                    (MEMBERS[1], net::Role::Controller),
                    (WATCH, net::Role::Controller),
                    (AGENT, net::Role::Agent),
                ],
            )?;
        }
        let drawn = drawn_token();
        let token = dir.path().join("token");
        std::fs::write(&token, &drawn)?;
        make_private(&token)?;
        let token = token.display().to_string();
        let proof = |name: &str| match &certificates {
            Some(folder) => certified(folder, name),
            None => vec!["--token-file".to_owned(), token.clone()],
        };
        let mut members = Vec::new();
        for name in MEMBERS {
            let mut node = Node::new(Part::Controller, name, dir.path(), &mark)?;
            let private = node.data.join("private");
            std::fs::create_dir_all(&private)?;
            // One token for both, so that whoever asks needs not know which one is active.
            std::fs::write(private.join("admin-token"), &drawn)?;
            make_private(&private.join("admin-token"))?;
            node.arguments = proof(name);
            let mut wanted = vec![format!("cluster.name={name}")];
            let releases = |setting: &String| setting.starts_with("release-events-users=");
            if !plan.settings.iter().any(releases) {
                wanted.push("release-events-users=keeper".to_owned());
            }
            match &certificates {
                Some(folder) => node.serve_tls(folder),
                None => wanted.push(format!("cluster.token-file={token}")),
            }
            wanted.extend(plan.settings.iter().cloned());
            for setting in wanted {
                node.arguments.extend(["--set".to_owned(), setting]);
            }
            members.push(node);
        }
        let link = if plan.is_link_proxied {
            Some(Proxy::start(members[0].address).await?)
        } else {
            None
        };
        let primary = match &link {
            Some(proxy) => format!("http://{}", proxy.address),
            None => members[0].url(),
        };
        for setting in [
            "cluster.join=true".to_owned(),
            format!("cluster.members.Primary={primary}"),
        ] {
            members[1].arguments.extend(["--set".to_owned(), setting]);
        }
        let mut agent = Node::new(Part::Agent, AGENT, dir.path(), &mark)?;
        agent.arguments = vec!["--name".to_owned(), AGENT.to_owned()];
        agent.arguments.extend(proof(AGENT));
        if let Some(folder) = &certificates {
            agent.serve_tls(folder);
        }
        let mut pair = Pair {
            members,
            agent,
            link,
            watches: BTreeMap::new(),
            apis: Vec::new(),
            certificates,
            mark,
            token: drawn,
            dir,
        };
        for member in 0..MEMBERS.len() {
            let api = pair.dial(member)?;
            pair.apis.push(api);
        }
        pair.agent.start()?;
        pair.members[0].start_ready().await?;
        pair.agent.wait_ready().await?;
        pair.deploy(&pair.agent_items()).await?;
        Ok(pair)
    }

    fn dial(&self, member: usize) -> Result<Api> {
        let url = self.members[member].url();
        match &self.certificates {
            Some(folder) => Api::with_tls(&url, &self.token, &folder.join("ca.pem")),
            None => Api::with_token(&url, &self.token),
        }
    }

    /// Makes the running Primary a pair. What follows from it takes its time.
    pub async fn appoint(&self) -> Result<()> {
        let uri = |index: usize| self.members[index].url();
        let command = json!({
            "TYPE": "ClusterAppointNodes",
            "idToUri": {"Primary": uri(0), "Backup": uri(1)},
            "activeId": "Primary",
        });
        self.api().await?.accept(&command).await.map(drop)
    }

    /// From its next start on a member is at another address.
    pub fn move_member(&mut self, member: usize) -> Result<()> {
        self.members[member].address.set_port(free_port()?);
        self.apis[member] = self.dial(member)?;
        Ok(())
    }

    /// Starts the watch.
    pub fn start_watch(&mut self) -> Result<()> {
        self.start_watch_called(WATCH, WATCH)
    }

    /// Starts a watch with this name and this directory, which is made if it does not exist.
    pub fn start_watch_called(&mut self, id: &str, folder: &str) -> Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("watch.log"))?;
        let child = self
            .watch(id, folder)?
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        if let Some(mut before) = self.watches.insert(folder.to_owned(), child) {
            before.kill()?;
            before.wait()?;
        }
        Ok(())
    }

    /// A watch that is to be started.
    pub fn watch(&self, id: &str, folder: &str) -> Result<Command> {
        let mut command = Command::new(mainspring()?);
        command
            .args(["watch", "--id", id, "--data"])
            .arg(self.dir.path().join(folder));
        match &self.certificates {
            Some(certificates) => command.args(certified(certificates, WATCH)),
            None => command
                .arg("--token-file")
                .arg(self.dir.path().join("token")),
        };
        command
            .args(["--member", &format!("Primary={}", self.members[0].url())])
            .args(["--member", &format!("Backup={}", self.members[1].url())])
            .env(WORLD_VARIABLE, &self.mark)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// SIGKILL for the watch.
    pub fn kill_watch(&mut self) -> Result<()> {
        self.kill_watch_in(WATCH)
    }

    /// SIGKILL for the watch with this directory, if there is one.
    pub fn kill_watch_in(&mut self, folder: &str) -> Result<()> {
        if let Some(mut watch) = self.watches.remove(folder) {
            watch.kill()?;
            watch.wait()?;
        }
        Ok(())
    }

    /// Returns the directory of the watch.
    pub fn watch_data(&self) -> PathBuf {
        self.dir.path().join(WATCH)
    }

    /// How the watch has ended, if it has.
    pub fn watch_end(&mut self) -> Result<Option<ExitStatus>> {
        let watch = self.watches.get_mut(WATCH).context("there is no watch")?;
        Ok(watch.try_wait()?)
    }

    /// The events on a member's disk, as lines, whether it is active or not.
    pub fn journal(&self, member: usize) -> Result<Vec<String>> {
        let output = Command::new(mainspring()?)
            .args(["journal", "cat"])
            .arg(self.members[member].data.join("state"))
            .stdin(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "journal cat: {told}");
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn agent_items(&self) -> Vec<Value> {
        vec![
            json!({"TYPE": "AddOrChangeSimple", "item": {"TYPE": "AgentRef", "path": AGENT, "directors": ["A-0"]}}),
            json!({"TYPE": "AddOrChangeSimple", "item": {
                "TYPE": "SubagentItem", "id": "A-0", "agentPath": AGENT, "uri": self.agent.url(),
            }}),
        ]
    }

    /// Makes items known to the active member; one that is just becoming so is asked again.
    pub async fn deploy(&self, operations: &[Value]) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let Err(refused) = self.api().await?.items(operations).await? else {
                return Ok(());
            };
            let is_too_early = refused.code.as_deref() == Some("ClusterNodeIsNotActive");
            ensure!(
                is_too_early && Instant::now() < until,
                "the items were refused: {refused}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes a workflow known whose job writes `start ORDER` and `end ORDER` into `marks`, with this pause in between.
    pub async fn deploy_marking(&self, path: &str, seconds: f64) -> Result<()> {
        let marks = self.marks();
        let script = format!(
            "echo \"start $ORDER $(date +%s%N)\" >> {0}; sleep {seconds}; echo \"end $ORDER $(date +%s%N)\" >> {0}",
            marks.display()
        );
        let workflow = json!({"TYPE": "Workflow", "path": path, "instructions": [{
            "TYPE": "Execute.Anonymous",
            "job": {"agentPath": AGENT, "processLimit": 100, "executable": {
                "TYPE": "ShellScriptExecutable", "script": script, "env": {"ORDER": "$js7OrderId"},
            }},
        }]});
        let signed = json!({"string": workflow.to_string()});
        self.deploy(&[json!({"TYPE": "AddOrChangeSigned", "signed": signed})])
            .await
    }

    /// Where jobs write.
    pub fn marks(&self) -> PathBuf {
        self.dir.path().join("marks")
    }

    /// How often each order's job has started, and when each start was, in nanoseconds since the epoch.
    pub fn starts(&self) -> (BTreeMap<String, usize>, Vec<u64>) {
        let text = std::fs::read_to_string(self.marks()).unwrap_or_default();
        let (mut counts, mut times) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            let mut words = line.split(' ');
            if let (Some("start"), Some(order), Some(at)) =
                (words.next(), words.next(), words.next())
            {
                *counts.entry(order.to_owned()).or_default() += 1;
                times.extend(at.parse::<u64>().ok());
            }
        }
        times.sort_unstable();
        (counts, times)
    }

    /// How the cluster stands, as a member tells it.
    pub async fn state(&self, member: usize) -> Result<Value> {
        let answer = self.apis[member].get("/controller/api/cluster").await?;
        answer.map_err(|refused| anyhow::anyhow!("{refused}"))
    }

    /// Waits until one member is active and may answer; which one.
    pub async fn active(&self) -> Result<usize> {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            for member in 0..MEMBERS.len() {
                let state =
                    tokio::time::timeout(Duration::from_millis(500), self.state(member)).await;
                if let Ok(Ok(state)) = state
                    && state["mayAnswer"] == true
                {
                    return Ok(member);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("{}", self.lament("no member has become active"))
    }

    /// Waits until the members are coupled.
    pub async fn await_coupled(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            let active = self.active().await?;
            if self
                .state(active)
                .await
                .is_ok_and(|state| is_coupled(&state))
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{}", self.lament("the members are not coupled"))
    }

    /// The API of the active member.
    pub async fn api(&self) -> Result<&Api> {
        Ok(&self.apis[self.active().await?])
    }

    /// The API of a member.
    pub fn api_of(&self, member: usize) -> &Api {
        &self.apis[member]
    }

    /// Adds an order at whichever member is active, again and again until one has acknowledged it.
    pub async fn add_order(&self, id: &str, workflow: &str) -> Result<()> {
        self.add_order_with(id, workflow, &json!({})).await
    }

    /// The same with arguments.
    pub async fn add_order_with(&self, id: &str, workflow: &str, arguments: &Value) -> Result<()> {
        let order = json!({"id": id, "workflowPath": workflow, "arguments": arguments});
        let command = json!({"TYPE": "AddOrder", "order": order});
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            for api in &self.apis {
                // An earlier try may have arrived, although nobody was told: such an order is taken as well.
                let added = tokio::time::timeout(TRY, api.command(&command)).await;
                if let Ok(Ok(Ok(_))) = added {
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(
            "{}",
            self.lament(&format!("the order {id} is taken by nobody"))
        )
    }

    /// Waits until all of these orders have finished.
    pub async fn await_finished(&self, orders: &[String]) -> Result<()> {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let mut open = Vec::new();
            let api = self.api().await?;
            for id in orders {
                let seen = api.order(id).await.ok().flatten();
                let state = seen.as_ref().map(|order| order["state"]["TYPE"].clone());
                if state != Some(json!("Finished")) {
                    open.push((id, seen));
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "{}",
                    self.lament(&format!("orders have not finished: {open:?}"))
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What went wrong, with the ends of the logs.
    pub fn lament(&self, what: &str) -> String {
        let mut text = what.to_owned();
        for node in self.members.iter().chain([&self.agent]) {
            let _infallible = write!(text, "\n== {}\n{}", node.name, node.log_tail(12));
        }
        let watch = std::fs::read_to_string(self.dir.path().join("watch.log"));
        let _infallible = write!(text, "\n== watch\n{}", watch.unwrap_or_default());
        // Also where somebody begins who reads a long output from its end.
        let _infallible = write!(text, "\n== so: {what}");
        text
    }

    /// All events of the active member, as lines. Who is active may change while it is asked.
    pub async fn all_events(&self) -> Result<Vec<Value>> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.api().await?.all_events().await {
                Err(_) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
                read => return read.context("the event stream"),
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        wreckage::clear(&self.mark);
        for watch in self.watches.values_mut() {
            // It has been killed just now.
            drop(watch.wait());
        }
    }
}

/// For some milliseconds a member that has just followed shows the state that it has found: so the other one must be seen, too.
pub fn is_coupled(state: &Value) -> bool {
    let mut others = state["others"].as_array().into_iter().flatten();
    let is_in_sync = |other: &Value| {
        other["isWatch"] == false && other["isConnected"] == true && other["isInSync"] == true
    };
    state["TYPE"] == "Coupled" && others.any(is_in_sync)
}
