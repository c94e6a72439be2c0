//! What the manifest's `args` say: a mode and its words, as on every host, or `measure`.

use alloc::string::String;

use weir_forward::{BadWords, Settings};

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Forward(Settings),
    Measure(Measure),
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Frames to forward in full bursts, for each size of burst.
    frames: u64,
    /// The one size of burst, where it is not all of them.
    burst: Option<usize>,
    /// Frames under way between the two devices.
    pub(crate) circulating: u64,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadWord {
    #[error("{0}")]
    Forward(#[from] BadWords),
    #[error("unknown word `{0}`; with measure there are: frames=N, burst=1|8|32, circulating=N")]
    Measure(String),
    #[error("there are no files here: replay= and capture= are for Linux")]
    NoFiles,
}

impl Task {
    pub(crate) fn parse(words: &[String]) -> Result<Task, BadWord> {
        if let [first, rest @ ..] = words
            && first == "measure"
        {
            return Measure::parse(rest).map(Task::Measure);
        }
        let settings = Settings::parse(words.iter().map(String::as_str))?;
        if settings.replay.is_some() || settings.capture.is_some() {
            return Err(BadWord::NoFiles);
        }
        Ok(Task::Forward(settings))
    }
}

impl Measure {
    /// Frames to forward in full bursts of that size.
    pub(crate) fn frames_in(&self, burst: usize) -> u64 {
        if self.burst.is_none_or(|only| only == burst) { self.frames } else { 0 }
    }

    fn parse(words: &[String]) -> Result<Measure, BadWord> {
        let mut parsed = Measure { frames: 10_000, burst: None, circulating: 128 };
        for word in words {
            parsed.take(word).ok_or_else(|| BadWord::Measure(word.clone()))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=')? {
            ("frames", number) => self.frames = number.parse().ok()?,
            ("burst", number) => self.burst = Some(number.parse().ok().filter(|n| [1, 8, 32].contains(n))?),
            ("circulating", number) => self.circulating = number.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}
