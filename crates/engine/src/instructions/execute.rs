//! Execute: runs a job at its Agent.

use super::{Doing, Here};
use crate::obstacle;
use model::{AgentPath, Obstacle, Problem};

pub(crate) fn next(here: &Here<'_>) -> Doing {
    match agent(here) {
        Some(agent) => Doing::Job(agent.clone()),
        None => Doing::Faulty(Problem::plain(format!(
            "The job at position {} is not defined in Workflow:{}",
            here.position, here.workflow.id
        ))),
    }
}

pub(crate) fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    let attached_to = here.order.attached_to()?;
    (agent(here) == Some(attached_to)).then(|| Obstacle::WaitingForProcess {
        since: obstacle::since(here.order, here.now),
    })
}

/// The Agent of the job here.
fn agent<'a>(here: &Here<'a>) -> Option<&'a AgentPath> {
    here.workflow.job(here.position).map(|(_, job)| &job.agent)
}
