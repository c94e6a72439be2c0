//! The live line: packets, kernel entries on the data path, faults.
//!
//! On a terminal it is updated in place, below what the guest logs; elsewhere a line appears every few seconds.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::progress;
use crate::report::Status;

/// Time between two lines where nobody watches.
const INTERVAL: Duration = Duration::from_secs(5);

/// The line.
pub(super) struct Live {
    bar: Option<ProgressBar>,
    last: Option<Instant>,
    is_shown: bool,
}

impl Live {
    /// `is_shown` is false where the terminal belongs to the guest's console.
    pub(super) fn new(is_shown: bool) -> Live {
        let bar = (is_shown && progress::is_watched()).then(|| {
            let style = ProgressStyle::with_template("{msg}").expect("a constant template");
            ProgressBar::new_spinner().with_style(style)
        });
        Live { bar, last: None, is_shown }
    }

    /// Shows the counters.
    pub(super) fn show(&mut self, status: &Status) {
        if let Some(bar) = &self.bar {
            bar.set_message(text(status));
        } else if self.is_shown && self.last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.last = Some(Instant::now());
            self.print(&text(status));
        }
    }

    /// Prints a line above it, on standard output.
    pub(super) fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_line(line)),
            None => print_line(line),
        }
    }

    /// Leaves the last counters standing.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// A reader that went away is no reason to leave the machine alone.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn text(status: &Status) -> String {
    let entries = status.sum(|app| app.data_path_kernel_entries);
    let sleeps = status.sum(|app| app.sleep_kernel_entries);
    let slept = if sleeps > 0 { format!(" ({sleeps} for sleeping)") } else { String::new() };
    format!(
        "packets {} in, {} out · kernel entries on the data path {entries}{slept} · faults {}",
        status.sum(|app| app.rx_packets),
        status.sum(|app| app.tx_packets),
        status.faults
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::App;

    #[test]
    fn the_line_sums_over_applications() {
        let app = App { rx_packets: 2, tx_packets: 1, ..App::default() };
        let sleeper =
            App { rx_packets: 3, data_path_kernel_entries: 5, sleep_kernel_entries: 4, ..App::default() };
        let mut status = Status { faults: 6, apps: vec![app], ..Status::default() };
        assert_eq!(text(&status), "packets 2 in, 1 out · kernel entries on the data path 0 · faults 6");
        status.apps.push(sleeper);
        assert!(
            text(&status)
                .contains("packets 5 in, 1 out · kernel entries on the data path 5 (4 for sleeping)")
        );
    }
}
