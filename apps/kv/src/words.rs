//! What the manifest's `args` say, besides the network's words.

use alloc::string::String;

/// The words, understood.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// Most bytes of contents.
    pub(crate) maxmemory_bytes: usize,
    /// Serve memcached's protocol, too.
    pub(crate) memcached: bool,
    /// Keep the contents on the device granted as `disk`.
    pub(crate) log: bool,
    /// Go on with what comes before damage on the disk, and give up what comes after.
    pub(crate) repair: bool,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown word `{0}`; besides the network's there are: maxmemory=BYTES (such as 64M), memcached, log, repair"
)]
pub(crate) struct BadWord(String);

impl Words {
    pub(crate) fn parse(args: &[String]) -> Result<Words, BadWord> {
        let mut words = Words { maxmemory_bytes: 64 << 20, memcached: false, log: false, repair: false };
        for word in args {
            words.take(word).ok_or_else(|| BadWord(word.clone()))?;
        }
        Ok(words)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "memcached" => self.memcached = true,
            None if word == "log" => self.log = true,
            None if word == "repair" => self.repair = true,
            Some(("maxmemory", size)) => self.maxmemory_bytes = bytes(size)?,
            _ => return None,
        }
        Some(())
    }
}

/// A number of bytes, such as `512K` or `64M`.
fn bytes(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (text.strip_suffix('K')?, 1 << 10),
        b'M' => (text.strip_suffix('M')?, 1 << 20),
        b'G' => (text.strip_suffix('G')?, 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}
