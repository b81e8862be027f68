//! `status` and `agent list`: how the Controller and its Agents fare.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ClusterState;
use serde_json::json;

use crate::arguments::Access;
use crate::call::{AgentSeen, ConnectionSeen, Controller, JournalSeen};
use crate::exit::Exit;
use crate::moment;
use crate::screen::{Paint, Screen, Tone};
use crate::table::{Cell, Table};

pub(crate) async fn agents(access: &Access, screen: &Screen) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    if screen.json {
        screen.say_json(&controller.agents_as_told().await?)?;
        return Ok(Exit::Done);
    }
    let agents = controller.agents().await?;
    if agents.is_empty() {
        screen.remark("no Agents; deploy an AgentRef and its SubagentItem");
        return Ok(Exit::Done);
    }
    screen.say(&draw_agents(&agents, screen.paint))?;
    Ok(Exit::Done)
}

pub(crate) async fn status(access: &Access, screen: &Screen) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    if screen.json {
        let overview = controller.overview_as_told().await?;
        let agents = controller.agents_as_told().await?;
        screen.say_json(&json!({"controller": overview, "agents": agents["agents"]}))?;
        return Ok(Exit::Done);
    }
    let overview = controller.overview().await?;
    let mut text = format!(
        "{} {}  {}\n",
        screen.paint.put(Tone::Strong, "Controller"),
        screen.paint.put(Tone::Strong, &overview.id),
        screen.paint.put(
            Tone::Faint,
            &format!("version {} at {}", overview.version, controller.url())
        )
    );
    if let Some(at) = overview.started_at {
        text += &format!(
            "started {}, {} ago\n",
            moment::full(at),
            moment::span(moment::now().since(at))
        );
    }
    let agents = controller.agents().await?;
    if agents.is_empty() {
        text += "\nno Agents; deploy an AgentRef and its SubagentItem\n";
    } else {
        text += &format!("\n{}", draw_agents(&agents, screen.paint));
    }
    text += &format!(
        "\n{}",
        draw_counts(
            overview.order_count,
            &overview.order_count_by_state,
            screen.paint
        )
    );
    if let Some(journal) = &overview.journal {
        text += &format!("\n{}", draw_journal(journal, screen.paint));
    }
    screen.say(&text)?;
    Ok(Exit::Done)
}

fn draw_agents(agents: &[AgentSeen], paint: Paint) -> String {
    let mut table = Table::new(&[
        "AGENT",
        "STATE",
        "AT",
        "HOST",
        "ORDERS",
        "LAST HEARD",
        "PROBLEM",
    ]);
    for agent in agents {
        let host = agent.platform_info.as_ref().map_or(String::new(), |info| {
            format!("{} ({})", info.hostname, info.version)
        });
        let problem = agent
            .problem
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        table.row([
            Cell::toned(Tone::Strong, agent.agent_path.as_str()),
            state_cell(
                &agent.connection,
                &agent.coupling_state,
                agent.problem.is_some(),
            ),
            directors(agent),
            host.into(),
            orders(agent).into(),
            agent
                .last_event_at
                .map_or(String::new(), |at| {
                    format!("{} ago", moment::span(moment::now().since(at)))
                })
                .into(),
            Cell::toned(Tone::Bad, problem),
        ]);
        for subagent in &agent.subagents {
            let host = subagent
                .platform_info
                .as_ref()
                .map_or(String::new(), |info| info.hostname.to_string());
            let problem = subagent
                .problem
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            table.row([
                format!("  {}", subagent.id).into(),
                state_cell(
                    &subagent.connection,
                    &subagent.coupling_state,
                    subagent.problem.is_some(),
                ),
                subagent.uri.clone().unwrap_or_default().into(),
                host.into(),
                String::new().into(),
                String::new().into(),
                Cell::toned(Tone::Bad, problem),
            ]);
        }
    }
    table.draw(paint)
}

/// `Primary active, coupled`; nothing of a Director that is alone.
fn directors(agent: &AgentSeen) -> Cell {
    let cluster = &agent.cluster;
    if let Some(setting) = agent.last_known_cluster.setting() {
        let text = format!("unknown, {} was active", setting.active_id);
        return Cell::toned(Tone::Bad, text);
    }
    let Some(setting) = cluster.setting() else {
        return String::new().into();
    };
    let (tone, stands) = if matches!(cluster, ClusterState::Coupled { .. }) {
        (Tone::Good, "coupled")
    } else {
        (Tone::Waiting, "the other Director lacks events or is away")
    };
    Cell::toned(tone, format!("{} active, {stands}", setting.active_id))
}

/// Returns how an Agent or a Subagent is connected, and for how long it has been disconnected.
pub(crate) fn state_cell(
    connection: &ConnectionSeen,
    coupling_state: &str,
    has_problem: bool,
) -> Cell {
    let (tone, state) = match (connection.connection.as_str(), coupling_state) {
        ("Connected", _) => return Cell::toned(Tone::Good, "connected"),
        ("Unreachable", _) => (Tone::Bad, "unreachable"),
        ("Unknown", _) => (Tone::Bad, "unknown"),
        ("ShutDown", _) | ("", "ShutDown") => (Tone::Waiting, "shut down"),
        ("Resetting", _) | ("", "Resetting") => (Tone::Bad, "to be reset"),
        ("", "Coupled") if !has_problem => (Tone::Good, "connected"),
        ("", _) if has_problem => (Tone::Bad, "not connected"),
        (_, _) => (Tone::Waiting, "connecting"),
    };
    let text = match connection.seconds_since_connection_change {
        Some(seconds) => format!("{state} for {}", moment::span(Duration::from_secs(seconds))),
        None => state.to_owned(),
    };
    Cell::toned(tone, text)
}

fn draw_counts(count: u64, by_state: &BTreeMap<String, u64>, paint: Paint) -> String {
    let mut text = format!("{} {count}\n", paint.put(Tone::Strong, "Orders"));
    for (state, count) in by_state {
        let tone = match state.as_str() {
            "Finished" => Tone::Good,
            "Processing" | "Processed" | "Ready" => Tone::Busy,
            "Fresh" | "Forked" | "Sleeping" | "DelayingRetry" => Tone::Waiting,
            _ => Tone::Bad,
        };
        text += &format!("  {:>8}  {}\n", count, paint.put(tone, state));
    }
    text
}

/// `12, 3 to send`
fn orders(agent: &AgentSeen) -> String {
    match agent.pending_command_count {
        0 => agent.order_count.to_string(),
        pending => format!("{}, {pending} to send", agent.order_count),
    }
}

fn draw_journal(journal: &JournalSeen, paint: Paint) -> String {
    let mut text = format!(
        "{} {} bytes in {} segments, up to event {}",
        paint.put(Tone::Strong, "Journal"),
        journal.bytes,
        journal.segments,
        journal.committed_event_id
    );
    if journal.torn_event_id > 0 {
        text += &format!(", kept behind event {}", journal.torn_event_id);
    }
    if journal.snapshot_event_id > 0 {
        text += &format!(", snapshot at {}", journal.snapshot_event_id);
    }
    text + "\n"
}
