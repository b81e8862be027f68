//! Streams of JSON lines: the server's body with heartbeats, the client's decoder and its watch over silence.
//!
//! Always: a line is passed on as the bytes it came in, a lone `\n` is a heartbeat and never a line, and a line has a greatest length.
//! Never here: what a line says, and from where a broken stream resumes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use memchr::memchr;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::listen::Closing;
use crate::trouble::{ClientError, Outage};

/// The content type of a stream of JSON lines.
pub const NDJSON: &str = "application/x-ndjson";

const HEARTBEAT: Bytes = Bytes::from_static(b"\n");

/// Answers with a stream: each chunk holds whole lines. With a heartbeat, one is sent at once and after each silence of that length.
/// The stream ends when the source ends or the server closes.
pub fn stream_response(
    source: impl Stream<Item = Bytes> + Send + 'static,
    heartbeat: Option<Duration>,
    closing: Option<&Closing>,
) -> Response {
    stream_response_saying(source, heartbeat, || HEARTBEAT, closing)
}

/// The same with heartbeats that say something: `beat` gives whole lines.
pub fn stream_response_saying(
    source: impl Stream<Item = Bytes> + Send + 'static,
    heartbeat: Option<Duration>,
    beat: impl FnMut() -> Bytes + Send + 'static,
    closing: Option<&Closing>,
) -> Response {
    let body = StreamBody {
        source: Box::pin(source),
        pulse: heartbeat.map(|every| Pulse {
            every,
            next: Box::pin(sleep(Duration::ZERO)),
            beat: Box::new(beat),
        }),
        closing: closing.map(|closing| Box::pin(closing.0.clone().cancelled_owned())),
    };
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the response with a body that ends when `ends` is cancelled. `held` is dropped together with the body, at the latest when the
/// connection has ended.
pub fn stream_until(response: Response, ends: Closing, held: impl Send + 'static) -> Response {
    response.map(|body| {
        Body::new(Until {
            body,
            ends: Box::pin(ends.0.cancelled_owned()),
            _held: Box::new(held),
        })
    })
}

struct Until {
    body: Body,
    ends: Pin<Box<WaitForCancellationFutureOwned>>,
    _held: Box<dyn Send>,
}

impl hyper::body::Body for Until {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ends.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

struct StreamBody {
    source: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    pulse: Option<Pulse>,
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

struct Pulse {
    every: Duration,
    next: Pin<Box<Sleep>>,
    beat: Box<dyn FnMut() -> Bytes + Send>,
}

impl Pulse {
    fn restart(&mut self) {
        self.next.as_mut().reset(Instant::now() + self.every);
    }
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(chunk) = this.source.as_mut().poll_next(cx) else {
                break;
            };
            let Some(chunk) = chunk else {
                return Poll::Ready(None);
            };
            if chunk.is_empty() {
                continue;
            }
            if let Some(pulse) = &mut this.pulse {
                pulse.restart();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(closing) = &mut this.closing
            && closing.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        if let Some(pulse) = &mut this.pulse
            && pulse.next.as_mut().poll(cx).is_ready()
        {
            pulse.restart();
            return Poll::Ready(Some(Ok(Frame::data((pulse.beat)()))));
        }
        Poll::Pending
    }
}

/// Cuts chunks into lines. A line inside one chunk is a slice of it; only a line over several chunks is copied.
#[derive(Debug)]
pub struct LineDecoder {
    /// The begin of a line whose end has not come.
    partial: BytesMut,
    /// What has come and is not yet cut.
    chunk: Bytes,
    max_line: usize,
}

/// A line over the bound: the peer is broken or hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {max_line} bytes")]
pub struct LineIsTooLong {
    /// The bound.
    pub max_line: usize,
}

impl LineDecoder {
    /// Accepts lines up to this many bytes, line end not counted.
    pub fn new(max_line: usize) -> LineDecoder {
        LineDecoder {
            partial: BytesMut::new(),
            chunk: Bytes::new(),
            max_line,
        }
    }

    /// Takes the next chunk, after `next_line` has given all of the last one.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "the last chunk has been cut to the end"
        );
        self.chunk = chunk;
    }

    /// The next whole line without its end; none when more bytes are needed. Heartbeats are skipped.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineIsTooLong> {
        loop {
            let end = memchr(b'\n', &self.chunk);
            if self.partial.len() + end.unwrap_or(self.chunk.len()) > self.max_line {
                return Err(LineIsTooLong {
                    max_line: self.max_line,
                });
            }
            let Some(end) = end else {
                self.partial.extend_from_slice(&self.chunk);
                self.chunk = Bytes::new();
                return Ok(None);
            };
            let head = self.chunk.split_to(end);
            self.chunk.advance(1);
            let line = if self.partial.is_empty() {
                head
            } else {
                self.partial.extend_from_slice(&head);
                self.partial.split().freeze()
            };
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Whether a line has begun that did not end.
    pub fn is_in_a_line(&self) -> bool {
        !self.partial.is_empty() || !self.chunk.is_empty()
    }
}

/// A peer's stream of lines. Dropping it closes the connection. Waiting for a line may be dropped without losing one.
#[derive(Debug)]
pub struct NdjsonStream {
    pub(crate) body: Incoming,
    pub(crate) decoder: LineDecoder,
    /// How long nothing, not even a heartbeat, may come.
    pub(crate) patience: Duration,
    /// For how long somebody has waited since the last sign of life, over all waits that were dropped meanwhile.
    pub(crate) waited: Duration,
    pub(crate) peer: Arc<str>,
    pub(crate) path: String,
}

impl NdjsonStream {
    /// The next line; none when the peer has ended the stream.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(line) = self
                .decoder
                .next_line()
                .map_err(|error| self.broken(error.to_string()))?
            {
                return Ok(Some(line));
            }
            let Some(chunk) = self.next_chunk().await? else {
                return self.end().map(|()| None);
            };
            self.decoder.push(chunk);
        }
    }

    /// All lines that have come, at least one; none when the peer has ended the stream.
    pub async fn next_lines(&mut self) -> Result<Option<VecDeque<Bytes>>, ClientError> {
        let Some(first) = self.next_line().await? else {
            return Ok(None);
        };
        let mut lines = VecDeque::from([first]);
        while let Some(line) = self
            .decoder
            .next_line()
            .map_err(|error| self.broken(error.to_string()))?
        {
            lines.push_back(line);
        }
        Ok(Some(lines))
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let left = self.patience.saturating_sub(self.waited);
            let waiting = Waiting {
                begun: Instant::now(),
                waited: &mut self.waited,
            };
            let frame = timeout(left, self.body.frame()).await;
            drop(waiting);
            let Ok(frame) = frame else {
                return Err(ClientError::unreachable(
                    &self.peer,
                    Outage::Silent(self.patience),
                ));
            };
            self.waited = Duration::ZERO;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::lost(&self.peer, &error)),
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Ok(Some(chunk));
                    }
                }
            }
        }
    }

    fn end(&self) -> Result<(), ClientError> {
        if self.decoder.is_in_a_line() {
            return Err(self.broken("the stream ended in the middle of a line".to_owned()));
        }
        Ok(())
    }

    fn broken(&self, what: String) -> ClientError {
        ClientError::Broken {
            peer: self.peer.clone(),
            path: self.path.clone(),
            what,
        }
    }
}

