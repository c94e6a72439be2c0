//! What the manifest's `args` say, besides the network's words.

use alloc::string::String;

/// The words, understood.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// Whom to connect with: a name or an IPv4 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What to send.
    pub(crate) send_bytes: u64,
}

/// Words that do not say what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadWord {
    #[error("unknown word `{0}`; besides the network's there are: to=HOST:PORT, send=BYTES (such as 64M)")]
    Unknown(String),
    #[error("nobody to connect with is named; write to=HOST:PORT in the manifest's args")]
    NoHost,
}

impl Words {
    pub(crate) fn parse(args: &[String]) -> Result<Words, BadWord> {
        let (mut to, mut send_bytes) = (None, 0);
        for word in args {
            let unknown = || BadWord::Unknown(word.clone());
            match word.split_once('=') {
                Some(("to", peer)) => to = Some(endpoint(peer).ok_or_else(unknown)?),
                Some(("send", size)) => send_bytes = bytes(size).ok_or_else(unknown)?,
                _ => return Err(unknown()),
            }
        }
        let (host, port) = to.ok_or(BadWord::NoHost)?;
        Ok(Words { host, port, send_bytes })
    }
}

fn endpoint(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| (host.into(), port))
}

/// A number of bytes, such as `512K` or `64M`.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (text.strip_suffix('K')?, 1 << 10),
        b'M' => (text.strip_suffix('M')?, 1 << 20),
        b'G' => (text.strip_suffix('G')?, 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
