//! A Controller kept by two members and a watch, with one Agent: real processes, to be killed, stopped and switched over.
//!
//! Always: whoever asks goes to the member that is active, whichever it is; jobs write their starts and ends into files outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::binary::mainspring;
use super::client::Api;
use super::node::{Node, Part};
use super::stage::make_private;
use super::wreckage::{self, WORLD_VARIABLE};

/// The names of the members.
pub const MEMBERS: [&str; 2] = ["Primary", "Backup"];
const AGENT: &str = "A";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So long a member may take for an order before the other one is asked: a hung one answers never.
const TRY: Duration = Duration::from_millis(250);

/// All of it.
#[derive(Debug)]
pub struct Pair {
    /// The members, in the order of their names above.
    pub members: Vec<Node>,
    /// The Agent.
    pub agent: Node,
    watch: Option<Child>,
    apis: Vec<Api>,
    mark: String,
    // The last field: removed after everything that uses it has ended.
    dir: tempfile::TempDir,
}

impl Pair {
    /// Starts everything, appoints the members and waits until they are coupled.
    pub async fn start(settings: &[&str]) -> Result<Pair> {
        let dir = tempfile::Builder::new().prefix("testkit-pair-").tempdir()?;
        let mark = dir.path().display().to_string();
        let token = dir.path().join("token");
        std::fs::write(&token, TOKEN)?;
        make_private(&token)?;
        let token = token.display().to_string();
        let mut members = Vec::new();
        for name in MEMBERS {
            let mut node = Node::new(Part::Controller, name, dir.path(), &mark)?;
            let private = node.data.join("private");
            std::fs::create_dir_all(&private)?;
            // One token for both, so that whoever asks needs not know which one is active.
            std::fs::write(private.join("admin-token"), TOKEN)?;
            make_private(&private.join("admin-token"))?;
            node.arguments = vec!["--token-file".to_owned(), token.clone()];
            let mut wanted = vec![
                format!("cluster.name={name}"),
                format!("cluster.token-file={token}"),
                "release-events-users=keeper".to_owned(),
            ];
            wanted.extend(settings.iter().map(|&setting| setting.to_owned()));
            for setting in wanted {
                node.arguments.extend(["--set".to_owned(), setting]);
            }
            members.push(node);
        }
        let primary = members[0].url();
        for setting in [
            "cluster.join=true".to_owned(),
            format!("cluster.members.Primary={primary}"),
        ] {
            members[1].arguments.extend(["--set".to_owned(), setting]);
        }
        let mut agent = Node::new(Part::Agent, AGENT, dir.path(), &mark)?;
        agent.arguments = ["--name", AGENT, "--token-file", &token]
            .map(str::to_owned)
            .to_vec();
        let apis = members
            .iter()
            .map(|node| Api::with_token(&node.url(), TOKEN))
            .collect::<Result<Vec<_>>>()?;
        let mut pair = Pair {
            members,
            agent,
            watch: None,
            apis,
            mark,
            dir,
        };
        pair.agent.start()?;
        pair.members[0].start_ready().await?;
        pair.agent.wait_ready().await?;
        pair.members[1].start_ready().await?;
        pair.start_watch()?;
        pair.appoint().await?;
        pair.deploy(&[pair.agent_items()].concat()).await?;
        Ok(pair)
    }

    async fn appoint(&self) -> Result<()> {
        let uri = |index: usize| self.members[index].url();
        let command = json!({
            "TYPE": "ClusterAppointNodes",
            "idToUri": {"Primary": uri(0), "Backup": uri(1)},
            "activeId": "Primary",
        });
        self.apis[0].accept(&command).await?;
        self.await_coupled().await
    }

    /// Starts the watch.
    pub fn start_watch(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("watch.log"))?;
        let child = Command::new(mainspring()?)
            .args(["watch", "--data"])
            .arg(self.dir.path().join("watch"))
            .arg("--token-file")
            .arg(self.dir.path().join("token"))
            .args(["--member", &format!("Primary={}", self.members[0].url())])
            .args(["--member", &format!("Backup={}", self.members[1].url())])
            .env(WORLD_VARIABLE, &self.mark)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.watch = Some(child);
        Ok(())
    }

    /// SIGKILL for the watch.
    pub fn kill_watch(&mut self) -> Result<()> {
        if let Some(mut watch) = self.watch.take() {
            watch.kill()?;
            watch.wait()?;
        }
        Ok(())
    }

    fn agent_items(&self) -> Vec<Value> {
        vec![
            json!({"TYPE": "AddOrChangeSimple", "item": {"TYPE": "AgentRef", "path": AGENT, "directors": ["A-0"]}}),
            json!({"TYPE": "AddOrChangeSimple", "item": {
                "TYPE": "SubagentItem", "id": "A-0", "agentPath": AGENT, "uri": self.agent.url(),
            }}),
        ]
    }

    /// Makes items known to the active member.
    pub async fn deploy(&self, operations: &[Value]) -> Result<()> {
        let active = self.active().await?;
        self.apis[active].change_items(operations).await
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
                .is_ok_and(|state| state["TYPE"] == "Coupled")
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
        let order = json!({"id": id, "workflowPath": workflow});
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            for api in &self.apis {
                let added = tokio::time::timeout(TRY, api.add_order(&order)).await;
                match added {
                    Ok(Ok(_)) => return Ok(()),
                    // An earlier try has arrived, although nobody was told.
                    Ok(Err(refused)) if refused.to_string().contains("409") => return Ok(()),
                    Ok(Err(_)) | Err(_) => {}
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
                    open.push((id, state));
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
        text
    }

    /// All events of the active member, as lines.
    pub async fn all_events(&self) -> Result<Vec<Value>> {
        self.api()
            .await?
            .all_events()
            .await
            .context("the event stream")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        wreckage::clear(&self.mark);
        if let Some(mut watch) = self.watch.take() {
            // It has been killed just now.
            drop(watch.wait());
        }
    }
}