/// Counts a wait, also one that is dropped. The time between two waits is no silence: a reader that is busy elsewhere hears nothing.
struct Waiting<'a> {
    begun: Instant,
    waited: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.waited += self.begun.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&[u8]], max_line: usize) -> Result<Vec<Vec<u8>>, LineIsTooLong> {
        let mut decoder = LineDecoder::new(max_line);
        let mut lines = vec![];
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            while let Some(line) = decoder.next_line()? {
                lines.push(line.to_vec());
            }
        }
        Ok(lines)
    }

    #[test]
    fn every_split_of_a_stream_gives_the_same_lines() {
        let text = "\n{\"eventId\":1}\n\n{\"eventId\":2,\"text\":\"äöü\"}\n{}\n\n";
        let whole = decode(&[text.as_bytes()], 100).unwrap();
        assert_eq!(whole.len(), 3);
        for a in 0..=text.len() {
            for b in a..=text.len() {
                let bytes = text.as_bytes();
                assert_eq!(
                    decode(&[&bytes[..a], &bytes[a..b], &bytes[b..]], 100).unwrap(),
                    whole,
                    "split at {a} and {b}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn lines_come_out_as_they_went_in(lines in prop::collection::vec("[^\n]{0,20}", 0..20), size in 1_usize..40) {
            let text = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let expected: Vec<Vec<u8>> = lines.iter().filter(|line| !line.is_empty()).map(|line| line.clone().into_bytes()).collect();
            prop_assert_eq!(decode(&chunks, 200).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_in_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"first\nsecond\n");
        let mut decoder = LineDecoder::new(10);
        decoder.push(chunk.clone());
        assert_eq!(
            decoder.next_line().unwrap().unwrap().as_ptr(),
            chunk.as_ptr()
        );
    }

    #[test]
    fn an_endless_line_is_refused_at_its_bound() {
        assert_eq!(decode(&[b"12345\n"], 5).unwrap(), [b"12345"]);
        assert_eq!(
            decode(&[b"123456\n"], 5),
            Err(LineIsTooLong { max_line: 5 })
        );
        assert_eq!(
            decode(&[b"123", b"456"], 5),
            Err(LineIsTooLong { max_line: 5 }),
            "S32: without waiting for the line's end"
        );
    }
}
