//! A link on which everything takes its time: a proxy that delivers each piece so much later than it came, in both directions.
//!
//! Always: pieces stay in order and overlap, as on a long cable; nothing is lost. Never here: a bound of the throughput.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Pieces under way.
const UNDER_WAY: usize = 1024;

/// Listens until the program ends.
pub(super) struct SlowLink {
    pub(super) address: SocketAddr,
}

impl SlowLink {
    /// Before this address.
    pub(super) fn start(target: SocketAddr, delay: Duration) -> Result<SlowLink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for near in listener.incoming() {
                // Who dials will dial again.
                let _broken = near.map(|near| connect(&near, target, delay));
            }
        });
        Ok(SlowLink { address })
    }
}

fn connect(near: &TcpStream, target: SocketAddr, delay: Duration) -> Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    carry(near.try_clone()?, far.try_clone()?, delay);
    carry(far, near.try_clone()?, delay);
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, pieces) = sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let piece = (Instant::now() + delay, buffer[..length].to_vec());
            if sender.send(piece).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((due, piece)) = pieces.recv() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // The other side may have closed it already.
        let _closed = to.shutdown(Shutdown::Both);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_whole_and_later_in_each_direction() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            stream.write_all(&word).unwrap();
        });
        let link = SlowLink::start(target, Duration::from_millis(20)).unwrap();
        let mut stream = TcpStream::connect(link.address).unwrap();
        let begin = Instant::now();
        stream.write_all(b"word").unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"word");
        assert!(begin.elapsed() >= Duration::from_millis(40));
    }
}
