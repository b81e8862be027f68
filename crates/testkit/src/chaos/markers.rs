//! What jobs write down themselves: one line when they start, one when they end, each with the attempt and the process.
//!
//! Always: appended with one short write, so that lines of different processes never mix. Only the jobs write here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// An order and the number of its start.
pub type Attempt = (String, u32);

/// The marks of all attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    /// The processes that began each attempt: there should be one.
    pub starts: BTreeMap<Attempt, Vec<u32>>,
    /// How often each attempt reached its end.
    pub ends: BTreeMap<Attempt, u32>,
    /// Lines that are no marks.
    pub broken: Vec<String>,
}

/// The shell commands that write the marks.
pub fn start_command(file: &Path) -> String {
    format!(r#"echo "S $MAINSPRING_ATTEMPT $$" >>'{}'"#, file.display())
}

/// The same at the end.
pub fn end_command(file: &Path) -> String {
    format!(r#"echo "E $MAINSPRING_ATTEMPT $$" >>'{}'"#, file.display())
}

impl Markers {
    /// Reads the file.
    pub fn read(file: &Path) -> Result<Markers> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("no markers in {}", file.display()))?;
        Ok(Markers::of(&text))
    }

    fn of(text: &str) -> Markers {
        let mut markers = Markers::default();
        for line in text.lines() {
            match mark(line) {
                Some(('S', attempt, pid)) => markers.starts.entry(attempt).or_default().push(pid),
                Some((_, attempt, _)) => *markers.ends.entry(attempt).or_default() += 1,
                None => markers.broken.push(line.to_owned()),
            }
        }
        markers
    }

    /// What must not be: an attempt that was started or ended twice, or ended without a start.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for line in &self.broken {
            faults.push(format!("a line is no mark: {line:?}"));
        }
        for ((order, number), pids) in &self.starts {
            if pids.len() > 1 {
                faults.push(format!(
                    "attempt {order}#{number} was started {} times, as {pids:?}",
                    pids.len()
                ));
            }
        }
        for ((order, number), count) in &self.ends {
            if *count > 1 {
                faults.push(format!("attempt {order}#{number} ended {count} times"));
            }
            if !self.starts.contains_key(&(order.clone(), *number)) {
                faults.push(format!("attempt {order}#{number} ended without a start"));
            }
        }
        faults
    }
}

fn mark(line: &str) -> Option<(char, Attempt, u32)> {
    let (kind, rest) = line.split_once(' ')?;
    let (attempt, pid) = rest.rsplit_once(' ')?;
    let (order, number) = attempt.rsplit_once('#')?;
    let kind = match kind {
        "S" => 'S',
        "E" => 'E',
        _ => return None,
    };
    Some((
        kind,
        (order.to_owned(), number.parse().ok()?),
        pid.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_of_an_attempt_is_a_fault() {
        let good = Markers::of("S A#1 10\nE A#1 10\nS A#2 11\nS B|x#1 12\n");
        assert_eq!(good.faults(), Vec::<String>::new());
        let twice = Markers::of("S A#1 10\nS A#1 11\n").faults();
        assert!(twice[0].contains("A#1 was started 2 times"), "{twice:?}");
        assert_eq!(Markers::of("E A#1 10\n").faults().len(), 1);
        assert_eq!(
            Markers::of("S A#1 10\nE A#1 10\nE A#1 10\n").faults().len(),
            1
        );
        assert_eq!(Markers::of("S A#one 10\n").faults().len(), 1);
    }
}
