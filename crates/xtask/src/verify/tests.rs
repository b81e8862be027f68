//! Runs the tests and counts them.
//! Always: all test binaries run, even after a failure; the sums are those that the test binaries themselves print; a binary that
//! ends without a word, because it was killed or did not compile, counts as one failure. A test that was skipped has not passed.

use std::fmt;

use anyhow::{Result, bail};

use crate::cargo::{cargo, listen};

/// Sums over all `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Tests that were skipped because this machine lacks something. The test binaries count them as passed.
    skipped: u64,
}

/// The beginning of the line by which a test reports that it was skipped. `testkit` writes it.
const SKIPPED: &str = "SKIPPED: ";

/// Runs the tests of the workspace; their output goes through as it comes.
pub(super) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    let command = cargo(["test", "--locked", "--workspace", "--no-fail-fast"]);
    let succeeded = listen(command, |line| {
        println!("{line}");
        tally.count(line);
    })?;
    if !succeeded && tally.failed == 0 {
        println!(
            "cargo test failed although no test did: a test binary did not compile or ended without a result"
        );
        tally.failed = 1;
    }
    Ok(tally)
}

impl Tally {
    fn count(&mut self, line: &str) {
        if line.starts_with(SKIPPED) {
            self.skipped += 1;
            return;
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Nothing failed, nothing was left out, and there was something to fail.
    pub(super) fn verdict(&self) -> Result<()> {
        if self.failed > 0 {
            bail!("{} tests failed", self.failed);
        }
        if self.ignored > 0 {
            bail!(
                "{} tests are ignored: assert the unwanted behaviour with a note instead",
                self.ignored
            );
        }
        if self.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

impl Tally {
    /// Adds the sums of a run of the tests.
    pub(super) fn add(&mut self, other: &Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped += other.skipped;
    }

    /// Counts a step other than the tests as one check.
    pub(super) fn add_step(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.saturating_sub(self.skipped);
        write!(f, "{passed} passed, {} failed", self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod claims {
    use super::*;

    #[test]
    fn results_of_several_binaries_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s",
            "the job said: test result: ok. 900 passed",
        ] {
            tally.count(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 42,
                failed: 2,
                ignored: 1,
                skipped: 0,
            }
        );
        assert_eq!(tally.to_string(), "42 passed, 2 failed");
    }

    #[test]
    fn a_skipped_test_has_not_passed() {
        let mut tally = Tally::default();
        tally.count("SKIPPED: a disk with trouble: none can be mounted");
        tally.count("test result: ok. 3 passed; 0 failed; 0 ignored");
        assert_eq!(tally.to_string(), "2 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn steps_count_as_checks() {
        let mut tally = Tally {
            passed: 40,
            ..Tally::default()
        };
        tally.add_step(true);
        tally.add_step(false);
        assert_eq!(tally.to_string(), "41 passed, 1 failed");
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        assert!(Tally::default().verdict().is_err());
        assert!(
            Tally {
                passed: 1,
                ..Tally::default()
            }
            .verdict()
            .is_ok()
        );
    }
}
