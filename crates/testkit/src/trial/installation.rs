//! An installation without a single point of failure: two members, a watch, an Agent with one or two Directors, and its Subagents,
//! each on a host of its own or several on one, speaking TLS.
//!
//! Always: dropping it ends every process that came out of it. Never here: who disturbs it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use net::{Role, TlsFiles};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::world::{
    Api, Network, Node, Part, is_coupled, make_certificates_of_hosts, make_private,
};

/// The client's host.
pub const CLIENT: &str = "client";
/// The hosts of the members, of which each is named after the other's.
pub const MEMBERS: [&str; 2] = ["one", "two"];
const MEMBER_NAMES: [&str; 2] = ["Primary", "Backup"];
/// The host of the watch.
pub const WATCH: &str = "watch";
/// The hosts of the Agent's Directors.
pub const DIRECTORS: [&str; 2] = ["agent-1", "agent-2"];
/// The hosts of its Subagents.
pub const SUBAGENTS: [&str; 2] = ["sub-1", "sub-2"];

const CLUSTER: &str = "/controller/api/cluster";
const DIRECTOR_CLUSTER: &str = "/agent/api/cluster";
const AGENT: &str = "A";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Nobody has to do anything; what takes longer than this would need somebody.
const PATIENCE: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A member that is silent for so long is not asked further.
const TRY: Duration = Duration::from_millis(300);

/// How many Directors the Agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Directing {
    /// One, whose log is the only one.
    Single,
    /// Two, whose third vote is the Controller's.
    Pair,
}

/// The host of each part. If each part has a host of its own, the name of the part is that of its host.
#[derive(Clone, Debug, Default)]
pub struct Placement(BTreeMap<&'static str, &'static str>);

impl Placement {
    /// These parts are on these hosts; the others have hosts of their own.
    pub fn of(parts: &[(&'static str, &'static str)]) -> Placement {
        Placement(parts.iter().copied().collect())
    }

    /// The host of a part.
    pub fn host(&self, part: &str) -> &str {
        self.0.get(part).copied().unwrap_or(match part {
            WATCH => WATCH,
            CLIENT => CLIENT,
            part => {
                let mut parts = MEMBERS.iter().chain(&DIRECTORS).chain(&SUBAGENTS);
                parts
                    .find(|known| **known == part)
                    .copied()
                    .unwrap_or_default()
            }
        })
    }
}

/// All of it.
#[derive(Debug)]
pub struct Installation {
    /// The host of each part.
    pub placement: Placement,
    /// The members.
    pub members: Vec<Node>,
    /// The watch.
    pub watch: Node,
    /// The Directors of the Agent.
    pub directors: Vec<Node>,
    /// The Subagents on hosts of their own.
    pub subagents: Vec<Node>,
    apis: Vec<Api>,
    director_apis: Vec<Api>,
    mark: String,
    // The last field: removed after everything that uses it has ended.
    dir: tempfile::TempDir,
}

