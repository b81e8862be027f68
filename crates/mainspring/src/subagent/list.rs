//! `subagent list|show`: how the Subagents stand, and what runs there.

use crate::call::{AgentSeen, Controller, SubagentSeen};
use crate::exit::Exit;
use crate::screen::{Paint, Screen, Tone};
use crate::status::state_cell;
use crate::table::{Cell, Table};
use serde_json::Value;

pub(crate) async fn list(controller: &Controller, screen: &Screen) -> anyhow::Result<Exit> {
    if screen.json {
        let told = controller.agents_as_told().await?;
        screen.say_json(&flattened(&told))?;
        return Ok(Exit::Done);
    }
    let agents = controller.agents().await?;
    if agents.iter().all(|agent| agent.subagents.is_empty()) {
        screen.remark("no Subagents; deploy a SubagentItem for each");
        return Ok(Exit::Done);
    }
    screen.say(&draw(&agents, screen.paint))?;
    Ok(Exit::Done)
}

pub(crate) async fn show(
    name: &str,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    if screen.json {
        let told = controller.agents_as_told().await?;
        let mut subagents = flattened(&told).into_iter();
        let Some(subagent) = subagents.find(|subagent| subagent["id"] == name) else {
            return Err(unknown(name));
        };
        screen.say_json(&subagent)?;
        return Ok(Exit::Done);
    }
    let agents = controller.agents().await?;
    let Some((agent, subagent)) = find(&agents, name) else {
        return Err(unknown(name));
    };
    screen.say(&described(agent, subagent, screen.paint))?;
    Ok(Exit::Done)
}

/// A Subagent of this name, with its Agent.
pub(super) fn find<'a>(
    agents: &'a [AgentSeen],
    name: &str,
) -> Option<(&'a AgentSeen, &'a SubagentSeen)> {
    let all = agents.iter().flat_map(|agent| {
        agent
            .subagents
            .iter()
            .map(move |subagent| (agent, subagent))
    });
    let mut all = all;
    all.find(|(_, subagent)| subagent.id == name)
}

pub(super) fn unknown(name: &str) -> anyhow::Error {
    anyhow::anyhow!("there is no Subagent {name}; see mainspring subagent list")
}

/// The Subagents of all Agents as the Controller tells them, each with its Agent's name.
fn flattened(told: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for agent in told["agents"].as_array().into_iter().flatten() {
        for subagent in agent["subagents"].as_array().into_iter().flatten() {
            let mut subagent = subagent.clone();
            subagent["agentPath"] = agent["agentPath"].clone();
            all.push(subagent);
        }
    }
    all
}

fn draw(agents: &[AgentSeen], paint: Paint) -> String {
    let heads = [
        "SUBAGENT",
        "AGENT",
        "STATE",
        "PROCESSES",
        "AT",
        "HOST",
        "CLUSTERS",
        "PROBLEM",
    ];
    let mut table = Table::new(&heads);
    for agent in agents {
        for subagent in &agent.subagents {
            let host = subagent.platform_info.as_ref();
            let host = host.map_or(String::new(), |info| info.hostname.to_string());
            let clusters: Vec<&str> = subagent.clusters.keys().map(String::as_str).collect();
            let problem = subagent.problem.as_ref();
            table.row([
                Cell::toned(Tone::Strong, subagent.id.as_str()),
                agent.agent_path.as_str().into(),
                state(subagent),
                processes(subagent).into(),
                subagent.uri.clone().unwrap_or_default().into(),
                host.into(),
                clusters.join(", ").into(),
                Cell::toned(
                    Tone::Bad,
                    problem.map(ToString::to_string).unwrap_or_default(),
                ),
            ]);
        }
    }
    table.draw(paint)
}

fn state(subagent: &SubagentSeen) -> Cell {
    let is_connected = ["", "Connected"].contains(&subagent.connection.connection.as_str())
        && subagent.coupling_state == "Coupled";
    match (is_connected, subagent.is_drained, subagent.disabled) {
        (true, true, _) => Cell::toned(Tone::Waiting, "disabled, idle"),
        (true, false, true) => Cell::toned(Tone::Waiting, "disabled"),
        (true | false, _, _) => state_cell(
            &subagent.connection,
            &subagent.coupling_state,
            subagent.problem.is_some(),
        ),
    }
}

/// `3, 1 order keeps to it`
fn processes(subagent: &SubagentSeen) -> String {
    let count = subagent.process_count;
    match subagent.tied_order_count {
        0 => count.to_string(),
        1 => format!("{count}, 1 order keeps to it"),
        ties => format!("{count}, {ties} orders keep to it"),
    }
}

fn described(agent: &AgentSeen, subagent: &SubagentSeen, paint: Paint) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let name = paint.put(Tone::Faint, &format!("{name:10}"));
        text += &format!("{name} {value}\n");
    };
    field("subagent", &paint.put(Tone::Strong, &subagent.id));
    field("agent", &agent.agent_path);
    field("state", &state(subagent).draw(paint));
    field("processes", &processes(subagent));
    field("at", subagent.uri.as_deref().unwrap_or_default());
    if let Some(info) = &subagent.platform_info {
        let host = format!(
            "{} ({}, version {})",
            info.hostname, info.system, info.version
        );
        field("host", &host);
    }
    for (cluster, priority) in &subagent.clusters {
        field("cluster", &format!("{cluster}, priority {priority}"));
    }
    if let Some(problem) = &subagent.problem {
        field("problem", &paint.put(Tone::Bad, &problem.to_string()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(fields: &str) -> SubagentSeen {
        serde_json::from_str(&format!(
            r#"{{"id":"S","couplingState":"Coupled"{fields}}}"#
        ))
        .expect("a Subagent")
    }

    #[test]
    fn a_subagent_is_told_with_what_keeps_it_from_going() {
        let plain = Paint { is_on: false };
        let told = |fields: &str| {
            let subagent = seen(fields);
            (state(&subagent).draw(plain), processes(&subagent))
        };
        let expected = |state: &str, processes: &str| (state.to_owned(), processes.to_owned());
        assert_eq!(told(""), expected("connected", "0"));
        assert_eq!(
            told(r#","disabled":true,"processCount":2,"tiedOrderCount":1"#),
            expected("disabled", "2, 1 order keeps to it")
        );
        assert_eq!(
            told(r#","disabled":true,"isDrained":true"#),
            expected("disabled, idle", "0")
        );
    }
}
