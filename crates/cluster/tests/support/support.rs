//! Shared parts of the tests of members that are connected with each other.

use std::time::Duration;

use bytes::Bytes;
use cluster::{Batch, Log};
use tokio::task::JoinHandle;

/// Returns a batch with one event, of some hundred bytes.
pub(crate) fn batch(id: u64) -> Batch {
    let pad = "x".repeat(300);
    Batch {
        last_event_id: id,
        body: Bytes::from(format!("{{\"eventId\":{id},\"pad\":\"{pad}\"}}\n")),
    }
}

/// A connection between two members. Dropping this cuts it.
pub(crate) struct Wire(pub(crate) JoinHandle<()>, pub(crate) JoinHandle<()>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
        self.1.abort();
    }
}

pub(crate) fn wire(a: &Log, b: &Log) -> Wire {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (a, b) = (a.clone(), b.clone());
    Wire(
        tokio::spawn(async move { drop(a.serve(near).await) }),
        tokio::spawn(async move { drop(b.serve(far).await) }),
    )
}

/// Waits until the condition holds, for half a minute at most.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain waited for: {what}");
}
