//! Who dials whom, read from the packets that hosts send each other.
//!
//! Always: every first packet of a TCP connection that passes the bridge counts, whether it is answered or not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::sys::socket::sockopt::{RcvBuf, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::world::Network;

/// From which host to which port of which host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dialling {
    /// Who dials.
    pub from: String,
    /// Who is dialled.
    pub to: String,
    /// Where.
    pub port: u16,
}

/// Listens until it is ended.
#[derive(Debug)]
pub struct Capture {
    network: Arc<Network>,
    seen: Arc<Mutex<BTreeMap<Syn, usize>>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The ends of a connection that somebody wants to make.
type Syn = ([u8; 4], [u8; 4], u16);

impl Capture {
    /// Listens at the bridge of this network; returns when it does.
    pub fn start(network: &Arc<Network>) -> Result<Capture> {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::sync_channel(1);
        let (at, kept, over) = (network.clone(), seen.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let socket = match open(&at) {
                Ok(socket) => socket,
                Err(error) => return drop(ready.send(Err(error))),
            };
            // The other side waits for it.
            drop(ready.send(Ok(())));
            let mut packet = vec![0; 65_536];
            while !over.load(Ordering::Relaxed) {
                // Nothing for a while is an error, too.
                let Ok(length) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) else {
                    continue;
                };
                if let Some(syn) = syn(&packet[..length]) {
                    let mut seen = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    *seen.entry(syn).or_default() += 1;
                }
            }
        });
        is_ready.recv().context("the capture has ended")??;
        Ok(Capture {
            network: network.clone(),
            seen,
            is_over,
            thread,
        })
    }

    /// Who has dialled whom so far, and how many packets told so.
    pub fn seen(&self) -> BTreeMap<Dialling, usize> {
        let told = |address: [u8; 4]| {
            let address = IpAddr::V4(Ipv4Addr::from(address));
            let host = self.network.host_at(address);
            host.map_or_else(|| address.to_string(), str::to_owned)
        };
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let diallings = seen.iter().map(|((from, to, port), count)| {
            let dialling = Dialling {
                from: told(*from),
                to: told(*to),
                port: *port,
            };
            (dialling, *count)
        });
        diallings.collect()
    }

    /// Ends it; who has dialled whom.
    pub fn end(self) -> BTreeMap<Dialling, usize> {
        let seen = self.seen();
        self.is_over.store(true, Ordering::Relaxed);
        // A thread that has panicked has heard nothing: the caller misses what it expects.
        drop(self.thread.join());
        seen
    }
}

fn open(network: &Network) -> Result<std::os::fd::OwnedFd> {
    network.enter_switch()?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("packets cannot be captured")?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(50))?;
    setsockopt(&socket, RcvBuf, &(8 << 20))?;
    Ok(socket)
}

/// The first packet of a connection: IPv4, TCP, with SYN and without ACK.
fn syn(packet: &[u8]) -> Option<Syn> {
    const ETHERNET: usize = 14;
    const IPV4: [u8; 2] = [0x08, 0x00];
    const TCP: u8 = 6;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    if packet.get(12..ETHERNET)? != IPV4 {
        return None;
    }
    let ip = &packet[ETHERNET..];
    if *ip.get(9)? != TCP {
        return None;
    }
    let tcp = ip.get(usize::from(ip[0] & 0x0f) * 4..)?;
    let flags = tcp.get(13)?;
    if flags & (SYN | ACK) != SYN {
        return None;
    }
    let address = |from: usize| ip.get(from..from + 4)?.try_into().ok();
    let port = u16::from_be_bytes([*tcp.get(2)?, *tcp.get(3)?]);
    Some((address(12)?, address(16)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: [u8; 2], protocol: u8, flags: u8) -> Vec<u8> {
        let mut packet = vec![0; 12];
        packet.extend(kind);
        packet.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
        packet.extend([10, 83, 0, 1, 10, 83, 0, 2]);
        packet.extend([0x9c, 0x40, 0x11, 0x5c, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags]);
        packet.extend([0; 6]);
        packet
    }

    #[test]
    fn only_the_first_packet_of_a_connection_counts() {
        let dialled = Some(([10, 83, 0, 1], [10, 83, 0, 2], 4444));
        assert_eq!(syn(&packet([8, 0], 6, 0x02)), dialled);
        assert_eq!(syn(&packet([8, 0], 6, 0x12)), None, "an answer");
        assert_eq!(syn(&packet([8, 0], 6, 0x10)), None, "data");
        assert_eq!(syn(&packet([8, 0], 17, 0x02)), None, "UDP");
        assert_eq!(syn(&packet([0x86, 0xdd], 6, 0x02)), None, "not IPv4");
        assert_eq!(syn(&[0; 20]), None, "cut off");
    }
}
