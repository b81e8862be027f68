//! Plain HTTP as bytes, for what a well-behaved client never sends and never sees.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// An answer with its headers.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET with a bearer token or without.
pub async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Reply> {
    let head = head("GET", path, token, &[]);
    exchange(address, head.as_bytes(), b"").await
}

/// POST with a bearer token or without.
pub async fn post(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    content_type: &str,
    body: &[u8],
) -> Result<Reply> {
    let length = body.len().to_string();
    let headers = [("Content-Type", content_type), ("Content-Length", &length)];
    let head = head("POST", path, token, &headers);
    exchange(address, head.as_bytes(), body).await
}

/// Sends these bytes and reads until the other side closes.
pub async fn exchange(address: SocketAddr, head: &[u8], body: &[u8]) -> Result<Reply> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head).await?;
        // Who refuses a body need not read it; what he says counts.
        let _refused = stream.write_all(body).await;
        let mut bytes = Vec::new();
        // Whoever has refused a body may leave the connection open until it has come; the answer is whole before.
        while !is_whole(&bytes) && matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
        anyhow::Ok(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("no answer of {address} within {PATIENCE:?}"))??;
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .with_context(|| format!("no HTTP: {}", String::from_utf8_lossy(&bytes)))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("no status: {head}"))?;
    Ok(Reply {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    })
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| {
        let length = line.strip_prefix("content-length:")?;
        length.trim().parse::<usize>().ok()
    });
    length.is_some_and(|length| bytes.len() >= end + 4 + length)
}

fn head(method: &str, path: &str, token: Option<&str>, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if let Some(token) = token {
        let _infallible = write!(text, "Authorization: Bearer {token}\r\n");
    }
    for (name, value) in headers {
        let _infallible = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text
}
