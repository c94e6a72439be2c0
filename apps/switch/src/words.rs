//! What the manifest's `args` say: limits.

use alloc::string::String;
use alloc::vec::Vec;

/// The words, understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    limits: Vec<(String, u64)>,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown word `{0}`; there is: limit=CHANNEL:FRAMES, the frames that may come from that port in a second"
)]
pub struct BadWord(String);

impl Words {
    pub(crate) fn parse(words: &[String]) -> Result<Words, BadWord> {
        let limits = words.iter().map(|word| limit(word).ok_or_else(|| BadWord(word.clone())));
        Ok(Words { limits: limits.collect::<Result<_, _>>()? })
    }

    /// Frames per second of the port with that channel, where there is a limit.
    pub(crate) fn limit(&self, channel: &str) -> Option<u64> {
        self.limits.iter().find(|(name, _)| name == channel).map(|(_, frames)| *frames)
    }
}

fn limit(word: &str) -> Option<(String, u64)> {
    let (name, frames) = word.strip_prefix("limit=")?.split_once(':')?;
    Some((name.into(), frames.parse().ok()?))
}
