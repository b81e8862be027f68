//! What happened in a world: the last lines for people, and a hash over all of them that tells two runs apart.

use crate::moment::Moment;
use std::collections::VecDeque;
use std::fmt;

/// Lines that are kept for a failure's report.
const KEPT: usize = 60;

/// The diary of a world.
#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    count: u64,
    print: bool,
}

impl Trace {
    /// An empty one; with `print` each line goes to the error output as well.
    pub fn new(print: bool) -> Trace {
        Trace {
            lines: VecDeque::with_capacity(KEPT),
            hash: 0xCBF2_9CE4_8422_2325,
            count: 0,
            print,
        }
    }

    /// Writes a line.
    pub fn write(&mut self, at: Moment, line: fmt::Arguments<'_>) {
        let line = format!("{at} {line}");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.count += 1;
        if self.print {
            print_line(&line);
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The hash over all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the trace is shown where the operator of the simulation asked for it"
)]
fn print_line(line: &str) {
    eprintln!("{line}");
}
