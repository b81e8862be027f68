//! The event streams of the coupled Controller. They show the Agent whether the Controller is connected.
//!
//! Always: a stream counts as open until its connection has ended. This includes a connection that ends only because nothing that is sent
//! is acknowledged ([`UNACKNOWLEDGED_MAX`]). The streams of earlier couplings end when a later one begins. Never here: which Controller may
//! couple.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A connection is closed when the other side has acknowledged nothing for this long. Thus a host that has vanished makes room for its
/// successor. Something is sent every second ([`HEARTBEAT_MAX`]).
pub(crate) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);
/// The longest pause between two messages in the event stream of a coupling.
pub(crate) const HEARTBEAT_MAX: Duration = Duration::from_secs(1);

/// Records which couplings have open streams.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Option<Open>>>);

struct Open {
    coupling: u64,
    count: usize,
    superseded: CancellationToken,
}

/// An open stream. Dropping this closes the stream.
pub(crate) struct OpenStream {
    streams: Streams,
    coupling: u64,
    /// Cancelled when a later coupling has begun.
    pub(crate) superseded: CancellationToken,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest coupling that has an open stream.
    pub(crate) fn connected(&self) -> Option<u64> {
        self.lock().as_ref().map(|open| open.coupling)
    }

    /// Ends the streams of earlier couplings, because the Controller was given this one.
    pub(crate) fn coupled(&self, coupling: u64) {
        if let Some(open) = self.lock().as_ref()
            && open.coupling < coupling
        {
            open.superseded.cancel();
        }
    }

    /// Opens a stream of this coupling. Returns `None` if a stream of a later coupling is open.
    pub(crate) fn open(&self, coupling: u64) -> Option<OpenStream> {
        let mut known = self.lock();
        let superseded = match &mut *known {
            Some(open) if open.coupling > coupling => return None,
            Some(open) if open.coupling == coupling => {
                open.count += 1;
                open.superseded.clone()
            }
            other => {
                if let Some(earlier) = other {
                    earlier.superseded.cancel();
                }
                let superseded = CancellationToken::new();
                *other = Some(Open {
                    coupling,
                    count: 1,
                    superseded: superseded.clone(),
                });
                superseded
            }
        };
        Some(OpenStream {
            streams: self.clone(),
            coupling,
            superseded,
        })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut known = self.streams.lock();
        if let Some(open) = &mut *known
            && open.coupling == self.coupling
        {
            open.count -= 1;
            if open.count == 0 {
                *known = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coupling_is_connected_until_its_last_stream_is_closed() {
        let streams = Streams::default();
        let first = streams.open(3).expect("the first one");
        let second = streams.open(3).expect("a second one");
        drop(first);
        assert_eq!(streams.connected(), Some(3));
        drop(second);
        assert_eq!(streams.connected(), None);
    }

    #[test]
    fn a_later_coupling_ends_the_streams_of_an_earlier_one() {
        let streams = Streams::default();
        let earlier = streams.open(3).expect("the first one");
        streams.coupled(4);
        assert!(earlier.superseded.is_cancelled());
        let later = streams.open(4).expect("a later one");
        assert!(streams.open(3).is_none());
        drop(earlier);
        assert_eq!(streams.connected(), Some(4));
        assert!(!later.superseded.is_cancelled());
    }
}
