//! What the manifest's `args` say.

use alloc::string::String;

/// Which stage this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Receive,
    Work,
    Transmit,
}

/// The words, understood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) role: Role,
    /// Sleep when idle, even with a core of its own.
    pub(crate) sleep: bool,
    /// UDP datagrams to this port go no further.
    pub(crate) drop_port: Option<u16>,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadWord {
    #[error("the first word is receive, work or transmit, not `{0}`")]
    Role(String),
    #[error("unknown word `{0}`; there are: sleep, and for work drop-port=N")]
    Unknown(String),
}

impl Words {
    pub(crate) fn parse(words: &[String]) -> Result<Words, BadWord> {
        let first = words.first().map_or("", String::as_str);
        let role = match first {
            "receive" => Role::Receive,
            "work" => Role::Work,
            "transmit" => Role::Transmit,
            _ => return Err(BadWord::Role(first.into())),
        };
        let mut parsed = Words { role, sleep: false, drop_port: None };
        for word in words.iter().skip(1) {
            parsed.take(word).ok_or_else(|| BadWord::Unknown(word.clone()))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "sleep" => self.sleep = true,
            Some(("drop-port", number)) if self.role == Role::Work => {
                self.drop_port = Some(number.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}
