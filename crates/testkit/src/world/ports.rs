//! Ports of the loopback that nobody uses.
//!
//! Always: below the range from which the system takes ports for outgoing connections, so that no connection of anybody can sit on a
//! port while its node is down between two starts.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;
/// Between the first ports of two processes that were started one after the other.
const FAR: u32 = 1_237;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that is free now and that this process gives out once only.
pub fn free_port() -> Result<u16> {
    let span = LAST - FIRST;
    // Tests of several processes start far from each other: the port of a node that is down must not become somebody else's.
    let start = std::process::id().wrapping_mul(FAR) % u32::from(span);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (start + u32::from(step)) % u32::from(span);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {FIRST} and {LAST} is free");
}