impl Installation {
    /// The hosts that it needs, the client's among them.
    pub fn hosts() -> Vec<&'static str> {
        [CLIENT, WATCH]
            .into_iter()
            .chain(MEMBERS)
            .chain(DIRECTORS)
            .chain(SUBAGENTS)
            .collect()
    }

    /// Starts everything, appoints the members, waits until they are coupled, and makes Agent and workflows known. The caller is
    /// on the client's host.
    pub async fn start(network: &Arc<Network>, directing: Directing) -> Result<Installation> {
        Installation::start_at(network, directing, Placement::default()).await
    }

    /// Like [`Installation::start`], but with the parts on the hosts of this placement.
    pub async fn start_at(
        network: &Arc<Network>,
        directing: Directing,
        placement: Placement,
    ) -> Result<Installation> {
        let mut installation = Installation::prepare(network, directing, placement)?;
        for node in installation.all() {
            node.start()?;
        }
        for node in installation.all() {
            if node.part != Part::Watch {
                node.wait_ready().await?;
            }
        }
        let uri = |index: usize| installation.members[index].url();
        let appoint = json!({
            "TYPE": "ClusterAppointNodes",
            "idToUri": {"Primary": uri(0), "Backup": uri(1)},
            "activeId": "Primary",
        });
        let first = installation.active().await?;
        installation.apis[first].accept(&appoint).await?;
        // The Directors are a pair only when the Controller has told them so.
        installation.await_pair(&installation.apis, CLUSTER).await?;
        let items = installation.items();
        installation.apis[installation.active().await?]
            .change_items(&items)
            .await?;
        installation.await_coupled().await?;
        Ok(installation)
    }

    fn prepare(
        network: &Network,
        directing: Directing,
        placement: Placement,
    ) -> Result<Installation> {
        let dir = tempfile::Builder::new()
            .prefix("testkit-trial-")
            .tempdir()?;
        let mark = dir.path().display().to_string();
        let certificates = dir.path().join("certificates");
        std::fs::create_dir(&certificates)?;
        let roles = MEMBERS
            .map(|host| (host, Role::Controller))
            .into_iter()
            .chain([WATCH, CLIENT].map(|host| (host, Role::Controller)))
            .chain(DIRECTORS.map(|host| (host, Role::Agent)))
            .chain(SUBAGENTS.map(|host| (host, Role::Subagent)));
        let hosts: Vec<_> = roles
            .map(|(part, role)| (part, role, network.address(placement.host(part)).into()))
            .collect();
        make_certificates_of_hosts(&certificates, &hosts)?;
        let node = |part, host: &str, port: u16| {
            let place = placement.host(host);
            let address = SocketAddr::from((network.address(place), port));
            let mut node = Node::at(address, part, host, dir.path(), &mark);
            node.namespace = network.namespace(place);
            node.serve_tls(&certificates);
            node.arguments = identity(&certificates, host);
            node
        };
        let mut members = MEMBERS.map(|host| node(Part::Controller, host, 4444));
        let urls: Vec<String> = members.iter().map(Node::url).collect();
        for (member, name) in members.iter_mut().zip(MEMBER_NAMES) {
            let private = member.data.join("private");
            std::fs::create_dir_all(&private)?;
            // One token for both, so that whoever asks needs not know which one is active.
            std::fs::write(private.join("admin-token"), TOKEN)?;
            make_private(&private.join("admin-token"))?;
            set(member, &format!("cluster.name={name}"));
            set(member, "release-events-users=keeper");
        }
        set(&mut members[1], "cluster.join=true");
        set(
            &mut members[1],
            &format!("cluster.members.Primary={}", urls[0]),
        );
        let mut watch = node(Part::Watch, WATCH, 0);
        for (name, url) in MEMBER_NAMES.iter().zip(&urls) {
            watch
                .arguments
                .extend(["--member".to_owned(), format!("{name}={url}")]);
        }
        let hosts = match directing {
            Directing::Single => &DIRECTORS[..1],
            Directing::Pair => &DIRECTORS,
        };
        let mut directors: Vec<Node> = hosts
            .iter()
            .copied()
            .map(|host| node(Part::Agent, host, 4445))
            .collect();
        let first = directors[0].url();
        for director in &mut directors {
            director
                .arguments
                .extend(["--name".to_owned(), AGENT.to_owned()]);
        }
        if let Some(second) = directors.get_mut(1) {
            set(second, "cluster.name=Backup");
            set(second, "cluster.join=true");
            set(second, &format!("cluster.members.Primary={first}"));
        }
        let own = TlsFiles {
            ca: certificates.join("ca.pem"),
            certificate: certificates.join(format!("{CLIENT}.pem")),
            key: certificates.join(format!("{CLIENT}.key")),
        };
        let director_apis = directors
            .iter()
            .map(|director| Api::with_certificate(&director.url(), &own))
            .collect::<Result<Vec<_>>>()?;
        // Two Subagents on one host need different ports.
        let mut port = 4445;
        let subagents = SUBAGENTS.map(|host| {
            port += 1;
            node(Part::Subagent, host, port)
        });
        let apis = urls
            .iter()
            .map(|url| Api::with_tls(url, TOKEN, &certificates.join("ca.pem")))
            .collect::<Result<Vec<_>>>()?;
        Ok(Installation {
            placement,
            members: members.into(),
            watch,
            directors,
            subagents: subagents.into(),
            apis,
            director_apis,
            mark,
            dir,
        })
    }

    /// All processes, those first that others dial.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Node> {
        let Installation {
            members,
            watch,
            directors,
            subagents,
            ..
        } = self;
        subagents
            .iter_mut()
            .chain(directors)
            .chain(members)
            .chain([watch])
    }

    /// Returns all processes on a host.
    pub fn all_on(&mut self, host: &str) -> Vec<&mut Node> {
        let placement = self.placement.clone();
        self.all()
            .filter(|node| placement.host(&node.name) == host)
            .collect()
    }

    fn items(&self) -> Vec<Value> {
        let simple = |item: Value| json!({"TYPE": "AddOrChangeSimple", "item": item});
        let subagent = |id: &str, node: &Node| {
            simple(json!({"TYPE": "SubagentItem", "id": id, "agentPath": AGENT, "uri": node.url()}))
        };
        let own: Vec<String> = (0..self.directors.len())
            .map(|number| format!("{AGENT}-{number}"))
            .collect();
        let mut items = vec![simple(
            json!({"TYPE": "AgentRef", "path": AGENT, "directors": own}),
        )];
        items.extend(
            own.iter()
                .zip(&self.directors)
                .map(|(id, node)| subagent(id, node)),
        );
        items.extend(self.subagents.iter().map(|node| subagent(&node.name, node)));
        // Most jobs are short; some are under way whatever happens.
        for (path, rest) in [("short", ":"), ("long", "sleep 0.5")] {
            let script = format!(
                "echo \"$MAINSPRING_ATTEMPT $(date +%s%N)\" >>'{}'; {rest}",
                self.starts_file().display()
            );
            let workflow = json!({"TYPE": "Workflow", "path": path, "instructions": [{
                "TYPE": "Execute.Anonymous",
                "job": {"agentPath": AGENT, "processLimit": 100, "executable": {
                    "TYPE": "ShellScriptExecutable", "script": script,
                }},
            }]});
            items.push(simple(workflow));
        }
        items
    }

    /// Where each job writes its attempt and the moment of its start, in nanoseconds since the epoch.
    pub fn starts_file(&self) -> PathBuf {
        self.dir.path().join("starts")
    }

    /// The members' APIs.
    pub fn apis(&self) -> &[Api] {
        &self.apis
    }

    /// Waits until one member is active and may answer; which one.
    pub async fn active(&self) -> Result<usize> {
        self.await_active(&self.apis, CLUSTER).await
    }

    /// The same of the Directors.
    pub async fn active_director(&self) -> Result<usize> {
        self.await_active(&self.director_apis, DIRECTOR_CLUSTER)
            .await
    }

    async fn await_active(&self, apis: &[Api], path: &str) -> Result<usize> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some((member, _)) = active_now(apis, path).await {
                return Ok(member);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(self.lament(&format!("an active one, as {path} tells")))
    }

    /// Waits until the members are coupled, and the Directors if there are two.
    pub async fn await_coupled(&self) -> Result<()> {
        self.await_pair(&self.apis, CLUSTER).await?;
        if self.directors.len() > 1 {
            self.await_pair(&self.director_apis, DIRECTOR_CLUSTER)
                .await?;
        }
        Ok(())
    }

    async fn await_pair(&self, apis: &[Api], path: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some((_, state)) = active_now(apis, path).await
                && is_coupled(&state)
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(self.lament(&format!("coupled members, as {path} tells")))
    }

    /// What did not come, with the ends of the logs.
    pub fn lament(&self, what: &str) -> String {
        let mut text = format!("has not come within {PATIENCE:?} by itself: {what}");
        let nodes = self
            .members
            .iter()
            .chain([&self.watch])
            .chain(&self.directors);
        for node in nodes {
            let _infallible = write!(text, "\n== {}\n{}", node.name, node.log_tail(15));
        }
        text
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        crate::world::clear(&self.mark);
    }
}

/// Who is active and may answer, and how it says that the cluster stands.
async fn active_now(apis: &[Api], path: &str) -> Option<(usize, Value)> {
    for (member, api) in apis.iter().enumerate() {
        let state = tokio::time::timeout(TRY, api.get(path)).await;
        if let Ok(Ok(Ok(state))) = state
            && state["mayAnswer"] == true
        {
            return Some((member, state));
        }
    }
    None
}

fn identity(certificates: &Path, host: &str) -> Vec<String> {
    let file = |name: String| certificates.join(name).display().to_string();
    [
        ("--ca", file("ca.pem".to_owned())),
        ("--certificate", file(format!("{host}.pem"))),
        ("--key", file(format!("{host}.key"))),
    ]
    .into_iter()
    .flat_map(|(flag, path)| [flag.to_owned(), path])
    .collect()
}

fn set(node: &mut Node, setting: &str) {
    node.arguments
        .extend(["--set".to_owned(), setting.to_owned()]);
}
