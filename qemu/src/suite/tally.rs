//! Numbers of tests.

use std::fmt;
use std::ops::AddAssign;

/// How many passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Tally {
    /// One test's verdict.
    pub(super) fn of(is_passed: bool) -> Tally {
        Tally { passed: u64::from(is_passed), failed: u64::from(!is_passed), skipped: 0 }
    }

    /// The sum of the `test result:` lines in what a test program said; `None` where there is none.
    pub(super) fn read(output: &str) -> Option<Tally> {
        let mut sum: Option<Tally> = None;
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            *sum.get_or_insert_default() += Tally {
                passed: number_before(line, " passed")?,
                failed: number_before(line, " failed")?,
                skipped: number_before(line, " ignored")?,
            };
        }
        sum
    }

    pub(super) fn is_empty(self) -> bool {
        self == Tally::default()
    }
}

fn number_before(line: &str, word: &str) -> Option<u64> {
    line[..line.find(word)?].rsplit(' ').next()?.parse().ok()
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let output = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out\n\
            test result: FAILED. 1 passed; 2 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        let tally = Tally::read(output).unwrap();
        assert_eq!(tally, Tally { passed: 4, failed: 2, skipped: 4 });
        assert_eq!(tally.to_string(), "4 passed, 2 failed, 4 skipped");
    }

    #[test]
    fn silence_is_no_result() {
        assert_eq!(Tally::read("running 3 tests\ntest a ... ok\n"), None);
        assert_eq!(Tally::read("test result: ok. some passed"), None);
    }
}
