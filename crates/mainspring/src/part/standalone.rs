//! `mainspring standalone`: a Controller, an Agent and its Subagent in one process, as they are in three.
//!
//! Always: the same parts with the same settings, each in its own directory, talking over the loopback; the Agent is made known by
//! the ordinary item API. Never here: a shorter way between them.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use agent_node::AgentSettings;
use anyhow::Context as _;
use controller_node::ControllerSettings;
use model::ItemType;
use net::{ClientSettings, Credentials, Secret, TlsClient};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::print;
use super::{Flags, announce_at, default_data, note_url_or_warn, noted_url, run};
use crate::arguments::{Access, StandaloneArgs};
use crate::call::{ADMIN_TOKEN_FILE, Controller};
use crate::deploy::Target;
use crate::exit::Exit;

/// How long the Agent is waited for to be made known before the next try.
const REGISTRATION_PAUSE: Duration = Duration::from_secs(2);

/// The settings of both, each in its table: `[controller]` and `[agent]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StandaloneSettings {
    controller: ControllerSettings,
    agent: AgentSettings,
}

fn data_of(access: &Access) -> std::path::PathBuf {
    access.data.clone().unwrap_or_else(default_data)
}

/// Returns the settings from file, environment and flags.
pub(super) fn settings_of(
    args: &StandaloneArgs,
    access: &Access,
) -> anyhow::Result<StandaloneSettings> {
    settings(args, access, &data_of(access))
}

/// Checks the settings of both.
pub(super) fn check(settings: &StandaloneSettings) -> anyhow::Result<()> {
    controller_node::check(&settings.controller)?;
    Ok(agent_node::check(&settings.agent)?)
}

pub(crate) fn standalone(args: &StandaloneArgs, access: &Access) -> anyhow::Result<Exit> {
    let data = data_of(access);
    let settings = settings(args, access, &data)?;
    if args.part.print_config {
        return print(&settings);
    }
    run(&args.part, |stop| live(settings, data, stop))
}

fn settings(
    args: &StandaloneArgs,
    access: &Access,
    data: &Path,
) -> anyhow::Result<StandaloneSettings> {
    let mut flags = Flags(Vec::new());
    for (part, directory) in [
        ("controller", data.join("controller")),
        ("agent", data.join("agent")),
    ] {
        flags.put_path(&format!("{part}.data"), Some(&directory));
        flags.put_path(&format!("{part}.tls.ca"), access.ca.as_deref());
        flags.put_path(
            &format!("{part}.tls.certificate"),
            access.certificate.as_deref(),
        );
        flags.put_path(&format!("{part}.tls.key"), access.key.as_deref());
    }
    flags.put("controller.listen", args.part.listen);
    flags.put("agent.listen", args.agent_listen);
    flags.put("agent.name", args.name.as_ref());
    let mut settings: StandaloneSettings = flags.load(&args.part)?;
    settings.agent.jobs.guard = Some(super::guard::program()?);
    let token_file = settings
        .agent
        .token_file
        .clone()
        .unwrap_or_else(|| settings.agent.data.join("private/token"));
    settings
        .controller
        .agent_token_files
        .entry(settings.agent.name.clone())
        .or_insert(token_file);
    // An Agent that moved at every start would look like another one to those who wrote down its address.
    if settings.agent.listen.port() == 0
        && let Some(earlier) = noted_url(&settings.agent.data).and_then(|url| address_of(&url))
        && TcpListener::bind(earlier).is_ok()
    {
        settings.agent.listen = earlier;
    }
    Ok(settings)
}

fn address_of(url: &str) -> Option<SocketAddr> {
    url.rsplit_once("//")?.1.parse().ok()
}

