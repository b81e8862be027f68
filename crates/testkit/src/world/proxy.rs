//! A TCP proxy on the loopback whose connections can be cut, frozen or made one-way, and healed.
//!
//! Always: what was taken from one side is delivered to the other in order, or the connection is broken. Nothing is dropped in the middle
//! of a living connection, as TCP guarantees. HTTP requests without TLS are counted by their paths. Never here: the meaning of other data
//! that is forwarded.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ports::free_port;

/// How the proxy treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything flows.
    Open,
    /// Connections are broken, and new ones at once.
    Cut,
    /// Connections stay, and nothing flows.
    Frozen,
    /// What the dialling side says does not arrive; answers would.
    RequestsHeld,
    /// What the dialled side says does not arrive.
    AnswersHeld,
}

#[derive(Clone, Copy)]
enum Direction {
    Requests,
    Answers,
}

impl Mode {
    fn lets_pass(self, direction: Direction) -> bool {
        match self {
            Mode::Open => true,
            Mode::Cut | Mode::Frozen => false,
            Mode::RequestsHeld => matches!(direction, Direction::Answers),
            Mode::AnswersHeld => matches!(direction, Direction::Requests),
        }
    }
}

/// The proxy; ends with its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    requests: Requests,
    task: JoinHandle<()>,
}

/// How often each path was requested, such as `GET /agent/api/event`, without its query.
#[derive(Clone, Debug, Default)]
struct Requests(Arc<Mutex<BTreeMap<String, usize>>>);

impl Requests {
    /// Counts the requests that begin in these bytes. A request whose first line is in two pieces is missed.
    fn count(&self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b" HTTP/1.1\r").map(std::str::from_utf8);
            let Some(Ok(request)) = line else { continue };
            let path = request.split('?').next().unwrap_or(request);
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(path.to_owned()).or_default() += 1;
        }
    }
}

impl Proxy {
    /// Listens and forwards to `target`.
    pub async fn start(target: SocketAddr) -> Result<Proxy> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the proxy cannot listen on {address}"))?;
        let mode = watch::Sender::new(Mode::Open);
        let requests = Requests::default();
        let accepting = accept(listener, target, mode.subscribe(), requests.clone());
        let task = tokio::spawn(accepting);
        Ok(Proxy {
            address,
            mode,
            requests,
            task,
        })
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Returns how often each path was requested since the start, such as `GET /agent/api/event`.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        let counts = self.requests.0.lock();
        counts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it is now.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Cut);
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
    requests: Requests,
) {
    while let Ok((near, _)) = listener.accept().await {
        if *mode.borrow() == Mode::Cut {
            continue;
        }
        tokio::spawn(forward(near, target, mode.clone(), requests.clone()));
    }
}

async fn forward(
    near: TcpStream,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    seen: Requests,
) {
    // While nothing flows, the connection is not even made, and the dialling side waits for its first answer.
    let Ok(_) = mode
        .wait_for(|mode| *mode == Mode::Cut || mode.lets_pass(Direction::Requests))
        .await
    else {
        return;
    };
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    // Small requests must not wait for each other's acknowledgement.
    let _no_delay = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let requests = pump(
        near_read,
        far_write,
        mode.clone(),
        Direction::Requests,
        |bytes| {
            seen.count(bytes);
        },
    );
    let answers = pump(
        far_read,
        near_write,
        mode.clone(),
        Direction::Answers,
        |_| {},
    );
    let cut = async {
        // An error means that the proxy has gone: cut, too.
        let _cut = mode.wait_for(|mode| *mode == Mode::Cut).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(requests, answers) } => {}
        () = cut => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    direction: Direction,
    look: impl Fn(&[u8]),
) {
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        look(&buffer[..length]);
        if mode
            .wait_for(|mode| mode.lets_pass(direction))
            .await
            .is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            break;
        }
    }
    // The end of one direction is passed on; the other one may go on.
    let _closed = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream, word: &[u8]) -> Option<Vec<u8>> {
        stream.write_all(word).await.ok()?;
        hear(stream, word.len()).await
    }

    async fn hear(stream: &mut TcpStream, length: usize) -> Option<Vec<u8>> {
        let mut answer = vec![0; length];
        let reading = stream.read_exact(&mut answer);
        timeout(Duration::from_millis(300), reading)
            .await
            .ok()?
            .ok()?;
        Some(answer)
    }

    #[tokio::test]
    async fn a_frozen_link_delivers_everything_after_it_has_been_healed() {
        for held in [Mode::Frozen, Mode::RequestsHeld, Mode::AnswersHeld] {
            let proxy = Proxy::start(echo().await).await.unwrap();
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            assert_eq!(say(&mut stream, b"one").await.unwrap(), b"one");
            proxy.set(held);
            assert_eq!(say(&mut stream, b"two").await, None, "{held:?}");
            proxy.set(Mode::Open);
            assert_eq!(hear(&mut stream, 3).await.unwrap(), b"two", "{held:?}");
        }
    }

    #[tokio::test]
    async fn a_cut_link_breaks_its_connections_and_takes_new_ones_when_healed() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(say(&mut stream, b"one").await.unwrap(), b"one");
        proxy.set(Mode::Cut);
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(2), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection ends");
        let mut next = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(say(&mut next, b"two").await, None);
        proxy.set(Mode::Open);
        let mut next = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(say(&mut next, b"three").await.unwrap(), b"three");
    }
}
