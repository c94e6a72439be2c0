//! What the manifest's `args` say.

use alloc::string::String;

/// The words, understood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Frames to forward in full bursts, for each size of burst.
    pub(crate) frames: u64,
    /// Frames under way between the two devices.
    pub(crate) circulating: u16,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("unknown word `{0}`; there are: frames=N, circulating=N")]
pub(crate) struct BadWord(String);

impl Words {
    pub(crate) fn parse(words: &[String]) -> Result<Words, BadWord> {
        let mut parsed = Words { frames: 10_000, circulating: 128 };
        for word in words {
            parsed.take(word).ok_or_else(|| BadWord(word.clone()))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=')? {
            ("frames", number) => self.frames = number.parse().ok()?,
            ("circulating", number) => self.circulating = number.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}
