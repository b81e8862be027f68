//! The world itself: sets it up, lets a test act and wait in it, clears it away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::client::Api;
use super::follower::Follower;
use super::history::{History, Seen};
use super::node::{Node, Part};
use super::plan::{Plan, second_director};
use super::proxy::Proxy;
use super::wreckage;

/// The name of the Controller's node.
const CONTROLLER: &str = "controller";
/// How long a test waits for what must come. Far longer than it takes on a busy machine; a waiting test costs nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Controller with Agents and Subagents.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    nodes: BTreeMap<String, Node>,
    proxies: BTreeMap<String, Proxy>,
    api: Option<Api>,
    follower: Option<Follower>,
    mark: String,
    is_kept: bool,
    // The last field: removed after everything that uses it has ended.
    dir: Option<tempfile::TempDir>,
}

impl World {
    /// Starts everything, deploys the Agents and Subagents and waits until all of them answer.
    pub async fn start(plan: Plan) -> Result<World> {
        let mut world = World::prepare(plan).await?;
        world.set_up().await?;
        Ok(world)
    }

    /// What [`World::start`] does after [`World::prepare`].
    pub async fn set_up(&mut self) -> Result<()> {
        for node in self.nodes.values_mut() {
            node.start()?;
        }
        for node in self.nodes.values_mut() {
            node.wait_ready().await?;
        }
        self.connect()?;
        let items = self.agent_items();
        if !items.is_empty() {
            self.api().change_items(&items).await?;
        }
        Ok(())
    }