async fn live(
    settings: StandaloneSettings,
    data: std::path::PathBuf,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    for dir in [&settings.controller.data, &settings.agent.data] {
        super::take_data(dir)?;
    }
    let StandaloneSettings {
        controller: controller_settings,
        agent: agent_settings,
    } = settings;
    let agent_name = agent_settings.name.clone();
    let controller_data = controller_settings.data.clone();
    let agent_data = agent_settings.data.clone();
    let tls = controller_settings
        .tls
        .as_ref()
        .map(TlsClient::load)
        .transpose()?;

    let (agent_is_ready, agent_ready) = oneshot::channel();
    let agent_stop = stop.child_token();
    let token = agent_stop.clone();
    let mut agent = tasks::spawn("agent", async move {
        super::agent::of(agent_node::run(agent_settings, token, told(agent_is_ready)).await)
    });
    let agent_url = match start(&mut agent, agent_ready).await? {
        Ok(url) => url,
        Err(exit) => return Ok(exit),
    };
    note_url_or_warn(&agent_data, &agent_url);

    let (controller_is_ready, controller_ready) = oneshot::channel();
    let controller_stop = stop.child_token();
    let token = controller_stop.clone();
    let mut controller = tasks::spawn("controller", async move {
        super::controller::of(
            controller_node::run(controller_settings, token, told(controller_is_ready)).await,
        )
    });
    let controller_url = match start(&mut controller, controller_ready).await {
        Ok(Ok(url)) => url,
        ended => {
            agent_stop.cancel();
            let _farewell = agent.await;
            return ended.map(|ended| ended.err().unwrap_or(Exit::Done));
        }
    };

    let registration = tasks::spawn(
        "registration",
        register(
            controller_url.clone(),
            controller_data.clone(),
            tls,
            agent_name.clone(),
            agent_url.clone(),
        ),
    );
    let welcome = welcome(
        &data,
        &controller_url,
        &controller_data,
        &agent_name,
        &agent_url,
    );
    announce_at(&controller_data, &controller_url, &welcome);

    // One without the other is no standalone: whoever ends first takes the other along.
    let exit = tokio::select! {
        ended = &mut controller => {
            agent_stop.cancel();
            let other = agent.await?;
            ended?.and_then(|exit| other.map(|_| exit))
        }
        ended = &mut agent => {
            controller_stop.cancel();
            let other = controller.await?;
            ended?.and_then(|exit| other.map(|other| if exit == Exit::Done { other } else { exit }))
        }
    };
    registration.abort();
    exit
}

/// Passes the URL of a part on that has started.
fn told(sender: oneshot::Sender<String>) -> impl FnOnce(&str) + Send {
    move |url| {
        // Whoever waited has gone only if the process is ending.
        let _nobody_waits = sender.send(reachable(url));
    }
}

/// A part that listens everywhere is reached on the loopback.
fn reachable(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}

/// The URL of a part, or how it ended before it was ready.
async fn start(
    part: &mut JoinHandle<anyhow::Result<Exit>>,
    ready: oneshot::Receiver<String>,
) -> anyhow::Result<Result<String, Exit>> {
    tokio::select! {
        biased;
        Ok(url) = ready => Ok(Ok(url)),
        ended = part => ended?.map(Err),
    }
}

/// Makes the Agent known to the Controller, again and again until it is.
async fn register(
    url: String,
    data: std::path::PathBuf,
    tls: Option<TlsClient>,
    agent: String,
    agent_url: String,
) {
    loop {
        match try_register(&url, &data, tls.clone(), &agent, &agent_url).await {
            Ok(false) => return,
            Ok(true) => {
                return tracing::info!(
                    agent,
                    uri = agent_url,
                    "the Agent has been made known to the Controller"
                );
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the Agent cannot be made known to the Controller yet"
                );
                tokio::time::sleep(REGISTRATION_PAUSE).await;
            }
        }
    }
}

