//! What every server refuses before a handler sees it, always with a problem: unknown paths, wrong methods, form-like posts
//! (a browser can be tricked into sending those from a foreign page), bodies that are too large, too slow or no JSON.

use std::error::Error as _;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Extension, body::Body};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::connections::Caller;
use crate::problem::{Problem, Refusal};
use crate::quota::Quota;

/// How long a body may pause.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a body may take, in addition to one second for each [`LEAST_RATE`] bytes.
const BODY_TIME: Duration = Duration::from_mins(1);
const LEAST_RATE: usize = 16 << 10;
/// Bodies up to this size in bytes do not count toward [`BODIES_MAX`].
const SMALL: usize = 64 << 10;
/// Bytes of larger bodies that a server has in memory at once, and how long a request waits for room.
const BODIES_MAX: usize = 512 << 20;
const BODIES_WAIT: Duration = Duration::from_secs(10);
/// How much of an oversized body is read and dropped so that its sender gets to read our answer, instead of a reset connection.
const DRAIN: usize = 64 << 20;

/// The longest duration that a query accepts.
const SECONDS_MAX: Duration = Duration::from_hours(365 * 24);
/// The shortest interval of heartbeats.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// The greatest body in bytes; a route can have its own through `Extension(BodyLimit(…))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(pub usize);

/// Puts the guard before all routes that the router has by now.
pub fn guard(router: Router, limit: BodyLimit) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(refuse_forms))
        .layer(Extension(limit))
        .layer(Extension(Bodies(Quota::new(
            "bytes of request bodies",
            BODIES_MAX,
            BODIES_MAX / 2,
        ))))
}

/// The quota of larger bodies.
#[derive(Clone)]
struct Bodies(Quota);

async fn unknown_path(request: Request) -> Refusal {
    let path = request.uri().path();
    Problem::new("UnknownPath", format!("no such path: {path}"))
        .with("path", path)
        .status(StatusCode::NOT_FOUND)
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(
        "MethodNotAllowed",
        format!("{path} does not know the method {method}"),
    )
    .status(StatusCode::METHOD_NOT_ALLOWED)
}

async fn refuse_forms(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && is_form_like(&request) {
        let problem = Problem::new(
            "FormIsRefused",
            "a POST must name its content type, and not one that a web form can have; send application/json",
        );
        return problem.status(StatusCode::FORBIDDEN).into_response();
    }
    next.run(request).await
}

fn is_form_like(request: &Request) -> bool {
    let Some(kind) = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return true;
    };
    let kind = kind.split(';').next().unwrap_or("").trim();
    [
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain",
    ]
    .iter()
    .any(|form| kind.eq_ignore_ascii_case(form))
}

/// A whole body within the limit.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<RawBody, Refusal> {
        let Some(BodyLimit(limit)) = request.extensions().get::<BodyLimit>().copied() else {
            return Err(
                Problem::uncoded("this route has no body limit; put the guard before it")
                    .status(StatusCode::INTERNAL_SERVER_ERROR),
            );
        };
        let bodies = request.extensions().get::<Bodies>().cloned();
        let caller = Caller::of(request.extensions());
        let body = request.into_body();
        let Some(Bodies(bodies)) = bodies.filter(|_| !is_small(&body, limit)) else {
            return read(body, limit).await.map(RawBody);
        };
        // A body of unknown size takes the share of the largest one.
        let most = body.size_hint().upper().map(usize::try_from);
        let size = most.and_then(Result::ok).unwrap_or(limit).min(limit);
        let share = bodies.wait(&caller, size, BODIES_WAIT).await?;
        let bytes = read(body, limit).await?;
        Ok(RawBody(share.hold(bytes)))
    }
}

/// Size in bytes from which a body is parsed on a thread for blocking work, because parsing it would delay other requests.
pub const LARGE_BODY: usize = 256 << 10;

/// A JSON body within the limit. A large one is parsed on a thread for blocking work.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<JsonBody<T>, Refusal> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        let unreadable = |error: String| {
            let problem = Problem::new("InvalidJson", format!("cannot read the body: {error}"));
            Refusal::from(problem)
        };
        if bytes.len() < LARGE_BODY {
            let parsed = serde_json::from_slice(&bytes);
            return parsed.map(JsonBody).map_err(|e| unreadable(e.to_string()));
        }
        let parsed = tasks::spawn_blocking(move || serde_json::from_slice(&bytes)).await;
        let parsed = parsed.map_err(|panic| unreadable(panic.to_string()))?;
        parsed.map(JsonBody).map_err(|e| unreadable(e.to_string()))
    }
}

/// What stands behind the `?` of a URL.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Query<T>, Refusal> {
        let read = axum::extract::Query::try_from_uri(&parts.uri);
        read.map(|axum::extract::Query(query)| Query(query))
            .map_err(|rejection| {
                let why = rejection
                    .source()
                    .map_or_else(|| rejection.to_string(), ToString::to_string);
                let message = format!("cannot read what stands behind the ? of the URL: {why}");
                Problem::new("InvalidParameter", message).into()
            })
    }
}

