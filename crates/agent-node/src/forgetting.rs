//! Resetting a pair of Directors, one after the other, by the one who has the Agent reset.
//!
//! Always: first the active Director goes on alone, so that nobody gets back from the other one what it has forgotten; then each forgets,
//! and the first of the Agent's directors last: it begins the Agent anew, and the other one waits to be taken in. Never here: the
//! forgetting itself; see `reset`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use model::{AgentAnswer, Problem, RunId};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Where a Director is told to.
pub(crate) const PATH: &str = "/agent/api/cluster/reset";

/// One step of the reset of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Step {
    /// The life that is to be forgotten; without it, whichever there is.
    pub(crate) agent_run_id: Option<RunId>,
    /// Only to go on alone.
    #[serde(default)]
    pub(crate) part: bool,
}

/// A step, and who waits for it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) step: Step,
    pub(crate) done: oneshot::Sender<Result<(), Problem>>,
}

impl Asked {
    pub(crate) fn answer(self, answer: Result<(), Problem>) {
        // Whoever asked may be gone.
        let _unheard = self.done.send(answer);
    }

    /// Whether the life `known` is to be forgotten; then whom to tell. Everything else is answered here.
    pub(crate) fn judged(self, known: Option<&RunId>) -> Option<oneshot::Sender<()>> {
        let Some(known) = known.filter(|_| !self.step.part) else {
            // There is nothing to forget, or nobody to part from.
            self.answer(Ok(()));
            return None;
        };
        if self
            .step
            .agent_run_id
            .as_ref()
            .is_some_and(|asked| asked != known)
        {
            let message = "the life that is to be reset is over; by now the Agent has another one";
            self.answer(Err(Problem::new("AgentRunIdMismatch", message)));
            return None;
        }
        let (forgotten, heard) = oneshot::channel();
        tasks::spawn("forgetting", async move {
            if heard.await.is_ok() {
                self.answer(Ok(()));
            }
        });
        Some(forgotten)
    }
}

pub(crate) fn router(asked: mpsc::Sender<Asked>) -> Router {
    Router::new().route(PATH, post(forget)).with_state(asked)
}

async fn forget(State(asked): State<mpsc::Sender<Asked>>, Json(step): Json<Step>) -> Response {
    let (done, answer) = oneshot::channel();
    let busy = || {
        Problem::new(
            "AgentIsBusy",
            "this Director is just about to end or to change its part; ask again",
        )
    };
    let problem = if asked.try_send(Asked { step, done }).is_err() {
        busy()
    } else {
        match answer.await {
            Ok(Ok(())) => return Json(AgentAnswer::Accepted).into_response(),
            Ok(Err(problem)) => problem,
            Err(_gone) => busy(),
        }
    };
    Json(AgentAnswer::from(problem)).into_response()
}