async fn try_register(
    url: &str,
    data: &Path,
    tls: Option<TlsClient>,
    agent: &str,
    agent_url: &str,
) -> anyhow::Result<bool> {
    let file = data.join(ADMIN_TOKEN_FILE);
    let token = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let credentials = Credentials::Bearer(Secret::new(token.trim()));
    let controller = Controller::new(ClientSettings {
        tls,
        credentials,
        ..ClientSettings::new(url)
    })?;
    let known = controller.items().await?;
    let find = |kind, name: &str| Target::Simple(model::ItemKey::simple(kind, name)).find(&known);
    let mut lines = String::new();
    // What an operator has changed of his Agent stays; only the address is ours.
    let subagent = if let Some(item) = find(ItemType::AgentRef, agent) {
        let item: serde_json::Value =
            serde_json::from_str(&controller.item_text(&item.key).await?)?;
        let director = item
            .get("directors")
            .and_then(|directors| directors.get(0)?.as_str());
        director.map_or_else(|| director_of(agent), str::to_owned)
    } else {
        let item = json!({"TYPE": "AgentRef", "path": agent, "directors": [director_of(agent)]});
        lines += &format!("{}\n", json!({"TYPE": "AddOrChangeSimple", "item": item}));
        director_of(agent)
    };
    let mut item = match find(ItemType::SubagentItem, &subagent) {
        Some(item) => serde_json::from_str(&controller.item_text(&item.key).await?)?,
        None => json!({"TYPE": "SubagentItem", "id": subagent, "agentPath": agent}),
    };
    if item.get("uri").and_then(serde_json::Value::as_str) != Some(agent_url) {
        item["uri"] = agent_url.into();
        lines += &format!("{}\n", json!({"TYPE": "AddOrChangeSimple", "item": item}));
    }
    if lines.is_empty() {
        return Ok(false);
    }
    controller.change_items(lines).await?;
    Ok(true)
}

fn director_of(agent: &str) -> String {
    format!("{agent}-0")
}

fn welcome(data: &Path, url: &str, controller_data: &Path, agent: &str, agent_url: &str) -> String {
    let token = controller_data.join(ADMIN_TOKEN_FILE);
    let place = if data == default_data() {
        String::new()
    } else {
        format!("  export MAINSPRING_DATA={}\n", data.display())
    };
    format!(
        "Mainspring {} is running in {}\n\n  Controller  {url}\n  Agent       {agent}, {agent_url}\n  Token       {} (user admin)\n
Try in another terminal:\n{place}  mainspring status\n  mainspring deploy FILE…\n  mainspring order add WORKFLOW --wait\n  mainspring events\n\nCtrl-C ends it in order.",
        env!("CARGO_PKG_VERSION"),
        data.display(),
        token.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::PartArgs;
    use crate::part::note_url;

    fn args(settings: &[(&str, &str)]) -> StandaloneArgs {
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let part = PartArgs {
            settings,
            ..PartArgs::default()
        };
        StandaloneArgs {
            part,
            name: None,
            agent_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        }
    }

    #[test]
    fn both_parts_live_in_one_directory_and_the_controller_knows_the_agents_token() {
        let dir = tempfile::TempDir::new().unwrap();
        let settings = super::settings(&args(&[]), &Access::default(), dir.path()).unwrap();
        assert_eq!(settings.controller.data, dir.path().join("controller"));
        assert_eq!(settings.agent.data, dir.path().join("agent"));
        assert_eq!(
            settings.controller.agent_token_files[&settings.agent.name],
            dir.path().join("agent/private/token")
        );
    }

    #[test]
    fn an_agent_on_any_port_keeps_the_port_of_its_first_start() {
        let dir = tempfile::TempDir::new().unwrap();
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        note_url(&dir.path().join("agent"), &format!("http://{free}")).unwrap();
        let settings = super::settings(&args(&[]), &Access::default(), dir.path()).unwrap();
        assert_eq!(settings.agent.listen, free);
    }

    #[test]
    fn a_misspelt_setting_is_named_with_the_nearest_one() {
        let error = super::settings(
            &args(&[("agent.nam", "A")]),
            &Access::default(),
            Path::new("x"),
        )
        .unwrap_err();
        assert!(error.to_string().contains("did you mean"), "{error}");
    }
}
