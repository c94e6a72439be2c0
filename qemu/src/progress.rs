//! Words for somebody who waits: a spinner on a terminal, plain lines elsewhere. All of it on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Whether somebody watches standard error.
#[must_use]
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A step that takes a while.
pub struct Step {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Step {
    /// Announces it.
    #[must_use]
    pub fn begin(name: impl Into<String>) -> Step {
        let name = name.into();
        let bar = is_watched().then(|| spinner(&name));
        if bar.is_none() {
            eprintln!("{name} …");
        }
        Step { name, bar, started: Instant::now() }
    }

    /// Says how far it is; not shown where nobody watches.
    pub fn say(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            let detail: String = detail.chars().take(60).collect();
            bar.set_message(format!("{} … {detail}", self.name));
        }
    }

    /// Prints above it.
    pub fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Reports its end.
    pub fn done(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            eprintln!("{} … {:.1} s", self.name, self.started.elapsed().as_secs_f32());
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner(name: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a constant template"));
    bar.set_message(format!("{name} …"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
