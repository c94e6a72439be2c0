//! What the manifest's `args` say.

use alloc::string::String;

use weir_net::{Ipv4Network, MacAddress};

/// The words, understood.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// The address to answer for.
    pub(crate) network: Ipv4Network,
    /// Crash on purpose after that many answers.
    pub(crate) crash_after: Option<u64>,
    /// Give the device addresses it must not reach.
    pub(crate) bad_descriptor: bool,
    /// Descriptors in each ring of the device, if not as many as its driver chooses.
    pub(crate) entries: Option<u16>,
    /// Sleep when idle, even with a core of its own.
    pub(crate) sleep: bool,
    /// Wait for a device where none is granted, or it was taken away.
    pub(crate) wait: bool,
    /// Give the device that many addresses it must not reach, as fast as it takes them.
    pub(crate) storm: Option<u64>,
    /// Answer in this name instead of the device's own.
    pub(crate) mac: Option<MacAddress>,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadWord {
    #[error(
        "the first word must be the address to answer for, ADDRESS/PREFIX such as 10.0.2.15/24, or `tcp`, not `{0}`"
    )]
    Address(String),
    #[error(
        "unknown word `{0}`; there are: crash-after=N, bad-descriptor, entries=N, storm=N, mac=ADDRESS, sleep, wait"
    )]
    Unknown(String),
}

impl Words {
    pub(crate) fn parse(words: &[String]) -> Result<Words, BadWord> {
        let mut words = words.iter();
        let address = words.next().map_or("", String::as_str);
        let network = address.parse().map_err(|_| BadWord::Address(address.into()))?;
        let mut parsed = Words {
            network,
            crash_after: None,
            bad_descriptor: false,
            entries: None,
            sleep: false,
            wait: false,
            storm: None,
            mac: None,
        };
        for word in words {
            parsed.take(word).ok_or_else(|| BadWord::Unknown(word.clone()))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "bad-descriptor" => self.bad_descriptor = true,
            None if word == "sleep" => self.sleep = true,
            None if word == "wait" => self.wait = true,
            Some(("crash-after", number)) => self.crash_after = Some(number.parse().ok()?),
            Some(("entries", number)) => self.entries = Some(number.parse().ok()?),
            Some(("storm", number)) => self.storm = Some(number.parse().ok()?),
            Some(("mac", address)) => self.mac = Some(address.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}
