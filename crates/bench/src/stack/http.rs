//! The least HTTP that drives a Controller: it must cost next to nothing, because it runs on the machine that is measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Longer than anything that is asked for takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// A connection that is kept.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    token: String,
}

enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, token: &str) -> Result<Connection> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection {
            stream: BufReader::with_capacity(256 << 10, stream),
            address,
            token: token.to_owned(),
        })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        self.request("GET", path, "", &[])
    }

    pub(crate) fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> Result<Vec<u8>> {
        let headers = format!(
            "content-type: {content_type}\r\ncontent-length: {}\r\n",
            body.len()
        );
        self.request("POST", path, &headers, body)
    }

    /// The server closes a connection that has been idle; then there is another one.
    fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Vec<u8>> {
        let sent = self.send(method, path, headers, body);
        if sent.is_err() || self.stream.fill_buf()?.is_empty() {
            *self = Connection::open(self.address, &self.token)?;
            self.send(method, path, headers, body)?;
        }
        self.answer(path)
    }

    /// Begins a stream; what comes is read with [`Connection::chunk`].
    pub(crate) fn begin_stream(&mut self, path: &str) -> Result<TcpStream> {
        self.send("GET", path, "", &[])?;
        let (status, body) = self.head()?;
        if status != 200 || !matches!(body, Body::Chunked) {
            bail!("{path}: status {status}, or no stream");
        }
        Ok(self.stream.get_ref().try_clone()?)
    }

    /// Appends the next chunk; false at the end.
    pub(crate) fn chunk(&mut self, to: &mut Vec<u8>) -> Result<bool> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16)
            .with_context(|| format!("no length of a chunk: {line:?}"))?;
        let start = to.len();
        to.resize(start + length + 2, 0);
        self.stream.read_exact(&mut to[start..])?;
        to.truncate(start + length);
        Ok(length > 0)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<()> {
        let authorization = if self.token.is_empty() {
            String::new()
        } else {
            format!("authorization: Bearer {}\r\n", self.token)
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\n{authorization}{headers}\r\n",
            self.address
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        Ok(())
    }

    fn answer(&mut self, path: &str) -> Result<Vec<u8>> {
        let (status, body) = self.head()?;
        let mut bytes = Vec::new();
        match body {
            Body::Length(length) => {
                bytes.resize(length, 0);
                self.stream.read_exact(&mut bytes)?;
            }
            Body::Chunked => while self.chunk(&mut bytes)? {},
        }
        if !(200..300).contains(&status) {
            bail!(
                "{path}: status {status}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
        Ok(bytes)
    }

    fn head(&mut self) -> Result<(u16, Body)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).unwrap_or_default().trim();
        let status = status
            .parse()
            .with_context(|| format!("no status: {line:?}"))?;
        let mut body = Body::Length(0);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("the connection was closed in the middle of the headers");
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, body));
            }
            if let Some(length) = line.strip_prefix("content-length:") {
                body = Body::Length(length.trim().parse()?);
            } else if line.starts_with("transfer-encoding:") && line.ends_with("chunked") {
                body = Body::Chunked;
            }
        }
    }
}