    /// Everything in its place, and nothing started.
    pub async fn prepare(plan: Plan) -> Result<World> {
        let dir = tempfile::Builder::new().prefix("testkit-").tempdir()?;
        let mark = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("tmp"))?;
        let token = dir.path().join("token");
        std::fs::write(&token, format!("{}\n", drawn_token()))?;
        make_private(&token)?;
        let mut world = World {
            plan,
            nodes: BTreeMap::new(),
            proxies: BTreeMap::new(),
            api: None,
            follower: None,
            mark,
            is_kept: false,
            dir: Some(dir),
        };
        let token = token.display().to_string();
        let own = world.plan.controller_settings.iter();
        let mut settings: Vec<String> = own.map(|(key, value)| format!("{key}={value}")).collect();
        // Somebody who never releases anything: the reader of a test may be away for as long as it likes.
        if !settings
            .iter()
            .any(|setting| setting.starts_with("release-events-users"))
        {
            settings.push("release-events-users=keeper".to_owned());
        }
        let mut arguments = vec!["--token-file".to_owned(), token.clone()];
        arguments.extend(set(&settings));
        world.add_node(Part::Controller, CONTROLLER, &arguments)?;
        for agent in world.plan.agents.clone() {
            let mut arguments = vec!["--name".to_owned(), agent.name.clone()];
            arguments.extend(["--token-file".to_owned(), token.clone()]);
            arguments.extend(set(&[format!("subagent-token-file={token}")]));
            if agent.is_pair {
                // Patient: a test machine is busy, and how fast one follows the other is measured elsewhere.
                arguments.extend(set(&[
                    format!("cluster.token-file={token}"),
                    "cluster.heartbeat=100ms".to_owned(),
                    "cluster.silence=600ms".to_owned(),
                ]));
            }
            for (key, value) in &world.plan.agent_settings {
                arguments.extend(set(&[format!("{key}={value}")]));
            }
            world.add_node(Part::Agent, &agent.name, &arguments)?;
            if agent.is_pair {
                let primary = world.node_ref(&agent.name)?.url();
                arguments.extend(set(&[
                    "cluster.name=Backup".to_owned(),
                    "cluster.join=true".to_owned(),
                    format!("cluster.members.Primary={primary}"),
                ]));
                world.add_node(Part::Agent, &second_director(&agent.name), &arguments)?;
            }
            for subagent in &agent.subagents {
                let arguments = ["--token-file".to_owned(), token.clone()];
                world.add_node(Part::Subagent, subagent, &arguments)?;
            }
        }
        if world.plan.proxied {
            for (name, node) in &world.nodes {
                if node.part != Part::Controller {
                    let proxy = Proxy::start(node.address).await?;
                    world.proxies.insert(name.clone(), proxy);
                }
            }
        }
        Ok(world)
    }

    fn add_node(&mut self, part: Part, name: &str, arguments: &[String]) -> Result<()> {
        let mut node = Node::new(part, name, self.dir(), &self.mark)?;
        node.arguments = arguments.to_vec();
        self.nodes.insert(name.to_owned(), node);
        Ok(())
    }

    /// Takes the administrator's token of the Controller's first start and begins to read its events.
    pub fn connect(&mut self) -> Result<()> {
        let api = Api::with_token(&self.node_ref(CONTROLLER)?.url(), &self.admin_token()?)?;
        self.follower = Some(Follower::start(api.client().clone()));
        self.api = Some(api);
        Ok(())
    }

    /// The operations that make the Agents and Subagents of the plan known to the Controller.
    pub fn agent_items(&self) -> Vec<Value> {
        let mut operations = Vec::new();
        for agent in &self.plan.agents {
            let mut processes = vec![agent.name.clone()];
            if agent.is_pair {
                processes.push(second_director(&agent.name));
            }
            let own = |number: usize| format!("{}-{number}", agent.name);
            let directors: Vec<String> = (0..processes.len()).map(own).collect();
            operations.push(simple(&json!({
                "TYPE": "AgentRef", "path": agent.name, "directors": directors,
            })));
            for (id, process) in directors.iter().zip(&processes) {
                let is_disabled = agent.is_local_disabled;
                operations.push(self.subagent_item(id, &agent.name, process, is_disabled));
            }
            for subagent in &agent.subagents {
                operations.push(self.subagent_item(subagent, &agent.name, subagent, false));
            }
        }
        operations
    }

    /// The operation that adds or changes a Subagent, which is in the process `node`.
    pub fn subagent_item(&self, id: &str, agent: &str, node: &str, is_disabled: bool) -> Value {
        simple(&json!({
            "TYPE": "SubagentItem", "id": id, "agentPath": agent, "uri": self.url_of(node), "disabled": is_disabled,
        }))
    }

    /// Where others dial a node: its proxy, if it has one.
    pub fn url_of(&self, node: &str) -> String {
        match (self.proxies.get(node), self.nodes.get(node)) {
            (Some(proxy), _) => format!("http://{}", proxy.address),
            (None, Some(node)) => node.url(),
            (None, None) => format!("http://127.0.0.1:1/{node}"),
        }
    }

    /// The world's directory.
    pub fn dir(&self) -> &Path {
        self.dir
            .as_ref()
            .map_or(Path::new("/nonexistent"), |dir| dir.path())
    }

    /// A directory for what the test and its jobs tell each other.
    pub fn tmp(&self) -> PathBuf {
        self.dir().join("tmp")
    }

    /// The mark of its processes.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The Controller's API.
    pub fn api(&self) -> &Api {
        self.api.as_ref().expect("connect() comes before api()")
    }

    /// The token of user `admin`.
    pub fn admin_token(&self) -> Result<String> {
        let path = self.node_ref(CONTROLLER)?.data.join("private/admin-token");
        let token = std::fs::read_to_string(&path)
            .with_context(|| format!("no administrator's token in {}", path.display()))?;
        Ok(token.trim().to_owned())
    }

    /// The token that Controller, Agents and Subagents share.
    pub fn node_token(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir().join("token"))?
            .trim()
            .to_owned())
    }

    /// The Controller's events so far.
    pub fn history(&self) -> &History {
        self.follower().history()
    }

    /// The reader of the Controller's events.
    pub fn follower(&self) -> &Follower {
        self.follower
            .as_ref()
            .expect("connect() comes before follower()")
    }

    /// The Controller's process.
    pub fn controller(&mut self) -> &mut Node {
        self.node(CONTROLLER)
    }

    /// A process by its name.
    pub fn node(&mut self, name: &str) -> &mut Node {
        let known: Vec<String> = self.nodes.keys().cloned().collect();
        self.nodes
            .get_mut(name)
            .unwrap_or_else(|| panic!("there is no {name} among {known:?}"))
    }

    /// A process by its name, to look at.
    pub fn node_ref(&self, name: &str) -> Result<&Node> {
        self.nodes
            .get(name)
            .with_context(|| format!("there is no {name}"))
    }

    /// The names of all processes.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The proxies by the node they lead to.
    pub fn proxies(&self) -> &BTreeMap<String, Proxy> {
        &self.proxies
    }

    /// Waits for the event `kind` of `key`, the `nth` one counted from 1.
    pub async fn await_nth(&self, key: &str, kind: &str, nth: usize) -> Result<Seen> {
        let is_wanted = |seen: &&Seen| seen.key == key && seen.kind == kind;
        let found = self
            .history()
            .wait_for(PATIENCE, |events| {
                events
                    .iter()
                    .filter(is_wanted)
                    .nth(nth.saturating_sub(1))
                    .cloned()
            })
            .await;
        found.with_context(|| self.lament(&format!("{kind} of {key}, number {nth}")))
    }

    /// Waits for the first event `kind` of `key`.
    pub async fn await_event(&self, key: &str, kind: &str) -> Result<Seen> {
        self.await_nth(key, kind, 1).await
    }

    /// Waits until the jobs of an order have written `text` to standard output so often.
    pub async fn await_stdout(&self, order: &str, text: &str, times: usize) -> Result<()> {
        let found = self
            .history()
            .wait_for(PATIENCE, |events| {
                let written: String = events
                    .iter()
                    .filter(|seen| seen.kind == "OrderStdoutWritten" && seen.key == order)
                    .filter_map(|seen| seen.json["chunk"].as_str())
                    .collect();
                (written.matches(text).count() >= times).then_some(())
            })
            .await;
        found.with_context(|| self.lament(&format!("{times} × {text:?} on stdout of {order}")))
    }

    /// Waits until a look at the world is satisfied.
    pub async fn await_that<F>(&self, what: &str, mut look: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !look().await? {
            if tokio::time::Instant::now() > deadline {
                bail!(self.lament(what));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(())
    }

    /// Waits until all events that the Controller had when it was asked have been read.
    pub async fn catch_up(&self) -> Result<()> {
        let before = self.history().last_event_id();
        let events = self.api().client();
        let path = format!("/controller/api/event?after={before}&timeout=0");
        let bytes = events.get_bytes(&path).await?;
        let Some(line) = bytes
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.is_empty())
        else {
            return Ok(());
        };
        let last = Seen::from_line(line)?.event_id;
        let caught_up = self
            .history()
            .wait_for(PATIENCE, |events| {
                (events.last()?.event_id >= last).then_some(())
            })
            .await;
        caught_up.with_context(|| self.lament(&format!("event {last}")))
    }

    /// Runs an operator's command against the Controller.
    pub fn command_line(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let controller = self.node_ref(CONTROLLER)?;
        std::process::Command::new(super::binary::mainspring()?)
            .args(arguments)
            .env("MAINSPRING_CONTROLLER_URL", controller.url())
            .env(
                "MAINSPRING_TOKEN_FILE",
                controller.data.join("private/admin-token"),
            )
            .env("NO_COLOR", "1")
            .stdin(std::process::Stdio::null())
            .output()
            .context("mainspring cannot be started")
    }

    /// A watch for the Directors of an Agent, to be killed by whoever starts it.
    pub fn watch_agent(&self, agent: &str) -> Result<std::process::Child> {
        let log = std::fs::File::create(self.dir().join(format!("watch-{agent}.log")))?;
        let member = |name: &str, node: &str| -> Result<String> {
            Ok(format!("{name}={}", self.node_ref(node)?.url()))
        };
        std::process::Command::new(super::binary::mainspring()?)
            .args(["watch", "--agent", agent, "--data"])
            .arg(self.dir().join(format!("watch-{agent}")))
            .arg("--token-file")
            .arg(self.dir().join("token"))
            .args(["--member", &member("Primary", agent)?])
            .args(["--member", &member("Backup", &second_director(agent))?])
            .env(wreckage::WORLD_VARIABLE, &self.mark)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("mainspring cannot be started")
    }

    /// Opens a gate: the job that waits for the file goes on.
    pub fn open_gate(&self, name: &str) -> Result<()> {
        std::fs::write(self.tmp().join(name), "")?;
        Ok(())
    }

    /// What did not come, and what did: for the message of a failed test.
    pub fn lament(&self, what: &str) -> String {
        let events = self.history().all();
        let mut text = format!("has not come within {PATIENCE:?}: {what}\nlast events:\n");
        for seen in &events[events.len().saturating_sub(25)..] {
            let line: String = seen.to_string().chars().take(300).collect();
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
        }
        for fault in self.follower().faults() {
            text.push_str("  reader: ");
            text.push_str(&fault);
            text.push('\n');
        }
        for node in self.nodes.values() {
            text.push_str(&node.log_tail(12));
        }
        text
    }

    /// The directory stays when the world goes.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for World {
    #[expect(
        clippy::print_stderr,
        reason = "a failing test tells where its logs are"
    )]
    fn drop(&mut self) {
        self.follower = None;
        self.nodes.clear();
        wreckage::clear(&self.mark);
        if let Some(dir) = self.dir.take()
            && (self.is_kept || std::thread::panicking())
        {
            eprintln!("logs and data are kept in {}", dir.keep().display());
        }
    }
}

/// The operation that adds or changes an item.
pub(crate) fn simple(item: &Value) -> Value {
    json!({"TYPE": "AddOrChangeSimple", "item": item})
}

fn set(settings: &[String]) -> Vec<String> {
    settings
        .iter()
        .flat_map(|setting| ["--set".to_owned(), setting.clone()])
        .collect()
}

/// A token that no other world has: whoever asks at a port that has become another world's is refused.
pub fn drawn_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Makes a file its owner's alone.
pub fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Copies a directory with everything in it. Existing files at the target are kept or overwritten.
pub fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
