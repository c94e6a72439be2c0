//! What the manifest's `args` say.

use alloc::string::String;

/// The words, understood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Frames to forward in full bursts, for each size of burst.
    frames: u64,
    /// The one size of burst, where it is not all of them.
    burst: Option<usize>,
    /// Frames under way between the two devices.
    pub(crate) circulating: u16,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("unknown word `{0}`; there are: frames=N, burst=1|8|32, circulating=N")]
pub(crate) struct BadWord(String);

impl Words {
    /// Frames to forward in full bursts of that size.
    pub(crate) fn frames_in(&self, burst: usize) -> u64 {
        if self.burst.is_none_or(|only| only == burst) { self.frames } else { 0 }
    }

    pub(crate) fn parse(words: &[String]) -> Result<Words, BadWord> {
        let mut parsed = Words { frames: 10_000, burst: None, circulating: 128 };
        for word in words {
            parsed.take(word).ok_or_else(|| BadWord(word.clone()))?;
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
