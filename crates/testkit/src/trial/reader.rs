//! A reader of the active member's events that goes on at the next active one behind the last event it has got.
//!
//! Always: what it has got was visible, so it must be there in the end, and nothing else. It keeps a number and a sum per event.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::courier::{Courier, another};

/// With a heartbeat each second, so much silence means that the stream is lost.
const PATIENCE: Duration = Duration::from_millis(2500);
const PAUSE: Duration = Duration::from_millis(10);

/// An event: its number, and a sum of its line.
pub(super) type Print = (u64, u64);

/// Reads until it is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    prints: Arc<Mutex<Vec<Print>>>,
    _reading: JoinSet<()>,
}

impl Reader {
    /// Reads from the oldest event on.
    pub(super) fn start(courier: Arc<Courier>) -> Reader {
        let prints = Arc::new(Mutex::new(Vec::new()));
        let mut reading = JoinSet::new();
        let kept = prints.clone();
        reading.spawn(async move {
            loop {
                read(&courier, &kept).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Reader {
            prints,
            _reading: reading,
        }
    }

    /// What it has got so far.
    pub(super) fn prints(&self) -> Vec<Print> {
        let prints = self.prints.lock().unwrap_or_else(PoisonError::into_inner);
        prints.clone()
    }
}

/// Reads until the stream ends or another member is active.
async fn read(courier: &Courier, prints: &Mutex<Vec<Print>>) {
    let mut found = courier.found();
    let member = found.borrow_and_update().member;
    let last = || {
        let prints = prints.lock().unwrap_or_else(PoisonError::into_inner);
        prints.last().map_or(0, |(id, _)| *id)
    };
    let path = format!("/controller/api/event?after={}&heartbeat=1", last());
    let reading = async {
        let client = courier.api(member).client();
        let Ok(mut stream) = client.get_stream(&path, PATIENCE).await else {
            courier.suspect();
            return;
        };
        while let Ok(Some(lines)) = stream.next_lines().await {
            let mut prints = prints.lock().unwrap_or_else(PoisonError::into_inner);
            prints.extend(lines.iter().filter_map(|line| print(line)));
        }
    };
    tokio::select! {
        () = reading => {}
        // The sender lives as long as the courier.
        _changed = another(&mut found, member) => {}
    }
}

/// Number and sum of a line; none for what is no event.
pub(super) fn print(line: &[u8]) -> Option<Print> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once("\"eventId\":")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
    let id = rest[..digits].parse().ok()?;
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    Some((id, hasher.finish()))
}
