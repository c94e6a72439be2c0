//! The words of `pktgen`.

use alloc::string::{String, ToString};

use super::{BURST_MAX, BadWord, Common, End, Route, number, set};
use crate::size::Sizes;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generate {
    /// Frames in a second; where there is none, the file's own times, or as many as the device takes.
    pub rate: Option<u64>,
    /// Frames sent at once.
    pub burst: u64,
    /// When it is over.
    pub end: End,
    /// Which frames.
    pub what: What,
}

/// Which frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// UDP datagrams that are made.
    Datagrams {
        /// To whom.
        route: Route,
        /// To which port.
        port: u16,
        /// From how many ports.
        flows: u16,
        /// How long.
        sizes: Sizes,
    },
    /// Those of a file.
    Recording {
        /// Its name.
        file: String,
        /// Whether in its own time: no rate was given.
        is_timed: bool,
    },
}

const KNOWN: &str = "ADDRESS/PREFIX, to=ADDRESS:PORT, mac=, gateway=, rate=N|line, size=N|N-N|imix, count=N, seconds=N, flows=N, burst=N, pcap=FILE";
const TARGET: &str = "to=ADDRESS:PORT such as to=10.0.2.2:9, or pcap=FILE for the frames of a file";
const BURST: &str = "burst=N is 1 to 32 frames";
const FLOWS: &str = "flows=N is 1 to 16384";
/// As many as there are ports for private use (RFC 6335 §6).
const FLOWS_MAX: u64 = 16_384;

#[derive(Default)]
struct Words {
    common: Common,
    is_line: bool,
    burst: Option<u64>,
    flows: Option<u64>,
    file: Option<String>,
}

impl Generate {
    /// Reads the words.
    ///
    /// # Errors
    /// The first that means nothing.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Generate, BadWord> {
        let mut parsed = Words::default();
        words.into_iter().try_for_each(|word| parsed.take(word))?;
        parsed.finish()
    }
}

impl Words {
    fn take(&mut self, word: &str) -> Result<(), BadWord> {
        match word.split_once('=') {
            Some(("rate", "line" | "max")) => self.is_line = true,
            Some(("burst", value)) => set(&mut self.burst, number(value, BURST_MAX), word, BURST)?,
            Some(("flows", value)) => set(&mut self.flows, number(value, FLOWS_MAX), word, FLOWS)?,
            Some(("pcap", name)) => self.file = Some(name.to_string()),
            _ if self.common.take(word)? => {}
            _ => return Err(BadWord::Unknown { word: word.to_string(), known: KNOWN }),
        }
        Ok(())
    }

    fn finish(self) -> Result<Generate, BadWord> {
        let Words { common, is_line, burst, flows, file } = self;
        let together = |word, with| Err(BadWord::Together { word, with });
        if is_line && common.rate.is_some() {
            return together("rate=line", "another rate=");
        }
        let is_timed = !is_line && common.rate.is_none();
        let what = match file {
            Some(_) if common.to.is_some() => {
                return together("to=", "pcap=, whose frames go out as they are");
            }
            Some(_) if common.sizes.is_some() => {
                return together("size=", "pcap=, whose frames go out as they are");
            }
            Some(_) if flows.is_some() => {
                return together("flows=", "pcap=, whose frames go out as they are");
            }
            Some(_) if is_timed && burst.is_some() => {
                return together("burst=", "pcap= without rate=, whose frames go out in their own time");
            }
            Some(file) => What::Recording { file, is_timed },
            None => {
                let Some((to, Some(port))) = common.to else { return Err(BadWord::NoTarget(TARGET)) };
                let flows = u16::try_from(flows.unwrap_or(1)).unwrap_or(1);
                let sizes = common.sizes.unwrap_or(Sizes::One(64));
                What::Datagrams { route: common.route(to)?, port, flows, sizes }
            }
        };
        let ns = common.seconds.map_or(u64::MAX, |seconds| seconds * 1_000_000_000);
        let end = End { frames: common.count.unwrap_or(u64::MAX), ns };
        let burst = burst.unwrap_or(if common.rate.is_some() { 1 } else { BURST_MAX });
        Ok(Generate { rate: common.rate, burst, end, what })
    }
}
