//! The words of `pktlat`.

use alloc::string::ToString;

use super::{BadWord, Common, End, Route, number, set};
use crate::size::Sizes;

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who answers.
    pub route: Route,
    /// What answers there.
    pub target: Target,
    /// Probes in a second.
    pub rate: u64,
    /// Bytes of each frame, without checksum.
    pub frame_bytes: u16,
    /// When it is over.
    pub end: End,
    /// How long answers are waited for after the last probe.
    pub wait_ns: u64,
}

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The host itself, to ICMP echo requests.
    Ping,
    /// A service that sends datagrams back, at this port.
    Udp(u16),
}

const KNOWN: &str =
    "ADDRESS/PREFIX, to=ADDRESS|ADDRESS:PORT, mac=, gateway=, rate=N, size=N, count=N, seconds=N, wait=MS";
const TARGET: &str =
    "to=ADDRESS for ping, such as to=10.0.2.2, or to=ADDRESS:PORT for a service that sends datagrams back";
const WAIT: &str = "wait=MS is 1 to 60000 milliseconds";
const ONE_SIZE: &str = "all probes have one size: size=64";
/// Where nothing is said: a thousand probes in each of ten seconds.
const RATE: u64 = 1000;
const SECONDS: u64 = 10;
const WAIT_MS: u64 = 1000;
const FRAME_BYTES: u16 = 64;

impl Probe {
    /// Reads the words.
    ///
    /// # Errors
    /// The first that means nothing.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Probe, BadWord> {
        let (mut common, mut wait_ms) = (Common::default(), None);
        for word in words {
            match word.split_once('=') {
                Some(("wait", value)) => set(&mut wait_ms, number(value, 60_000), word, WAIT)?,
                _ if common.take(word)? => {}
                _ => return Err(BadWord::Unknown { word: word.to_string(), known: KNOWN }),
            }
        }
        let (to, port) = common.to.ok_or(BadWord::NoTarget(TARGET))?;
        let frame_bytes = match common.sizes {
            None => FRAME_BYTES,
            Some(Sizes::One(bytes)) => bytes,
            Some(_) => return Err(BadWord::Value { word: "size=".to_string(), rule: ONE_SIZE }),
        };
        let seconds = match (common.count, common.seconds) {
            (None, None) => Some(SECONDS),
            (_, seconds) => seconds,
        };
        let ns = seconds.map_or(u64::MAX, |seconds| seconds * 1_000_000_000);
        Ok(Probe {
            route: common.route(to)?,
            target: port.map_or(Target::Ping, Target::Udp),
            rate: common.rate.unwrap_or(RATE),
            frame_bytes,
            end: End { frames: common.count.unwrap_or(u64::MAX), ns },
            wait_ns: wait_ms.unwrap_or(WAIT_MS) * 1_000_000,
        })
    }
}
