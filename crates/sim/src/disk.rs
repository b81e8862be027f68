//! The disk under a member's log: what is on it, what is being written, and what a crash makes of that.
//!
//! Always: what has been synced stays; of what was being written a beginning stays, perhaps nothing, perhaps all. Never here: what the
//! lines mean.

use crate::fault::Fault;
use crate::kept::{Kept, Op};
use crate::kernel::Kernel;

/// What is being written.
#[derive(Debug)]
struct Flight {
    number: u64,
    made: u64,
    index: u64,
    ops: Vec<Op>,
}

/// A disk with a log.
#[derive(Debug)]
pub struct Disk {
    /// What is on it.
    pub kept: Kept,
    flight: Option<Flight>,
    flights: u64,
}

impl Disk {
    /// A disk.
    pub fn new(kept: Kept) -> Disk {
        Disk {
            kept,
            flight: None,
            flights: 0,
        }
    }

    /// Whether something is being written.
    pub fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    /// Begins to write; answers the number of the flight.
    pub fn begin(&mut self, made: u64, index: u64, ops: Vec<Op>) -> u64 {
        self.flights += 1;
        let number = self.flights;
        self.flight = Some(Flight {
            number,
            made,
            index,
            ops,
        });
        number
    }

    /// What was being written is on the disk; answers which writes these were, and where the log ended then.
    pub fn synced(&mut self, number: u64) -> Option<(u64, u64)> {
        let flight = self.flight.take_if(|flight| flight.number == number)?;
        for op in &flight.ops {
            self.kept.apply(op);
        }
        Some((flight.made, flight.index))
    }

    /// The process is gone.
    pub fn crash(&mut self, k: &mut Kernel) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let stays = match k.rng.below(3) {
            0 => {
                k.counts.count(Fault::LostWrite);
                0
            }
            1 => {
                k.counts.count(Fault::TornWrite);
                k.rng.index(flight.ops.len())
            }
            _ => {
                k.counts.count(Fault::KeptWrite);
                flight.ops.len()
            }
        };
        for op in &flight.ops[..stays] {
            self.kept.apply(op);
        }
    }
}

/// The number of the event in a line.
pub fn event_id_of(line: &str) -> u64 {
    let digits = line.strip_prefix("{\"eventId\":").unwrap_or_default();
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}
