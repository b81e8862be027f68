//! Forgetting everything: what a reset does to the log and to the jobs.
//!
//! Always: the log is put aside in one step that survives a power loss, before the first job is ended: a crash in between comes back
//! either as the old Agent with its orders or as one that has nothing. Jobs that cannot be reached end by their Subagent's own
//! rules. Never here: the command; see `api`.

use crate::drivers::Dialling;
use crate::machine::AgentMachine;
use futures::future::join_all;
use model::{Attempt, MemberRun, Problem, SubagentCommand, SubagentEvent};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use subagent_node::{LinkError, Linked, Subagent, SubagentLink};
use tokio::time::timeout;

/// How long jobs that got SIGKILL may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the log is put aside, in the data directory.
const ASIDE: &str = "state.reset";
/// Says that the Agent is to begin anew, also where an empty directory would wait for another Director.
const BEGIN: &str = "state.begin";

/// The log cannot be put aside.
#[derive(Debug, thiserror::Error)]
#[error("the log in {} cannot be put aside for the reset: {source}", path.display())]
pub struct ForgetError {
    /// The log's directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Removes what an earlier reset has put aside and not got round to remove. It is of no use to anybody.
pub(crate) fn tidy(data: &Path) {
    let aside = data.join(ASIDE);
    if let Err(error) = fs::remove_dir_all(&aside)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %aside.display(), %error, "the log of a life that has been reset cannot be removed; remove it by hand");
    }
}

/// Whether the Agent was reset and its first Director is to begin anew, instead of waiting for the other one.
pub(crate) fn is_to_begin(data: &Path) -> bool {
    data.join(BEGIN).exists()
}

/// The Agent has begun anew.
pub(crate) fn has_begun(data: &Path) {
    if let Err(error) = fs::remove_file(data.join(BEGIN))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the note that a reset is under way cannot be removed");
    }
}

/// Puts the log aside. It must be closed.
pub(crate) fn put_aside(data: &Path) -> Result<(), ForgetError> {
    let path = data.join("state");
    tidy(data);
    settings::replace_private_file(&data.join(BEGIN), b"").map_err(|source| ForgetError {
        path: data.join(BEGIN),
        source,
    })?;
    fs::rename(&path, data.join(ASIDE))
        .and_then(|()| File::open(data)?.sync_all())
        .map_err(|source| ForgetError { path, source })
}

/// Ends the jobs in all Subagents, the own one and the others, as far as they can be reached.
pub(crate) async fn end_all_jobs(
    machine: &AgentMachine,
    (epoch, from): (u64, MemberRun),
    local: &Subagent,
    dialling: &Dialling,
) {
    let state = &machine.state;
    let Some(meta) = state.meta() else { return };
    let mut endings = Vec::new();
    for (id, subagent) in state.subagents() {
        let Some(item) = subagent.item.as_ref() else {
            continue;
        };
        let is_local = state.local_subagent() == Some(id);
        let link = if is_local {
            Ok(dialling.own(local.clone(), state))
        } else {
            dialling.dial(item, state.directors().contains(id))
        };
        let Ok(link) = link else {
            continue;
        };
        let me = Linked {
            subagent_id: id.clone(),
            agent_path: meta.agent_path.clone(),
            agent_run_id: meta.agent_run_id.clone(),
            controller_id: meta.controller_id.clone(),
            epoch,
            from: from.clone(),
        };
        endings.push(async move {
            let problem = match timeout(PATIENCE, end_jobs(&link, &me)).await {
                Ok(Ok(ended)) => {
                    return tracing::info!(subagent = %me.subagent_id, jobs = ended, "the Subagent's jobs have been ended");
                }
                Ok(Err(error)) => error.problem(),
                Err(_elapsed) => Problem::plain("its jobs have not ended in time"),
            };
            tracing::warn!(subagent = %me.subagent_id, %problem, "the Subagent's jobs cannot be ended now; it ends them when the Agent's next life takes it, or when its lease is over");
        });
    }
    join_all(endings).await;
}

/// Kills the Subagent's jobs and takes what they still say, so that none is held up by a full report; answers how many there were.
async fn end_jobs(link: &SubagentLink, me: &Linked) -> Result<usize, LinkError> {
    let taken = link.dedicate(me).await?;
    let (coupling, begin) = (taken.coupling, taken.begins_after);
    let mut running = link.couple(me, &taken, begin).await?;
    let count = running.len();
    let mut events = link.events(&taken.run_id, taken.coupling, begin).await?;
    let kill = |attempt: &Attempt| SubagentCommand::KillProcess {
        attempt: attempt.clone(),
        immediately: true,
    };
    let mut number = 1;
    link.commands(coupling, number, running.iter().map(kill).collect())
        .await?;
    while !running.is_empty() {
        let reported = events.next().await?;
        for stamped in &reported {
            if let SubagentEvent::OrderProcessed { attempt, .. } = &stamped.event {
                running.retain(|known| known != attempt);
            }
        }
        if let Some(last) = reported.last() {
            let until_event_id = last.event_id;
            let release = SubagentCommand::ReleaseEvents { until_event_id };
            number += 1;
            link.commands(coupling, number, vec![release]).await?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_put_aside_whole_and_what_an_earlier_reset_left_goes() {
        let data = tempfile::TempDir::new().unwrap();
        let at = |name: &str| data.path().join(name);
        for dir in ["state", "state.reset", "private"] {
            fs::create_dir(at(dir)).unwrap();
        }
        fs::write(at("state/log"), "new").unwrap();
        fs::write(at("state.reset/rest"), "old").unwrap();
        put_aside(data.path()).unwrap();
        assert!(!at("state").exists(), "the next life begins without a log");
        assert!(at("state.reset/log").exists() && !at("state.reset/rest").exists());
        assert!(at("private").exists(), "tokens are kept");
        tidy(data.path());
        assert!(!at("state.reset").exists());
        tidy(data.path());
    }

    #[test]
    fn a_log_that_cannot_be_put_aside_is_named() {
        let data = tempfile::TempDir::new().unwrap();
        let told = put_aside(data.path()).unwrap_err().to_string();
        assert!(told.contains("state cannot be put aside"), "{told}");
    }
}