/// Parses a duration of a query, in decimal seconds. Refuses values that are not durations, and more than a year, because clocks would
/// overflow.
pub fn seconds(name: &str, value: Option<f64>) -> Result<Option<Duration>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if duration <= SECONDS_MAX => Ok(Some(duration)),
        Ok(_) | Err(_) => {
            let most = SECONDS_MAX.as_secs();
            let message = format!("{name}={value} is not a number of seconds from 0 to {most}");
            Err(Problem::new("InvalidParameter", message).into())
        }
    }
}

/// Parses the interval of a stream's heartbeats, in decimal seconds; 0 means none. Refuses an interval so short that heartbeats would
/// fill the stream.
pub fn heartbeat(name: &str, value: Option<f64>) -> Result<Option<Duration>, Refusal> {
    let every = seconds(name, value)?.filter(|_| value != Some(0.0));
    if every.is_some_and(|every| every < HEARTBEAT_MIN) {
        let least = HEARTBEAT_MIN.as_secs_f64();
        let value = value.unwrap_or_default();
        let message = format!("{name}={value} is less than {least} seconds; 0 is for none");
        return Err(Problem::new("InvalidParameter", message).into());
    }
    Ok(every)
}

fn is_small(body: &Body, limit: usize) -> bool {
    limit <= SMALL
        || body
            .size_hint()
            .upper()
            .is_some_and(|size| size <= SMALL as u64)
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0;
    let begun = Instant::now();
    while let Some(chunk) = next_chunk(&mut body).await? {
        length += chunk.len();
        if length > limit {
            drain(body).await;
            return Err(Problem::new(
                "BodyIsTooLarge",
                format!("the body is larger than {limit} bytes"),
            )
            .with("limit", limit.to_string())
            .status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        if begun.elapsed() > BODY_TIME + Duration::from_secs((length / LEAST_RATE) as u64) {
            return Err(too_slow(format!(
                "after {} s only {length} bytes of the body have come",
                begun.elapsed().as_secs()
            )));
        }
        // Nearly all bodies come in one chunk, which is passed on as it is.
        if first.is_empty() && rest.is_empty() {
            first = chunk;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&chunk);
        }
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    loop {
        let Ok(frame) = timeout(PATIENCE, body.frame()).await else {
            return Err(too_slow(format!(
                "no more of the body came within {PATIENCE:?}"
            )));
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Problem::uncoded(format!("cannot read the body: {error}")).into());
            }
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}

fn too_slow(message: String) -> Refusal {
    Problem::new("BodyIsTooSlow", message).status(StatusCode::REQUEST_TIMEOUT)
}

async fn drain(mut body: Body) {
    let mut drained = 0;
    let begun = Instant::now();
    while drained < DRAIN && begun.elapsed() < BODY_TIME {
        let Ok(Some(chunk)) = next_chunk(&mut body).await else {
            return;
        };
        drained += chunk.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, ThreadId};

    /// The thread that has parsed a text.
    struct ParsedBy(ThreadId);

    impl<'de> serde::Deserialize<'de> for ParsedBy {
        fn deserialize<D: serde::Deserializer<'de>>(text: D) -> Result<ParsedBy, D::Error> {
            String::deserialize(text)?;
            Ok(ParsedBy(thread::current().id()))
        }
    }

    async fn parsed_by(bytes: usize) -> ThreadId {
        let body = format!("\"{}\"", "x".repeat(bytes));
        let mut request = Request::new(Body::from(body));
        request.extensions_mut().insert(BodyLimit(2 * LARGE_BODY));
        let JsonBody(ParsedBy(thread)) = JsonBody::from_request(request, &()).await.unwrap();
        thread
    }

    #[tokio::test]
    async fn a_large_body_is_parsed_where_it_delays_no_other_request() {
        let here = thread::current().id();
        assert_eq!(parsed_by(10).await, here);
        assert_ne!(parsed_by(LARGE_BODY).await, here);
        let mut request = Request::new(Body::from("[".repeat(LARGE_BODY)));
        request.extensions_mut().insert(BodyLimit(2 * LARGE_BODY));
        let refused = JsonBody::<ParsedBy>::from_request(request, &()).await;
        let refused = refused.map(drop).unwrap_err();
        assert!(refused.problem.is("InvalidJson"), "{refused:?}");
    }

    #[test]
    fn senseless_durations_are_refused_and_named() {
        let odd = [
            -1.0,
            -1e-300,
            1.8e19,
            1e18,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ];
        for value in odd {
            let refused = seconds("delay", Some(value)).unwrap_err();
            assert!(refused.problem.message.starts_with("delay="), "{refused:?}");
            assert!(heartbeat("heartbeat", Some(value)).is_err(), "{value}");
        }
        assert_eq!(seconds("delay", None), Ok(None));
        assert_eq!(seconds("delay", Some(0.0)), Ok(Some(Duration::ZERO)));
        assert_eq!(seconds("delay", Some(1e-300)), Ok(Some(Duration::ZERO)));
        assert_eq!(
            seconds("delay", Some(0.5)),
            Ok(Some(Duration::from_millis(500)))
        );
        assert_eq!(heartbeat("heartbeat", Some(0.0)), Ok(None));
        assert!(heartbeat("heartbeat", Some(1e-300)).is_err());
        assert!(heartbeat("heartbeat", Some(0.001)).is_err());
        assert!(heartbeat("heartbeat", Some(0.1)).unwrap().is_some());
    }

    #[test]
    fn the_shortest_heartbeat_and_the_longest_duration_are_accepted() {
        let least = HEARTBEAT_MIN.as_secs_f64();
        assert_eq!(heartbeat("heartbeat", Some(least)), Ok(Some(HEARTBEAT_MIN)));
        let year = 365.0 * 24.0 * 3600.0;
        assert_eq!(
            seconds("delay", Some(year)),
            Ok(Some(Duration::from_secs_f64(year)))
        );
        assert!(seconds("delay", Some(year + 1.0)).is_err());
    }

    fn chunks(sizes: &[usize]) -> (Body, Vec<u8>) {
        let chunks: Vec<Vec<u8>> = (b'a'..)
            .zip(sizes)
            .map(|(letter, size)| vec![letter; *size])
            .collect();
        let whole = chunks.concat();
        let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
        (Body::from_stream(futures::stream::iter(chunks)), whole)
    }

    async fn read_within(body: Body, limit: usize, bodies: &Quota) -> Result<RawBody, Refusal> {
        let mut request = Request::new(body);
        request.extensions_mut().insert(BodyLimit(limit));
        request.extensions_mut().insert(Bodies(bodies.clone()));
        RawBody::from_request(request, &()).await
    }

    fn bodies() -> Quota {
        Quota::new("bytes of request bodies", 300_000, 150_000)
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_read_as_a_whole_up_to_its_limit() {
        for sizes in [
            &[][..],
            &[7],
            &[3, 4],
            &[2, 0, 2, 3],
            &[0, 7],
            &[1, 2, 3, 1],
        ] {
            let (body, whole) = chunks(sizes);
            let RawBody(bytes) = read_within(body, 7, &bodies()).await.unwrap();
            assert_eq!(bytes, whole, "{sizes:?}");
        }
        for sizes in [&[8][..], &[4, 4], &[7, 1]] {
            let (body, _) = chunks(sizes);
            let refused = read_within(body, 7, &bodies()).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_large_body_takes_its_share_of_the_memory_until_it_is_dropped() {
        let stranger = Caller::of(&axum::http::Extensions::new());
        // How much is left for the caller while the body is there: its own bound is 150,000 bytes.
        let left = async |body: Body, limit: usize| {
            let bodies = bodies();
            let body = read_within(body, limit, &bodies).await.unwrap();
            let mut left = 150_000;
            while left > 0 && bodies.take(&stranger, left).is_err() {
                left -= 1;
            }
            drop(body);
            assert!(bodies.take(&stranger, 150_000).is_ok());
            150_000 - left
        };
        let sized = |size: usize| Body::from(vec![b'x'; size]);
        assert_eq!(left(sized(100_000), 120_000).await, 100_000);
        assert_eq!(
            left(chunks(&[10]).0, 120_000).await,
            120_000,
            "of unknown size"
        );
        assert_eq!(left(sized(SMALL), 120_000).await, 0, "small");
        assert_eq!(left(sized(SMALL + 1), 120_000).await, SMALL + 1);
        assert_eq!(left(chunks(&[10]).0, SMALL).await, 0, "small at most");
        assert_eq!(left(chunks(&[10]).0, SMALL + 1).await, SMALL + 1);
    }

    #[tokio::test]
    async fn a_route_without_a_bound_for_bodies_reads_none() {
        let request = Request::new(Body::from("{}"));
        let refused = RawBody::from_request(request, &()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn the_rest_of_an_oversized_body_is_read_up_to_a_bound() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        const CHUNK: usize = 1 << 20;
        let chunk = Bytes::from(vec![0; CHUNK]);
        let endless = futures::stream::repeat_with(move || {
            TAKEN.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(chunk.clone())
        });
        let refused = read(Body::from_stream(endless), 10).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(TAKEN.load(Ordering::Relaxed), 1 + DRAIN / CHUNK);
    }

    #[test]
    fn a_post_that_a_web_form_can_send_is_known_by_its_content_type() {
        let is_form = |kind: Option<&str>| {
            let mut request = Request::new(Body::empty());
            if let Some(kind) = kind {
                request
                    .headers_mut()
                    .insert(CONTENT_TYPE, kind.parse().unwrap());
            }
            is_form_like(&request)
        };
        for kind in [
            None,
            Some(""),
            Some("text/plain"),
            Some("Text/Plain; charset=utf-8"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
        ] {
            assert!(is_form(kind), "{kind:?}");
        }
        for kind in [
            "application/json",
            "application/json; charset=utf-8",
            "text/csv",
        ] {
            assert!(!is_form(Some(kind)), "{kind}");
        }
    }
}
