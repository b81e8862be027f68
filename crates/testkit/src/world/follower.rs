//! A reader of a Controller's event stream that resumes after the last event it has got.
//!
//! Always: after any break it goes on behind the last number; a number that does not increase is noted as a fault, never swallowed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use net::Client;
use tokio::task::JoinHandle;

use super::history::{History, Seen};

/// Nothing, not even a heartbeat, for so long means that the stream is lost.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Reads until it is dropped.
#[derive(Debug)]
pub struct Follower {
    history: History,
    faults: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Reads all events from the oldest one on.
    pub fn start(client: Client) -> Follower {
        let history = History::default();
        let faults = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(follow(client, history.clone(), faults.clone()));
        Follower {
            history,
            faults,
            task,
        }
    }

    /// What it has read.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What was wrong with what it has read.
    pub fn faults(&self) -> Vec<String> {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(client: Client, history: History, faults: Arc<Mutex<Vec<String>>>) {
    let note = |fault: String| {
        faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    };
    loop {
        let after = history.last_event_id();
        let path = format!("/controller/api/event?after={after}&heartbeat=1");
        match client.get_stream(&path, PATIENCE).await {
            Ok(mut stream) => {
                while let Ok(Some(line)) = stream.next_line().await {
                    match Seen::from_line(&line) {
                        Ok(seen) if seen.event_id > history.last_event_id() => history.push(seen),
                        Ok(seen) => note(format!(
                            "event {} came after event {}",
                            seen.event_id,
                            history.last_event_id()
                        )),
                        Err(error) => note(format!("{error:#}")),
                    }
                }
            }
            Err(error) if error.is_transient() => {}
            Err(error) => note(format!("after event {after}: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
