//! A client that knows all members and finds the active one by itself.
//!
//! Always: a request goes to the member that was active last; when that one errs or is silent, all are asked at once who is active
//! now, and the request is repeated there. An order that was acknowledged twice is one order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::world::Api;

/// An answer takes a few milliseconds. After so long without one it is asked whether another member is active.
const SUSPICIOUS: Duration = Duration::from_millis(60);
/// A member that does not tell within this time whether it is active is not.
const TRY: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(5);
/// Nobody may be active for longer than this.
const PATIENCE: Duration = Duration::from_mins(1);

/// Who was found to be active, and how often somebody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which member.
    pub member: usize,
    /// Rises with each search.
    pub search: u64,
}

/// The client. Ends its searches when it is dropped.
#[derive(Debug)]
pub struct Courier {
    apis: Vec<Api>,
    found: watch::Receiver<Found>,
    suspicion: Arc<Notify>,
    _searching: JoinSet<()>,
}

impl Courier {
    /// Of these members; must be called in a runtime.
    pub fn new(apis: &[Api]) -> Courier {
        let (sender, found) = watch::channel(Found {
            member: 0,
            search: 0,
        });
        let suspicion = Arc::new(Notify::new());
        let mut searching = JoinSet::new();
        let (members, wanted) = (apis.to_vec(), suspicion.clone());
        searching.spawn(async move {
            loop {
                wanted.notified().await;
                let member = search(&members).await;
                sender.send_modify(|found| {
                    found.member = member;
                    found.search += 1;
                });
            }
        });
        Courier {
            apis: apis.to_vec(),
            found,
            suspicion,
            _searching: searching,
        }
    }

    /// Who is active, as far as known.
    pub fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// Asks for a new search.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// The API of a member.
    pub fn api(&self, member: usize) -> &Api {
        &self.apis[member]
    }

    /// Adds an order that starts at once; returns when it has been acknowledged.
    pub async fn add_order(&self, id: &str, workflow: &str) -> Result<()> {
        let order = json!({"id": id, "workflowPath": workflow});
        let command = json!({"TYPE": "AddOrder", "order": order});
        self.command(&command).await.map(drop)
    }

    /// Sends a command that may be repeated, until a member has taken it.
    pub async fn command(&self, command: &Value) -> Result<Value> {
        let mut found = self.found();
        let delivering = async {
            loop {
                let now = *found.borrow_and_update();
                if let Some(answer) = self.attempt(command, now, &mut found).await? {
                    return anyhow::Ok(answer);
                }
            }
        };
        timeout(PATIENCE, delivering)
            .await
            .with_context(|| format!("{command} is taken by nobody within {PATIENCE:?}"))?
    }

    async fn next_search(&self, now: Found) -> Result<()> {
        let mut found = self.found();
        found
            .wait_for(|later| later.search > now.search)
            .await
            .map(drop)?;
        Ok(())
    }

    /// Tries one member; none when there may be a better one by now.
    async fn attempt(
        &self,
        command: &Value,
        now: Found,
        found: &mut watch::Receiver<Found>,
    ) -> Result<Option<Value>> {
        let asking = self.apis[now.member].command(command);
        tokio::pin!(asking);
        let mut suspicious = Instant::now() + SUSPICIOUS;
        loop {
            tokio::select! {
                answer = &mut asking => match answer {
                    Ok(Ok(answer)) => return Ok(Some(answer)),
                    Ok(Err(refused)) if refused.status < 500 && refused.status != 429 => {
                        bail!("{command} was refused: {refused}");
                    }
                    Ok(Err(_)) | Err(_) => {
                        self.suspect();
                        self.next_search(now).await?;
                        return Ok(None);
                    }
                },
                changed = another(found, now.member) => {
                    changed?;
                    return Ok(None);
                }
                () = sleep_until(suspicious) => {
                    self.suspect();
                    suspicious = Instant::now() + SUSPICIOUS;
                }
            }
        }
    }
}

/// Waits until another member is active.
pub(super) async fn another(found: &mut watch::Receiver<Found>, member: usize) -> Result<()> {
    found
        .wait_for(|later| later.member != member)
        .await
        .map(drop)?;
    Ok(())
}

/// Asks all members at once, again and again, until one is active.
async fn search(apis: &[Api]) -> usize {
    loop {
        let mut asking = JoinSet::new();
        for (member, api) in apis.iter().cloned().enumerate() {
            asking.spawn(async move {
                let state = timeout(TRY, api.get("/controller/api/cluster")).await;
                let is_active = matches!(state, Ok(Ok(Ok(state))) if state["mayAnswer"] == true);
                is_active.then_some(member)
            });
        }
        while let Some(answer) = asking.join_next().await {
            if let Ok(Some(member)) = answer {
                return member;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
