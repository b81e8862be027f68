//! A connection that gives up on a peer that accepts nothing, or hardly anything, of what is written.
//! Always: time counts only while there is something to write and the peer accepts none of it. Reading has its own limits elsewhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::connections::Connection;

/// Minimum rate of a peer, in bytes per second of waiting for it. A slower peer only occupies resources that others need.
const LEAST_RATE: u64 = 1024;

pub(crate) struct Impatient<T> {
    io: T,
    limit: Duration,
    stalled: Option<Stall>,
    /// Time spent waiting for the peer since its rate was last checked.
    waited: Duration,
    /// Bytes that the peer accepted in that time.
    taken: u64,
    /// Keeps the connection counted as long as its socket is open, also after an upgrade.
    _connection: Connection,
}

struct Stall {
    since: Instant,
    over: Pin<Box<Sleep>>,
}

impl<T> Impatient<T> {
    pub(crate) fn new(io: T, limit: Duration, connection: Connection) -> Impatient<T> {
        Impatient {
            io,
            limit,
            stalled: None,
            waited: Duration::ZERO,
            taken: 0,
            _connection: connection,
        }
    }

    fn judge<R>(
        &mut self,
        outcome: Poll<io::Result<R>>,
        taken: impl Fn(&R) -> usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        let limit = self.limit;
        if let Poll::Ready(Ok(done)) = &outcome {
            self.taken += taken(done) as u64;
        }
        if outcome.is_ready() {
            if let Some(stall) = self.stalled.take() {
                self.waited += stall.since.elapsed();
            }
            if self.waited > limit {
                let is_slow = self.taken < limit.as_secs().saturating_mul(LEAST_RATE);
                (self.waited, self.taken) = (Duration::ZERO, 0);
                if is_slow {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!(
                            "the peer took less than {LEAST_RATE} bytes in a second for {limit:?}"
                        ),
                    )));
                }
            }
            return outcome;
        }
        let stall = self.stalled.get_or_insert_with(|| Stall {
            since: Instant::now(),
            over: Box::pin(sleep(limit)),
        });
        std::task::ready!(stall.over.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the peer took nothing for {limit:?}"),
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.judge(outcome, |taken| *taken, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.judge(outcome, |taken| *taken, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(outcome, |()| 0, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.judge(outcome, |()| 0, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::connections::{ConnectionLimits, Connections};

    /// Writes to a peer that reads `piece` bytes at a time with a `pause` in between. Returns the error that ended it, if any.
    async fn write_to_a_peer_that_takes(piece: usize, pause: Duration) -> Option<io::Error> {
        let (near, mut far) = tokio::io::duplex(64);
        let connection = Connections::new(ConnectionLimits::of(4)).admit([127, 0, 0, 1].into());
        let mut near = Impatient::new(near, Duration::from_secs(1), connection);
        let taking = tokio::spawn(async move {
            let mut bytes = vec![0; piece];
            while far.read_exact(&mut bytes).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        let writing = async {
            loop {
                if let Err(error) = near.write_all(&[0; 32]).await {
                    break error;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), writing).await;
        taking.abort();
        ended.ok()
    }

    #[tokio::test]
    async fn a_peer_that_reads_too_slowly_is_disconnected_and_a_faster_one_is_not() {
        let ms = Duration::from_millis;
        let (slow, fast) = tokio::join!(
            write_to_a_peer_that_takes(1, ms(20)),
            write_to_a_peer_that_takes(4096, ms(1)),
        );
        assert_eq!(
            slow.map(|error| error.kind()),
            Some(io::ErrorKind::TimedOut)
        );
        assert!(fast.is_none(), "{fast:?}");
    }
}
